//! The same disk in every format that is taken, made by the tools that people make them with, each
//! under a name that says something else; and files that are made to do harm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{Bench, MIB, Part, USUAL_BOOT, fat, gpt_disk, program, usual_parts};
use gpt::partition_types::{EFI, LINUX_ROOT_X64};
use repave_image_codec::{Images, ImportError, ImportOptions, find_boot, open_source};

/// Runs a shell command in the bench's folder.
fn shell(bench: &Bench, command: &str) {
    let ran = Command::new("sh").args(["-ec", command]).current_dir(bench.folder.path()).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// The usual disk, which is made once and copied.
fn disk(bench: &Bench) -> PathBuf {
    static ORIGINAL: OnceLock<Bench> = OnceLock::new();
    let original = ORIGINAL.get_or_init(|| {
        let bench = Bench::new();
        gpt_disk(&bench.path("disk.raw"), 512, &usual_parts(&bench));
        bench
    });
    let disk = bench.path("disk.raw");
    let mut copy = Command::new("cp");
    copy.arg("--sparse=always").arg(original.path("disk.raw")).arg(&disk);
    assert!(copy.status().unwrap().success());
    disk
}

#[test]
fn every_format_gives_the_same_image() {
    let bench = Bench::new();
    let raw = bench.import(&disk(&bench), 1, USUAL_BOOT).unwrap();
    let contents = bench.contents(&raw.reference);
    let stored = bench.library.read(&raw.reference).unwrap();
    let qcow2 = "qemu-img convert -f raw -O qcow2";
    let commands = [
        "gzip -1c disk.raw > source.xz".to_owned(),
        // As pigz or cat leave them: two members, one after the other.
        "(head -c 9000000 disk.raw | gzip -1; tail -c +9000001 disk.raw | gzip -1) > source.xz"
            .to_owned(),
        "xz -0c disk.raw > source.xz".to_owned(),
        "(head -c 9000000 disk.raw | xz -0; tail -c +9000001 disk.raw | xz -0) > source.xz"
            .to_owned(),
        "zstd -qc disk.raw > source.xz".to_owned(),
        "(head -c 9000000 disk.raw | zstd -q; tail -c +9000001 disk.raw | zstd -q) > source.xz"
            .to_owned(),
        "bzip2 -1c disk.raw > source.xz".to_owned(),
        "(head -c 9000000 disk.raw | bzip2 -1; tail -c +9000001 disk.raw | bzip2 -1) > source.xz"
            .to_owned(),
        format!("{qcow2} disk.raw source.xz"),
        format!("{qcow2} -o compat=0.10 disk.raw source.xz"),
        format!("{qcow2} -c disk.raw source.xz"),
        format!("{qcow2} -c -o compression_type=zstd,extended_l2=on disk.raw source.xz"),
        format!("{qcow2} -c disk.raw in && gzip -1c in > source.xz"),
    ];
    for (version, command) in (2..).zip(commands) {
        shell(&bench, &format!("rm -f source.xz in; {command}"));
        let imported = bench.import(&bench.path("source.xz"), version, USUAL_BOOT).unwrap();
        assert_eq!(imported.summary.new_chunks, 0, "{command}");
        assert_eq!(imported.summary.zero_chunks, raw.summary.zero_chunks, "{command}");
        assert!(bench.contents(&imported.reference) == contents, "{command}");
        let found = bench.library.read(&imported.reference).unwrap();
        let partitions = |stored: &repave_image_codec::StoredImage| {
            stored.manifest.manifest().partitions.clone()
        };
        assert_eq!(partitions(&found), partitions(&stored), "{command}");
    }
    let entries = fs::read_dir(bench.library.root()).unwrap();
    assert_eq!(entries.count(), 4, "nothing unpacked is left in the library");
}

/// Makes `source` by a command; it must be refused, and nothing of it stored.
fn check(command: &str, expected: impl Fn(&ImportError) -> bool) {
    let bench = Bench::new();
    disk(&bench);
    fs::write(bench.path("secret"), "what only this machine may know".repeat(50_000)).unwrap();
    shell(&bench, command);
    let error = bench.import(&bench.path("source"), 1, USUAL_BOOT).unwrap_err();
    assert!(expected(&error), "{command}: {error:?}");
    assert_eq!(bench.library.images().unwrap(), []);
    let blobs = fs::read_dir(bench.library.root().join("blobs/sha256")).unwrap();
    assert_eq!(blobs.count(), 0, "{command}");
}

fn qcow2(word: &str) -> impl Fn(&ImportError) -> bool + '_ {
    move |error| matches!(error, ImportError::Qcow2 { reason } if reason.contains(word))
}

#[test]
fn a_qcow2_that_names_other_files_is_not_opened() {
    let create = "qemu-img create -q -f qcow2";
    check(&format!("{create} -b secret -F raw source 1M"), qcow2("backing file"));
    check(&format!("{create} -u -b /etc/passwd -F raw source 1M"), qcow2("backing file"));
    check(&format!("{create} -u -b nbd://127.0.0.1:1/x -F raw source 1M"), qcow2("backing file"));
    let json = r#"json:{"driver":"raw","file":{"driver":"file","filename":"secret"}}"#;
    check(&format!("{create} -u -b '{json}' -F raw source 1M"), qcow2("backing file"));
    check(&format!("{create} -o data_file=other source 1M"), qcow2("another file"));
    check(
        &format!("{create} -o data_file=other,data_file_raw=on source 1M; ln -sf secret other"),
        qcow2("another file"),
    );
    check(&format!("{create} -b secret -F raw in 1M; gzip in; mv in.gz source"), qcow2("backing"));
    // The method of encryption is a word of the header: 2 is LUKS.
    check(
        &format!(r"{create} source 1M; printf '\0\0\0\2' | dd of=source bs=1 seek=32 conv=notrunc"),
        qcow2("encrypted"),
    );
}

#[test]
fn a_name_is_only_a_name() {
    let bench = Bench::new();
    disk(&bench);
    let name = format!(
        r#"json:{{"driver":"raw","file":{{"driver":"file","filename":"{}"}}}}"#,
        bench.path("disk.raw").display()
    );
    let error = bench.import(Path::new(&name), 1, USUAL_BOOT).unwrap_err();
    assert!(matches!(error, ImportError::Io { what: "open", .. }), "{error:?}");
    let error = bench.import(Path::new("nbd://127.0.0.1:1/x"), 1, USUAL_BOOT).unwrap_err();
    assert!(matches!(error, ImportError::Io { what: "open", .. }), "{error:?}");
}

#[test]
fn damaged_sources() {
    let unpack = |error: &ImportError| matches!(error, ImportError::Unpack { .. });
    for tool in ["gzip", "xz -0", "zstd -q", "bzip2"] {
        let pack = format!("{tool} -c disk.raw > source");
        check(&format!("{pack}; truncate -s -9 source"), unpack);
        check(&format!("{pack}; truncate -s 3000 source"), unpack);
        check(&format!("{pack}; printf 'some more' >> source"), unpack);
        check(&format!("{tool} -c disk.raw | {tool} -c > source"), |error| {
            matches!(error, ImportError::PackedTwice)
        });
    }
    let convert = "qemu-img convert -f raw -O qcow2 disk.raw source";
    check(&format!("{convert}; truncate -s 200000 source"), |error| {
        matches!(error, ImportError::Qcow2 { .. } | ImportError::UnknownSource)
    });
    // The first table of clusters lies nowhere.
    let spoil =
        "printf '\\377\\377\\377\\377' | dd of=source bs=1 seek=40 conv=notrunc status=none";
    check(&format!("{convert}; {spoil}"), qcow2("qemu-img ended with"));
}

#[test]
fn what_unfolds_without_end_is_cut_off() {
    let bench = Bench::new();
    let zeroes = File::create(bench.path("zeroes")).unwrap();
    zeroes.set_len(64 * MIB).unwrap();
    let bombs = [
        "gzip -c zeroes > source",
        "xz -0c zeroes > source",
        "zstd -qc zeroes > source",
        "bzip2 -c zeroes > source",
        "rm source; qemu-img create -q -f qcow2 source 64M",
    ];
    for bomb in bombs {
        shell(&bench, bomb);
        let open = |limit_bytes| {
            let folder = bench.library.root();
            open_source(&bench.path("source"), folder, limit_bytes, &mut |_| {})
        };
        let error = open(64 * MIB - 1).err().unwrap();
        assert!(
            matches!(error, ImportError::TooLarge { limit_bytes } if limit_bytes == 64 * MIB - 1)
        );
        assert_eq!(open(64 * MIB).unwrap().size_bytes(), 64 * MIB, "{bomb}");
        assert_eq!(open(64 * MIB).unwrap().next_data(0).unwrap(), None, "{bomb}: zeroes take room");
    }
    // A stream that wants more memory than any that `xz -9` makes.
    shell(&bench, "xz -c --lzma2=dict=1GiB zeroes > source");
    let opened = open_source(&bench.path("source"), bench.library.root(), 1 << 40, &mut |_| {});
    assert!(matches!(opened.err().unwrap(), ImportError::Unpack { .. }));
}

#[test]
fn what_can_be_started_is_found() {
    let bench = Bench::new();
    let found = |source: &Path| {
        let source = open_source(source, bench.library.root(), 1 << 30, &mut |_| {}).unwrap();
        find_boot(&source, "web", &ImportOptions::new("web", 1))
    };
    let esp = |name: &str| {
        let mut disk = fat(4 * MIB, &[("vmlinuz.efi", &program())]);
        let volume =
            fatfs::FileSystem::new(std::io::Cursor::new(&mut disk), fatfs::FsOptions::new())
                .unwrap();
        let folder = volume.root_dir().create_dir("EFI").unwrap().create_dir("BOOT").unwrap();
        folder.create_file(name).unwrap().write_all(&program()).unwrap();
        drop(folder);
        volume.unmount().unwrap();
        disk
    };
    let root = || Part::new("the-root", LINUX_ROOT_X64, common::ext4(&bench, 16 * MIB));
    let both = bench.path("both");
    gpt_disk(&both, 512, &[Part::new("the-esp", EFI, esp("BOOTX64.EFI")), root()]);
    let boot = found(&both).unwrap().boot;
    assert_eq!(boot.partition, "the-esp");
    assert_eq!(boot.efi_path.as_deref(), Some("\\EFI\\BOOT\\BOOTX64.EFI"));
    let kexec = boot.kexec.unwrap();
    assert_eq!((kexec.partition.as_str(), kexec.kernel.as_str()), ("the-root", "/boot/vmlinuz"));
    assert!(kexec.options.starts_with("root=PARTUUID=") && kexec.initrd.is_none());

    let kexec_only = bench.path("kexec-only");
    gpt_disk(&kexec_only, 512, &[Part::new("the-esp", EFI, esp("OTHER.EFI")), root()]);
    let boot = found(&kexec_only).unwrap().boot;
    assert_eq!((boot.partition.as_str(), boot.efi_path), ("the-root", None));

    let neither = bench.path("neither");
    gpt_disk(&neither, 512, &[Part::new("the-esp", EFI, esp("OTHER.EFI"))]);
    assert!(matches!(found(&neither), Err(ImportError::NothingToBoot)));

    // A bare file system gets the GUID that its kernel command line names.
    let bare = bench.path("ext4.raw");
    let boot = found(&bare).unwrap();
    let options = ImportOptions::new("web", 1);
    let (library, key) = (&bench.library, &bench.key);
    let imported =
        repave_image_codec::import(&bare, &boot, &options, library, key, &mut |_| {}).unwrap();
    let stored = library.read(&imported.reference).unwrap();
    let guid = stored.manifest.manifest().partitions[0].guid;
    assert_eq!(boot.boot.kexec.unwrap().options, format!("root=PARTUUID={guid} ro"));
}

#[test]
fn a_partition_without_a_name_is_told_how_to_get_one() {
    let bench = Bench::new();
    let disk = disk(&bench);
    shell(&bench, "/usr/sbin/sgdisk --change-name=3: disk.raw > /dev/null");
    let error = bench.import(&disk, 1, USUAL_BOOT).unwrap_err().to_string();
    assert!(error.contains("sgdisk --change-name=3:NAME"), "{error}");
}
