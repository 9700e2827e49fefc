//! Sources that would make no good image and libraries that are damaged: each ends in an error
//! that names the thing, and leaves the library's list as it was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::{BARE_BOOT, Bench, MIB, Part, USUAL_BOOT, fat, gpt_disk, program, usual_parts};
use gpt::partition_types::EFI;
use repave_image::{Chunk, FileSystemKind, ManifestRefusal, blob_path};
use repave_image_codec::{Images, ImportError, Library, LibraryError, verify};

/// Imports the usual disk after `spoil` has been at it; it must be refused and not listed.
fn check(spoil: impl FnOnce(&File, &[u64]), boot: &str, expected: impl Fn(&ImportError) -> bool) {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    let starts = gpt_disk(&disk, 512, &usual_parts(&bench));
    let file = File::options().read(true).write(true).open(&disk).unwrap();
    spoil(&file, &starts);
    let error = bench.import(&disk, 1, boot).unwrap_err();
    assert!(expected(&error), "{error:?}");
    assert_eq!(bench.library.images().unwrap(), []);
}

fn flip(file: &File, offset_bytes: u64, bits: u8) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset_bytes).unwrap();
    file.write_all_at(&[byte[0] ^ bits], offset_bytes).unwrap();
}

fn nothing(_: &File, _: &[u64]) {}

#[test]
fn truncated_disks() {
    for cut in [1, 512, 4096, 2 * MIB, 20 * MIB] {
        check(
            |file, _| file.set_len(file.metadata().unwrap().len() - cut).unwrap(),
            USUAL_BOOT,
            |error| matches!(error, ImportError::Truncated { .. }),
        );
    }
    for left in [0, 1, 600] {
        check(
            |file, _| file.set_len(left).unwrap(),
            USUAL_BOOT,
            |error| matches!(error, ImportError::UnknownSource | ImportError::Truncated { .. }),
        );
    }
}

#[test]
fn a_truncated_file_system() {
    let bench = Bench::new();
    common::ext4(&bench, 16 * MIB);
    let source = bench.path("ext4.raw");
    let file = File::options().write(true).open(&source).unwrap();
    file.set_len(15 * MIB).unwrap();
    let error = bench.import(&source, 1, BARE_BOOT).unwrap_err();
    assert!(matches!(
        error,
        ImportError::FileSystemLarger {
            file_system_bytes,
            partition_bytes,
            ..
        } if (file_system_bytes, partition_bytes) == (16 * MIB, 15 * MIB)
    ));
}

#[test]
fn partition_tables_that_lie() {
    let bad_gpt = |error: &ImportError| matches!(error, ImportError::BadGpt { .. });
    // The disk GUID: then the header's CRC does not fit.
    check(|file, _| flip(file, 512 + 56, 1), USUAL_BOOT, bad_gpt);
    // An entry: then the array's does not.
    check(|file, _| flip(file, 1024 + 32, 1), USUAL_BOOT, bad_gpt);
    // Entries of another size, and four thousand million of them.
    check(|file, _| flip(file, 512 + 84, 1), USUAL_BOOT, bad_gpt);
    check(|file, _| file.write_all_at(&[0xff; 4], 512 + 80).unwrap(), USUAL_BOOT, bad_gpt);
    // A disk that ends nowhere.
    check(
        |file, _| file.write_all_at(&[0xff; 8], 512 + 32).unwrap(),
        USUAL_BOOT,
        |error| matches!(error, ImportError::Truncated { .. }),
    );
}

#[test]
fn journals_that_need_recovery() {
    check(
        |file, starts| flip(file, starts[1] + 1024 + 0x60, 0x4),
        USUAL_BOOT,
        |error| match error {
            ImportError::NeedsRecovery { partition, kind } => {
                partition == "web-root" && *kind == FileSystemKind::Ext4
            }
            _ => false,
        },
    );
}

#[test]
fn what_is_to_be_started_must_be_there() {
    let missing = |error: &ImportError, wanted: &str| match error {
        ImportError::MissingFile { what, .. } => *what == wanted,
        _ => false,
    };
    let boot = |from: &str, to: &str| {
        assert!(USUAL_BOOT.contains(from));
        USUAL_BOOT.replace(from, to)
    };
    check(nothing, &boot("\\\\vmlinuz.efi", "\\\\linux.efi"), |e| missing(e, "EFI program"));
    check(nothing, &boot("/boot/vmlinuz", "/boot/linux"), |e| missing(e, "kernel"));
    check(nothing, &boot("\"initrd\": null", "\"initrd\": \"/boot/initrd\""), |e| {
        missing(e, "initrd")
    });
    check(nothing, &boot("\\\\vmlinuz.efi", "\\\\initrd.img"), |error| {
        matches!(error, ImportError::NotAnEfiProgram { .. })
    });
    let elsewhere = boot(
        "\"partition\": \"web-root\",\n            \"kernel\"",
        "\"partition\": \"web-data\",\n            \"kernel\"",
    );
    check(
        nothing,
        &elsewhere,
        |error| matches!(error, ImportError::CannotLook { partition, .. } if partition == "web-data"),
    );
    let nowhere = boot("\"partition\": \"web-esp\"", "\"partition\": \"esp\"");
    check(nothing, &nowhere, |error| {
        matches!(error, ImportError::Manifest(ManifestRefusal::NoSuchPartition { .. }))
    });
}

#[test]
fn a_default_image_is_no_target() {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    let esp = fat(4 * MIB, &[("vmlinuz.efi", &program())]);
    gpt_disk(&disk, 512, &[Part::new("repave-default", EFI, esp)]);
    let error = bench.import(&disk, 1, USUAL_BOOT).unwrap_err();
    assert!(matches!(error, ImportError::Manifest(ManifestRefusal::DefaultImage { .. })));
}

#[test]
fn boot_descriptors_that_are_none() {
    for (from, to) in [
        ("\"server_type\"", "\"type\""),
        ("\"resident\"", "\"maybe\""),
        ("\"linux\"", "\"windows\""),
        ("{\n    \"server_type\"", "{ \"server_type\": \"a\", \"server_type\""),
    ] {
        assert!(USUAL_BOOT.contains(from));
        check(nothing, &USUAL_BOOT.replace(from, to), |error| {
            matches!(error, ImportError::Descriptor { .. })
        });
    }
}

#[test]
fn a_library_that_is_being_written_is_busy() {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    gpt_disk(&disk, 512, &usual_parts(&bench));
    let folder = File::open(bench.library.root()).unwrap();
    folder.lock().unwrap();
    let error = bench.import(&disk, 1, USUAL_BOOT).unwrap_err();
    assert!(matches!(error, ImportError::Library(LibraryError::Busy { .. })));
    drop(folder);
    bench.import(&disk, 1, USUAL_BOOT).unwrap();
}

#[test]
fn a_folder_with_something_else_is_no_library() {
    let bench = Bench::new();
    let folder = bench.path("papers");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("letter"), "Dear …").unwrap();
    let error = Library::open_or_create(&folder).unwrap_err();
    assert!(matches!(error, LibraryError::NotALayout { .. }));
    assert!(matches!(Library::open(&bench.path("nowhere")), Err(LibraryError::NotALayout { .. })));
}

/// A library with the usual image, and the path of one of its blobs.
fn damaged(
    blob: impl FnOnce(&repave_image_codec::StoredImage) -> repave_protocol::Sha256,
    damage: impl FnOnce(&PathBuf),
) -> LibraryError {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    gpt_disk(&disk, 512, &usual_parts(&bench));
    let image = bench.import(&disk, 1, USUAL_BOOT).unwrap().reference;
    let stored = bench.library.read(&image).unwrap();
    let path = bench.library.root().join(blob_path(&blob(&stored)));
    damage(&path);
    let keys = [bench.key.public()];
    verify(&bench.library, &image, &keys, &mut |_| {}).unwrap_err()
}

fn flip_at(offset_bytes: u64) -> impl FnOnce(&PathBuf) {
    move |path| {
        let file = File::options().read(true).write(true).open(path).unwrap();
        flip(&file, offset_bytes, 1);
    }
}

#[test]
fn a_damaged_pack_names_chunk_partition_and_offset() {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    gpt_disk(&disk, 512, &usual_parts(&bench));
    let image = bench.import(&disk, 1, USUAL_BOOT).unwrap().reference;
    let stored = bench.library.read(&image).unwrap();
    // The second chunk of the data partition.
    let wanted = stored.manifest.chunk_at(2, 256 * 1024).unwrap();
    let page = bench.library.index_page(&stored, 0).unwrap().unwrap();
    let Some(Chunk::Stored(found)) = page.chunk(wanted) else {
        panic!("noise is stored");
    };
    let pack = stored.oci.packs[found.pack as usize].sha256;
    let path = bench.library.root().join(blob_path(&pack));
    flip_at(found.offset_bytes + u64::from(found.stored_bytes) / 2)(&path);
    match verify(&bench.library, &image, &[], &mut |_| {}).unwrap_err() {
        LibraryError::BadChunk { chunk, partition, offset_bytes, pack: named, .. } => {
            assert_eq!(chunk, wanted);
            assert_eq!(partition, "web-data");
            assert_eq!(offset_bytes, 256 * 1024);
            assert_eq!(named, pack);
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn damaged_blobs() {
    let error = damaged(|image| image.reference.manifest, flip_at(10));
    assert!(matches!(error, LibraryError::BlobDigest { .. }), "{error:?}");
    let error = damaged(|image| image.oci.config.sha256, flip_at(10));
    assert!(matches!(error, LibraryError::BlobDigest { .. }), "{error:?}");
    let error = damaged(|image| image.oci.signature.sha256, flip_at(10));
    assert!(matches!(error, LibraryError::BlobDigest { .. }), "{error:?}");
    for at in [0, 40, 100] {
        let error = damaged(|image| image.oci.index.sha256, flip_at(at));
        assert!(matches!(error, LibraryError::Index { .. }), "{error:?}");
    }
    let shorten = |path: &PathBuf| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    };
    let error = damaged(|image| image.oci.packs[0].sha256, shorten);
    assert!(matches!(error, LibraryError::BlobSize { .. }), "{error:?}");
    let error = damaged(|image| image.oci.packs[0].sha256, |path| fs::remove_file(path).unwrap());
    assert!(matches!(error, LibraryError::Io { .. }), "{error:?}");
}
