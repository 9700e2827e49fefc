//! Writing: every chunk but the heads is on the device, and the device was told to keep it.

use repave_protocol::Stage;

use super::{Traveller, Unsealed};
use crate::edges::Workers;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::transfer::{Held, Pass, Scope};

/// A target whose bodies were written and flushed; nobody has read back yet what was written.
pub struct Written {
    pub(super) plan: Plan,
    pub(super) workers: Box<dyn Workers>,
    pub(super) held: Held,
    pub(super) stayed: Vec<usize>,
}

/// Fetches and writes all that the disk does not hold already.
pub(super) fn write(unsealed: Unsealed, on: &mut Traveller<'_, '_>) -> Result<Written, Failure> {
    let Unsealed { plan, mut workers, held, is_complete, stayed } = unsealed;
    let bodies = (Scope::Bodies, Pass::Fill { look_first: !is_complete }, held);
    let (held, _) = on.transfer(&plan, Stage::Unsealed, workers.as_mut(), bodies)?;
    on.edges.disks[plan.disk].flush()?;
    on.reached(Stage::Written, &plan);
    Ok(Written { plan, workers, held, stayed })
}
