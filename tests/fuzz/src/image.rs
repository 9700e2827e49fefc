//! Images: the manifest, the OCI manifest, a library's list, and the chunk index. The digests that
//! pin an index are made here of whatever the input's pages are.

use std::collections::HashSet;
use std::ffi::CString;

use repave_core::efi::LoadOption;
use repave_image::{
    Chunk, Descriptor, ImageManifest, IndexRoot, Layout, OciManifest, ValidManifest, encode_page,
    encode_root, limits, marks_layout, pages_of, root_bytes_of,
};
use repave_protocol::{ImageReference, Sha256};

use crate::input::Input;

const ENTRY_BYTES: usize = 56;
/// The manifest of the image crate's tests: what is not the input's is this one's.
const EXAMPLE: &[u8] = include_bytes!("../../../image/tests/golden/manifest.json");

/// One of an image's parts.
pub fn image(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 5 {
        0 => manifest(input.rest()),
        1 => oci(input.rest()),
        2 => layout(input.rest()),
        3 => index(input),
        _ => index_root(input),
    }
}

fn manifest(bytes: &[u8]) {
    let Ok(valid) = ValidManifest::parse(bytes) else { return };
    let manifest = valid.manifest();
    let again = ValidManifest::parse(&manifest.to_bytes()).expect("it was valid");
    assert_eq!(again, valid);
    check_limits(manifest);
    check_places(&valid);
    check_boot(manifest);
    let root = IndexRoot::parse(&vec![0; manifest.index.root_bytes as usize], &valid);
    assert!(root.is_err(), "nobody knows bytes of that digest");
}

fn check_limits(manifest: &ImageManifest) {
    assert!(manifest.crit.is_empty());
    assert!((1..=limits::PARTITIONS).contains(&manifest.partitions.len()));
    assert!((limits::CHUNK_BYTES_LEAST..=limits::CHUNK_BYTES).contains(&manifest.chunk_bytes));
    assert!(manifest.index.root_bytes <= limits::INDEX_ROOT_BYTES as u64);
    let total: u64 = manifest.partitions.iter().map(|partition| partition.size_bytes).sum();
    assert!(total <= limits::IMAGE_BYTES);
    let mut seen = HashSet::new();
    for partition in &manifest.partitions {
        assert!(!partition.name.starts_with("repave-default") || partition.name.len() > 14);
        assert!(partition.name.encode_utf16().count() <= limits::PARTITION_NAME_UNITS);
        assert!(seen.insert(partition.guid) && !partition.guid.is_nil());
    }
}

/// Every chunk lies in one partition, and the arithmetic there and back agrees.
fn check_places(valid: &ValidManifest) {
    let manifest = valid.manifest();
    let chunks = manifest.index.chunks;
    let mut next = 0;
    for (number, partition) in manifest.partitions.iter().enumerate() {
        let range = valid.chunks_of(number).expect("there is such a partition");
        assert_eq!(range.start, next);
        next = range.end;
        for chunk in [range.start, range.start + (range.end - range.start) / 2, range.end - 1] {
            let place = valid.place(chunk).expect("there is such a chunk");
            assert_eq!(place.partition, number);
            let end = place.offset_bytes + u64::from(place.len_bytes);
            assert!(place.len_bytes > 0 && end <= partition.size_bytes);
            assert!(end == partition.size_bytes || place.len_bytes == manifest.chunk_bytes);
            assert_eq!(valid.chunk_at(number, place.offset_bytes), Some(chunk));
            assert_eq!(valid.chunk_at(number, end - 1), Some(chunk));
        }
        assert_eq!(valid.chunk_at(number, partition.size_bytes), None);
        let found = valid.partition(&partition.name).map(|(found, _)| found);
        assert_eq!(found, Some(number));
    }
    assert_eq!((next, valid.place(chunks)), (chunks, None));
    assert_eq!(valid.chunks_of(manifest.partitions.len()), None);
}

/// What an image says of its start stands in a boot entry and on a command line as it is.
fn check_boot(manifest: &ImageManifest) {
    let boot = &manifest.boot;
    let option = LoadOption {
        description: "Repave target".into(),
        partition_number: 3,
        first_lba: 1,
        blocks: 1,
        partition: manifest.partitions[0].guid,
        path: boot.efi_path.clone().unwrap_or_default(),
        options: boot.options.clone(),
    };
    assert_eq!(LoadOption::from_bytes(&option.to_bytes()), Ok(option));
    if let Some(kexec) = &boot.kexec {
        assert!(CString::new(&*kexec.options).is_ok() && kexec.options.len() < 2048);
        let files = [Some(&kexec.kernel), kexec.initrd.as_ref()];
        for path in files.into_iter().flatten() {
            assert!(path.starts_with('/') && !path.split('/').any(|part| part == ".."));
        }
    }
}

fn oci(bytes: &[u8]) {
    let Ok(oci) = OciManifest::parse(bytes) else { return };
    assert_eq!(OciManifest::parse(&oci.to_bytes()), Ok(oci.clone()));
    assert!(oci.packs.len() <= limits::PACKS);
    assert!(oci.config.size_bytes <= limits::MANIFEST_BYTES as u64);
}

/// A list keeps what others put into it, and an image that is listed is found.
fn layout(bytes: &[u8]) {
    let _ = marks_layout(bytes);
    let Ok(mut layout) = Layout::parse(bytes) else { return };
    assert_eq!(Layout::parse(&layout.to_bytes()), Ok(layout.clone()));
    let before: Vec<ImageReference> = layout.images().collect();
    let image = ImageReference { name: "web".into(), version: 7, manifest: Sha256::of(b"7") };
    layout.list(&image, 1000);
    assert_eq!(layout.find("web", 7), Some(image.clone()));
    let others = |images: &[ImageReference]| -> Vec<ImageReference> {
        let other = |one: &&ImageReference| (&*one.name, one.version) != ("web", 7);
        images.iter().filter(other).cloned().collect()
    };
    let after: Vec<ImageReference> = layout.images().collect();
    assert_eq!(others(&after), others(&before), "other images stay as they are");
    assert_eq!(after.len(), others(&after).len() + 1, "an image is listed once");
    assert_eq!(Layout::parse(&layout.to_bytes()), Ok(layout));
}

/// Makes the example's manifest fit an index of `chunks` chunks of 64 KiB with this root.
fn fitting(chunks: u64, page_chunks: u32, root: &[u8]) -> Option<ValidManifest> {
    let mut manifest: ImageManifest = serde_json::from_slice(EXAMPLE).expect("it is golden");
    manifest.chunk_bytes = limits::CHUNK_BYTES_LEAST;
    manifest.partitions[0].size_bytes = 1 << 16;
    manifest.partitions[1].first_chunk = 1;
    manifest.partitions[1].size_bytes = (chunks - 1) << 16;
    manifest.index.chunks = chunks;
    manifest.index.page_chunks = page_chunks;
    manifest.index.root_bytes = root_bytes_of(chunks, page_chunks);
    manifest.index.root_sha256 = Sha256::of(root);
    match ValidManifest::new(manifest) {
        Ok(valid) => Some(valid),
        Err(refusal) => {
            assert!(root.len() > limits::INDEX_ROOT_BYTES, "{refusal}");
            None
        }
    }
}

/// An index whose pages are the input's, entry by entry.
fn index(mut input: Input<'_>) {
    let page_chunks = u32::from(input.u8() % 6) + 1;
    let chunks = u64::from(input.u8() % 30) + 2;
    let packs: Vec<Descriptor> = (0..input.u8() % 4)
        .map(|number| Descriptor { sha256: Sha256::of(&[number]), size_bytes: input.u32().into() })
        .collect();
    let pages: Vec<Option<Vec<u8>>> = (0..pages_of(chunks, page_chunks))
        .map(|page| {
            let entries = u64::from(page_chunks).min(chunks - page * u64::from(page_chunks));
            let bytes: Vec<u8> = (0..entries).flat_map(|_| entry(&mut input)).collect();
            (!input.u8().is_multiple_of(4)).then_some(bytes)
        })
        .collect();
    let digests: Vec<Option<Sha256>> = pages.iter().map(|p| p.as_deref().map(Sha256::of)).collect();
    let root_bytes = encode_root(limits::CHUNK_BYTES_LEAST, chunks, page_chunks, &digests);
    let valid = fitting(chunks, page_chunks, &root_bytes).expect("a small index");
    let root = IndexRoot::parse(&root_bytes, &valid).expect("a root that was encoded here");
    assert_eq!(root.pages(), pages.len() as u64);
    let mut offset_bytes = root_bytes.len() as u64;
    for (number, page) in (0..).zip(&pages) {
        let Some(bytes) = page else {
            assert_eq!(root.page(number), None);
            continue;
        };
        let reference = root.page(number).expect("a stored page");
        assert_eq!(
            (reference.offset_bytes, reference.len_bytes),
            (offset_bytes, bytes.len() as u64)
        );
        offset_bytes += reference.len_bytes;
        check_page(&root, number, bytes, &packs, chunks);
    }
    assert_eq!(root.page(root.pages()), None);
}

/// Mostly an entry that may stand, sometimes 56 bytes of any kind.
fn entry(input: &mut Input<'_>) -> [u8; ENTRY_BYTES] {
    let kind = input.u8();
    let mut bytes = [0; ENTRY_BYTES];
    match kind % 8 {
        0 => {}
        1 => bytes = input.array(),
        _ => {
            bytes[..32].fill(kind);
            bytes[36] = input.u8();
            bytes[40..44].copy_from_slice(&input.array::<4>());
            bytes[48..52].copy_from_slice(&(input.u32() >> (kind / 8)).to_le_bytes());
            bytes[52] = if kind == 2 { input.u8() } else { 1 };
        }
    }
    bytes
}

fn check_page(root: &IndexRoot, number: u64, bytes: &[u8], packs: &[Descriptor], chunks: u64) {
    let mut other = bytes.to_vec();
    other[0] ^= 1;
    assert!(root.parse_page(number, other, packs).is_err(), "another digest");
    assert!(root.parse_page(number, bytes[1..].to_vec(), packs).is_err(), "another length");
    let Ok(page) = root.parse_page(number, bytes.to_vec(), packs) else { return };
    let first = page.first_chunk();
    let count = bytes.len() as u64 / ENTRY_BYTES as u64;
    assert!(first + count <= chunks);
    let entries = (first..first + count).map(|chunk| page.chunk(chunk).expect("its entry is here"));
    let entries: Vec<Chunk> = entries.collect();
    assert_eq!(page.chunk(first + count), None);
    assert_eq!(first.checked_sub(1).and_then(|before| page.chunk(before)), None);
    for entry in &entries {
        let Chunk::Stored(stored) = entry else { continue };
        let pack = &packs[stored.pack as usize];
        assert!(
            (1..=limits::stored_bytes(limits::CHUNK_BYTES_LEAST)).contains(&stored.stored_bytes)
        );
        assert!(stored.offset_bytes + u64::from(stored.stored_bytes) <= pack.size_bytes);
    }
    match encode_page(&entries) {
        Some(again) => assert_eq!(again, bytes),
        None => assert!(bytes.iter().all(|byte| *byte == 0)),
    }
}

/// Any root, pinned by its own digest.
fn index_root(mut input: Input<'_>) {
    let (page_chunks, chunks) = (u32::from(input.u8()) + 1, u64::from(input.u16()) + 2);
    let length = root_bytes_of(chunks, page_chunks) as usize;
    let none = vec![None; pages_of(chunks, page_chunks) as usize];
    let mut bytes = encode_root(limits::CHUNK_BYTES_LEAST, chunks, page_chunks, &none);
    assert_eq!(bytes.len(), length);
    while !input.is_empty() {
        let at = usize::from(input.u16()) % length;
        bytes[at] = input.u8();
    }
    let Some(valid) = fitting(chunks, page_chunks, &bytes) else { return };
    let Ok(root) = IndexRoot::parse(&bytes, &valid) else { return };
    let digests: Vec<Option<Sha256>> =
        (0..root.pages()).map(|page| root.page(page).map(|reference| reference.sha256)).collect();
    let again = encode_root(limits::CHUNK_BYTES_LEAST, chunks, page_chunks, &digests);
    assert_eq!(again, bytes);
    assert_eq!(root.page_of(chunks - 1) + 1, root.pages());
}
