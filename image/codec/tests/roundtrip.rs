//! What goes in comes out: layout and bytes of a disk, through a library and back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use common::{BARE_BOOT, Bench, GROW, MIB, Part, USUAL_BOOT, gpt_disk, usual_parts};
use gpt::partition_types::{BASIC, EFI};
use repave_image::{ESP_TYPE, FileSystemKind, LINUX_ROOT_TYPE, Role};
use repave_image_codec::{Images, ImportError, Library, verify};
use repave_protocol::SigningKey;

#[test]
fn a_gpt_disk_keeps_its_layout_and_every_byte() {
    for block_bytes in [512, 4096] {
        let bench = Bench::new();
        let disk = bench.path("disk.raw");
        let parts = usual_parts(&bench);
        gpt_disk(&disk, block_bytes, &parts);
        let imported = bench.import(&disk, 1, USUAL_BOOT).unwrap();
        assert!(imported.summary.firmware_bootable);
        assert!(imported.summary.zero_chunks > 0);

        let stored = bench.library.read(&imported.reference).unwrap();
        let manifest = stored.manifest.manifest();
        assert_eq!(u64::from(manifest.logical_block_bytes), block_bytes);
        let gpt = gpt::GptConfig::new()
            .logical_block_size(match block_bytes {
                512 => gpt::disk::LogicalBlockSize::Lb512,
                _ => gpt::disk::LogicalBlockSize::Lb4096,
            })
            .open(&disk)
            .unwrap();
        for (kept, original) in manifest.partitions.iter().zip(gpt.partitions().values()) {
            assert_eq!(kept.name, original.name);
            assert_eq!(kept.guid.to_string(), original.part_guid.to_string());
            assert_eq!(kept.attributes, original.flags);
            assert_eq!(kept.grow, original.flags == GROW);
        }
        let types: Vec<_> = manifest.partitions.iter().map(|p| p.type_guid).collect();
        assert_eq!(types[..2], [ESP_TYPE, LINUX_ROOT_TYPE]);
        let roles: Vec<_> = manifest.partitions.iter().map(|p| p.role).collect();
        assert_eq!(roles, [Role::Esp, Role::Root, Role::Data]);
        let file_systems: Vec<_> = manifest
            .partitions
            .iter()
            .map(|p| p.file_system.as_ref().map(|f| (f.kind, f.uuid.as_str())))
            .collect();
        let uuid = "33333333-3333-4333-8333-333333333333";
        assert_eq!(file_systems[0], Some((FileSystemKind::Vfat, "1A2B-3C4D")));
        assert_eq!(file_systems[1], Some((FileSystemKind::Ext4, uuid)));
        assert_eq!(file_systems[2], None);

        let contents = bench.contents(&imported.reference);
        for (part, content) in parts.iter().zip(contents) {
            assert!(part.content == content, "{} differs", part.name);
        }
    }
}

#[test]
fn a_bare_file_system_is_an_image_for_kexec_with_a_guid_of_its_own() {
    let bench = Bench::new();
    let content = common::ext4(&bench, 16 * MIB);
    let source = bench.path("ext4.raw");
    let first = bench.import(&source, 1, BARE_BOOT).unwrap();
    let second = bench.import(&source, 2, BARE_BOOT).unwrap();
    assert!(!first.summary.firmware_bootable);
    assert_eq!(bench.contents(&first.reference), [content]);
    let guid = |image| {
        let stored = bench.library.read(image).unwrap();
        stored.manifest.manifest().partitions[0].guid
    };
    assert_eq!(guid(&first.reference), guid(&second.reference));
}

#[test]
fn a_second_version_stores_only_what_is_new() {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    let starts = gpt_disk(&disk, 512, &usual_parts(&bench));
    let first = bench.import(&disk, 1, USUAL_BOOT).unwrap();
    let file = File::options().write(true).open(&disk).unwrap();
    file.write_all_at(b"changed", starts[2] + 100).unwrap();
    let second = bench.import(&disk, 2, USUAL_BOOT).unwrap();

    assert_eq!(second.summary.new_chunks, 1);
    assert_eq!(second.summary.packs, 2);
    let stored = first.summary.new_chunks + first.summary.reused_chunks;
    assert_eq!(second.summary.reused_chunks, stored - 1);
    assert_ne!(bench.contents(&first.reference), bench.contents(&second.reference));
    for image in [&first.reference, &second.reference] {
        verify(&bench.library, image, &[], &mut |_| {}).unwrap();
    }
    let listed = bench.library.images().unwrap();
    assert_eq!(listed, [first.reference, second.reference]);
}

#[test]
fn the_same_import_twice_is_one_image_and_another_under_its_version_is_refused() {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    let starts = gpt_disk(&disk, 512, &usual_parts(&bench));
    let first = bench.import(&disk, 1, USUAL_BOOT).unwrap();
    let again = bench.import(&disk, 1, USUAL_BOOT).unwrap();
    assert_eq!(again.reference, first.reference);
    assert_eq!(again.summary.new_chunks, 0);
    assert_eq!(bench.library.images().unwrap().len(), 1);

    let file = File::options().write(true).open(&disk).unwrap();
    file.write_all_at(b"changed", starts[2]).unwrap();
    let refused = bench.import(&disk, 1, USUAL_BOOT).unwrap_err();
    assert!(matches!(refused, ImportError::VersionExists { version: 1, .. }));
    assert_eq!(bench.library.images().unwrap(), [first.reference]);
}

#[test]
fn two_libraries_get_the_same_image_from_the_same_disk() {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    gpt_disk(&disk, 512, &usual_parts(&bench));
    let mut other = Bench::new();
    let first = bench.import(&disk, 1, USUAL_BOOT).unwrap();
    assert_eq!(other.import(&disk, 1, USUAL_BOOT).unwrap(), first);
    // A library can be moved and served by somebody else.
    let moved = other.path("moved");
    fs::rename(other.library.root(), &moved).unwrap();
    other.library = Library::open(&moved).unwrap();
    let key = other.key.public();
    let found = verify(&other.library, &first.reference, &[key], &mut |_| {}).unwrap();
    assert_eq!(found.signed_by, Some(key));
    let stranger = SigningKey::from_seed(&[8; 32]).public();
    verify(&other.library, &first.reference, &[stranger], &mut |_| {}).unwrap_err();
}

#[test]
fn two_tebibytes_of_nothing_are_a_small_index() {
    const TIB: u64 = 1 << 40;
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    let mut parts = usual_parts(&bench);
    parts.truncate(2);
    let mut data = Part::new("web-data", BASIC, common::noise(MIB as usize, 3));
    data.size_bytes = 2 * TIB;
    parts.push(data);
    gpt_disk(&disk, 512, &parts);
    let imported = bench.import(&disk, 1, USUAL_BOOT).unwrap();
    assert!(imported.summary.image_bytes > 2 * TIB);
    assert!(imported.summary.new_chunks < 40);
    // The root, and the one page that the first partitions and the head of the data share.
    assert!(imported.summary.index_bytes < 300 * 1024);
    let stored = bench.library.read(&imported.reference).unwrap();
    let is_stored = |page: &u64| stored.index.page(*page).is_some();
    assert_eq!((0..stored.index.pages()).filter(is_stored).count(), 1);
    assert!(stored.index.pages() > 2000);
    verify(&bench.library, &imported.reference, &[], &mut |_| {}).unwrap();
}

#[test]
fn progress_ends_where_it_said_it_would() {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    let esp = common::fat(4 * MIB, &[("vmlinuz.efi", &common::program())]);
    gpt_disk(&disk, 512, &[Part::new("web-esp", EFI, esp)]);
    let boot = r#"{"server_type":"web","reports":"none",
        "boot":{"partition":"web-esp","efi_path":"\\vmlinuz.efi","options":""}}"#;
    let descriptor = bench.descriptor(boot).unwrap();
    let options = repave_image_codec::ImportOptions::new("web", 1);
    let mut seen = Vec::new();
    let mut note = |progress| seen.push(progress);
    repave_image_codec::import(&disk, &descriptor, &options, &bench.library, &bench.key, &mut note)
        .unwrap();
    assert!(seen.iter().all(|p| p.total_bytes == 4 * MIB && p.done_bytes <= p.total_bytes));
    assert!(seen.windows(2).all(|pair| pair[0].done_bytes < pair[1].done_bytes));
    assert_eq!(seen.last().unwrap().done_bytes, 4 * MIB);
}
