//! Child processes that cannot outlive us: killed on drop, and by the kernel when we die first.
//!
//! The kernel's parent-death signal is set by util-linux's `setpriv`, since doing it between fork
//! and exec would need unsafe code here. That signal follows the *thread* that forked, so all
//! children are started by one thread that lives as long as the process.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::POLL_INTERVAL;

/// A running child; dropping it kills it and reaps it.
#[derive(Debug)]
pub(crate) struct Process {
    id: u32,
    child: Mutex<Child>,
}

impl Process {
    /// Starts a command made by [`mortal`].
    pub(crate) fn spawn(command: Command) -> io::Result<Self> {
        let child = spawn_on_lasting_thread(command)?;
        Ok(Self { id: child.id(), child: Mutex::new(child) })
    }

    /// The child's process id. It stays ours until the drop, even if the child has exited.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The exit status, or `None` while it runs.
    pub(crate) fn exited(&self) -> io::Result<Option<ExitStatus>> {
        self.child().try_wait()
    }

    /// SIGKILL, then reap. Killing a dead process is no error.
    pub(crate) fn kill(&self) -> io::Result<ExitStatus> {
        let mut child = self.child();
        child.kill()?;
        child.wait()
    }

    /// Waits for the process to end by itself; `None` if it still runs after `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.exited()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell, and the parent-death signal stands behind us.
        let _ = self.kill();
    }
}

/// A command that the kernel kills when this process ends. `prefix` is put before the program,
/// for programs that exec the rest of their arguments.
pub(crate) fn mortal(prefix: &[String], program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(prefix).arg(program);
    command
}

type Job = (Command, mpsc::Sender<io::Result<Child>>);

fn spawn_on_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);
    let (answer, child) = mpsc::channel();
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    let jobs = match &*spawner {
        Some(jobs) => jobs,
        None => spawner.insert(start_spawner()?),
    };
    jobs.send((command, answer)).map_err(|_| spawner_is_gone())?;
    drop(spawner);
    child.recv().map_err(|_| spawner_is_gone())?
}

fn start_spawner() -> io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new().name("spawner".to_owned()).spawn(move || {
        for (mut command, answer) in jobs {
            // The command is dropped in each round: it holds our copies of the child's pipes.
            let _ = answer.send(command.spawn());
        }
    })?;
    Ok(sender)
}

fn spawner_is_gone() -> io::Error {
    io::Error::other("the thread that starts processes has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it() {
        let child = thread::spawn(|| {
            let mut command = mortal(&[], "sleep");
            command.arg("1000");
            Process::spawn(command).unwrap()
        })
        .join()
        .unwrap();
        assert!(child.wait(Duration::from_millis(200)).unwrap().is_none());
        assert!(!child.kill().unwrap().success());
        assert!(child.exited().unwrap().is_some());
    }

    #[test]
    fn a_child_has_a_parent_death_signal() {
        // `setpriv --dump` prints the attributes that the wrapped program was given.
        let mut command = mortal(&[], "setpriv");
        let output = command.arg("--dump").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Parent death signal: KILL"), "{text}");
    }
}
