//! `repave-agent write` from outside: a library in a folder, a device in a file or behind a loop
//! device, and the figures that it prints. Needs root for the loop device.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "write/bench.rs"]
mod bench;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use repave_protocol::SigningKey;
use serde_json::Value;

use bench::{Bench, SIZE_BYTES};

impl Bench {
    fn write(&self, device: &Path, more: &[&str]) -> Output {
        self.write_image("web:1", device, more)
    }

    fn write_image(&self, image: &str, device: &Path, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_repave-agent"))
            .args(["write", "--image", image, "--bare"])
            .args([Path::new("--source"), &self.path("library"), Path::new("--device"), device])
            .args(more)
            .output()
            .unwrap()
    }

    fn figures(&self, device: &Path, more: &[&str]) -> Value {
        let output = self.write(device, &[&["--json"], more].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn number(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or_else(|| panic!("{name} in {figures}"))
}

#[test]
fn a_device_becomes_the_image_and_a_second_run_fetches_no_chunk() {
    let bench = Bench::new();
    let device = bench.device();
    let first = bench.figures(&device, &[]);
    assert!(fs::read(&device).unwrap() == fs::read(bench.path("root.ext4")).unwrap());
    assert_eq!(number(&first, "written_bytes"), SIZE_BYTES, "noise holds no zeroes");
    // All of it, and up to a quarter once more in the end.
    let again = number(&first, "read_back_bytes") - SIZE_BYTES;
    assert!(again > 0 && again <= SIZE_BYTES / 4 && again.is_multiple_of(256 << 10), "{first}");
    assert!(number(&first, "fetched_bytes") > 3 << 20);
    assert!(first["wall_s"].as_f64().unwrap() > 0.0, "{first}");
    let second = bench.figures(&device, &[]);
    assert_eq!(number(&second, "written_bytes"), 0);
    assert_eq!(number(&second, "skipped_bytes"), SIZE_BYTES);
    assert!(number(&second, "fetched_bytes") < 64 << 10, "{second}: more than index and manifest");
    // One byte in the middle of the noise, and what the unsealing blanks for it.
    File::options().write(true).open(&device).unwrap().write_all_at(b"!", 9 << 20).unwrap();
    let third = bench.figures(&device, &["--no-read-back"]);
    assert!(fs::read(&device).unwrap() == fs::read(bench.path("root.ext4")).unwrap());
    assert_eq!(number(&third, "written_bytes"), 512 << 10);
    assert_eq!(number(&third, "read_back_bytes"), 0);
}

#[test]
fn with_a_table_the_image_is_a_partition_of_the_device() {
    let bench = Bench::new();
    let device = bench.path("disk");
    File::create(&device).unwrap().set_len(SIZE_BYTES + (4 << 20)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_repave-agent"))
        .args(["write", "--image", "web:1"])
        .args([Path::new("--source"), &bench.path("library"), Path::new("--device"), &device])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(words.contains("is web:1 now"), "{words} {output:?}");
    let disk = fs::read(&device).unwrap();
    assert_eq!(&disk[512..520], b"EFI PART");
    let image = fs::read(bench.path("root.ext4")).unwrap();
    assert!(disk[1 << 20..][..SIZE_BYTES as usize] == image, "it begins at one mebibyte");
}

fn check_refused(output: &Output, reason: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains(reason), "{errors:?}, not {reason:?}");
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let bench = Bench::new();
    let device = bench.path("small");
    fs::write(&device, vec![0x5a; 1 << 20]).unwrap();
    check_refused(&bench.write(&device, &[]), "1048576 are free");
    assert!(fs::read(&device).unwrap().iter().all(|byte| *byte == 0x5a));
    let missing = bench.path("nowhere");
    check_refused(&bench.write(&missing, &[]), "nowhere: open: ");
    check_refused(&bench.write(&missing, &[]), "No such file or directory");
    let device = bench.device();
    let key = SigningKey::from_seed(&[8; 32]).public().to_string();
    check_refused(&bench.write(&device, &["--image-key", &key]), "image signature refused");
    check_refused(&bench.write_image("web:2", &device, &[]), "it has web:1");
    check_refused(&bench.write(&device, &["--image", "web:2"]), "--image is given twice");
    assert!(fs::read(&device).unwrap().iter().all(|byte| *byte == 0x5a));
}

#[test]
fn a_device_that_is_mounted_is_refused() {
    let bench = Bench::new();
    let image = bench.path("mounted");
    fs::copy(bench.path("root.ext4"), &image).unwrap();
    let output = Command::new("losetup").args(["--find", "--show"]).arg(&image).output().unwrap();
    let node = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let mount = bench.path("mount");
    fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount").arg(&node).arg(&mount).status().unwrap();
    let output = bench.write(&node, &[]);
    Command::new("umount").arg(&mount).status().unwrap();
    Command::new("losetup").arg("--detach").arg(&node).status().unwrap();
    assert!(mounted.success(), "needs root");
    check_refused(&output, "it is mounted, or something else holds it");
}
