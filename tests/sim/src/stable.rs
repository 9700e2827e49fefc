//! What stands on stable storage, read as a stranger would find it: tables, partitions, images.

use std::rc::Rc;

use repave_core::gpt::Table;
use repave_protocol::{Guid, Sha256};

use crate::disk::Medium;
use crate::image::{Image, SETTINGS_BYTES, is_mountable_esp, is_zero};
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
        let wanted = wanted(machine, image, number, (disk, at), extent);
        if size_bytes < wanted.len() as u64 {
            let wanted_bytes = wanted.len();
            return Err(format!("{name} has {size_bytes} bytes, its image {wanted_bytes}"));
        }
        let skips_head = match extent {
            Extent::Bodies => true,
            Extent::AllButBootHead | Extent::Configured => number == 0,
            Extent::All | Extent::AllAndItsOwn => false,
        };
        let from = if skips_head { image.manifest.chunk_bytes as usize } else { 0 };
        let found = machine.media[disk].durable_bytes(at..at + wanted.len() as u64);
        if found[from..] != wanted[from..] {
            let place = (from..wanted.len()).find(|&place| found[place] != wanted[place]);
            let place = place.unwrap_or(from);
            return Err(format!("{name} differs from its image at byte {place}"));
        }
    }
    Ok(())
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
            let found = machine.media[disk].durable_bytes(from..from + chunk.len() as u64);
            let is_blanked = place * chunk_bytes < BLANKED_BYTES;
            *place == 0 || (!is_zero(chunk) && (is_blanked || found != *chunk))
        };
        chunks.filter(is_missing).count()
    };
    image.plain.iter().enumerate().map(missing_of).sum()
}

/// The bytes that a partition must have.
fn wanted(
    machine: &Machine,
    image: &Image,
    number: usize,
    (disk, at): (usize, u64),
    extent: Extent,
) -> Vec<u8> {
    let mut wanted = image.plain[number].clone();
    let guid = image.manifest.partitions[number].guid;
    let has_settings = extent >= Extent::Configured;
    if let Some((volume, region)) = &machine.watch.configured
        && volume.guid == guid
        && has_settings
    {
        let from = wanted.len() - SETTINGS_BYTES as usize;
        wanted[from..].copy_from_slice(region);
    }
    // Whether what a target writes itself is kept is between it and the disk.
    let own_writes = machine.watch.own_writes.iter();
    for (own_disk, offset_bytes, bytes) in own_writes.filter(|_| extent == Extent::AllAndItsOwn) {
        let place = offset_bytes.checked_sub(at).filter(|_| *own_disk == disk);
        let place = place.map(|place| place as usize);
        if let Some(part) = place.and_then(|place| wanted.get_mut(place..place + bytes.len())) {
            let end = offset_bytes + bytes.len() as u64;
            part.copy_from_slice(&machine.media[disk].durable_bytes(*offset_bytes..end));
        }
    }
    wanted
}

/// The images whose ESP the firmware could mount, by what is on stable storage.
pub(crate) fn mountable(machine: &Machine) -> impl Iterator<Item = &Image> {
    let tables = tables(machine);
    let images = machine.controller.images.values().map(Rc::as_ref);
    images.filter(move |image| {
        let found = find_in(&tables, image.manifest.partitions[0].guid);
        found.is_some_and(|(disk, at, _)| {
            is_mountable_esp(&machine.media[disk].durable_bytes(at..at + 4096))
        })
    })
}
