//! How long a machine's logs were at which time, so that the log of its disk, the log of its
//! variables and its console can be laid side by side.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::recording::{CONSOLE, DISK_LOG, VARIABLES_LOG};

/// Pause between two looks. What happens in between is never torn apart; see [`super::instants`].
const PAUSE: Duration = Duration::from_millis(1);

/// Lengths of the logs that were true at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Since the machine was powered on.
    pub at_ms: u64,
    /// Of the console's log; it may have grown since.
    pub console: u64,
    /// Of the disk's log.
    pub disk: u64,
    /// Of the variables' log.
    pub variables: u64,
}

/// A thread that looks.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sample>>>,
}

impl Watch {
    /// Watches the logs in a folder.
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        let files = [CONSOLE, DISK_LOG, VARIABLES_LOG].map(|name| File::open(folder.join(name)));
        let [console, disk, variables] = files;
        let files = [console?, disk?, variables?];
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut samples: Vec<Sample> = vec![];
            while !told.load(Ordering::Relaxed) {
                if let Ok(Some(sample)) = look(&files, start)
                    && samples
                        .last()
                        .is_none_or(|last| Sample { at_ms: last.at_ms, ..sample } != *last)
                {
                    samples.push(sample);
                }
                thread::sleep(PAUSE);
            }
            samples
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// What was seen.
    pub(crate) fn stop(mut self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        let samples = self.thread.take().map(JoinHandle::join);
        samples.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Nothing, if the variables' log grew while the disk's was looked at. The console is looked at
/// first: what it says was done then is in the disk's log by now.
fn look([console, disk, variables]: &[File; 3], start: Instant) -> io::Result<Option<Sample>> {
    let length = |file: &File| Ok::<u64, io::Error>(file.metadata()?.len());
    let console = length(console)?;
    let before = length(variables)?;
    let disk = length(disk)?;
    let after = length(variables)?;
    let at_ms = start.elapsed().as_millis() as u64;
    Ok((before == after).then_some(Sample { at_ms, console, disk, variables: after }))
}
