//! Writers that are killed: each operation runs in a process of its own that kills itself (SIGKILL)
//! before its n-th change to the library, for every n. Whatever is listed then is whole, and what
//! was left is cleared away.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{BARE_BOOT, Bench, MIB, noise};
use repave_image_codec::{
    BootDescriptor, Images, ImportOptions, Library, LibraryError, Steps, import, verify,
};
use repave_protocol::SigningKey;
use rustix::process::{Signal, getpid, kill_process};

/// Tells a copy of this program what to do: operation, folder, and the step that it does not survive.
const ORDER: &str = "REPAVE_TEST_CUT";
const SIGKILL: i32 = 9;

/// Does nothing in the tests themselves; it is what the copies run.
#[test]
fn the_one_that_is_killed() {
    let Ok(order) = std::env::var(ORDER) else {
        return;
    };
    let mut order = order.splitn(3, ' ');
    let (operation, last, folder) =
        (order.next().unwrap(), order.next().unwrap(), order.next().unwrap());
    let last: usize = last.parse().unwrap();
    let steps = AtomicUsize::new(0);
    let steps = Steps::new(move |_| {
        if steps.fetch_add(1, Ordering::SeqCst) == last {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
    operate(operation, Path::new(folder), steps).unwrap();
}

fn operate(operation: &str, folder: &Path, steps: Steps) -> Result<(), LibraryError> {
    let library = Library::open_or_create_watched(&folder.join("library"), steps)?;
    match operation {
        "import" => import_version(folder, &library, 3),
        "remove" => library.remove("web", 1)?,
        "sign" => {
            library.sign(&library.find("web", 2)?, &SigningKey::from_seed(&[8; 32]), false)?;
        }
        _ => {
            library.collect(false)?;
        }
    }
    Ok(())
}

/// Versions differ in one chunk, and each leaves a pack; a third pack is one too many.
fn import_version(folder: &Path, library: &Library, version: u64) {
    let source = folder.join("root.raw");
    let file = File::options().write(true).open(&source).unwrap();
    let at = 12 * MIB + version * 256 * 1024;
    file.write_all_at(&noise(1000, version), at).unwrap();
    let descriptor = BootDescriptor::read(&folder.join("boot.json")).unwrap();
    let options = ImportOptions { spare_packs: 1, ..ImportOptions::new("web", version) };
    let key = SigningKey::from_seed(&[7; 32]);
    import(&source, &descriptor, &options, library, &key, &mut |_| {}).unwrap();
}

/// A library with two versions of an image, one of which is no longer listed if `removed`.
fn prepared(removed: bool) -> Bench {
    let bench = Bench::new();
    common::ext4(&bench, 16 * MIB);
    fs::rename(bench.path("ext4.raw"), bench.path("root.raw")).unwrap();
    bench.descriptor(BARE_BOOT).unwrap();
    import_version(bench.folder.path(), &bench.library, 1);
    import_version(bench.folder.path(), &bench.library, 2);
    if removed {
        bench.library.remove("web", 1).unwrap();
        // What an import that was killed leaves.
        fs::write(bench.library.root().join("incoming/.tmpXYZ"), noise(1000, 9)).unwrap();
    }
    bench
}

/// Cuts `operation` at every step; the images listed must be `before` or `after`, and whole.
fn check(operation: &str, removed: bool, before: &[u64], after: &[u64]) {
    let original = prepared(removed);
    let mut last = 0;
    loop {
        let copy = tempfile::tempdir().unwrap();
        let from = original.folder.path().join(".");
        assert!(
            Command::new("cp").arg("-a").arg(from).arg(copy.path()).status().unwrap().success()
        );
        let order = format!("{operation} {last} {}", copy.path().display());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_one_that_is_killed"])
            .env(ORDER, order)
            .output()
            .unwrap();
        let library = Library::open(&copy.path().join("library")).unwrap();
        let listed = whole(&library);
        let place = format!("{operation} cut at step {last}");
        if output.status.success() {
            assert_eq!(listed, after, "{place}");
            assert!(last > 2, "{operation} has only {last} steps");
            return;
        }
        assert_eq!(output.status.signal(), Some(SIGKILL), "{place}: {output:?}");
        assert!(listed == before || listed == after, "{place}: {listed:?}");
        library.collect(false).unwrap();
        assert_eq!(whole(&library), listed, "{place}, collected");
        assert_eq!(library.collect(true).unwrap().removed_blobs, 0, "{place}");
        if listed != after {
            operate(operation, copy.path(), Steps::default()).unwrap();
            assert_eq!(whole(&library), after, "{place}, done again");
        }
        last += 1;
    }
}

/// The versions listed, every byte of each of which was read back.
fn whole(library: &Library) -> Vec<u64> {
    let images = library.images().unwrap();
    for image in &images {
        verify(library, image, &[SigningKey::from_seed(&[7; 32]).public()], &mut |_| {}).unwrap();
    }
    images.iter().map(|image| image.version).collect()
}

#[test]
fn an_import_that_repacks() {
    check("import", false, &[1, 2], &[1, 2, 3]);
}

#[test]
fn removing() {
    check("remove", false, &[1, 2], &[2]);
}

#[test]
fn signing() {
    check("sign", false, &[1, 2], &[1, 2]);
}

#[test]
fn collecting() {
    check("collect", true, &[2], &[2]);
}

#[test]
fn a_library_that_is_being_made() {
    for last in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_one_that_is_killed"])
            .env(ORDER, format!("collect {last} {}", folder.path().display()))
            .output()
            .unwrap();
        let library = Library::open_or_create(&folder.path().join("library")).unwrap();
        assert_eq!(library.images().unwrap(), [], "cut at step {last}");
        if output.status.success() {
            assert!(last > 4);
            return;
        }
        assert_eq!(output.status.signal(), Some(SIGKILL), "{output:?}");
    }
}
