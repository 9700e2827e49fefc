//! Chunk size against compression level: what is stored, and the processor time of making and
//! inflating it. On a part of the image, the same bytes for all.

use std::hint::black_box;

use anyhow::Result;
use serde_json::json;
use zstd::bulk::{Compressor, Decompressor};

use crate::images::{Raw, is_zero};
use crate::table::{Report, Row, cpu_s, mib};
use crate::{CHUNK_BYTES, USUAL_CHUNK_BYTES};

const LEVELS: [i32; 4] = [1, 3, 6, 9];
/// For the record, and for one chunk size only, since it takes so long.
const SLOW_LEVEL: i32 = 19;
/// Pieces of the image that are measured: as long as the largest chunk.
const PIECE_BYTES: u32 = 4 << 20;
/// At most so many of them that are not all zero, from all over the image.
const PIECES: usize = 32;
const TIMES: usize = 3;

pub(crate) fn measure(image: &Raw, report: &mut Report) -> Result<()> {
    let pieces = sample(image)?;
    let mut rows = Vec::new();
    for chunk_bytes in CHUNK_BYTES {
        for level in LEVELS {
            rows.push(row(&pieces, chunk_bytes, level, TIMES)?);
        }
        if chunk_bytes == USUAL_CHUNK_BYTES {
            rows.push(row(&pieces, chunk_bytes, SLOW_LEVEL, 1)?);
        }
    }
    let plain: usize = pieces.iter().map(Vec::len).sum();
    report.add(&format!("chunk size and level, of {} MiB", plain >> 20), rows);
    Ok(())
}

fn sample(image: &Raw) -> Result<Vec<Vec<u8>>> {
    let mut pieces = Vec::new();
    image.each_chunk(PIECE_BYTES, |_, bytes| {
        if !is_zero(&bytes) {
            pieces.push(bytes);
        }
        Ok(())
    })?;
    let step = pieces.len().div_ceil(PIECES).max(1);
    Ok(pieces.into_iter().step_by(step).collect())
}

fn row(pieces: &[Vec<u8>], chunk_bytes: u32, level: i32, times: usize) -> Result<Row> {
    let chunks = pieces.iter().flat_map(|piece| piece.chunks(chunk_bytes as usize));
    let chunks: Vec<&[u8]> = chunks.filter(|chunk| !is_zero(chunk)).collect();
    let plain_bytes: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    let gib = plain_bytes as f64 / f64::from(1 << 30);
    let mut compressor = Compressor::new(level)?;
    let mut frames = Vec::new();
    let compress_s = cpu_s(times, || {
        frames = chunks.iter().flat_map(|chunk| compressor.compress(chunk)).collect();
    });
    let mut plain = vec![0; chunk_bytes as usize];
    let mut decompressor = Decompressor::new()?;
    let inflate_s = cpu_s(TIMES, || {
        for frame in &frames {
            black_box(decompressor.decompress_to_buffer(frame, &mut plain).ok());
        }
    });
    let stored_bytes: usize = frames.iter().map(Vec::len).sum();
    Ok(vec![
        ("chunk KiB", json!(chunk_bytes >> 10)),
        ("level", json!(level)),
        ("stored MiB", json!(mib(stored_bytes as u64))),
        ("compress s/GiB", json!(compress_s / gib)),
        ("inflate s/GiB", json!(inflate_s / gib)),
    ])
}
