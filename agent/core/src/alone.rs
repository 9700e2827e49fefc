//! Writing an image to a device without a server around it: the same comparing, scheduling and
//! reading back as on the road, in the same order, heads last. No journal, no settings, no seal.

use thiserror::Error;

use crate::edges::{DeviceError, Disk, Workers};
use crate::image::{ImageError, TrustedImage, Way};
use crate::plan::{Place, PlanError};
use crate::road::blank;
use crate::transfer::{
    Hands, Held, Pages, Pass, Sampling, Scope, Tally, Transfer, TransferError, Watch, reads_behind,
    run, samples,
};

/// Why an image was not written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AloneError {
    /// It does not fit the device.
    #[error("image does not fit the device")]
    Plan(#[from] PlanError),
    /// An image of several partitions needs a partition table.
    #[error("image has {partitions} partitions; only an image of one can be written bare")]
    NotBare {
        /// How many it has.
        partitions: usize,
    },
    /// The index could not be had.
    #[error("image index failed")]
    Image(#[from] ImageError),
    /// Chunks could not be fetched, written or read back.
    #[error("transfer failed")]
    Transfer(#[from] TransferError),
    /// The device failed.
    #[error("device failed")]
    Device(#[from] DeviceError),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The device is to be the image's one partition, with no partition table.
    pub bare: bool,
    /// What is written is read back.
    pub read_back: bool,
}

/// What it takes.
pub struct Means<'a> {
    /// The way to the image's index; the workers have theirs to its chunks.
    pub way: Way<'a>,
    /// The device.
    pub disk: &'a mut dyn Disk,
    /// Workers over the same device.
    pub workers: &'a mut dyn Workers,
}

/// Makes the device equal to the image. `watch` is told the bytes done of each pass.
pub fn write(
    image: &TrustedImage,
    wish: Wish,
    means: Means<'_>,
    watch: &mut Watch<'_>,
) -> Result<Tally, AloneError> {
    // Taken apart, so that each of it is borrowed for no longer than the pages are.
    let Means { way: Way { link, host, mirrors }, disk, workers } = means;
    let place = match wish.bare {
        false => Place::with_table(image, disk)?,
        true => Place::bare(image, disk)?.ok_or_else(|| {
            let partitions = image.manifest().manifest().partitions.len();
            AloneError::NotBare { partitions }
        })?,
    };
    let mut pages = Pages::default();
    let way = Way { link, host, mirrors };
    let hands = Hands { way, workers, pages: &mut pages };
    let tally = Tally::default();
    Writing { image, place, disk, hands, watch, tally }.run(wish.read_back)
}

struct Writing<'a, 'w, 'c> {
    image: &'a TrustedImage,
    place: Place,
    disk: &'a mut dyn Disk,
    hands: Hands<'a>,
    watch: &'w mut Watch<'c>,
    tally: Tally,
}

impl Writing<'_, '_, '_> {
    fn run(mut self, read_back: bool) -> Result<Tally, AloneError> {
        let (mut held, is_complete) = self.compare()?;
        let chunks = self.image.manifest().manifest().index.chunks;
        if held.count() == chunks && self.place.rewrite.is_none() {
            self.tally.skipped_bytes = self.image.manifest().size_bytes();
            return Ok(self.tally);
        }
        self.unseal(&mut held)?;
        let read_behind = read_back && reads_behind(self.disk.facts());
        let fill = Pass::Fill { look_first: !is_complete, read_behind };
        let (held, _) = self.pass(Scope::Bodies, fill, held)?;
        self.disk.flush()?;
        if read_back {
            self.pass(Scope::Bodies, Pass::Audit, held)?;
        }
        if read_behind {
            let sampling = Sampling::Again(&self.place.extents);
            let samples = looked_at(sampling, self.image, &mut self.hands)?;
            self.pass(Scope::Some(samples), Pass::Audit, Held::default())?;
        }
        let heads = Scope::Heads((0..self.place.extents.len()).collect());
        self.pass(
            heads.clone(),
            Pass::Fill { look_first: false, read_behind: false },
            Held::default(),
        )?;
        self.disk.flush()?;
        if read_back {
            self.pass(heads, Pass::Audit, Held::default())?;
        }
        Ok(self.tally)
    }

    fn compare(&mut self) -> Result<(Held, bool), AloneError> {
        let samples = looked_at(Sampling::Shared, self.image, &mut self.hands)?;
        let are_none = samples.is_empty();
        let (held, _) = self.pass(Scope::Some(samples), Pass::Compare, Held::default())?;
        if !are_none && held.count() == 0 {
            return Ok((held, false));
        }
        self.pass(Scope::All, Pass::Compare, held)
    }

    /// Blanks every head, and writes the table: what a cut leaves then does not look whole.
    fn unseal(&mut self, held: &mut Held) -> Result<(), AloneError> {
        let new = self.place.extents.iter().map(|extent| extent.head(0));
        for head in self.place.old_heads.iter().copied().chain(new) {
            blank(&head, self.disk)?;
            for chunk in head.chunks_under(&self.place.extents, self.image.manifest()) {
                held.remove(chunk);
            }
        }
        if let Some(rewrite) = &self.place.rewrite {
            rewrite.write(self.disk)?;
        }
        Ok(())
    }

    fn pass(&mut self, scope: Scope, pass: Pass, held: Held) -> Result<(Held, bool), AloneError> {
        let seed = self.hands.way.host.seed();
        let mut transfer = Transfer::new(self.image, &self.place.extents, scope, pass, held, seed);
        run(&mut transfer, &mut self.hands, self.watch)?;
        self.tally.add(transfer.tally());
        let is_complete = transfer.is_complete();
        Ok((transfer.into_held(), is_complete))
    }
}

fn looked_at(
    sampling: Sampling<'_>,
    image: &TrustedImage,
    hands: &mut Hands<'_>,
) -> Result<Vec<u64>, TransferError> {
    let seed = hands.way.host.seed();
    samples(sampling, image, &mut hands.way, hands.pages, seed)
}
