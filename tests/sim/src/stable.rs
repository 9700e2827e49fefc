//! What stands on stable storage, read as a stranger would find it: tables, partitions, images.

use std::ops::Range;
use std::rc::Rc;

use repave_core::gpt::Table;
use repave_protocol::{Guid, Sha256};

use crate::disk::Medium;
use crate::image::{ESP_MAGIC, Image, SETTINGS_BYTES, is_zero};
use crate::machine::Machine;

/// How much of a target is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Extent {
    /// All but the first chunk of each partition.
    Bodies,
    /// All but the first chunk of the boot partition.
    AllButBootHead,
    /// The same, with settings.
    Configured,
    /// Everything.
    All,
    /// Everything, and what the target wrote itself.
    AllAndItsOwn,
}

/// Every disk's table on stable storage, where there is one.
fn tables(machine: &Machine) -> Vec<Option<Rc<Table>>> {
    machine.media.iter().map(Medium::durable_table).collect()
}

/// Where a partition is: disk, first byte, size.
fn find_in(tables: &[Option<Rc<Table>>], guid: Guid) -> Option<(usize, u64, u64)> {
    tables.iter().enumerate().find_map(|(disk, table)| {
        let table = table.as_ref()?;
        let entry = table.find(guid)?;
        let bytes = |blocks: u64| blocks * table.block_bytes;
        Some((disk, bytes(entry.first_lba), bytes(entry.blocks())))
    })
}

/// Where a partition is, by the table on stable storage: disk, first byte, size.
pub fn find(machine: &Machine, guid: Guid) -> Option<(usize, u64, u64)> {
    find_in(&tables(machine), guid)
}

/// The partition that begins at that byte of a disk.
pub(crate) fn starts_at(machine: &Machine, disk: usize, offset_bytes: u64) -> Option<Guid> {
    let table = machine.media[disk].durable_table()?;
    let first_lba = offset_bytes / table.block_bytes;
    table.entries.iter().find(|entry| entry.first_lba == first_lba).map(|entry| entry.guid)
}

/// Says in what the image's partitions differ from what they must be.
pub(crate) fn equals_image(
    machine: &Machine,
    manifest: Sha256,
    extent: Extent,
) -> Result<(), String> {
    let image = machine.controller.images.get(&manifest).ok_or("an image that nobody published")?;
    let tables = tables(machine);
    for (number, partition) in image.manifest.partitions.iter().enumerate() {
        let name = &partition.name;
        let (disk, at, size_bytes) =
            find_in(&tables, partition.guid).ok_or_else(|| format!("{name} is in no table"))?;
        let plain = &image.plain[number];
        if size_bytes < plain.len() as u64 {
            let wanted_bytes = plain.len();
            return Err(format!("{name} has {size_bytes} bytes, its image {wanted_bytes}"));
        }
        let skips_head = match extent {
            Extent::Bodies => true,
            Extent::AllButBootHead | Extent::Configured => number == 0,
            Extent::All | Extent::AllAndItsOwn => false,
        };
        let from = if skips_head { image.manifest.chunk_bytes as usize } else { 0 };
        let medium = &machine.media[disk];
        let differs = |range: Range<usize>, wanted: &[u8]| {
            let place = medium.durably_differs(at + range.start as u64, wanted)?;
            Some(format!("{name} differs from its image at byte {}", range.start + place))
        };
        let mut others = own_writes(machine, disk, at, extent);
        if let Some((range, region)) = settings_region(machine, partition.guid, plain, extent) {
            differs(range.clone(), region).map_or(Ok(()), Err)?;
            others.push(range);
        }
        let mut parts = between(from..plain.len(), others).into_iter();
        parts.find_map(|part| differs(part.clone(), &plain[part])).map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// The settings of the partition with that GUID: where, and their bytes.
fn settings_region<'a>(
    machine: &'a Machine,
    guid: Guid,
    plain: &[u8],
    extent: Extent,
) -> Option<(Range<usize>, &'a [u8])> {
    let (volume, region) = machine.watch.configured.as_ref()?;
    let is_here = volume.guid == guid && extent >= Extent::Configured;
    is_here.then(|| (plain.len() - SETTINGS_BYTES as usize..plain.len(), region.as_slice()))
}

/// What a target wrote to this partition itself, and whether that is kept is between it and the disk.
fn own_writes(machine: &Machine, disk: usize, at: u64, extent: Extent) -> Vec<Range<usize>> {
    let own = machine.watch.own_writes.iter().filter(|_| extent == Extent::AllAndItsOwn);
    let here = own.filter_map(|(own_disk, offset_bytes, bytes)| {
        let place = offset_bytes.checked_sub(at).filter(|_| *own_disk == disk)? as usize;
        Some(place..place + bytes.len())
    });
    here.collect()
}

/// What of a range is in none of the others.
fn between(range: Range<usize>, mut others: Vec<Range<usize>>) -> Vec<Range<usize>> {
    others.sort_by_key(|other| other.start);
    let (mut parts, mut at) = (Vec::new(), range.start);
    for other in others.into_iter().filter(|other| other.start < range.end) {
        if other.start > at {
            parts.push(at..other.start);
        }
        at = at.max(other.end);
    }
    if at < range.end {
        parts.push(at..range.end);
    }
    parts
}

/// At the head of each partition, what every unsealing blanks, a repeated one too.
const BLANKED_BYTES: usize = 128 * 1024;

/// How many chunks of an image have to be fetched: those at the head of each partition, which are
/// blanked, and of the others those that are not on stable storage.
pub(crate) fn missing_chunks(machine: &Machine, image: &Image) -> usize {
    let tables = tables(machine);
    let chunk_bytes = image.manifest.chunk_bytes as usize;
    let missing_of = |(number, plain): (usize, &Vec<u8>)| {
        let Some((disk, at, _)) = find_in(&tables, image.manifest.partitions[number].guid) else {
            return plain.len().div_ceil(chunk_bytes);
        };
        let chunks = plain.chunks(chunk_bytes).enumerate();
        let is_missing = |(place, chunk): &(usize, &[u8])| {
            let from = at + (place * chunk_bytes) as u64;
            let differs = machine.media[disk].durably_differs(from, chunk).is_some();
            let is_blanked = place * chunk_bytes < BLANKED_BYTES;
            *place == 0 || (!is_zero(chunk) && (is_blanked || differs))
        };
        chunks.filter(is_missing).count()
    };
    image.plain.iter().enumerate().map(missing_of).sum()
}

/// The images whose ESP the firmware could mount, by what is on stable storage.
pub(crate) fn mountable(machine: &Machine) -> impl Iterator<Item = &Image> {
    let tables = tables(machine);
    let images = machine.controller.images.values().map(Rc::as_ref);
    images.filter(move |image| {
        let found = find_in(&tables, image.manifest.partitions[0].guid);
        found.is_some_and(|(disk, at, _)| {
            machine.media[disk].durably_differs(at, ESP_MAGIC).is_none()
        })
    })
}
