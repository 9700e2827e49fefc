//! A disk in memory that holds only the blocks that were written, so that it can be of any size; and
//! one that can lose its power in the middle of a write.

use std::collections::BTreeMap;

use repave_core::edges::{DeviceError, Disk};

/// The disk.
#[derive(Clone, Debug)]
pub(crate) struct MemoryDisk {
    facts: repave_protocol::Disk,
    blocks: BTreeMap<u64, Vec<u8>>,
    /// How many more bytes reach the medium; none for as many as come.
    pub(crate) power_bytes: Option<u64>,
    /// Ranges written, in bytes.
    pub(crate) written: Vec<std::ops::Range<u64>>,
}

impl MemoryDisk {
    pub(crate) fn new(block_bytes: u32, blocks: u64) -> Self {
        let facts = repave_protocol::Disk {
            name: "disk0".into(),
            size_bytes: u64::from(block_bytes) * blocks,
            logical_block_bytes: block_bytes,
            physical_block_bytes: block_bytes,
            ..Default::default()
        };
        Self { facts, blocks: BTreeMap::new(), power_bytes: None, written: Vec::new() }
    }

    /// The bytes from `offset_bytes` on, which must be whole blocks.
    pub(crate) fn content(&self, offset_bytes: u64, length_bytes: usize) -> Vec<u8> {
        let block_bytes = self.block_bytes();
        self.check_whole_blocks(offset_bytes, length_bytes);
        let first = offset_bytes / block_bytes as u64;
        let mut bytes = vec![0; length_bytes];
        for (block, into) in (first..).zip(bytes.chunks_exact_mut(block_bytes)) {
            if let Some(content) = self.blocks.get(&block) {
                into.copy_from_slice(content);
            }
        }
        bytes
    }

    pub(crate) fn set(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let block_bytes = self.block_bytes();
        self.check_whole_blocks(offset_bytes, bytes.len());
        let first = offset_bytes / block_bytes as u64;
        for (block, content) in (first..).zip(bytes.chunks_exact(block_bytes)) {
            // Most blocks are zero, and need not be held.
            match content.iter().any(|byte| *byte != 0) {
                true => self.blocks.insert(block, content.to_vec()),
                false => self.blocks.remove(&block),
            };
        }
    }

    fn check_whole_blocks(&self, offset_bytes: u64, length_bytes: usize) {
        let block_bytes = self.block_bytes();
        assert!(offset_bytes.is_multiple_of(block_bytes as u64));
        assert!(length_bytes.is_multiple_of(block_bytes));
    }

    fn block_bytes(&self) -> usize {
        self.facts.logical_block_bytes as usize
    }

    fn error(&self, operation: &'static str, offset_bytes: u64, length: usize) -> DeviceError {
        DeviceError {
            device: self.facts.name.clone(),
            operation,
            offset_bytes,
            length_bytes: length as u64,
            reason: "outside the disk, or no power".into(),
        }
    }

    fn holds(&self, offset_bytes: u64, length: usize) -> bool {
        offset_bytes.checked_add(length as u64).is_some_and(|end| end <= self.facts.size_bytes)
    }
}

impl Disk for MemoryDisk {
    fn facts(&self) -> &repave_protocol::Disk {
        &self.facts
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        if !self.holds(offset_bytes, into.len()) {
            return Err(self.error("read", offset_bytes, into.len()));
        }
        into.copy_from_slice(&self.content(offset_bytes, into.len()));
        Ok(())
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        if !self.holds(offset_bytes, bytes.len()) {
            return Err(self.error("write", offset_bytes, bytes.len()));
        }
        let length_bytes = bytes.len() as u64;
        let kept_bytes = length_bytes.min(self.power_bytes.unwrap_or(u64::MAX));
        if let Some(left) = &mut self.power_bytes {
            *left -= kept_bytes;
        }
        // Sectors are written whole or not at all.
        let block_bytes = self.block_bytes();
        let kept = kept_bytes as usize / block_bytes * block_bytes;
        self.set(offset_bytes, &bytes[..kept]);
        self.written.push(offset_bytes..offset_bytes + length_bytes);
        if kept_bytes < length_bytes {
            return Err(self.error("write", offset_bytes, bytes.len()));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}
