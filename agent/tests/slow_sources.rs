//! Sources that are slow, over real sockets: one that drips is given up and named, and one whose rate
//! is limited is not asked for more. Nothing here measures time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "write/bench.rs"]
#[allow(dead_code, reason = "other tests need the rest of it")]
mod bench;
#[path = "write/server.rs"]
mod server;

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use repave_agent::crew::ThreadCrew;
use repave_agent::disk::OpenDisk;
use repave_agent::host::RunningHost;
use repave_agent::https::{Client, Timeouts};
use repave_agent::link::ControlLink;
use repave_core::alone::{self, Means, Wish};
use repave_core::edges::{Crew, Job, Slot, Work};
use repave_core::image::{TrustedImage, Way};
use repave_core::mirrors::Mirrors;
use repave_image::Layout;
use repave_image_codec::ImportOptions;
use repave_protocol::{ImageReference, ServerId, Sha256, SigningKey, TrustDocument};

use bench::Bench;
use server::{Range, blob, found, send, serve};

/// A server of a library. If it drips, then packs, of which half a range comes, and then a byte now
/// and then for as long as anybody reads.
fn library(bench: &Bench, drips: bool) -> String {
    let folder = bench.path("library");
    serve(None, move |stream, path, range| {
        let blob = blob(&folder, path)?;
        let is_pack = blob.len() > 16 << 10;
        let (head, body) = found(&blob, range);
        if !drips || !is_pack {
            return send(stream, &head, body.len(), &body);
        }
        let (half, rest) = body.split_at(body.len() / 2);
        send(stream, &head, body.len(), half)?;
        for byte in rest {
            thread::sleep(Duration::from_millis(100));
            stream.write_all(&[*byte]).ok()?;
        }
        Some(())
    })
}

fn client() -> Client {
    let (connect, transfer) = (Duration::from_secs(10), Duration::from_secs(2));
    Client::plain(Timeouts { connect, transfer })
}

fn disk(path: &Path) -> OpenDisk {
    let facts = repave_protocol::Disk { name: "device".into(), ..Default::default() };
    OpenDisk::open_alone(facts, path).unwrap()
}

fn image_and_trust(bench: &Bench) -> (ImageReference, TrustDocument) {
    let layout = Layout::parse(&fs::read(bench.path("library/index.json")).unwrap()).unwrap();
    let manifest = layout.find("web", 1).unwrap().manifest;
    let trust = TrustDocument {
        crit: Vec::new(),
        pool: "alone".parse().unwrap(),
        version: 1,
        directive_keys: Vec::new(),
        image_keys: vec![SigningKey::from_seed(&[7; 32]).public()],
        ca_pem: String::new(),
        least_versions: Default::default(),
    };
    (ImageReference { name: "web".into(), version: 1, manifest }, trust)
}

#[test]
fn a_source_that_drips_is_given_up_in_mid_chunk_and_named() {
    // Of each 64 KiB two are stored, so that a range is short, and so is the time that it may take.
    let noise = (0_u32..32).flat_map(|chunk| {
        let word = move |n: u32| (chunk << 9 | n).wrapping_mul(0x9e37_79b1).to_le_bytes();
        (0..512).flat_map(word).chain([0; (64 << 10) - 2048])
    });
    let options = ImportOptions { chunk_bytes: 64 << 10, ..ImportOptions::new("web", 1) };
    let bench = Bench::with(&noise.collect::<Vec<u8>>(), &options);
    let drips = library(&bench, true);
    let mut mirrors = Mirrors::new(&[drips.clone(), library(&bench, false)]);
    let client = Arc::new(client());
    let server = ServerId::of(&SigningKey::from_seed(&[1; 32]).public());
    let mut link = ControlLink::new(Arc::clone(&client) as _, &[], server).unwrap();
    let mut host = RunningHost::new(Path::new("/sys"), Path::new("/proc"));
    let device = bench.device();
    let mut disk = disk(&device);
    let mut crew = ThreadCrew::new(vec![disk.clone()], client);

    let (reference, trust) = image_and_trust(&bench);
    let mut way = Way { link: &mut link, host: &mut host, mirrors: &mut mirrors };
    let image = TrustedImage::fetch(&mut way, &reference, &trust).unwrap();
    let mut workers = crew.start(0, image.manifest().manifest().chunk_bytes).unwrap();
    let means = Means { way, disk: &mut disk, workers: workers.as_mut() };
    let wish = Wish { bare: true, read_back: false };
    alone::write(&image, wish, means, &mut |_, _| {}).unwrap();

    assert!(fs::read(&device).unwrap() == fs::read(bench.path("root.ext4")).unwrap());
    let reports = mirrors.reports();
    let dripping = reports.iter().find(|report| report.source == drips);
    let dripping = dripping.unwrap_or_else(|| panic!("{reports:?}"));
    assert!(!dripping.lied && dripping.reason.contains("timed out"), "{dripping:?}");
}

/// A server of one frame under every name; notes which source was asked for how much.
fn counted(frame: &[u8], asked: &Arc<Mutex<Vec<Range>>>) -> String {
    let (frame, asked) = (frame.to_vec(), Arc::clone(asked));
    serve(None, move |stream, _, range| {
        asked.lock().unwrap().push(range.unwrap());
        let (head, body) = found(&frame, range);
        send(stream, &head, body.len(), &body)
    })
}

#[test]
fn what_a_source_s_rate_does_not_allow_yet_is_not_asked_of_it() {
    const CHUNK_BYTES: usize = 64 << 10;
    let frame = zstd::bulk::compress(&[7; CHUNK_BYTES], 3).unwrap();
    // Both serve two frames that are no neighbours, so that no request brings both.
    let pack = [&frame[..], b"between", &frame].concat();
    let (of_slow, of_other) = (Arc::default(), Arc::default());
    let (slow, other) = (counted(&pack, &of_slow), counted(&pack, &of_other));
    let device = tempfile::NamedTempFile::new().unwrap();
    device.as_file().set_len(1 << 20).unwrap();
    // At a byte a second the second frame's turn is a long time after this test.
    let limited = client().limited(NonZeroU64::new(1));
    let mut crew = ThreadCrew::new(vec![disk(device.path())], Arc::new(limited));
    let mut workers = crew.start(0, CHUNK_BYTES as u32).unwrap();
    let mut fetch = |slot: usize, source: &str, offset_bytes: usize| {
        let work = Work::Fetch {
            source: source.into(),
            pack: Sha256::of(b"pack"),
            offset_bytes: offset_bytes as u64,
            stored_bytes: frame.len() as u32,
            plain_bytes: CHUNK_BYTES as u32,
            pause_ms: 0,
        };
        workers.submit(Job { slot: Slot(slot), work });
    };
    fetch(0, &slow, 0);
    fetch(1, &slow, frame.len() + 7);
    fetch(2, &other, 0);
    let write = |slot, workers: &mut dyn repave_core::edges::Workers| {
        let length_bytes = CHUNK_BYTES as u32;
        let work = Work::Write { offset_bytes: 0, length_bytes, first_block_last: false };
        workers.submit(Job { slot: Slot(slot), work });
        workers.reap()
    };
    let mut ended = [workers.reap(), workers.reap()].map(|it| (it.slot.0, it.outcome.is_ok()));
    ended.sort_unstable();
    assert_eq!(ended, [(0, true), (2, true)], "each source's first frame");
    // Who waits for a source is in nobody's way.
    let written = write(0, workers.as_mut());
    assert!(written.slot == Slot(0) && written.outcome.is_ok(), "{written:?}");
    // And what waits is not asked for either when nobody waits for it any more.
    drop(workers);
    let first = (0, frame.len() - 1);
    assert_eq!(*of_slow.lock().unwrap(), [first]);
    assert_eq!(*of_other.lock().unwrap(), [first]);
}
