//! One power-on: from what lies in a folder, a server has to become what it was ordered to be, by
//! itself, with p1 as it was. Everything that it writes on its way is recorded, so that this road
//! can be cut as well.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use repave_controller_stub::Stub;
use repave_image_codec::{Images, Library};
use repave_protocol::{ImageReference, Standing, Status};
use repave_qemu::disk::Disk;
use serde::{Deserialize, Serialize};

use super::fetched::{Fetched, compare};
use super::instants::Reached;
use super::recording::{DISK, DISK_BEFORE, DISK_LOG, Recording, VARIABLES_LOG, facts};
use super::site::Site;
use super::watch::Watch;
use crate::raw_disk::RawDisk;
use crate::server::failure;

/// The machine's name, and its disk's serial: for all roads the same server.
const SERVER: &str = "torture";
/// So many chunks are compared of a target that may share nothing with the image.
const SAMPLES: usize = 64;
/// Its default entry's description.
const DEFAULT: &str = "Repave default";

/// How a power-on went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Until the target was up, in milliseconds.
    pub took_ms: u64,
    /// Codes of the faults that were reported on the way.
    pub faults: Vec<String>,
    /// What was fetched.
    pub fetched: Fetched,
}

/// Powers on, and has the server arrive.
///
/// # Errors
/// Whatever is not as it has to be.
pub fn run(site: &Site, folder: &Path) -> Result<(Recording, Outcome)> {
    let mut facts = facts(folder)?;
    let lab = site.lab_for(&facts.image, facts.generation)?;
    let mut spec = lab.bare(SERVER);
    spec.dir = std::path::absolute(folder)?;
    let disk = Disk::existing(folder.join(DISK))?.serial(SERVER.to_uppercase());
    spec.disks.push(disk.logged(spec.dir.join(DISK_LOG)));
    spec.variables_log = Some(spec.dir.join(VARIABLES_LOG));
    spec.nics.push(site.nic());
    let mut server = lab.server(spec)?;
    let start = Instant::now();
    server.power_on()?;
    let watch = Watch::start(folder)?;
    let up = server.wait_past_failures("up", |status| is_up(status, &facts.image))?;
    let took_ms = start.elapsed().as_millis() as u64;
    server.kill()?;
    let samples = watch.stop();

    let disk = server.disk()?;
    let stub = lab.stub();
    ensure!(disk.default_partition()? == facts.default_partition, "p1 has changed");
    for record in stub.records() {
        let told = record.status.default_partition;
        ensure!(told.is_none_or(|told| told == facts.default_partition), "p1 was told to differ");
    }
    let order = server.variables()?.boot_order();
    ensure!(order.first().map(String::as_str) == Some(DEFAULT), "BootOrder is {order:?}");
    let before = RawDisk::open(&folder.join(DISK_BEFORE))?;
    let fetched = fetched(lab.library(), &facts.image, (&before, &disk), stub)?;
    check(&fetched, facts.before)?;
    lab.finish()?;

    facts.generation = up.status.seal.map(|seal| seal.generation);
    let records = stub.records();
    let faults = records.iter().filter_map(|record| failure(&record.status));
    let mut faults: Vec<String> = faults.map(|fault| fault.code.clone()).collect();
    faults.dedup();
    let outcome = Outcome { took_ms, faults, fetched };
    Ok((Recording::of(folder, facts, samples)?, outcome))
}

fn is_up(status: &Status, image: &ImageReference) -> bool {
    let seal = status.seal.as_ref();
    matches!(status.standing, Standing::Up { .. })
        && seal.is_some_and(|seal| seal.manifest == image.manifest)
}

fn fetched(
    library: &Library,
    image: &ImageReference,
    disks: (&RawDisk, &RawDisk),
    stub: &Stub,
) -> Result<Fetched> {
    let image = library.read(image).context("the library does not have the image any more")?;
    compare(library, &image, disks, &stub.events())
}

/// A sealed target is not fetched at all. From the unsealing on the whole of it is compared; before,
/// samples are, which are the whole of a small image.
fn check(fetched: &Fetched, before: Reached) -> Result<()> {
    match before {
        Reached::Sealed if fetched.fetched > 0 => {
            bail!("{} chunks were fetched for a sealed target", fetched.fetched)
        }
        Reached::Unsealed | Reached::Nothing
            if fetched.needless > 0
                && (before == Reached::Unsealed || fetched.chunks <= SAMPLES) =>
        {
            bail!("{} chunks were fetched that were there", fetched.needless)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_need_not_be_fetched() {
        let fetched = |fetched, needless| Fetched { chunks: 9, missing: 5, fetched, needless };
        let fits = |before, found, fits| {
            assert_eq!(check(&found, before).is_ok(), fits, "{before:?} {found:?}")
        };
        fits(Reached::Nothing, fetched(9, 0), true);
        fits(Reached::Nothing, fetched(9, 4), false);
        assert!(check(&Fetched { chunks: 900, ..fetched(9, 4) }, Reached::Nothing).is_ok());
        fits(Reached::Unsealed, fetched(9, 4), false);
        fits(Reached::Unsealed, fetched(5, 0), true);
        fits(Reached::Sealed, fetched(1, 0), false);
        fits(Reached::Sealed, fetched(0, 0), true);
    }
}
