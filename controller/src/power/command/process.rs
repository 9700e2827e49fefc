//! One run of a program, with an end: its time and its output are limited, and what it started ends
//! with it. It is made the leader of a process group of its own, which is killed before the leader
//! is reaped: until then its number cannot belong to somebody else. What leaves the group on
//! purpose (`setsid`) is out of our reach.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{self, Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::power::PowerError;

/// Bytes of output and of errors that a run may print: it has one word to say.
const MAX_OUTPUT_BYTES: usize = 4096;

/// What to run.
pub(super) struct Job<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<String>,
    /// The one variable of its environment.
    pub(super) path: OsString,
    pub(super) limit: Duration,
}

impl Job<'_> {
    /// Runs it to its end, or to ours, and gives what it printed.
    pub(super) fn run(self) -> Result<String, PowerError> {
        let deadline = Instant::now() + self.limit;
        let place = self.program.display().to_string();
        let lost = |source| PowerError::Unreachable { what: "watch", place: place.clone(), source };
        let mut group = self.start()?;
        let ended = pidfd_open(Pid::from_child(&group.leader), PidfdFlags::empty());
        let ended = ended.map_err(|error| lost(error.into()))?;
        let mut output = Stream::new(group.leader.stdout.take().map(OwnedFd::from));
        let mut errors = Stream::new(group.leader.stderr.take().map(OwnedFd::from));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let ready = wait(&ended, [&output, &errors], left).map_err(lost)?;
            let Some(ready) = ready else {
                return Err(PowerError::timed_out(&place, self.limit));
            };
            for (stream, has_more) in [&mut output, &mut errors].into_iter().zip(ready.streams) {
                if has_more {
                    stream.read().map_err(lost)?;
                }
            }
            if output.overflowed {
                return Err(PowerError::Long { place, limit_bytes: MAX_OUTPUT_BYTES as u64 });
            }
            // What was written before the end is in the pipes; a process that lives on and holds
            // them open is not waited for.
            if ready.ended && ready.streams == [false, false] {
                break;
            }
        }
        let status = group.end().map_err(lost)?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&output.bytes).into_owned());
        }
        Err(PowerError::refused(&place, &failure(status, &errors.bytes)))
    }

    fn start(&self) -> Result<Group, PowerError> {
        let leader = process::Command::new(self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        match leader {
            Ok(leader) => Ok(Group { leader, reaped: false }),
            Err(source) => Err(PowerError::Program { program: self.program.into(), source }),
        }
    }
}

/// What a failed run has to say.
fn failure(status: ExitStatus, errors: &[u8]) -> String {
    let how = match status.signal() {
        Some(signal) => format!("killed by signal {signal}"),
        None => format!("exit code {}", status.code().unwrap_or_default()),
    };
    format!("{how}: {}", String::from_utf8_lossy(errors))
}

/// A leader and its group, which do not outlive this value.
struct Group {
    leader: Child,
    reaped: bool,
}

impl Group {
    fn end(&mut self) -> io::Result<ExitStatus> {
        match kill_process_group(Pid::from_child(&self.leader), Signal::KILL) {
            // Nobody is left, or nobody that is ours: a leader that changed its user.
            Ok(()) | Err(Errno::SRCH | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let status = self.leader.wait()?;
        self.reaped = true;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped
            && let Err(error) = self.end()
        {
            tracing::warn!(%error, "a power program could not be ended");
        }
    }
}

/// What was read of a pipe, and whether more may come.
struct Stream {
    pipe: Option<File>,
    bytes: Vec<u8>,
    overflowed: bool,
}

impl Stream {
    fn new(pipe: Option<OwnedFd>) -> Self {
        Self { pipe: pipe.map(File::from), bytes: Vec::new(), overflowed: false }
    }

    /// Reads what is there; must be called only if there is something.
    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        let mut piece = [0; MAX_OUTPUT_BYTES];
        let read_bytes = pipe.read(&mut piece)?;
        if read_bytes == 0 {
            self.pipe = None;
        }
        let kept_bytes = read_bytes.min(MAX_OUTPUT_BYTES - self.bytes.len());
        self.bytes.extend_from_slice(&piece[..kept_bytes]);
        self.overflowed |= kept_bytes < read_bytes;
        Ok(())
    }
}

/// What happened: the leader ended, or a stream has something to read.
struct Ready {
    ended: bool,
    streams: [bool; 2],
}

/// Waits until something happens; `None` if nothing does within `left`.
fn wait(ended: &OwnedFd, streams: [&Stream; 2], left: Duration) -> io::Result<Option<Ready>> {
    let pipes = streams.map(|stream| stream.pipe.as_ref().map(AsFd::as_fd));
    let mut watched = vec![PollFd::new(ended, PollFlags::IN)];
    watched.extend(pipes.iter().flatten().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&left)) {
        Ok(0) => return Ok(None),
        // The caller comes again with the time that is left.
        Err(Errno::INTR) => return Ok(Some(Ready { ended: false, streams: [false; 2] })),
        result => drop(result?),
    }
    let mut happened = watched.iter().map(|watched| !watched.revents().is_empty());
    let ended = happened.next().unwrap_or(false);
    let streams = pipes.map(|pipe| pipe.is_some() && happened.next().unwrap_or(false));
    Ok(Some(Ready { ended, streams }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration) -> Result<String, PowerError> {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        Job { program: Path::new("/bin/sh"), arguments, path: "/usr/bin:/bin".into(), limit }.run()
    }

    fn check(script: &str, expected: Result<&str, &str>) {
        let found = run(script, Duration::from_secs(60)).map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{script}");
    }

    #[test]
    fn a_run_ends_as_it_says() {
        check("echo on", Ok("on\n"));
        check("exec >&- 2>&-; true", Ok(""));
        check(
            "echo on; echo no such plug >&2; exit 3",
            Err("/bin/sh refused: exit code 3: no such plug"),
        );
        check("kill -9 $$", Err("/bin/sh refused: killed by signal 9:"));
        check("while :; do echo on; done", Err("/bin/sh answered more than 4096 bytes"));
        check("head -c 100000 /dev/zero >&2; echo on", Ok("on\n"));
        check("read line || echo nothing to read", Ok("nothing to read\n"));
        check("env | grep -v ^_= | grep -v ^PWD=", Ok("PATH=/usr/bin:/bin\n"));
    }

    /// Whether the process is there and no zombie.
    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    /// A killed process is dead, but may be seen a moment longer.
    fn check_dies(pid: &str) {
        let guard = Instant::now() + Duration::from_secs(60);
        while lives(pid) {
            assert!(Instant::now() < guard, "process {pid} lives on");
            std::thread::yield_now();
        }
    }

    /// A child that forks a sleeper, writes its number to `file` and holds the pipes.
    fn forks(file: &Path) -> String {
        format!("(sleep 600 & echo $! > {}; wait) &", file.display())
    }

    #[test]
    fn what_a_run_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (hung, done) = (folder.path().join("hung"), folder.path().join("done"));
        let pid_in = |file: &Path| std::fs::read_to_string(file).unwrap().trim().to_owned();

        let script = format!("{} sleep 600", forks(&hung));
        let error = run(&script, Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh was not done within 5000 ms");
        check_dies(&pid_in(&hung));

        let script =
            format!("{} until [ -s {} ]; do :; done; echo on", forks(&done), done.display());
        assert_eq!(run(&script, Duration::from_secs(60)).unwrap(), "on\n");
        check_dies(&pid_in(&done));
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let job = Job {
            program: Path::new("/no/such"),
            arguments: vec![],
            path: "".into(),
            limit: Duration::from_secs(1),
        };
        assert_eq!(job.run().unwrap_err().to_string(), "cannot run \"/no/such\"");
    }
}
