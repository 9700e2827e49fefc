//! The bytes of an image, frozen: what is written today must be read for ever. A wanted change is
//! made with `REPAVE_BLESS=1 cargo test -p repave-image --test golden`, and seen in the diff.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use repave_image::{Chunk, ChunkDigest, ChunkPlace, IndexRoot, Layout, OciManifest, ValidManifest};
use repave_protocol::{ImageReference, Sha256};

fn check(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("REPAVE_BLESS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    assert!(golden == bytes, "{name} differs from the bytes once released");
}

#[test]
fn manifest() {
    let manifest = common::manifest();
    check("manifest.json", &manifest.to_bytes());
    let read = ValidManifest::parse(&manifest.to_bytes()).unwrap();
    assert_eq!(read.manifest(), &manifest);
    assert!(read.firmware_bootable());
}

#[test]
fn index() {
    check("index.bin", &common::index());
    let manifest = ValidManifest::new(common::manifest()).unwrap();
    let blob = common::index();
    let root = IndexRoot::parse(&common::root(), &manifest).unwrap();
    assert_eq!(root.pages(), 3);
    assert_eq!(root.page(1), None, "a page of zeroes is not stored");
    assert_eq!(root.page(3), None);
    let stored = [0, 2].map(|page| {
        let reference = root.page(page).unwrap();
        let start = reference.offset_bytes as usize;
        let bytes = &blob[start..][..reference.len_bytes as usize];
        root.parse_page(page, bytes.to_vec(), &common::packs()).unwrap()
    });
    let chunk = |chunk| stored[usize::from(chunk >= 8)].chunk(chunk);
    assert_eq!(chunk(1), Some(Chunk::Zero));
    assert_eq!(chunk(9), Some(Chunk::Zero));
    assert_eq!(stored[0].chunk(4), None);
    for (number, place) in [(0, 0), (1, 2), (2, 8)] {
        let Some(Chunk::Stored(found)) = chunk(place) else {
            panic!("chunk {place} is not stored");
        };
        assert_eq!(found.digest, ChunkDigest::of(&[number]));
        assert_eq!(found.crc32, 0x0102_0300 + u32::from(number));
        assert_eq!(found.offset_bytes, 1000 * u64::from(number));
    }
}

#[test]
fn oci_manifest() {
    let oci = common::oci();
    check("oci-manifest.json", &oci.to_bytes());
    assert_eq!(OciManifest::parse(&oci.to_bytes()), Ok(oci));
}

#[test]
fn layout() {
    let image = |version, text: &[u8]| ImageReference {
        name: "web".into(),
        version,
        manifest: Sha256::of(text),
    };
    let mut layout = Layout::empty();
    layout.list(&image(7, b"old"), 100);
    layout.list(&image(8, b"next"), 101);
    layout.list(&image(7, b"new"), 102);
    check("layout.json", &layout.to_bytes());
    let read = Layout::parse(&layout.to_bytes()).unwrap();
    assert_eq!(read, layout);
    let images: Vec<_> = read.images().collect();
    assert_eq!(images, [image(8, b"next"), image(7, b"new")]);
    assert_eq!(read.find("web", 7), Some(image(7, b"new")));
    assert_eq!(read.find("web", 9), None);
}

#[test]
fn what_other_tools_wrote_into_a_layout_stays() {
    let digest = "0".repeat(64);
    let foreign = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":1,"platform":{{"os":"linux"}}}}],"annotations":{{"a":"b"}}}}"#
    );
    let layout = Layout::parse(foreign.as_bytes()).unwrap();
    assert_eq!(layout.images().count(), 0);
    assert_eq!(String::from_utf8(layout.to_bytes()).unwrap(), foreign);
}

#[test]
fn chunks_and_places_are_the_same_thing_twice() {
    let manifest = ValidManifest::new(common::manifest()).unwrap();
    let place = |partition, offset_bytes, len_bytes| {
        Some(ChunkPlace { partition, offset_bytes, len_bytes })
    };
    assert_eq!(manifest.place(0), place(0, 0, 65536));
    assert_eq!(manifest.place(3), place(0, 3 * 65536, 65536));
    assert_eq!(manifest.place(4), place(1, 0, 65536));
    assert_eq!(manifest.place(9), place(1, 5 * 65536, 36 * 1024));
    assert_eq!(manifest.place(10), None);
    assert_eq!(manifest.chunks_of(0), Some(0..4));
    assert_eq!(manifest.chunks_of(1), Some(4..10));
    assert_eq!(manifest.chunks_of(2), None);
    for chunk in 0..10 {
        let place = manifest.place(chunk).unwrap();
        let last = place.offset_bytes + u64::from(place.len_bytes) - 1;
        for offset_bytes in [place.offset_bytes, last] {
            assert_eq!(manifest.chunk_at(place.partition, offset_bytes), Some(chunk));
        }
    }
    assert_eq!(manifest.chunk_at(0, 4 * 65536), None);
}
