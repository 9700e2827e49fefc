//! Images and their library by command line, as an operator goes about it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::tempdir;

use crate::check;

const BOOT: &str = r#"{"server_type": "web", "reports": "resident",
    "boot": {"partition": "root", "kexec": {"partition": "root", "kernel": "/vmlinuz"}}}"#;

/// A bare ext4 in `name`, and what says how it is booted.
pub(super) fn source(folder: &Path, name: &str, content: &str) {
    let tree = folder.join("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("vmlinuz"), content).unwrap();
    fs::write(folder.join("boot.json"), BOOT).unwrap();
    let mkfs = Command::new("/usr/sbin/mkfs.ext4")
        .args(["-q", "-d", "tree", name, "4M"])
        .current_dir(folder)
        .status();
    assert!(mkfs.unwrap().success());
}

#[test]
fn what_is_not_said_is_found_out() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    check(folder, &["key", "generate", "--out", "image.key"], 0, "");
    source(folder, "one.raw", "no kernel");
    assert!(Command::new("gzip").arg(folder.join("one.raw")).status().unwrap().success());
    let import = |more: &[&str], code: i32, printed: &str| {
        let arguments = ["image", "import", "one.raw.gz", "--name", "web", "--version", "1"];
        let library = ["--key", "image.key", "--library", "library"];
        check(folder, &[&arguments[..], &library, more].concat(), code, printed)
    };
    import(&[], 2, "--boot");
    import(&["--type", "web", "--unpacked-limit", "0"], 3, "give --unpacked-limit");
    import(&["--type", "web"], 0, "web:1 kexec-only");
    let inspect = ["image", "inspect", "web:1", "--library", "library", "--json"];
    let json: Value = serde_json::from_str(&check(folder, &inspect, 0, "")).unwrap();
    assert_eq!(json["boot"]["kexec"]["kernel"], "/vmlinuz");
    assert_eq!((&json["server_type"], &json["reports"]), (&"web".into(), &"none".into()));
}

#[test]
fn images_come_are_signed_and_go() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let check =
        |arguments: &[&str], code: i32, printed: &str| check(folder, arguments, code, printed);
    let old = check(&["key", "generate", "--out", "image.key"], 0, "").trim().to_owned();
    let new = check(&["key", "generate", "--out", "new.key"], 0, "").trim().to_owned();
    source(folder, "one.raw", "no kernel");
    source(folder, "two.raw", "another one");
    let import = |source, version, code, printed| {
        let arguments = ["image", "import", source, "--name", "web", "--version", version];
        let more = ["--boot", "boot.json", "--key", "image.key", "--library", "library"];
        check(&[&arguments[..], &more].concat(), code, printed)
    };
    import("one.raw", "1", 0, "kexec-only, 4.0 MiB in 16 chunks: ");
    import("two.raw", "2", 0, "MiB saved");
    import("two.raw", "1", 3, "give it a higher version");

    let image = |command: &str, more: &[&str], code: i32, printed: &str| {
        let arguments = ["image", command, "--library", "library"];
        check(&[&arguments[..], more].concat(), code, printed)
    };
    image("inspect", &["web:1"], 0, &format!("signature by {old} (not checked"));
    image("sign", &["web:1", "--key", "new.key"], 0, "web:1 sha256:");
    image("verify", &["web:1", "--public-key", &old], 0, &format!("signed by {old}"));
    image("sign", &["web:1", "--key", "new.key", "--alone"], 0, "web:1 sha256:");
    image("verify", &["web:1", "--public-key", &old], 3, "signature of image web:1 is refused");
    image("verify", &["web:1", "--public-key", &new], 0, &format!("signed by {new}"));

    image("remove", &["web:2"], 0, "");
    image("remove", &["web:2"], 3, "library library has no image web:2");
    let would = image("gc", &["--dry-run", "--json"], 0, "removed_blobs");
    let did = image("gc", &["--json"], 0, "removed_blobs");
    assert_eq!(would, did);
    let did: Value = serde_json::from_str(&did).unwrap();
    assert!(did["removed_blobs"].as_u64().unwrap() > 5, "{did}");
    image("gc", &[], 0, "0 blobs (0.0 MiB) thrown away, ");
    image("verify", &["web:1"], 0, "web:1 is whole");
}
