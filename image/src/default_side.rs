//! How the default side's own partitions are recognised, so that no image is taken for one and
//! none is written over. What stands in them is no business of an image.

use repave_protocol::Guid;

/// GPT name of the partition that holds the default UKI.
pub const DEFAULT_PARTITION: &str = "repave-default";
/// GPT name of the partition that holds the journal.
pub const STATE_PARTITION: &str = "repave-state";
/// GPT type of the state partition: b7a2c3d4-5e1f-4a6b-9c8d-726570617665 (it ends in "repave").
/// The default partition's type is the ESP's, which images share.
pub const STATE_TYPE: Guid = Guid::from_disk_bytes([
    0xd4, 0xc3, 0xa2, 0xb7, 0x1f, 0x5e, 0x6b, 0x4a, 0x9c, 0x8d, 0x72, 0x65, 0x70, 0x61, 0x76, 0x65,
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_type_reads_as_written() {
        let text = "b7a2c3d4-5e1f-4a6b-9c8d-726570617665";
        assert_eq!(STATE_TYPE.to_string(), text);
    }
}
