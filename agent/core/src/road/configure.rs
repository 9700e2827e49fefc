//! Settings: written into the target, then compared with cold caches. An image that takes no
//! settings passes with none; it still comes through here.

use repave_protocol::Stage;

use super::{Audited, Traveller};
use crate::edges::Workers;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::watchdog::Stretch;

/// A target whose settings were found as they should be.
pub struct Configured {
    plan: Plan,
    workers: Box<dyn Workers>,
}

impl Configured {
    pub(super) fn into_parts(self) -> (Plan, Box<dyn Workers>) {
        (self.plan, self.workers)
    }
}

/// Writes and verifies the settings.
pub(super) fn configure(
    audited: Audited,
    on: &mut Traveller<'_, '_>,
) -> Result<Configured, Failure> {
    if let Some((volume, files)) = &audited.plan().settings {
        on.edges.watchdog.begin(Stretch::Configuring);
        on.edges.configurator.write(volume, files)?;
        on.edges.watchdog.begin(Stretch::Configuring);
        on.edges.configurator.verify(volume, files)?;
    }
    let (plan, workers) = audited.into_parts();
    on.reached(Stage::Configured, &plan);
    Ok(Configured { plan, workers })
}
