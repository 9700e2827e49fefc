//! The second part of a run: nothing goes wrong any more, something is ordered, and the server has to
//! come to it within a bounded number of steps (I12).

use std::rc::Rc;

use repave_image::Reports;
use repave_protocol::{Generation, Order, Wipe};

use super::{Swarm, orders};
use crate::check::{Violation, i9_controller_knows};
use crate::image::Image;
use crate::stable::mountable;
use crate::wiped::is_zero;
use crate::world::{STRANGER, World};

/// Steps that a server may take to what it is ordered to, once nothing goes wrong any more.
const STEPS: usize = 60;
/// Variables that a firmware has at the end, besides a stranger's and whatever it made of that: its own,
/// default's, the target's, BootOrder.
const VARIABLES: usize = 4;

impl Swarm {
    /// One in eight ends as a wiped server.
    pub(super) fn calm(&mut self) -> Result<(), Violation> {
        self.world.calm();
        if self.chance.below(8) == 0 { self.end_wiped() } else { self.end_up() }
    }

    fn end_up(&mut self) -> Result<(), Violation> {
        let fits = |image: &&Rc<Image>| image.manifest.reports == Reports::Resident;
        let fitting: Vec<_> = self.images.iter().filter(fits).cloned().collect();
        let image = &fitting[self.chance.below(fitting.len() as u64) as usize];
        let mut purpose = World::purpose(image);
        // Where its own disk's copy of it would be in the way, the first disk would be refused.
        purpose.disk = self.world.disk_of(image).map(orders::selector);
        let generation = self.order("become", Order::Purpose(Box::new(purpose)));
        self.steps_until("up", |world| world.is_up(generation))?;
        self.counts.add("ended-up", 1);
        let hostname = self.world.target_file(image, "/etc/hostname");
        if hostname != Some(format!("{}-1\n", image.reference.name).into_bytes()) {
            self.world.violation("I3", "the target's host name is not as ordered")?;
        }
        self.settled()
    }

    fn end_wiped(&mut self) -> Result<(), Violation> {
        let wipe = Wipe { reason: "the server leaves".into(), disk: None };
        let generation = self.order("wipe", Order::Wipe(wipe));
        self.steps_until("wiped", |world| is_wiped(world, generation))?;
        // It stays so, and what the firmware made of our entries goes at the next boot.
        self.world.pull_plug();
        let heard = self.world.machine.borrow().controller.statuses.len();
        self.steps_until("wiped after a boot", |world| {
            world.machine.borrow().controller.statuses.len() > heard && is_wiped(world, generation)
        })?;
        self.counts.add("ended-wiped", 1);
        let verdict = all_is_wiped(&self.world);
        verdict.or_else(|found| self.world.violation("I3", &found))?;
        self.settled()
    }

    fn order(&self, words: &str, order: Order) -> Generation {
        let generation = self.world.order(order);
        self.world.machine.borrow_mut().events.note(&format!("calm: {words} {generation}"));
        generation
    }

    /// Operators pull the plug of what says nothing.
    fn steps_until(&mut self, what: &str, holds: impl Fn(&World) -> bool) -> Result<(), Violation> {
        for _ in 0..STEPS {
            if holds(&self.world) {
                return Ok(());
            }
            if self.world.is_dark() {
                self.world.pull_plug();
            }
            self.step()?;
        }
        let found = format!("faults have stopped, and {STEPS} steps later it is still not {what}");
        self.world.violation("I12", &found)
    }

    /// What must be so in the end, whatever was ordered.
    fn settled(&self) -> Result<(), Violation> {
        let machine = self.world.machine.borrow();
        let known = i9_controller_knows(&machine);
        let variables = machine.nvram.variables.values().filter(|value| *value != STRANGER).count();
        drop(machine);
        if let Err(found) = known {
            return self.world.violation("I9", &found);
        }
        if !self.world.is_default_as_burned() {
            return self.world.violation("I1", "the default partition is not as it was burned");
        }
        if variables > VARIABLES {
            return self.world.violation("I10", &format!("the firmware has {variables} variables"));
        }
        Ok(())
    }
}

fn is_wiped(world: &World, generation: Generation) -> bool {
    let machine = world.machine.borrow();
    let told = machine.controller.statuses.last().and_then(|status| status.wiped.as_ref());
    told.is_some_and(|coverage| coverage.generation == generation)
}

/// Nothing can be booted, and every disk is zero where a target could be. A disk that is named as
/// missing has lost the table by which it was known, and is what it was when that was torn.
fn all_is_wiped(world: &World) -> Result<(), String> {
    let machine = world.machine.borrow();
    if let Some(image) = mountable(&machine).next() {
        return Err(format!("wiped, and {} can be booted", image.reference.name));
    }
    let told = machine.controller.statuses.last().and_then(|status| status.wiped.as_ref());
    let is_known = told.is_some_and(|coverage| coverage.missing.is_empty());
    let disks = if is_known { 0..machine.media.len() } else { 0..1 };
    disks.into_iter().try_for_each(|disk| is_zero(&machine, disk))
}
