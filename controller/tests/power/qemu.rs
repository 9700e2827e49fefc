//! Power of a real QEMU, which waits at its reset vector as a server that is off. Its machine has
//! no disk and its firmware finds nothing to boot, which is all that power needs.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use repave_controller::power::{BootSource, Off, Power, PowerError, PowerState};
use serde_json::json;
use tempfile::TempDir;

use super::{GUARD, open};

struct Machine {
    process: Child,
    folder: TempDir,
}

impl Machine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let process = Command::new("qemu-system-x86_64")
            .args(["-S", "-display", "none", "-nodefaults", "-no-user-config", "-m", "64", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut machine = Self { process, folder };
        let guard = Instant::now() + GUARD;
        while UnixStream::connect(machine.socket()).is_err() {
            assert!(machine.process.try_wait().unwrap().is_none(), "QEMU is gone");
            assert!(Instant::now() < guard, "QEMU never listens");
            thread::sleep(Duration::from_millis(10));
        }
        machine
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("qmp")
    }

    fn power(&self) -> Box<dyn Power> {
        open(json!({"kind": "qmp", "socket": self.socket(), "timeout_ms": 30_000}))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn a_machine_is_switched_and_its_process_lives() {
    let mut machine = Machine::start();
    let power = machine.power();
    let check = |expected| assert_eq!(power.status().unwrap(), expected);
    check(PowerState::Off);
    power.on().unwrap();
    check(PowerState::On);
    power.on().unwrap();
    power.cycle().unwrap();
    check(PowerState::On);
    // A machine without a system takes the question and does nothing.
    power.off(Off::Graceful).unwrap();
    check(PowerState::On);
    power.off(Off::Forced).unwrap();
    check(PowerState::Off);
    power.off(Off::Forced).unwrap();
    power.cycle().unwrap();
    check(PowerState::On);
    let error = power.boot_once(&BootSource::Disk).unwrap_err();
    assert!(matches!(error, PowerError::NotOffered { .. }), "{error}");
    assert!(machine.process.try_wait().unwrap().is_none(), "QEMU is gone");
}

#[test]
fn a_socket_without_a_machine_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("qmp");
    let power_within =
        |limit_ms: u64| open(json!({"kind": "qmp", "socket": socket, "timeout_ms": limit_ms}));
    assert!(matches!(power_within(30_000).status(), Err(PowerError::Unreachable { .. })));
    let listener = UnixListener::bind(&socket).unwrap();
    let check = |said: &'static [u8], expected: &str| {
        let said = serve(listener.try_clone().unwrap(), said);
        // Short only where it is to fail by that.
        let limit_ms = if expected.ends_with("500 ms") { 500 } else { 30_000 };
        let error = power_within(limit_ms).status().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, not {expected}");
        said.join().unwrap();
    };
    check(b"", "was not done within 500 ms");
    check(b"SSH-2.0-OpenSSH\n", "answered no line of JSON: SSH-2.0-OpenSSH");
    check(b"{\"hello\": 1}\n", "answered no QMP greeting");
    check(
        b"{\"QMP\": {}}\n{\"error\": {\"desc\": \"no\"}, \"id\": 0}\n",
        "refused: qmp_capabilities: no",
    );
    check(b"{\"QMP\": {}}\n{\"return\": {}, \"id\": 9}\n", "answered no answer to our command");
    check(
        b"{\"QMP\": {}}\n{\"return\": {}, \"id\": 0}\n\
          {\"return\": {\"status\": \"lit\"}, \"id\": 1}\n",
        "answered no RunState: lit",
    );
    check(&[b'x'; 100_000], "answered more than 65536 bytes");
    assert_eq!(
        leave(&listener, Path::new(&socket)),
        "{\"execute\":\"qmp_capabilities\",\"id\":0}\n"
    );
}

/// QEMU answers a reset before it does it, and refuses to go on until then.
#[test]
fn a_machine_goes_on_only_after_its_reset() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("qmp");
    let listener = UnixListener::bind(&socket).unwrap();
    let power = open(json!({"kind": "qmp", "socket": socket}));
    let client = thread::spawn(move || power.cycle());
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"{\"QMP\": {}}\n").unwrap();
    let mut commands = BufReader::new(stream.try_clone().unwrap());
    let mut answer = |command: &str, answer: &str| {
        let mut line = String::new();
        commands.read_line(&mut line).unwrap();
        let sent: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(sent["execute"], command);
        let id = &sent["id"];
        writeln!(stream, "{{\"return\": {answer}, \"id\": {id}}}").unwrap();
        if command == "system_reset" {
            // An early command would be here at once.
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            commands.fill_buf().unwrap_err();
            stream.set_read_timeout(None).unwrap();
            stream.write_all(b"{\"event\": \"RESET\"}\n").unwrap();
        }
    };
    answer("qmp_capabilities", "{}");
    answer("system_reset", "{}");
    answer("query-status", "{\"status\": \"prelaunch\"}");
    answer("cont", "{}");
    client.join().unwrap().unwrap();
}

/// Says this to one client, and listens until it leaves.
fn serve(listener: UnixListener, said: &'static [u8]) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The client may leave in the middle of it.
        let _ = stream.write_all(said);
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// Greets one client, closes at its first command, and gives that command.
fn leave(listener: &UnixListener, socket: &Path) -> String {
    let power = open(json!({"kind": "qmp", "socket": socket}));
    let client = thread::spawn(move || power.status().unwrap_err());
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"{\"QMP\": {}}\n").unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    drop(stream);
    assert!(matches!(client.join().unwrap(), PowerError::Unreachable { .. }));
    line
}
