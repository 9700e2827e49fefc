//! What a seed decides before a run begins: disks, images, faults.

use std::rc::Rc;

use repave_image::Reports;
use repave_protocol::Order;

use crate::disk::DiskSpec;
use crate::faults::Mix;
use crate::image::{Image, ImageSpec};
use crate::world::{Spec, World};
use repave_chance::Chance;

/// The serial number of a server's `number`th disk.
pub(super) fn serial(number: usize) -> String {
    format!("disk-{number}")
}

/// A server. One in sixteen has nothing go wrong but what is ordered.
pub(super) fn spec(seed: u64, chance: &mut Chance) -> Spec {
    let block_bytes = if chance.below(4) == 0 { 4096 } else { 512 };
    let disk = |number: usize, chance: &mut Chance| {
        let mut disk = DiskSpec::new(&serial(number), 8 + chance.below(3));
        disk.size_bytes += chance.below(3) * 4096 * 31;
        disk.block_bytes = block_bytes;
        disk.rotational = chance.below(4) == 0;
        disk
    };
    let count = if chance.below(3) == 0 { 2 } else { 1 };
    let disks = (0..count).map(|number| disk(number, chance)).collect();
    let mix = if chance.below(16) == 0 { Mix::default() } else { Mix::draw(chance) };
    Spec { disks, mix, ..Spec::new(seed) }
}

/// Two versions of one image, another of another shape, one that reports nothing, and one that does
/// not fit.
pub(super) fn images(world: &World, chance: &mut Chance) -> Vec<Rc<Image>> {
    let block_bytes = world.machine.borrow().media[0].facts().logical_block_bytes;
    let small = |name: &str, version| ImageSpec {
        block_bytes,
        sizes_bytes: [192 << 10, 256 << 10, 160 << 10],
        ..ImageSpec::new(name, version)
    };
    let mut specs = vec![
        small("web", 1),
        small("web", 2),
        ImageSpec { sizes_bytes: [128 << 10, 192 << 10, 384 << 10], ..small("db", 1) },
    ];
    if chance.below(4) == 0 {
        specs.push(ImageSpec { reports: Reports::None, grow: false, ..small("memtest", 1) });
    }
    if chance.below(8) == 0 {
        let sizes_bytes = [4 << 20, 4 << 20, 4 << 20];
        let large = ImageSpec { sizes_bytes, reports: Reports::None, ..small("large", 1) };
        specs.push(large);
    }
    specs.iter().map(|spec| world.publish(spec)).collect()
}

/// An order, for the log.
pub(super) fn words(order: &Order) -> String {
    match order {
        Order::Purpose(purpose) => {
            let (image, disk) = (&purpose.image, purpose.disk.as_ref());
            let disk = disk.and_then(|disk| disk.serial.as_deref()).unwrap_or("its own disk");
            let (name, version, boot) = (&image.name, image.version, purpose.boot);
            format!("ordered: become {name} {version} on {disk}, boot by {boot:?}")
        }
        other => format!("ordered: {other:?}"),
    }
}
