//! A controller that is killed loses nothing that it had been told was written. This is SIGKILL,
//! not a power failure: what the operating system held in memory is still there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use repave_controller::store::{self, EventFilter, StoreError};

use crate::fixture::{Database, event, events, run, server, servers, write};

const FOLDER: &str = "REPAVE_STORE_CRASH_TEST";
const ROUNDS: usize = 5;
const LINES: usize = 40;

/// The other process: commits numbers and prints each that is written, until it is killed. Without
/// its variable it is no test.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    run(Database::sqlite(), async |_| {
        let store = store::open(None, Path::new(&folder)).await.unwrap();
        loop {
            let written = write(&store, events([event("tick", 0), event("tick", 1)])).await;
            writeln!(std::io::stdout(), "written {}", written.events.unwrap().end()).unwrap();
        }
    });
}

#[test]
fn what_was_said_to_be_written_survives_a_kill() {
    run(Database::sqlite(), async |database| {
        for round in 0..ROUNDS {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "crash::child", "--nocapture"])
                .env(FOLDER, database.folder())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut written: Vec<i64> = Vec::new();
            while written.len() < LINES * (round + 1) {
                written.extend(number(&lines.next().unwrap().unwrap()));
            }
            if round == 0 {
                let second = database.try_open().await.err();
                assert!(matches!(second, Some(StoreError::InUse { .. })), "{second:?}");
            }
            child.kill().unwrap();
            child.wait().unwrap();
            written.extend(lines.map_while(Result::ok).filter_map(|line| number(&line)));

            let store = database.open().await;
            let newest = store.newest_events(&EventFilter::default(), None, 1).await.unwrap();
            let newest = newest[0].sequence;
            assert!(newest >= *written.last().unwrap());
            assert_eq!(newest % 2, 0, "half a commit was written");
            let all = store.prune_events(i64::MIN).await;
            assert_eq!(all.unwrap(), 0);
            for sequence in written {
                let page = store.events(&EventFilter::default(), sequence - 1, 1).await.unwrap();
                assert_eq!(page[0].sequence, sequence);
            }
            write(&store, servers([server(round as u64, None)])).await;
            store.close().await;
        }
    });
}

/// The last line may be cut off, and then is no number that was printed.
fn number(line: &str) -> Option<i64> {
    line.split_once("written ")?.1.parse().ok()
}
