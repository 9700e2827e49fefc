//! What people order while faults strike, as chance has it.

use std::rc::Rc;

use repave_protocol::{BootMethod, DiskSelector, Generation, Order, Wipe};

use super::drawn::serial;
use crate::image::Image;
use crate::world::World;
use repave_chance::Chance;

/// A serial number that no disk has.
const NO_DISK: usize = 9;

/// An order, and what it is counted as.
pub(super) fn draw(
    world: &World,
    images: &[Rc<Image>],
    chance: &mut Chance,
) -> (&'static str, Order) {
    match chance.below(14) {
        0 => ("order:wait", Order::Wait { after_ms: 1_000 }),
        1 | 2 => ("order:stay", Order::Stay { reason: "maintenance".into() }),
        3 => ("order:boot", Order::Boot { sealed: Generation(chance.below(4)) }),
        4 | 5 => wipe(world, chance),
        _ => ("order:purpose", purpose(world, images, chance)),
    }
}

fn wipe(world: &World, chance: &mut Chance) -> (&'static str, Order) {
    let (name, disk) = match chance.below(8) {
        0 => ("order:wipe-no-disk", Some(selector(NO_DISK))),
        1..4 => ("order:wipe-one-disk", Some(selector(some_disk(world, chance)))),
        _ => ("order:wipe", None),
    };
    (name, Order::Wipe(Wipe { reason: "the lease ends".into(), disk }))
}

fn purpose(world: &World, images: &[Rc<Image>], chance: &mut Chance) -> Order {
    let image = &images[chance.below(images.len() as u64) as usize];
    let mut purpose = World::purpose(image);
    let methods = [BootMethod::Firmware, BootMethod::Auto, BootMethod::Kexec];
    purpose.boot = methods[chance.below(3) as usize];
    if chance.below(3) == 0 {
        purpose.disk = Some(selector(some_disk(world, chance)));
    }
    if chance.below(4) == 0 {
        purpose.sources.reverse();
    }
    Order::Purpose(Box::new(purpose))
}

fn some_disk(world: &World, chance: &mut Chance) -> usize {
    chance.below(world.machine.borrow().media.len() as u64) as usize
}

/// The `number`th disk, by its serial number.
pub(super) fn selector(number: usize) -> DiskSelector {
    DiskSelector { serial: Some(serial(number)), ..DiskSelector::default() }
}
