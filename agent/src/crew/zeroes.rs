//! Ranges that are made zero, and what is so already.

use std::ops::Range;

use repave_core::edges::DeviceError;

use crate::direct_file::{ALIGNMENT_BYTES, DirectFile};

/// Makes the range zero, and says how many bytes of it were written. Reading first spares the medium
/// writes that change nothing, and a discard would not promise zeroes. A range may be longer than
/// the buffer: it is looked at piece by piece, and what has to be written together is one command.
pub(super) fn zero(
    file: &DirectFile,
    offset_bytes: u64,
    length_bytes: usize,
    buffer: &mut [u8],
    look_first: bool,
) -> Result<u32, DeviceError> {
    let mut written_bytes = 0;
    let mut dirty = 0..0;
    for at in (0..length_bytes).step_by(buffer.len()) {
        let next = length_bytes.min(at + buffer.len());
        let piece = &mut buffer[..next - at];
        if look_first && is_zero_on(file, offset_bytes + at as u64, piece) {
            written_bytes += write_zeroes(file, offset_bytes, dirty, buffer)?;
            dirty = next..next;
        } else {
            dirty.end = next;
        }
    }
    Ok(written_bytes + write_zeroes(file, offset_bytes, dirty, buffer)?)
}

/// Whether a piece of the disk reads as zero. The first block says mostly enough. What cannot be
/// read is not zero: a disk may mend a bad block when it is written.
fn is_zero_on(file: &DirectFile, offset_bytes: u64, piece: &mut [u8]) -> bool {
    let probe_bytes = piece.len().min(ALIGNMENT_BYTES);
    let reads_zero = |part: &mut [u8]| file.read(offset_bytes, part).is_ok() && is_zero(part);
    reads_zero(&mut piece[..probe_bytes]) && reads_zero(piece)
}

/// Writes zeroes to a part of what begins at `offset_bytes`, by the device's own command or else
/// from the buffer; says how many.
fn write_zeroes(
    file: &DirectFile,
    offset_bytes: u64,
    part: Range<usize>,
    buffer: &mut [u8],
) -> Result<u32, DeviceError> {
    let written_bytes = part.len() as u32;
    if part.is_empty() || file.zero_out(offset_bytes + part.start as u64, part.len()) {
        return Ok(written_bytes);
    }
    buffer.fill(0);
    for at in part.clone().step_by(buffer.len()) {
        let piece_bytes = buffer.len().min(part.end - at);
        file.write(offset_bytes + at as u64, &buffer[..piece_bytes])?;
    }
    Ok(written_bytes)
}

/// In blocks, since comparing memory is fast even in a binary that was built to be small.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROES: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROES.len()).all(|block| block == &ZEROES[..block.len()])
}
