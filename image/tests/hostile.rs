//! Manifests, indexes and artifacts that lie: each lie ends in its own named refusal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{guid, manifest, oci, packs, pages, root};
use repave_image::{
    ImageManifest, IndexRoot, LINUX_ROOT_TYPE, OciManifest, STATE_TYPE, ValidManifest, limits,
};
use repave_protocol::{Guid, Sha256};

/// Refused, with this name, once `lie` was told.
fn check(code: &str, lie: impl FnOnce(&mut ImageManifest)) {
    let mut manifest = manifest();
    lie(&mut manifest);
    let found = ValidManifest::parse(&manifest.to_bytes()).map_err(|refusal| refusal.code());
    assert_eq!(found.err(), Some(code));
}

/// Refused, with this name, once `from` became `to` in the JSON.
fn check_json(code: &str, from: &str, to: &str) {
    let json = String::from_utf8(manifest().to_bytes()).unwrap();
    assert!(json.contains(from), "{from} is not in the manifest");
    let found = ValidManifest::parse(json.replacen(from, to, 1).as_bytes());
    assert_eq!(found.map_err(|refusal| refusal.code()).err(), Some(code), "{to}");
}

#[test]
fn the_untouched_image_passes() {
    let manifest = ValidManifest::parse(&manifest().to_bytes()).unwrap();
    let index = IndexRoot::parse(&root(), &manifest).unwrap();
    for (number, page) in pages().into_iter().enumerate() {
        if let Some(page) = page {
            index.parse_page(number as u64, page, &packs()).unwrap();
        }
    }
    OciManifest::parse(&oci().to_bytes()).unwrap();
}

#[test]
fn json_that_is_none_of_ours() {
    check_json("malformed", "\"name\"", "\"nom\"");
    check_json("malformed", "{\"name\"", "{\"more\":1,\"name\"");
    check_json("malformed", "\"amd64\"", "\"riscv64\"");
    check_json("malformed", "\"linux\"", "\"windows\"");
    check_json("malformed", "\"version\":7", "\"version\":-7");
    check_json("duplicate-key", "{\"name\"", "{\"name\":\"db\",\"name\"");
    check_json("truncated", "\"page_chunks\":4}}", "");
    check_json("trailing-bytes", "\"page_chunks\":4}}", "\"page_chunks\":4}} {}");
    let nested = "[".repeat(17) + &"]".repeat(17);
    check_json("too-deep", "\"version\":7", &format!("\"version\":{nested}"));
    let blank = " ".repeat(limits::MANIFEST_BYTES);
    check_json("oversized", "{\"name\"", &format!("{{{blank}\"name\""));
}

#[test]
fn heads() {
    check("unknown-critical", |m| m.crit = vec!["verity".into()]);
    check("bad-text", |m| m.name = "Web".into());
    check("bad-text", |m| m.server_type = "a b".into());
    check("bad-number", |m| m.logical_block_bytes = 0);
    check("bad-number", |m| m.logical_block_bytes = 520);
    check("bad-number", |m| m.chunk_bytes = 0);
    check("bad-number", |m| m.chunk_bytes = 65537);
    check("bad-number", |m| m.chunk_bytes = limits::CHUNK_BYTES * 2);
    check("bad-number", |m| m.chunk_bytes = limits::CHUNK_BYTES_LEAST / 2);
    check("bad-number", |m| m.index.page_chunks = 0);
    check("bad-number", |m| m.index.page_chunks = limits::PAGE_CHUNKS + 1);
    check("bad-count", |m| m.partitions.clear());
    check("bad-count", |m| {
        m.partitions = vec![m.partitions[0].clone(); limits::PARTITIONS + 1];
    });
}

#[test]
fn identities() {
    check("bad-text", |m| m.partitions[1].name = "a\u{7}".into());
    check("duplicate", |m| m.partitions[1].name = "web-esp".into());
    check("duplicate", |m| m.partitions[1].guid = m.partitions[0].guid);
    check("duplicate", |m| {
        m.partitions[1].file_system = m.partitions[0].file_system.clone();
    });
    check("bad-text", |m| {
        m.partitions[1].file_system.as_mut().unwrap().uuid = "../..".into();
    });
    let nil = Guid::from_disk_bytes([0; 16]);
    check("nil-guid", |m| m.partitions[1].guid = nil);
    check("nil-guid", |m| m.partitions[1].type_guid = nil);
    check("default-image", |m| m.partitions[0].name = "repave-default".into());
    check("default-image", |m| m.partitions[0].name = "repave-state".into());
    check("default-image", |m| m.partitions[1].type_guid = STATE_TYPE);
}

#[test]
fn sizes() {
    check("bad-size", |m| m.partitions[1].size_bytes = 0);
    check("bad-size", |m| m.partitions[1].size_bytes += 1);
    check("bad-size", |m| {
        m.logical_block_bytes = 4096;
        m.partitions[1].size_bytes += 512;
    });
    check("too-large", |m| m.partitions[1].size_bytes = limits::IMAGE_BYTES);
    check("too-large", |m| m.partitions[1].size_bytes = u64::MAX - 511);
    check("bad-first-chunk", |m| m.partitions[0].first_chunk = 1);
    check("bad-first-chunk", |m| m.partitions[1].first_chunk = 3);
    check("bad-first-chunk", |m| m.partitions[0].size_bytes += 65536);
    check("bad-first-chunk", |m| m.partitions.swap(0, 1));
    check("bad-index", |m| m.partitions[1].size_bytes += 65536);
    check("bad-index", |m| m.index.chunks = 11);
    check("bad-index", |m| m.index.root_bytes += 32);
    check("bad-number", |m| {
        m.partitions[1].size_bytes = 32 << 40;
        m.index.page_chunks = 1;
        m.index.chunks = 4 + (32 << 40) / 65536;
        m.index.root_bytes = 32 + 32 * m.index.chunks;
    });
}

#[test]
fn boot_and_settings() {
    check("no-such-partition", |m| m.boot.partition = "esp".into());
    check("bad-text", |m| m.boot.options = "ro\ninit=/bin/sh".into());
    check("bad-text", |m| m.boot.efi_path = Some("\\..\\a".into()));
    check("not-fat", |m| m.boot.partition = "web-root".into());
    check("not-fat", |m| m.partitions[0].file_system = None);
    check("unbootable", |m| {
        m.boot.efi_path = None;
        m.boot.kexec = None;
    });
    fn kexec(m: &mut ImageManifest) -> &mut repave_image::Kexec {
        m.boot.kexec.as_mut().unwrap()
    }
    check("no-such-partition", |m| kexec(m).partition = "boot".into());
    check("bad-text", |m| kexec(m).kernel = "vmlinuz".into());
    check("bad-text", |m| kexec(m).initrd = Some("/../initrd".into()));
    check("bad-text", |m| kexec(m).options = "\0".into());
    fn settings(m: &mut ImageManifest) -> &mut repave_image::SettingsPolicy {
        m.settings.as_mut().unwrap()
    }
    check("no-such-partition", |m| settings(m).partition = "root".into());
    check("not-configurable", |m| settings(m).partition = "web-esp".into());
    check("bad-count", |m| settings(m).prefixes.clear());
    check("bad-text", |m| settings(m).prefixes = vec!["/etc".into()]);
    check("bad-text", |m| settings(m).prefixes = vec!["/etc/../".into()]);
}

#[test]
fn an_image_without_efi_path_is_for_kexec_only() {
    let mut manifest = manifest();
    manifest.boot.efi_path = None;
    assert!(!ValidManifest::new(manifest).unwrap().firmware_bootable());
}

/// Refused, with this name, once `lie` was told in the root; `pinned` says whether the manifest
/// goes along with it.
fn check_root(code: &str, pinned: bool, lie: impl FnOnce(&mut Vec<u8>)) {
    let mut manifest = manifest();
    let mut root = root();
    lie(&mut root);
    if pinned {
        manifest.index.root_sha256 = Sha256::of(&root);
    }
    let manifest = ValidManifest::new(manifest).unwrap();
    let found = IndexRoot::parse(&root, &manifest).map_err(|refusal| refusal.code());
    assert_eq!(found.err(), Some(code));
}

#[test]
fn index_roots() {
    check_root("index-length", true, |root| root.truncate(31));
    check_root("index-length", true, Vec::clear);
    check_root("index-length", true, |root| root.push(0));
    check_root("index-digest", false, |root| root[40] ^= 1);
    check_root("index-magic", true, |root| root[0] ^= 1);
    check_root("index-version", true, |root| root[8] ^= 1);
    for field in [12, 16, 24, 28] {
        check_root("index-field", true, |root| root[field] ^= 1);
        check_root("index-field", true, |root| root[field + 3] = 0xff);
    }
}

/// Refused, with this name, once `lie` was told in the first page; `pinned` as above.
fn check_page(code: &str, pinned: bool, lie: impl FnOnce(&mut Vec<u8>)) {
    let mut pages = pages();
    let page = pages[0].as_mut().unwrap();
    lie(page);
    let page = page.clone();
    let mut root = root();
    if pinned {
        root[32..64].copy_from_slice(Sha256::of(&page).as_bytes());
    }
    let mut manifest = manifest();
    manifest.index.root_sha256 = Sha256::of(&root);
    let root = IndexRoot::parse(&root, &ValidManifest::new(manifest).unwrap()).unwrap();
    let found = root.parse_page(0, page, &packs());
    assert_eq!(found.map_err(|refusal| refusal.code()).err(), Some(code));
}

#[test]
fn index_pages() {
    const ENTRY: usize = 56;
    check_page("index-length", true, |page| page.truncate(ENTRY));
    check_page("index-length", true, |page| page.resize(5 * ENTRY, 0));
    check_page("index-digest", false, |page| page[0] ^= 1);
    // Chunks in each other's place: the right bytes in the wrong partition.
    check_page("index-digest", false, |page| page.rotate_left(2 * ENTRY));
    check_page("no-such-pack", true, |page| page[36] = 2);
    check_page("outside-pack", true, |page| page[2 * ENTRY + 40] += 1);
    check_page("outside-pack", true, |page| page[40..48].fill(0xff));
    check_page("stored-bytes", true, |page| page[48..52].fill(0));
    check_page("stored-bytes", true, |page| page[50] = 2);
    check_page("unknown-encoding", true, |page| page[52] = 2);
    // An entry that has everything but an encoding is no zero chunk.
    check_page("unknown-encoding", true, |page| page[52] = 0);
    check_page("unknown-encoding", true, |page| page[ENTRY] = 1);
}

#[test]
fn pages_that_are_not_there() {
    let manifest = ValidManifest::new(manifest()).unwrap();
    let root = IndexRoot::parse(&root(), &manifest).unwrap();
    let zero_page = vec![0; 4 * 56];
    for page in [1, 3, u64::MAX] {
        let found = root.parse_page(page, zero_page.clone(), &packs());
        assert_eq!(found.unwrap_err().code(), "no-such-page", "{page}");
    }
}

/// Refused, with this name, once `from` became `to` in the OCI manifest.
fn check_oci(code: &str, from: &str, to: &str) {
    let json = String::from_utf8(oci().to_bytes()).unwrap();
    assert!(json.contains(from), "{from} is not in the OCI manifest");
    let found = OciManifest::parse(json.replacen(from, to, 1).as_bytes());
    assert_eq!(found.map_err(|refusal| refusal.code()).err(), Some(code), "{to}");
}

#[test]
fn artifacts() {
    check_oci("oci-schema", "\"schemaVersion\":2", "\"schemaVersion\":1");
    check_oci("oci-media-type", "image.config.v1+json", "image.config.v2+json");
    check_oci("oci-media-type", "vnd.oci.image.manifest", "vnd.oci.image.index");
    check_oci("oci-media-type", "vnd.repave.image.v1\"", "vnd.repave.wheel.v1\"");
    // A pack where the signature belongs.
    check_oci("oci-media-type", "image.signature.v1+json", "image.pack.v1");
    check_oci("oci-digest", "sha256:", "sha512:");
    check_oci("oci-digest", "sha256:", "sha256:../../etc/");
    check_oci("oci-size", "\"size\":", "\"size\":999");
    check_oci("malformed", "\"size\":", "\"size\":-");
    check_oci("malformed", "\"layers\"", "\"blobs\"");
    check_oci("duplicate-key", "\"layers\":", "\"layers\":[],\"layers\":");
    let json = String::from_utf8(oci().to_bytes()).unwrap();
    let layers = &json[json.find("\"layers\":").unwrap()..json.len() - 1];
    check_oci("oci-layers", layers, "\"layers\":[]");
    let mut many = oci();
    many.packs = vec![many.packs[0]; limits::PACKS + 1];
    let found = OciManifest::parse(&many.to_bytes()).unwrap_err();
    assert_eq!(found.code(), "oci-packs");
}

#[test]
fn the_longest_manifest_allowed_passes() {
    let mut most = oci();
    most.packs = vec![most.packs[0]; limits::PACKS];
    assert_eq!(OciManifest::parse(&most.to_bytes()), Ok(most));
}

#[test]
fn a_guid_is_its_text() {
    let text = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
    assert_eq!(LINUX_ROOT_TYPE, guid(text));
    assert_eq!(repave_image::ESP_TYPE, guid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"));
}
