//! Where an image goes on a device that is no server's: the whole device is the target. There is no
//! default side to spare, no journal, and nobody else's partition to look out for.

use super::{Extent, Head, PlanError, check_block_size, extents, heads, lay_out};
use crate::edges::Disk;
use crate::gpt::{GptError, Rewrite, Table};
use crate::image::TrustedImage;

/// Where an image goes on a device of its own.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) extents: Vec<Extent>,
    /// The partition table, if it changes.
    pub(crate) rewrite: Option<Rewrite>,
    /// Heads of the partitions that are there now.
    pub(crate) old_heads: Vec<Head>,
}

impl Place {
    /// A table with the image's partitions, as on a target's own disk.
    pub(crate) fn with_table(image: &TrustedImage, disk: &mut dyn Disk) -> Result<Self, PlanError> {
        let manifest = image.manifest().manifest();
        check_block_size(manifest.logical_block_bytes, disk)?;
        let table = match Table::read(disk) {
            Ok(table) => table,
            Err(GptError::None { .. } | GptError::Foreign { .. }) => {
                Table::create(disk, manifest.partitions[0].guid)?
            }
            Err(error) => return Err(error.into()),
        };
        let entries = lay_out(&table, 0, &manifest.partitions, &disk.facts().name)?;
        let changed = table.entries != entries || !table.health.primary || !table.health.backup;
        let rewrite = changed.then(|| table.rewrite(table.disk_guid, &entries, 0)).transpose()?;
        let extents = extents(&table, &entries, &manifest.partitions);
        Ok(Self { extents, rewrite, old_heads: heads::here(&table, 0, 0) })
    }

    /// The device is the image's one partition; an image of several has no such place.
    pub(crate) fn bare(
        image: &TrustedImage,
        disk: &mut dyn Disk,
    ) -> Result<Option<Self>, PlanError> {
        let manifest = image.manifest().manifest();
        check_block_size(manifest.logical_block_bytes, disk)?;
        let [partition] = manifest.partitions.as_slice() else {
            return Ok(None);
        };
        let free_bytes = disk.facts().size_bytes;
        let needed_bytes = partition.size_bytes;
        if needed_bytes > free_bytes {
            let disk = disk.facts().name.clone();
            return Err(PlanError::TooSmall { disk, needed_bytes, free_bytes });
        }
        let extent = Extent { offset_bytes: 0, size_bytes: needed_bytes, first_chunk: 0 };
        Ok(Some(Self { extents: vec![extent], rewrite: None, old_heads: Vec::new() }))
    }
}
