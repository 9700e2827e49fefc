//! What a recorded road leaves behind, in a folder of its own: disk and variables as they were at
//! power on and as they are now, the logs between the two, the console, and what was ordered. From
//! it, what a power cut at any instant would have left is put into another folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use repave_chance::Chance;
use repave_protocol::{Generation, ImageReference, Sha256};
use repave_qemu::disk::Disk;
use repave_qemu::power_cut::{Fate, apply, survivors};
use repave_qemu::write_log::{Action, Entry, parse};
use serde::{Deserialize, Serialize};

use super::instants::{Instant, Reached, Road};
use super::watch::Sample;

pub(crate) const CONSOLE: &str = "console.log";
pub(crate) const DISK: &str = "disk.img";
pub(crate) const DISK_BEFORE: &str = "before.img";
pub(crate) const DISK_LOG: &str = "disk.log";
/// The name that the machine gives it.
pub(crate) const VARIABLES: &str = "OVMF_VARS.fd";
pub(crate) const VARIABLES_BEFORE: &str = "before.fd";
pub(crate) const VARIABLES_LOG: &str = "variables.log";
const FACTS: &str = "facts.json";
const SAMPLES: &str = "samples.json";
/// What a disk never tears, and what a flash chip's driver in QEMU writes at once.
const BLOCK_BYTES: u64 = 512;

/// What a road is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its name.
    pub road: String,
    /// How many cuts lie before it.
    pub depth: u32,
    /// What the server becomes.
    pub image: ImageReference,
    /// The generation of that order, once it was issued.
    pub generation: Option<Generation>,
    /// What of it was reached before the machine was powered on.
    pub before: Reached,
    /// SHA-256 of p1, which never changes.
    pub default_partition: Sha256,
}

/// A folder with a road that was recorded.
#[derive(Debug)]
pub struct Recording {
    /// The folder.
    pub folder: PathBuf,
    /// What the road is about.
    pub facts: Facts,
    samples: Vec<Sample>,
}

/// The two logs of a recording, in memory.
pub struct Logs {
    disk: Vec<u8>,
    disk_entries: Vec<Entry>,
    variables: Vec<u8>,
    variables_entries: Vec<Entry>,
}

/// What a cut did.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Writes that no flush had followed.
    pub unflushed: usize,
}

/// Puts a disk and a variable store into a folder, to be powered on from.
///
/// # Errors
/// They cannot be copied.
pub fn lay_out(folder: &Path, disk: &Path, variables: &Path, facts: &Facts) -> Result<()> {
    fresh(folder)?;
    Disk::copy(disk, folder.join(DISK_BEFORE))?;
    fs::copy(variables, folder.join(VARIABLES_BEFORE))?;
    fs::write(folder.join(FACTS), serde_json::to_vec_pretty(facts)?)?;
    rewind(folder)
}

/// Puts disk and variables of a folder back to what they were before the machine was powered on.
///
/// # Errors
/// They cannot be copied.
pub fn rewind(folder: &Path) -> Result<()> {
    Disk::copy(folder.join(DISK_BEFORE), folder.join(DISK))?;
    fs::copy(folder.join(VARIABLES_BEFORE), folder.join(VARIABLES))?;
    match fs::remove_file(folder.join(CONSOLE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The facts that a folder was laid out with.
///
/// # Errors
/// They are not there.
pub fn facts(folder: &Path) -> Result<Facts> {
    let path = folder.join(FACTS);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

impl Recording {
    /// What was recorded in a folder.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(crate) fn of(folder: &Path, facts: Facts, samples: Vec<Sample>) -> Result<Self> {
        fs::write(folder.join(FACTS), serde_json::to_vec_pretty(&facts)?)?;
        fs::write(folder.join(SAMPLES), serde_json::to_vec(&samples)?)?;
        Ok(Self { folder: folder.into(), facts, samples })
    }

    /// Its logs.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn logs(&self) -> Result<Logs> {
        let [disk, variables] =
            [DISK_LOG, VARIABLES_LOG].map(|name| fs::read(self.folder.join(name)));
        let (disk, variables) = (disk?, variables?);
        let (disk_entries, variables_entries) = (parse(&disk)?, parse(&variables)?);
        Ok(Logs { disk, disk_entries, variables, variables_entries })
    }

    /// Every instant at which it can be cut.
    ///
    /// # Errors
    /// The console cannot be read.
    pub fn instants(&self, logs: &Logs) -> Result<Vec<Instant>> {
        let console = fs::read(self.folder.join(CONSOLE))?;
        let road = Road {
            before: self.facts.before,
            console: &console,
            disk: &logs.disk_entries,
            variables: &logs.variables_entries,
            samples: &self.samples,
        };
        Ok(road.instants())
    }

    /// Lays out, in another folder, what a power cut at an instant leaves.
    ///
    /// # Errors
    /// Files cannot be read or written.
    pub fn cut(
        &self,
        logs: &Logs,
        instant: &Instant,
        (fate, chance): (Fate, &mut Chance),
        folder: &Path,
    ) -> Result<Cut> {
        let facts =
            Facts { depth: self.facts.depth + 1, before: instant.reached, ..self.facts.clone() };
        let [disk, variables] = [DISK_BEFORE, VARIABLES_BEFORE].map(|name| self.folder.join(name));
        lay_out(folder, &disk, &variables, &facts)?;
        let entries = &logs.disk_entries;
        let pieces = survivors(entries, instant.disk, BLOCK_BYTES, fate, chance);
        put(folder.join(DISK_BEFORE), |file| apply(&pieces, entries, &logs.disk, file))?;
        // Flash has no cache: what was answered is there.
        let entries = &logs.variables_entries;
        let pieces = survivors(entries, instant.variables, BLOCK_BYTES, Fate::Kept, chance);
        put(folder.join(VARIABLES_BEFORE), |file| apply(&pieces, entries, &logs.variables, file))?;
        rewind(folder)?;
        Ok(Cut { unflushed: unflushed(&logs.disk_entries[..instant.disk]) })
    }
}

fn put(path: PathBuf, write: impl FnOnce(&File) -> std::io::Result<()>) -> Result<()> {
    let file = File::options().write(true).open(&path);
    file.and_then(|file| write(&file)).with_context(|| format!("cannot write {}", path.display()))
}

fn unflushed(answered: &[Entry]) -> usize {
    answered.iter().rev().take_while(|entry| entry.action != Action::Flush).count()
}
