//! What is thrown away and what stays; signing again; images whose packs are too many.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use common::{BARE_BOOT, Bench, MIB, USUAL_BOOT, gpt_disk, noise, usual_parts};
use repave_image::{Layout, blob_path};
use repave_image_codec::{
    Images, ImportError, ImportOptions, Library, LibraryError, import, verify,
};
use repave_protocol::{ImageReference, Sha256, SigningKey};

/// A library with versions 1 and 2 of an image, and its disk.
fn two_versions() -> (Bench, ImageReference, ImageReference) {
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    let starts = gpt_disk(&disk, 512, &usual_parts(&bench));
    let first = bench.import(&disk, 1, USUAL_BOOT).unwrap().reference;
    let file = File::options().write(true).open(&disk).unwrap();
    file.write_all_at(b"changed", starts[2] + 100).unwrap();
    let second = bench.import(&disk, 2, USUAL_BOOT).unwrap().reference;
    (bench, first, second)
}

fn add_blob(library: &Library, bytes: &[u8]) -> Sha256 {
    let sha256 = Sha256::of(bytes);
    fs::write(library.root().join(blob_path(&sha256)), bytes).unwrap();
    sha256
}

#[test]
fn what_only_an_unlisted_image_needs_goes() {
    let (bench, first, second) = two_versions();
    let library = &bench.library;
    assert_eq!(library.collect(false).unwrap().removed_blobs, 0);
    library.remove("web", 2).unwrap();
    assert!(matches!(library.remove("web", 2), Err(LibraryError::NoSuchImage { .. })));
    let counted = library.collect(true).unwrap();
    // Its manifest, config, index, signature and the one pack with what was new.
    assert_eq!((counted.removed_blobs, counted.kept_blobs), (5, 5));
    assert_eq!(library.collect(false).unwrap(), counted);
    assert_eq!(library.collect(false).unwrap().removed_blobs, 0);
    verify(library, &first, &[], &mut |_| {}).unwrap();
    assert!(!library.root().join(blob_path(&second.manifest)).exists());
}

#[test]
fn a_pack_stays_while_any_image_needs_it() {
    let (bench, first, second) = two_versions();
    bench.library.remove("web", 1).unwrap();
    let collected = bench.library.collect(false).unwrap();
    assert_eq!((collected.removed_blobs, collected.kept_blobs), (4, 6));
    verify(&bench.library, &second, &[], &mut |_| {}).unwrap();
    assert!(bench.library.read(&first).is_err());
}

#[test]
fn what_other_tools_have_listed_stays() {
    let (bench, ..) = two_versions();
    let library = &bench.library;
    let layer = add_blob(library, b"a layer");
    let config = add_blob(library, b"{}");
    let subject = add_blob(library, b"{\"a\":1}");
    let manifest = add_blob(
        library,
        format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"sha256:{config}"}},
                "layers":[{{"digest":"sha256:{layer}"}}],"subject":{{"digest":"sha256:{subject}"}}}}"#
        )
        .as_bytes(),
    );
    let index = add_blob(
        library,
        format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{manifest}"}}]}}"#)
            .as_bytes(),
    );
    let stranger = add_blob(library, b"nobody needs this");
    let list = library.root().join("index.json");
    let text = fs::read_to_string(&list).unwrap();
    let entry = format!(r#"{{"mediaType":"x/y","digest":"sha256:{index}","size":1}},"#);
    let text = text.replace(r#""manifests":["#, &format!(r#""manifests":[{entry}"#));
    Layout::parse(text.as_bytes()).unwrap();
    fs::write(&list, text).unwrap();
    fs::write(library.root().join("blobs/sha256/README"), b"not a blob").unwrap();

    assert_eq!(library.collect(false).unwrap().removed_blobs, 1);
    let exists = |sha256: &Sha256| library.root().join(blob_path(sha256)).exists();
    assert!([layer, config, subject, manifest, index].iter().all(exists));
    assert!(!exists(&stranger));
    assert!(library.root().join("blobs/sha256/README").exists());
}

/// What somebody else put into the list, numbers to their last digit, is there after it was written anew.
#[test]
fn a_list_keeps_the_numbers_of_others() {
    let text = r#"{"schemaVersion":2,"manifests":[{"mediaType":"x/y","digest":"sha256:0","size":1,"weight":-1.3333333333333337e+67}]}"#;
    let layout = Layout::parse(text.as_bytes()).unwrap();
    let written = String::from_utf8(layout.to_bytes()).unwrap();
    assert!(written.contains("-1.3333333333333337e+67"), "{written}");
}

#[test]
fn nothing_goes_while_something_listed_cannot_be_read() {
    let (bench, first, second) = two_versions();
    let library = &bench.library;
    let rubbish = add_blob(library, b"nobody needs this");
    let blob = library.root().join(blob_path(&first.manifest));
    let bytes = fs::read(&blob).unwrap();
    fs::write(&blob, &bytes[1..]).unwrap();
    assert!(matches!(library.collect(false), Err(LibraryError::BlobDigest { .. })));
    fs::remove_file(&blob).unwrap();
    assert!(matches!(library.collect(false), Err(LibraryError::Io { .. })));
    let no_manifest = add_blob(library, b"no JSON");
    let text = fs::read_to_string(library.root().join("index.json")).unwrap();
    let text = text.replace(&first.manifest.to_string(), &no_manifest.to_string());
    fs::write(library.root().join("index.json"), text).unwrap();
    assert!(matches!(library.collect(false), Err(LibraryError::NotAManifest { .. })));
    assert!(library.root().join(blob_path(&rubbish)).exists());
    verify(library, &second, &[], &mut |_| {}).unwrap();
}

#[test]
fn nothing_is_thrown_away_while_somebody_keeps_it() {
    let (bench, ..) = two_versions();
    bench.library.remove("web", 1).unwrap();
    let kept = bench.library.keep().unwrap();
    assert!(matches!(bench.library.collect(false), Err(LibraryError::Busy { .. })));
    drop(kept);
    assert_eq!(bench.library.collect(false).unwrap().removed_blobs, 4);
}

#[test]
fn keys_overlap_until_one_signs_alone() {
    let (bench, first, second) = two_versions();
    let library = &bench.library;
    let new = SigningKey::from_seed(&[8; 32]);
    let keys = [bench.key.public(), new.public()];
    let signed = library.sign(&first, &new, false).unwrap();
    assert_ne!(signed, first);
    for key in keys {
        assert_eq!(verify(library, &signed, &[key], &mut |_| {}).unwrap().signed_by, Some(key));
    }
    assert_eq!(library.sign(&signed, &new, false).unwrap(), signed);
    let alone = library.sign(&signed, &new, true).unwrap();
    verify(library, &alone, &[keys[0]], &mut |_| {}).unwrap_err();
    verify(library, &alone, &[keys[1]], &mut |_| {}).unwrap();
    assert_eq!(library.images().unwrap(), [second, alone]);
    for seed in 10..10 + repave_protocol::limits::SIGNATURES as u8 - 1 {
        let image = library.find("web", 1).unwrap();
        library.sign(&image, &SigningKey::from_seed(&[seed; 32]), false).unwrap();
    }
    let image = library.find("web", 1).unwrap();
    let error = library.sign(&image, &SigningKey::from_seed(&[99; 32]), false).unwrap_err();
    assert!(matches!(error, LibraryError::TooManySignatures { .. }));
}

#[test]
fn packs_that_are_too_many_are_repacked_and_old_versions_stay_whole() {
    let bench = Bench::new();
    let content = common::ext4(&bench, 16 * MIB);
    let source = bench.path("ext4.raw");
    let descriptor = bench.descriptor(BARE_BOOT).unwrap();
    let mut packs = Vec::new();
    let imported = |version: u64| {
        let file = File::options().write(true).open(&source).unwrap();
        file.write_all_at(&noise(1000, version), 12 * MIB + version * 256 * 1024).unwrap();
        let options = ImportOptions { spare_packs: 4, ..ImportOptions::new("web", version) };
        import(&source, &descriptor, &options, &bench.library, &bench.key, &mut |_| {}).unwrap()
    };
    for version in 1..=12 {
        let imported = imported(version);
        assert_eq!(imported.summary.new_chunks > 1, version == 1);
        packs.push(imported.summary.packs);
    }
    // What is stored fills one pack; four more are allowed, then two are left.
    assert_eq!(packs, [1, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4]);
    for image in bench.library.images().unwrap() {
        verify(&bench.library, &image, &[bench.key.public()], &mut |_| {}).unwrap();
        let found = bench.contents(&image);
        assert_eq!(found[0][..12 * MIB as usize], content[..12 * MIB as usize]);
    }
    // The same image again, whose chunks are elsewhere by now, is still the same image.
    let again = imported(12);
    assert_eq!(again.reference, bench.library.find("web", 12).unwrap());
    bench.library.remove("web", 1).unwrap();
    bench.library.collect(false).unwrap();
    for image in bench.library.images().unwrap() {
        verify(&bench.library, &image, &[], &mut |_| {}).unwrap();
    }
}

#[test]
fn a_damaged_pack_is_not_repacked_and_a_lost_one_not_built_upon() {
    let (bench, first, _) = two_versions();
    let disk = bench.path("disk.raw");
    let packs = bench.library.read(&first).unwrap().oci.packs;
    let pack = bench.library.root().join(blob_path(&packs[0].sha256));
    let bytes = fs::read(&pack).unwrap();
    let descriptor = bench.descriptor(USUAL_BOOT).unwrap();
    let options = ImportOptions { spare_packs: 0, ..ImportOptions::new("web", 3) };
    let import = || import(&disk, &descriptor, &options, &bench.library, &bench.key, &mut |_| {});
    let mut damaged = bytes.clone();
    for byte in damaged.iter_mut().step_by(1000) {
        *byte ^= 1;
    }
    fs::write(&pack, damaged).unwrap();
    let error = import().unwrap_err();
    assert!(matches!(error, ImportError::Library(LibraryError::BadChunk { .. })), "{error:?}");
    fs::remove_file(&pack).unwrap();
    let imported = import().unwrap();
    assert!(imported.summary.new_chunks > 10);
    verify(&bench.library, &imported.reference, &[], &mut |_| {}).unwrap();
}
