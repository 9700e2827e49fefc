//! The partition tables of all disks of a server, each read once, so that whatever is decided from one
//! of them is decided from the same bytes. A disk that is there and whose table cannot be read is not
//! a disk that is away: what it may hide is not counted as missing.

use repave_protocol::Guid;

use crate::edges::Disk;
use crate::gpt::{GptError, Table};

/// What each disk has for a table, by the disk's number.
pub(crate) struct Tables(Vec<Result<Table, GptError>>);

impl Tables {
    /// Reads them.
    pub(crate) fn read(disks: &mut [Box<dyn Disk + '_>]) -> Self {
        Self(disks.iter_mut().map(|disk| read(disk.as_mut())).collect())
    }

    /// The table of disk number `number`, or why there is none.
    pub(crate) fn of(&self, number: usize) -> Result<&Table, GptError> {
        self.0[number].as_ref().map_err(GptError::clone)
    }

    /// The disks whose table has this GUID. That there are none is said only if every disk that is
    /// there could be asked.
    pub(crate) fn with_guid(&self, guid: Guid) -> Result<Vec<(usize, &Table)>, GptError> {
        let tables = self.0.iter().enumerate();
        let readable = tables.filter_map(|(number, table)| Some((number, table.as_ref().ok()?)));
        let found: Vec<_> = readable.filter(|(_, table)| table.disk_guid == guid).collect();
        if found.is_empty() {
            let mut errors = self.0.iter().filter_map(|table| table.as_ref().err());
            let hides = |error: &&GptError| {
                matches!(error, GptError::Device(_) | GptError::Unusable { .. })
            };
            errors.find(hides).map_or(Ok(()), |error| Err(error.clone()))?;
        }
        Ok(found)
    }
}

/// What reads as no table is read once more: a blank disk is blank again, and a bit that was read wrong
/// in each copy is not.
fn read(disk: &mut dyn Disk) -> Result<Table, GptError> {
    match Table::read(disk) {
        Err(GptError::None { .. }) => Table::read(disk),
        found => found,
    }
}
