//! Writing: every chunk but the heads is on the device, and the device was told to keep it. Where the
//! device allows, most of it was read back by then.

use repave_protocol::Stage;

use super::{Traveller, Unsealed};
use crate::edges::Workers;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::transfer::{Held, Pass, Scope, reads_behind};

/// A target whose bodies were written and flushed; what is not held nobody has read back yet.
pub struct Written {
    pub(super) plan: Plan,
    pub(super) workers: Box<dyn Workers>,
    pub(super) held: Held,
    pub(super) stayed: Vec<usize>,
}

/// Fetches and writes all that the disk does not hold already.
pub(super) fn write(unsealed: Unsealed, on: &mut Traveller<'_, '_>) -> Result<Written, Failure> {
    let Unsealed { plan, mut workers, held, is_complete, stayed } = unsealed;
    let read_behind = reads_behind(on.edges.disks[plan.disk].facts());
    let fill = Pass::Fill { look_first: !is_complete, read_behind };
    let bodies = (Scope::Bodies, fill, held);
    let (held, _) = on.transfer(&plan, Stage::Unsealed, workers.as_mut(), bodies)?;
    on.edges.disks[plan.disk].flush()?;
    on.reached(Stage::Written, &plan);
    Ok(Written { plan, workers, held, stayed })
}
