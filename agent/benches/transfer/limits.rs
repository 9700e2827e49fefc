//! What no tool can beat on this machine: the disk with nothing to work out, and the processors with
//! nothing to wait for.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use repave_image::ChunkDigest;
use repave_sys::AlignedBuffer;
use rustix::time::{ClockId, clock_gettime};
use zstd::bulk::Decompressor;

use crate::device::{Device, PIECE_BYTES};
use crate::made::Made;
use crate::run::Figures;

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Figures> {
    let cpu = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let (started, cpu_before) = (Instant::now(), cpu());
    work()?;
    let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), cpu() - cpu_before);
    Ok(Figures { wall_s, cpu_s, runs: 1, ..Figures::default() })
}

/// As many bytes as the image has that are not zero, and its zeroes, from memory at depth.
pub(crate) fn raw(made: &Made, device: &Device) -> Result<Figures> {
    let is_zero = made.zero_pieces()?;
    let mut noise = AlignedBuffer::new(PIECE_BYTES, 4096);
    noise.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251) as u8 + 1);
    let zeroes = AlignedBuffer::new(PIECE_BYTES, 4096);
    let pieces: Vec<u64> = (0..is_zero.len() as u64).collect();
    timed(|| {
        device.at_depth(&pieces, &|file, _, piece| {
            let bytes = if is_zero[piece as usize] { &zeroes } else { &noise };
            file.write_all_at(bytes, piece * PIECE_BYTES as u64)
        })
    })
}

/// The whole device written by fio(1): by threads that wait for each write, or through io_uring with
/// so many under way in each thread. Its own start is not counted.
pub(crate) fn fio(device: &Device, threads: usize, uring_depth: Option<usize>) -> Result<Figures> {
    let part_bytes = device.size_bytes() / threads as u64 / PIECE_BYTES as u64 * PIECE_BYTES as u64;
    let engine = match uring_depth {
        Some(depth) => format!("--ioengine=io_uring --iodepth={depth}"),
        None => "--ioengine=psync".into(),
    };
    let node = device.node().display();
    let line = format!(
        "--name=write --filename={node} --rw=write --direct=1 --bs={PIECE_BYTES} {engine} --thread \
         --numjobs={threads} --size={part_bytes} --offset_increment={part_bytes} --group_reporting \
         --output-format=json"
    );
    let output = Command::new("fio").args(line.split_ascii_whitespace()).output()?;
    ensure!(output.status.success(), "fio: {}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let job = &told["jobs"][0];
    let number = |value: &serde_json::Value| value.as_f64().context("fio told no number");
    let wall_s = number(&job["write"]["runtime"])? / 1e3;
    let cpu_percent = number(&job["usr_cpu"])? + number(&job["sys_cpu"])?;
    let cpu_s = cpu_percent / 100.0 * wall_s * threads as f64;
    Ok(Figures { wall_s, cpu_s, runs: 1, ..Figures::default() })
}

/// The device read once at depth, then its bytes that are not zero hashed on all processors; the
/// larger of the two.
pub(crate) fn read_and_hash(made: &Made, device: &Device) -> Result<Figures> {
    let is_zero = made.zero_pieces()?;
    let pieces: Vec<u64> = (0..is_zero.len() as u64).collect();
    let read = timed(|| {
        device.at_depth(&pieces, &|file, buffer, piece| {
            file.read_exact_at(buffer, piece * PIECE_BYTES as u64)
        })
    })?;
    let noise = vec![7; PIECE_BYTES];
    let stored = is_zero.iter().filter(|zero| !**zero).count();
    let hash = timed(|| {
        on_all_processors(
            stored,
            || (),
            |(), _| {
                std::hint::black_box(ChunkDigest::of(&noise));
            },
        );
        Ok(())
    })?;
    let cpu_s = read.cpu_s + hash.cpu_s;
    Ok(Figures { wall_s: read.wall_s.max(hash.wall_s), cpu_s, ..read })
}

/// Inflating and hashing every stored chunk, from memory, on all processors.
pub(crate) fn inflate_and_hash(made: &Made) -> Result<Figures> {
    let frames = made.frames()?;
    timed(|| {
        let decompressor = || Decompressor::new().expect("memory for a decompressor");
        let state = || (decompressor(), vec![0; PIECE_BYTES]);
        on_all_processors(frames.len(), state, |(inflate, plain), number| {
            let length = inflate.decompress_to_buffer(&frames[number], plain).unwrap_or(0);
            std::hint::black_box(ChunkDigest::of(&plain[..length]));
        });
        Ok(())
    })
}

/// Processor time of hashing the bytes that are not zero.
pub(crate) fn hash_cpu_s(made: &Made) -> Result<f64> {
    let stored = made.zero_pieces()?.iter().filter(|zero| !**zero).count();
    let noise = vec![7; PIECE_BYTES];
    let hashed = timed(|| {
        for _ in 0..stored {
            std::hint::black_box(ChunkDigest::of(&noise));
        }
        Ok(())
    });
    Ok(hashed?.cpu_s)
}

/// Processor time of `zstd -d` of the whole image.
pub(crate) fn zstd_cpu_s(made: &Made) -> Result<f64> {
    let text = Command::new("/usr/bin/time")
        .args(["-f", "%U %S", "zstd", "-dcq"])
        .arg(made.folder().join("old.raw.zst"))
        .stdout(fs::File::create("/dev/null")?)
        .output()?
        .stderr;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.split_ascii_whitespace().filter_map(|number| number.parse::<f64>().ok()).sum())
}

fn on_all_processors<S>(
    count: usize,
    state: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, usize) + Sync,
) {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                let mut state = state();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    each(&mut state, number);
                }
            });
        }
    });
}
