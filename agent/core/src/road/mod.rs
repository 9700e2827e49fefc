//! The road of one purposing, as a chain of values: plan → [`Compared`] → [`Unsealed`] → [`Written`]
//! → [`Audited`] → [`Configured`] → [`Sealed`]. Each has its constructor in the one file that earns
//! it and takes the one before it, so that "never boot what was not read back" does not compile.

mod audit;
mod compare;
mod configure;
mod seal;
mod unseal;
mod write;

use repave_protocol::{Stage, Standing};

pub use audit::Audited;
pub use compare::Compared;
pub use configure::Configured;
pub use seal::Sealed;
pub use unseal::Unsealed;
pub(crate) use unseal::blank;
pub use write::Written;

use crate::edges::{Edges, Host, Link, Workers};
use crate::failure::Failure;
use crate::image::Way;
use crate::journal::Journal;
use crate::mirrors::Mirrors;
use crate::plan::Plan;
use crate::report::Voice;
use crate::transfer::{Hands, Held, Pages, Pass, Sampling, Scope, Transfer, run, samples};
use crate::watchdog::Stretch;

/// Least time between two reports of progress.
pub(crate) const PROGRESS_MS: u64 = 1_000;

/// What every stretch of the road works with.
pub struct Traveller<'a, 'e> {
    /// The world.
    pub edges: &'a mut Edges<'e>,
    /// The journal, on the default side's disk.
    pub journal: &'a mut Journal,
    /// Number of the journal's disk.
    pub journal_disk: usize,
    /// The server's voice.
    pub voice: &'a mut Voice,
    /// The last stage that was reached.
    pub reached: &'a mut Option<Stage>,
    /// Pages of the image's index.
    pages: Pages,
    /// The image's sources, and what is known of them.
    mirrors: Mirrors,
}

impl<'a, 'e> Traveller<'a, 'e> {
    /// Somebody about to set out, with the sources of what there is to fetch.
    pub fn new(
        edges: &'a mut Edges<'e>,
        journal: &'a mut Journal,
        journal_disk: usize,
        voice: &'a mut Voice,
        reached: &'a mut Option<Stage>,
        mirrors: Mirrors,
    ) -> Self {
        let pages = Pages::default();
        Self { edges, journal, journal_disk, voice, reached, pages, mirrors }
    }

    /// Tells the controller that a stage was reached.
    fn reached(&mut self, stage: Stage, plan: &Plan) {
        log::info!("{}", stage_words(stage));
        self.edges.watchdog.begin(Stretch::Working);
        *self.reached = Some(stage);
        let total_bytes = plan.total_bytes();
        let done_bytes = if stage >= Stage::Written { total_bytes } else { 0 };
        let standing = Standing::Purposing { stage, done_bytes, total_bytes, bytes_per_s: 0 };
        let edges = &mut *self.edges;
        self.voice.tell(edges.link, edges.host, self.journal.record(), standing);
    }

    /// Runs one pass over a part of the image, with progress reported as of `stage`. Returns what
    /// the disk holds now, and whether all of it could be looked at.
    fn transfer(
        &mut self,
        plan: &Plan,
        stage: Stage,
        workers: &mut dyn Workers,
        (scope, pass, held): (Scope, Pass, Held),
    ) -> Result<(Held, bool), Failure> {
        let seed = self.edges.host.seed();
        let mut transfer = Transfer::new(&plan.image, &plan.extents, scope, pass, held, seed);
        let total_bytes = plan.total_bytes();
        let (voice, record) = (&mut *self.voice, self.journal.record());
        let Edges { link, host, watchdog, .. } = &mut *self.edges;
        let (link, host): (&mut dyn Link, &mut dyn Host) = (*link, *host);
        watchdog.begin(Stretch::Transferring);
        let (mut told_ms, mut told_bytes) = (host.uptime_ms(), 0);
        let mut watch = |way: &mut Way<'_>, done_bytes: u64| {
            watchdog.begin(Stretch::Transferring);
            let now_ms = way.host.uptime_ms();
            let passed_ms = now_ms.saturating_sub(told_ms);
            if passed_ms < PROGRESS_MS {
                return;
            }
            let bytes_per_s = done_bytes.saturating_sub(told_bytes) * 1000 / passed_ms;
            (told_ms, told_bytes) = (now_ms, done_bytes);
            let standing = Standing::Purposing { stage, done_bytes, total_bytes, bytes_per_s };
            voice.names(way.mirrors);
            voice.tell(way.link, way.host, record, standing);
        };
        let way = Way { link, host, mirrors: &mut self.mirrors };
        let mut hands = Hands { way, workers, pages: &mut self.pages };
        let outcome = run(&mut transfer, &mut hands, &mut watch);
        self.voice.names(&self.mirrors);
        outcome?;
        self.edges.watchdog.begin(Stretch::Working);
        let is_complete = transfer.is_complete();
        Ok((transfer.into_held(), is_complete))
    }

    /// Stored chunks from all over the image.
    fn samples(&mut self, sampling: Sampling<'_>, plan: &Plan) -> Result<Vec<u64>, Failure> {
        // Told in the field log: it decides which chunks are looked at.
        let [a, b, c, d, e, f, g, h, ..] = self.edges.host.draw();
        let seed = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let Edges { link, host, watchdog, .. } = &mut *self.edges;
        watchdog.begin(Stretch::Sampling);
        let mut way = Way { link: *link, host: *host, mirrors: &mut self.mirrors };
        let samples = samples(sampling, &plan.image, &mut way, &mut self.pages, seed);
        self.voice.names(&self.mirrors);
        Ok(samples?)
    }
}

fn stage_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Accepted => "directive accepted",
        Stage::Planned => "plan made",
        Stage::Unsealed => "target unsealed",
        Stage::Written => "target written",
        Stage::Audited => "target read back",
        Stage::Configured => "settings in place",
        Stage::Sealed => "target sealed",
        Stage::Armed => "target armed",
    }
}

/// From a plan to a sealed target.
pub fn travel(plan: Plan, on: &mut Traveller<'_, '_>) -> Result<(), Failure> {
    on.reached(Stage::Planned, &plan);
    let compared = compare::compare(plan, on)?;
    if compared.differs_in_nothing() {
        return seal::seal_as_it_is(compared, on);
    }
    let unsealed = unseal::unseal(compared, on)?;
    let written = write::write(unsealed, on)?;
    let audited = audit::audit(written, on)?;
    let configured = configure::configure(audited, on)?;
    seal::seal(configured, on)
}
