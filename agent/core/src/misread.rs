//! A disk in memory whose reads go wrong as a test says.

use crate::edges::{DeviceError, Disk};

/// How one read goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read {
    Right,
    Fails,
    /// The byte at this place of what is read is another.
    Altered(usize),
}

/// The disk. Reads that nothing is said of are right.
#[derive(Default)]
pub(crate) struct Misread {
    facts: repave_protocol::Disk,
    pub(crate) bytes: Vec<u8>,
    faults: Vec<Read>,
    pub(crate) reads: usize,
    pub(crate) writes: usize,
}

impl Misread {
    pub(crate) fn new(bytes: Vec<u8>, faults: &[Read]) -> Self {
        Self { bytes, faults: faults.into(), ..Self::default() }
    }
}

impl Disk for Misread {
    fn facts(&self) -> &repave_protocol::Disk {
        &self.facts
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        into.copy_from_slice(&self.bytes[offset_bytes as usize..][..into.len()]);
        self.reads += 1;
        match self.faults.get(self.reads - 1) {
            None | Some(Read::Right) => {}
            Some(Read::Altered(at)) => into[*at] ^= 1,
            Some(Read::Fails) => {
                return Err(DeviceError {
                    device: "disk0".into(),
                    operation: "read",
                    offset_bytes,
                    length_bytes: into.len() as u64,
                    reason: "a test said so".into(),
                });
            }
        }
        Ok(())
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.writes += 1;
        self.bytes[offset_bytes as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}
