//! Writing: every chunk but the heads is on the device, and the device was told to keep it.

use repave_protocol::Stage;

use super::{Traveller, Unsealed};
use crate::edges::Workers;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::transfer::{Pass, Scope, Settled};

/// A target whose bodies were written and flushed; nobody has read them back yet.
pub struct Written {
    plan: Plan,
    workers: Box<dyn Workers>,
    settled: Settled,
}

impl Written {
    pub(super) fn into_parts(self) -> (Plan, Box<dyn Workers>, Settled) {
        (self.plan, self.workers, self.settled)
    }
}

/// Fetches and writes all that the disk does not hold already.
pub(super) fn write(unsealed: Unsealed, on: &mut Traveller<'_, '_>) -> Result<Written, Failure> {
    let plan = unsealed.plan();
    let chunk_bytes = plan.image.manifest().manifest().chunk_bytes;
    let mut workers = on.edges.crew.start(plan.disk, chunk_bytes)?;
    let pass = Pass::Fill { resume: unsealed.resume() };
    let bodies = (Scope::Bodies, pass, Settled::default());
    let settled = on.transfer(plan, Stage::Unsealed, workers.as_mut(), bodies)?;
    on.edges.disks[plan.disk].flush()?;
    on.reached(Stage::Written, plan);
    Ok(Written { plan: unsealed.into_plan(), workers, settled })
}
