//! The pages that people follow by typing: their marked blocks are run in order, as one script, in
//! an empty folder. What has to differ (the port, the database) is replaced by name, and by nothing
//! else. Blocks that need servers or root are not marked and not run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/postgres.rs"]
#[allow(dead_code, reason = "the store's tests use the rest")]
mod postgres;

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

const MARK: &str = "<!-- test -->";
const FENCE: &str = "```";
/// The database that the page names; the test has another.
const DATABASE: &str = "postgres://repave:SECRET@db.example.org/repave";
/// Guards against hanging; nothing is ever expected to take so long.
const GUARD: &str = "300";

#[test]
fn the_tutorial_can_be_typed() {
    check("tutorial.md", &[(":8443", &free_address())]);
}

#[test]
fn the_page_on_postgresql_can_be_typed() {
    let database = postgres::shared().database();
    let (one, two) = (free_address(), free_address());
    check("postgresql.md", &[(DATABASE, &database), (":8443", &one), (":8444", &two)]);
}

/// A daemon as its unit would run it, for pages that take one for granted.
const INSTALLED: &str = r#"
repave key generate --out root.key
repave key generate --out image.key
mkdir backup
repave-controller init --state state --name 127.0.0.1
repave trust sign --root-key root.key --pool demo --version 1 \
    --directive-key "$(repave key public state/directive.key)" \
    --image-key "$(repave key public image.key)" --ca state/ca.pem --out state/trust.json
export REPAVE_URL=https://127.0.0.1:8443 REPAVE_CA=$PWD/state/ca.pem
export REPAVE_TOKEN_FILE=$PWD/state/admin.token
systemctl() {
    case $1 in
        stop | restart) kill "$daemon"; wait "$daemon" ;;
    esac
    case $1 in
        start | restart)
            repave-controller run --state state --pool demo --name 127.0.0.1 \
                --listen 127.0.0.1:8443 --root-key "$(repave key public root.key)" &
            daemon=$!
            until repave pool show; do sleep 0.2; done ;;
    esac
}
systemctl start repave-controller
"#;

const PLACES: [(&str, &str); 2] = [("/var/lib/repave", "state"), ("/backup", "backup")];

#[test]
fn the_page_on_upgrades_can_be_typed() {
    // What is done after the backup is gone when it is restored, and nothing else.
    let again = "systemctl stop repave-controller\nrm -f";
    let made = format!("repave token create late --role viewer --out late.token\n{again}");
    let gone = "\n! repave token list | grep late\nrepave token list | grep early\n";
    let others = [(":8443", &*free_address()), (again, &*made)];
    let before = format!("{INSTALLED}repave token create early --role viewer --out early.token\n");
    check_after(&before, "upgrade.md", &[&PLACES[..], &others].concat(), gone);
}

#[test]
fn the_page_on_keys_can_be_typed() {
    let others = [PLACES[0], (":8443", &*free_address())];
    let done = "repave trust status | grep 'go by version 3'\n";
    check_after(INSTALLED, "keys.md", &others, done);
}

#[test]
fn the_page_on_registries_can_be_typed() {
    check("registry.md", &[(":5000", &free_address()), (":8443", &free_address())]);
}

#[test]
fn a_block_is_taken_only_with_its_mark() {
    let page = "```sh\nfirst\n```\n<!-- test -->\n```sh\nsecond\nthird\n```\nno block\n";
    assert_eq!(blocks(page), "second\nthird\n");
}

fn check(page: &str, others: &[(&str, &str)]) {
    check_after("", page, others, "");
}

/// The same between what the page takes for granted and what must hold at its end.
fn check_after(before: &str, page: &str, others: &[(&str, &str)], after: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let typed = blocks(&fs::read_to_string(path).unwrap());
    let mut script = [before, &typed, after].concat();
    for (named, real) in others {
        assert!(script.contains(named), "{page} does not say {named}");
        script = script.replace(named, real);
    }
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    let log = File::create(&said).unwrap();
    // The script's daemons are of its process group, so that none outlives it, and write to a
    // file, since a pipe would not end before they do.
    let mut command = Command::new("timeout");
    command.args([GUARD, "bash", "-xeuo", "pipefail", "-c", &script]);
    let mut child = command
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", path_with_ours())
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    let group = Pid::from_child(&child);
    let status = child.wait().unwrap();
    // Nobody may be left in it.
    let _ = kill_process_group(group, Signal::KILL);
    assert!(status.success(), "{page}: {status}\n{}", fs::read_to_string(said).unwrap());
}

/// What stands in marked blocks, one after the other.
fn blocks(page: &str) -> String {
    let mut script = String::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| line == MARK) {
        assert_eq!(lines.next(), Some("```sh"), "a mark stands right before its block");
        for line in lines.by_ref().take_while(|line| *line != FENCE) {
            script += line;
            script.push('\n');
        }
    }
    script
}

fn path_with_ours() -> std::ffi::OsString {
    let ours = [env!("CARGO_BIN_EXE_repave"), env!("CARGO_BIN_EXE_repave-controller")]
        .map(|program| Path::new(program).parent().unwrap().to_owned());
    let found = env::var_os("PATH").unwrap_or_default();
    // mkfs.ext4 is not on everybody's path.
    let system = [PathBuf::from("/usr/sbin")];
    env::join_paths(ours.into_iter().chain(env::split_paths(&found)).chain(system)).unwrap()
}

/// A free port, as it stands behind a host.
fn free_address() -> String {
    format!(":{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())
}
