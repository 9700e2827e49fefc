//! What each job does to bytes on a file, and what comes of one that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use repave_core::edges::{
    BadCa, Completion, Crew, Job, LinkError, LinkErrorKind, Look, Seen, Slot, Work, WorkError,
    Workers,
};
use repave_image::ChunkDigest;
use repave_protocol::Sha256;

use super::{SLOTS_LEAST, ThreadCrew, pool_size, write_bytes};
use crate::disk::OpenDisk;
use crate::http::Http;

const CHUNK_BYTES: usize = 64 * 1024;
const DISK_BYTES: usize = 16 * CHUNK_BYTES;

/// A pack in memory; its URL's source says how it misbehaves.
struct Pack(Vec<u8>);

impl Http for Pack {
    fn post(&self, _: &str, _: &[u8], _: usize, _: Duration) -> Result<Vec<u8>, LinkError> {
        unreachable!("workers only get ranges")
    }

    fn get(&self, _: &str, _: usize) -> Result<Vec<u8>, LinkError> {
        unreachable!("workers only get ranges")
    }

    fn get_range(&self, url: &str, offset_bytes: u64, into: &mut [u8]) -> Result<(), LinkError> {
        assert!(!url.starts_with("http://panics/"), "the mirror bites");
        let start = offset_bytes as usize;
        let error = || LinkError::trouble(url, "past the end".into());
        into.copy_from_slice(self.0.get(start..start + into.len()).ok_or_else(error)?);
        Ok(())
    }

    fn trust_ca(&self, _: &str) -> Result<(), BadCa> {
        unreachable!("workers only get ranges")
    }
}

struct World {
    _file: tempfile::NamedTempFile,
    disk: OpenDisk,
    workers: Box<dyn Workers>,
}

fn world(pack: Vec<u8>) -> World {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(DISK_BYTES as u64).unwrap();
    let facts = repave_protocol::Disk { name: "disk0".into(), ..Default::default() };
    let disk = OpenDisk::open(facts, file.path()).unwrap();
    let mut crew = ThreadCrew::new(vec![disk.clone()], Arc::new(Pack(pack)));
    assert!(crew.start(1, CHUNK_BYTES as u32).is_err());
    let workers = crew.start(0, CHUNK_BYTES as u32).unwrap();
    World { _file: file, disk, workers }
}

impl World {
    fn perform(&mut self, slot: usize, work: Work) -> Result<Seen, WorkError> {
        self.workers.submit(Job { slot: Slot(slot), work });
        let Completion { slot: back, outcome } = self.workers.reap();
        assert_eq!(back, Slot(slot));
        outcome
    }
}

fn pattern(seed: usize) -> Vec<u8> {
    (0..CHUNK_BYTES).map(|at| ((at * 7 + seed) % 253) as u8).collect()
}

fn frame(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 3).unwrap()
}

fn fetch(source: &str, offset_bytes: usize, stored_bytes: usize, plain_bytes: usize) -> Work {
    Work::Fetch {
        source: source.into(),
        pack: Sha256::of(b"pack"),
        offset_bytes: offset_bytes as u64,
        stored_bytes: stored_bytes as u32,
        plain_bytes: plain_bytes as u32,
        pause_ms: 0,
    }
}

fn read(offset_bytes: usize, look: Look) -> Work {
    let (offset_bytes, length_bytes) = (offset_bytes as u64, CHUNK_BYTES as u32);
    Work::Read { offset_bytes, length_bytes, look }
}

fn write(offset_bytes: usize, length_bytes: usize) -> Work {
    Work::Write {
        offset_bytes: offset_bytes as u64,
        length_bytes: length_bytes as u32,
        first_block_last: false,
    }
}

#[test]
fn a_head_is_written_whole_at_its_place() {
    let plain = pattern(1);
    let pack = frame(&plain);
    let stored_bytes = pack.len();
    let mut world = world(pack);
    let fetched = world.perform(0, fetch("http://mirror", 0, stored_bytes, CHUNK_BYTES));
    assert!(fetched.is_ok(), "{fetched:?}");
    let mut head = write(CHUNK_BYTES, CHUNK_BYTES);
    let Work::Write { first_block_last, .. } = &mut head else { unreachable!() };
    *first_block_last = true;
    assert_eq!(world.perform(0, head), Ok(Seen::Wrote));
    let crc32 = crc32fast::hash(&plain);
    assert_eq!(world.perform(1, read(CHUNK_BYTES, Look::Crc32)), Ok(Seen::Crc32(crc32)));
}

#[test]
fn a_chunk_travels_from_its_source_to_the_disk_and_back() {
    let plain = pattern(1);
    let pack = [vec![9; 100], frame(&plain)].concat();
    let stored_bytes = pack.len() - 100;
    let mut world = world(pack);
    let digest = ChunkDigest::of(&plain);
    let fetched = world.perform(0, fetch("http://mirror", 100, stored_bytes, CHUNK_BYTES));
    assert_eq!(fetched, Ok(Seen::Fetched { digest }));
    assert_eq!(world.perform(0, write(CHUNK_BYTES, CHUNK_BYTES)), Ok(Seen::Wrote));
    let crc32 = crc32fast::hash(&plain);
    for (look, seen) in [
        (Look::Digest, Seen::Digest(digest)),
        (Look::Crc32, Seen::Crc32(crc32)),
        (Look::Zero, Seen::Zero(false)),
    ] {
        assert_eq!(world.perform(1, read(CHUNK_BYTES, look)), Ok(seen));
    }
    assert_eq!(world.perform(1, read(0, Look::Zero)), Ok(Seen::Zero(true)));
}

#[test]
fn all_slots_at_once_keep_their_own_bytes() {
    let plains: Vec<Vec<u8>> = (0..6).map(pattern).collect();
    let frames: Vec<Vec<u8>> = plains.iter().map(|plain| frame(plain)).collect();
    let mut world = world(frames.concat());
    assert!(world.workers.slots() >= 6);
    let mut offset_bytes = 0;
    for (slot, frame) in frames.iter().enumerate() {
        let work = fetch("http://mirror", offset_bytes, frame.len(), CHUNK_BYTES);
        world.workers.submit(Job { slot: Slot(slot), work });
        offset_bytes += frame.len();
    }
    let mut seen: Vec<Completion> = frames.iter().map(|_| world.workers.reap()).collect();
    seen.sort_by_key(|completion| completion.slot);
    for (completion, plain) in seen.iter().zip(&plains) {
        assert_eq!(completion.outcome, Ok(Seen::Fetched { digest: ChunkDigest::of(plain) }));
    }
    // Then they are written as neighbours; the last one would be more than its buffer holds.
    let first = 2;
    for slot in 0..6 {
        let length_bytes = if slot == 5 { CHUNK_BYTES + 512 } else { CHUNK_BYTES };
        let work = write((first + slot) * CHUNK_BYTES, length_bytes);
        world.workers.submit(Job { slot: Slot(slot), work });
    }
    for _ in 0..6 {
        let Completion { slot, outcome } = world.workers.reap();
        match outcome {
            Ok(seen) => assert_eq!((seen, slot.0 < 5), (Seen::Wrote, true)),
            Err(WorkError::Device(error)) => {
                assert_eq!((error.length_bytes, slot.0), (CHUNK_BYTES as u64 + 512, 5))
            }
            other => panic!("{other:?}"),
        }
    }
    for slot in 0..5 {
        let work = read((first + slot) * CHUNK_BYTES, Look::Crc32);
        world.workers.submit(Job { slot: Slot(slot), work });
    }
    for _ in 0..5 {
        let Completion { slot, outcome } = world.workers.reap();
        assert_eq!(outcome, Ok(Seen::Crc32(crc32fast::hash(&plains[slot.0]))));
    }
}

#[test]
fn as_much_is_written_at_a_time_as_the_device_likes() {
    const KIB: u64 = 1024;
    assert_eq!(write_bytes(0, 64, 256 * KIB), 0..=4096 * KIB);
    assert_eq!(write_bytes(512 * 1024, 64, 256 * KIB), 512 * KIB..=4096 * KIB);
    assert_eq!(write_bytes(3 << 20, 64, 256 * KIB), 3072 * KIB..=4096 * KIB);
    assert_eq!(write_bytes(u32::MAX, 8, 256 * KIB), 1024 * KIB..=4096 * KIB);
    assert_eq!(write_bytes(u32::MAX, 1, 256 * KIB), 256 * KIB..=4096 * KIB);
}

/// Makes chunks 1 to 5 zero, more than a buffer holds; says how much was written.
fn zeroes(world: &mut World, look_first: bool) -> u32 {
    let (offset_bytes, length_bytes) = (CHUNK_BYTES as u64, 5 * CHUNK_BYTES as u32);
    match world.perform(0, Work::Zero { offset_bytes, length_bytes, look_first }) {
        Ok(Seen::Zeroed { written_bytes }) => written_bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_what_is_not_zero_is_zeroed() {
    let mut world = world(Vec::new());
    assert_eq!(zeroes(&mut world, true), 0);
    let mut last_byte = [0; 512];
    last_byte[511] = 1;
    let chunks: [&[u64]; 5] = [&[1], &[5], &[2, 3], &[1, 3, 5], &[1, 2, 3, 4, 5]];
    for dirty in chunks {
        for chunk in [&[0, 6], dirty].concat() {
            let end_bytes = (chunk + 1) * CHUNK_BYTES as u64;
            world.disk.file().write(end_bytes - 512, &last_byte).unwrap();
        }
        assert_eq!(zeroes(&mut world, true), (dirty.len() * CHUNK_BYTES) as u32, "{dirty:?}");
        for chunk in 0..7 {
            let is_outside = chunk == 0 || chunk == 6;
            let seen = world.perform(1, read(chunk * CHUNK_BYTES, Look::Zero));
            assert_eq!(seen, Ok(Seen::Zero(!is_outside)), "chunk {chunk} of {dirty:?}");
        }
    }
    assert_eq!(zeroes(&mut world, true), 0);
    assert_eq!(zeroes(&mut world, false), 5 * CHUNK_BYTES as u32);
}

fn check_source_fault(pack: Vec<u8>, work: Work, kind: LinkErrorKind, reason: &str) {
    match world(pack).perform(0, work) {
        Err(WorkError::Source(error)) => {
            assert!(error.peer.contains("/blobs/sha256/"), "{error}");
            assert!(error.reason.contains(reason), "{error}");
            assert_eq!(error.kind, kind, "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_source_does_wrong_is_its_fault() {
    let short = frame(&pattern(1)[..CHUNK_BYTES - 512]);
    let long = frame(&[pattern(1), vec![1; 512]].concat());
    let mirror = "http://mirror";
    let of = |pack: &[u8]| fetch(mirror, 0, pack.len(), CHUNK_BYTES);
    use LinkErrorKind::{Lie, Trouble};
    check_source_fault(short.clone(), of(&short), Lie, "inflates to 65024 bytes instead of");
    check_source_fault(long.clone(), of(&long), Lie, "does not inflate");
    check_source_fault(vec![0; 100], of(&[0; 100]), Lie, "does not inflate");
    check_source_fault(Vec::new(), of(&[0; 100]), Trouble, "past the end");
    let huge = fetch(mirror, 0, 1 << 30, CHUNK_BYTES);
    check_source_fault(Vec::new(), huge, Trouble, "a frame of 1073741824 bytes");
    let panics = fetch("http://panics", 0, 100, CHUNK_BYTES);
    check_source_fault(Vec::new(), panics, Trouble, "the worker panicked: the mirror bites");
}

#[test]
fn workers_go_on_after_a_panic() {
    let plain = pattern(3);
    let pack = frame(&plain);
    let stored_bytes = pack.len();
    let mut world = world(pack);
    for _ in 0..2 * super::THREADS_MOST {
        assert!(world.perform(0, fetch("http://panics", 0, 1, CHUNK_BYTES)).is_err());
    }
    let seen = world.perform(0, fetch("http://mirror", 0, stored_bytes, CHUNK_BYTES));
    assert_eq!(seen, Ok(Seen::Fetched { digest: ChunkDigest::of(&plain) }));
}

#[test]
fn misuse_and_the_end_of_the_disk_are_errors_of_the_device() {
    let mut world = world(Vec::new());
    let slots = world.workers.slots();
    for (slot, work, reason) in [
        (slots, write(0, CHUNK_BYTES), "there is no buffer number"),
        (0, write(0, CHUNK_BYTES + 512), "a buffer holds 65536 bytes"),
        (0, write(0, 100), "not whole blocks of 512 bytes"),
        (0, read(DISK_BYTES - 512, Look::Crc32), "ended after 512 of 65536 bytes"),
    ] {
        match world.perform(slot, work) {
            Err(WorkError::Device(error)) => {
                assert!(error.reason.contains(reason), "{error}");
                assert_eq!(error.device, "disk0");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn dropping_the_workers_does_not_wait_for_pauses() {
    let mut world = world(Vec::new());
    for slot in 0..world.workers.slots() {
        let mut work = fetch("http://mirror", 0, 1, CHUNK_BYTES);
        let Work::Fetch { pause_ms, .. } = &mut work else { unreachable!() };
        *pause_ms = 3_600_000;
        world.workers.submit(Job { slot: Slot(slot), work });
    }
    let begin = Instant::now();
    drop(world);
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn the_pool_stays_in_its_memory() {
    assert_eq!(pool_size(2, u64::MAX, 256 << 10), (8, 88));
    assert_eq!(pool_size(64, u64::MAX, 256 << 10), (16, 80));
    assert_eq!(pool_size(2, 60 << 20, 256 << 10), (8, 32), "a small server");
    assert_eq!(pool_size(64, u64::MAX, 4 << 20), (2, 4));
    assert_eq!(pool_size(64, u64::MAX, 1 << 30), (2, SLOTS_LEAST));
}
