//! A firmware for the tests of this folder, which does what it is asked and counts how often.

use std::collections::BTreeMap;

use repave_protocol::Guid;

use crate::edges::{Firmware, FirmwareError};

#[derive(Default)]
pub(super) struct Variables {
    pub(super) values: BTreeMap<String, Vec<u8>>,
    /// How often something was asked of it, other than to change.
    pub(super) reads: u32,
    /// The variable that cannot be read.
    pub(super) unreadable: Option<String>,
    /// Whether a variable cannot be read once it was written.
    pub(super) blinds: bool,
}

impl Variables {
    pub(super) fn of<const N: usize>(values: [(String, Vec<u8>); N]) -> Self {
        Self { values: BTreeMap::from(values), ..Self::default() }
    }
}

impl Firmware for Variables {
    fn names(&mut self) -> Result<Vec<String>, FirmwareError> {
        self.reads += 1;
        Ok(self.values.keys().cloned().collect())
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, FirmwareError> {
        self.reads += 1;
        if self.unreadable.as_deref() == Some(name) {
            let reason = "EIO".into();
            return Err(FirmwareError { name: name.into(), operation: "read", reason });
        }
        Ok(self.values.get(name).cloned())
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Result<(), FirmwareError> {
        self.values.insert(name.into(), value.into());
        if self.blinds {
            self.unreadable = Some(name.into());
        }
        Ok(())
    }

    fn delete(&mut self, name: &str) -> Result<(), FirmwareError> {
        self.values.remove(name);
        Ok(())
    }

    fn loader_partition(&mut self) -> Option<Guid> {
        None
    }
}
