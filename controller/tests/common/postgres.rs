//! A PostgreSQL server for tests: a fresh cluster in a temporary folder, on a Unix socket and a
//! loopback port of its own, from the programs that Debian's package brings. It ends with the
//! tests, however they end: the shell that keeps it waits on a pipe that only this process holds.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;

/// The password of user `repave`, which no message may contain.
pub(crate) const PASSWORD: &str = "s3cret-of-the-store";
const READY: &str = "database system is ready to accept connections";

/// $1: programs, $2: folder, $3: port, $4: fsync, $5: ssl. What it reads from its standard input is orders.
const KEEPER: &str = r#"
set -u
# An interrupt goes to everybody at the terminal; this shell still has to clear away.
trap "" INT TERM HUP
trap 'rm -rf "$2"' EXIT
start() {
    "$1/postgres" -D "$2/data" -k "$2" -p "$3" -c listen_addresses=127.0.0.1 -c "fsync=$4" \
        -c "ssl=$5" -c ssl_cert_file="$2/server.crt" -c ssl_key_file="$2/server.key" \
        -c max_connections=200 -c logging_collector=off 1>&2 < /dev/null &
    server=$!
}
printf %s "$PASSWORD" > "$2/password"
"$1/initdb" -D "$2/data" -U repave --pwfile="$2/password" -A scram-sha-256 -E UTF8 \
    --locale=C.UTF-8 --locale-provider=icu --icu-locale=en --no-sync > "$2/initdb.log" 2>&1 ||
    { cat "$2/initdb.log" >&2; exit 1; }
start "$@"
while read -r order; do
    case $order in
        stop) kill -QUIT "$server"; wait "$server"; echo stopped ;;
        start) start "$@" ;;
    esac
done
kill -QUIT "$server" 2> /dev/null
wait "$server"
"#;

/// A running server; dropped, it is stopped and its folder removed.
pub(crate) struct Server {
    keeper: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    log: Mutex<mpsc::Receiver<String>>,
    port: u16,
}

/// The server that all cases of this process share, each with a database of its own.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::start(false))
}

impl Server {
    /// Starts a server that syncs to its disk or, which is faster, does not.
    pub(crate) fn start(syncs: bool) -> Self {
        Self::start_with(syncs, None)
    }

    /// The same with TLS: certificate and key, PEM. Nobody is let in without.
    pub(crate) fn start_with(syncs: bool, tls: Option<(&str, &str)>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::Builder::new().prefix("repave-postgres-").tempdir().unwrap().keep();
        if let Some((certificate, key)) = tls {
            fs::write(folder.join("server.crt"), certificate).unwrap();
            fs::write(folder.join("server.key"), key).unwrap();
            let owner_only = fs::Permissions::from_mode(0o600);
            fs::set_permissions(folder.join("server.key"), owner_only).unwrap();
        }
        let mut command = as_its_user(&folder);
        let fsync = if syncs { "on" } else { "off" };
        command.args(["sh", "-c", KEEPER, "keeper"]).arg(programs()).arg(&folder);
        let mut keeper = command
            .args([&*port.to_string(), fsync, if tls.is_some() { "on" } else { "off" }])
            .env("PASSWORD", PASSWORD)
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let log = BufReader::new(keeper.stderr.take().unwrap());
        // Read for as long as the server writes, or it would stop at a full pipe.
        let (lines, log_lines) = mpsc::channel();
        thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|l| lines.send(l)));
        let server = Self { keeper, orders, answers, log: Mutex::new(log_lines), port };
        server.wait_until_ready();
        server
    }

    /// The URL of a new and empty database.
    pub(crate) fn database(&self) -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("case_{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        self.run(&format!("CREATE DATABASE {name}"));
        self.url(PASSWORD, &name)
    }

    /// The URL of a database with a password that may be wrong.
    pub(crate) fn url(&self, password: &str, database: &str) -> String {
        format!("postgres://repave:{password}@127.0.0.1:{}/{database}", self.port)
    }

    fn run(&self, sql: &str) {
        let url = self.url(PASSWORD, "postgres");
        let output = Command::new(programs().join("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Stops the server as a crash would: connections break, nothing is finished.
    pub(crate) fn stop(&mut self) {
        writeln!(self.orders.as_ref().unwrap(), "stop").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "stopped\n");
    }

    /// Starts it again on the same port.
    pub(crate) fn start_again(&mut self) {
        writeln!(self.orders.as_ref().unwrap(), "start").unwrap();
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        let log = self.log.lock().unwrap();
        let mut seen = Vec::new();
        while !seen.last().is_some_and(|line: &String| line.contains(READY)) {
            let Ok(line) = log.recv() else { panic!("PostgreSQL did not start: {seen:#?}") };
            seen.push(line);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.keeper.wait();
    }
}

/// PostgreSQL refuses to run as root; then the user that its package made runs it.
fn as_its_user(folder: &Path) -> Command {
    let output = Command::new("id").arg("-u").output().unwrap();
    if output.stdout != b"0\n" {
        return Command::new("env");
    }
    let chown = Command::new("chown").args(["-R", "postgres:"]).arg(folder).status().unwrap();
    assert!(chown.success(), "is the Debian package postgresql installed?");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
    command
}

/// Debian keeps each version's programs in a folder of its own; the newest is taken.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| Path::new(&format!("/usr/lib/postgresql/{version}/bin/initdb")).exists())
        .max();
    let newest = newest.expect("the Debian package postgresql; initramfs/deps.sh installs it");
    format!("/usr/lib/postgresql/{newest}/bin").into()
}
