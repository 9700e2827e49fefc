//! Many cuts: roads are recorded now and then, each cut takes one of them, or the road that the cut
//! before it led to, and one of its phases. What is drawn comes from the campaign's seed and the
//! cut's number; a road that is recorded again is not the same to the byte, so a failure keeps its
//! disk and variables, which can be powered on again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use repave_chance::Chance;
use repave_protocol::{ImageReference, Sha256};
use repave_qemu::disk::Disk;
use repave_qemu::power_cut::Fate;

use super::images::Images;
use super::instants::{Instant, Phase, Reached};
use super::recording::{self, DISK, DISK_LOG, Facts, Recording, VARIABLES, VARIABLES_LOG};
use super::results::{self, Line};
use super::site::Site;
use super::trial::{self, Outcome};
use crate::figures::say;
use crate::raw_disk::RawDisk;

/// Machines that run at the same time.
pub const SITES: usize = 2;
/// An empty variable store, as Debian's package `ovmf` has it.
const FACTORY_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// One in so many cuts is of the road that the cut before it led to.
const RECOVERIES: u64 = 3;

/// The roads of a round.
pub const ROADS: [&str; 3] = ["fresh", "newer", "other"];

/// A campaign's folder, images and places.
pub struct Campaign {
    folder: PathBuf,
    disk_mib: u64,
    /// What each road of [`ROADS`] leads to, where there is one.
    images: [Option<ImageReference>; 3],
    sites: Vec<Site>,
}

/// Where to cut.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Which instant.
    pub instant: Instant,
    /// What becomes of the writes after the last flush.
    pub fate: Fate,
}

impl Campaign {
    /// Makes ready in a folder: images are imported, networks made.
    ///
    /// # Errors
    /// Something is missing.
    pub fn new(folder: &Path, images: &Images) -> Result<Self> {
        let library = folder.join("library");
        if library.exists() {
            fs::remove_dir_all(&library)?;
        }
        fs::create_dir_all(folder)?;
        let site = |number| Site::new(&format!("site-{number}"), folder, &library);
        let sites = (0..SITES).map(site).collect::<Result<Vec<_>>>()?;
        let lab = sites[0].lab()?;
        let first = lab.import("first", &images.first)?;
        let second = images.second.as_ref().map(|image| lab.import("second", image)).transpose()?;
        let other = lab.import("other", &images.other)?;
        lab.finish()?;
        let images_of_roads = [Some(first), second, Some(other)];
        let disk_mib = images.disk_mib;
        Ok(Self { folder: folder.into(), disk_mib, images: images_of_roads, sites })
    }

    /// Records each road anew: the first from a disk that was just burned, the others from where the
    /// first one led to.
    ///
    /// # Errors
    /// A road does not lead where it should, with the power on.
    pub fn record(&self) -> Result<Vec<Recording>> {
        let burned = self.burn()?;
        let first = self.record_one(0, 0, (&burned.0, Path::new(FACTORY_VARIABLES)), burned.1)?;
        let end = [DISK, VARIABLES].map(|name| first.folder.join(name));
        let mut roads = vec![first];
        let further = thread::scope(|scope| {
            let record = |road: usize| {
                let end = &end;
                let site = road % self.sites.len();
                scope.spawn(move || self.record_one(site, road, (&end[0], &end[1]), burned.1))
            };
            let there = |road: &usize| self.images[*road].is_some();
            let threads: Vec<_> = (1..ROADS.len()).filter(there).map(record).collect();
            threads.into_iter().map(joined).collect::<Result<Vec<_>>>()
        })?;
        roads.extend(further);
        Ok(roads)
    }

    fn burn(&self) -> Result<(PathBuf, Sha256)> {
        let lab = self.sites[0].lab()?;
        let disk = lab.burn("torture", self.disk_mib)?;
        let kept = self.folder.join("burned.img");
        Disk::copy(disk.path(), &kept)?;
        lab.finish()?;
        let default_partition = RawDisk::open(&kept)?.default_partition()?;
        Ok((kept, default_partition))
    }

    fn record_one(
        &self,
        site: usize,
        road: usize,
        (disk, variables): (&Path, &Path),
        default_partition: Sha256,
    ) -> Result<Recording> {
        let image = self.images[road].clone().context("no image for this road")?;
        let facts = Facts {
            road: ROADS[road].into(),
            depth: 0,
            image,
            generation: None,
            before: Reached::Nothing,
            default_partition,
        };
        let folder = self.folder.join("roads").join(ROADS[road]);
        recording::lay_out(&folder, disk, variables, &facts)?;
        let (recording, outcome) = trial::run(&self.sites[site], &folder)
            .with_context(|| format!("recording {}, without any cut", ROADS[road]))?;
        let seconds = outcome.took_ms as f64 / 1e3;
        say(&format!("recorded {}: up after {seconds:.1} s", ROADS[road]));
        Ok(recording)
    }

    /// Makes the cuts `from..to` of a campaign, of these roads.
    ///
    /// # Errors
    /// The campaign itself cannot go on; a cut that fails is in the results.
    pub fn cuts(&self, seed: u64, (from, to): (u64, u64), roads: &[Recording]) -> Result<()> {
        let next = AtomicU64::new(from);
        let results = Mutex::new(());
        thread::scope(|scope| {
            let work = |site: &'_ Site, place: usize| -> Result<()> {
                let mut before: Option<Recording> = None;
                for turn in 0_u64.. {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= to {
                        break;
                    }
                    let mut chance =
                        Chance::new(seed.wrapping_add(number).wrapping_mul(0x9e37_79b9));
                    let again = before.as_ref().filter(|_| chance.below(RECOVERIES) == 0);
                    let road = again.unwrap_or(&roads[number as usize % roads.len()]);
                    // Never the folder of the road that is being cut, which may be the last turn's.
                    let place = self.folder.join(format!("cut-{place}-{}", turn % 2));
                    let choose =
                        |instants: &[Instant], chance: &mut Chance| drawn(instants, chance);
                    let (line, recording) =
                        self.one(site, (number, seed), road, &place, &mut chance, &choose)?;
                    before = recording;
                    let _alone = results.lock();
                    results::add(&self.folder.join("results.jsonl"), &line)?;
                }
                Ok(())
            };
            let threads: Vec<_> = (0..)
                .zip(&self.sites)
                .map(|(number, site)| scope.spawn(move || work(site, number)))
                .collect();
            threads.into_iter().try_for_each(joined)
        })
    }

    /// Makes one cut and says how it went, and what its road left.
    ///
    /// # Errors
    /// It cannot be made at all.
    pub fn one(
        &self,
        site: &Site,
        (number, seed): (u64, u64),
        road: &Recording,
        place: &Path,
        chance: &mut Chance,
        choose: &dyn Fn(&[Instant], &mut Chance) -> Result<Choice>,
    ) -> Result<(Line, Option<Recording>)> {
        let logs = road.logs()?;
        let Choice { instant, fate } = choose(&road.instants(&logs)?, chance)?;
        let cut = road.cut(&logs, &instant, (fate, chance), place)?;
        let mut line = Line {
            number,
            seed,
            road: road.facts.road.clone(),
            depth: road.facts.depth + 1,
            instant,
            fate: fate.name().into(),
            unflushed: cut.unflushed,
            outcome: Outcome::default(),
            failure: None,
        };
        let what = format!(
            "cut {number} (seed {seed}): {} in \"{}\" at {} ms, depth {}, {} of {} unflushed",
            line.road,
            instant.phase.name(),
            instant.at_ms,
            line.depth,
            line.fate,
            line.unflushed
        );
        match trial::run(site, place) {
            Ok((recording, outcome)) => {
                let Outcome { took_ms, faults, fetched } = &outcome;
                say(&format!(
                    "{what}: up after {:.1} s, fetched {} of {} missing, faults {faults:?}",
                    *took_ms as f64 / 1e3,
                    fetched.fetched,
                    fetched.missing
                ));
                line.outcome = outcome;
                Ok((line, Some(recording)))
            }
            Err(error) => {
                let kept = self.keep(number, road, place)?;
                say(&format!(
                    "{what}: FAILED: {error:#}\n  again: make torture AGAIN={}",
                    kept.display()
                ));
                line.failure = Some(format!("{error:#}"));
                Ok((line, None))
            }
        }
    }

    /// Keeps what a failed cut leaves, and the logs that it was made from.
    fn keep(&self, number: u64, road: &Recording, place: &Path) -> Result<PathBuf> {
        let kept = self.folder.join("failures").join(number.to_string());
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        fs::create_dir_all(kept.join("road"))?;
        for name in [DISK_LOG, VARIABLES_LOG, recording::CONSOLE] {
            fs::copy(road.folder.join(name), kept.join("road").join(name))?;
        }
        for file in fs::read_dir(place)? {
            let file = file?;
            fs::rename(file.path(), kept.join(file.file_name()))?;
        }
        Ok(kept)
    }

    /// Powers on once more from what a failed cut left.
    ///
    /// # Errors
    /// It fails again.
    pub fn again(&self, folder: &Path) -> Result<()> {
        recording::rewind(folder)?;
        let (_, outcome) = trial::run(&self.sites[0], folder)?;
        say(&format!("up this time: {outcome:?}"));
        Ok(())
    }

    /// The places.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }
}

/// First a phase, then an instant in it: else most cuts would fall where most is written.
fn drawn(instants: &[Instant], chance: &mut Chance) -> Result<Choice> {
    let mut phases: Vec<Phase> = instants.iter().map(|instant| instant.phase).collect();
    phases.sort_unstable();
    phases.dedup();
    if phases.is_empty() {
        bail!("nothing was written on this road");
    }
    let phase = phases[chance.below(phases.len() as u64) as usize];
    within(instants, phase, Fate::ALL[chance.below(Fate::ALL.len() as u64) as usize], chance)
}

/// An instant of a phase.
///
/// # Errors
/// The road has none.
pub fn within(
    instants: &[Instant],
    phase: Phase,
    fate: Fate,
    chance: &mut Chance,
) -> Result<Choice> {
    let fitting: Vec<&Instant> = instants.iter().filter(|instant| instant.phase == phase).collect();
    if fitting.is_empty() {
        bail!("nothing was written in \"{}\"", phase.name());
    }
    let instant = *fitting[chance.below(fitting.len() as u64) as usize];
    Ok(Choice { instant, fate })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a thread of the campaign panicked"),
    }
}
