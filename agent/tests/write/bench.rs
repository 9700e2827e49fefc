//! A library with one small image, and a device for it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use repave_image_codec::{BootDescriptor, ImportOptions, Library, import};
use repave_protocol::SigningKey;

pub(crate) const SIZE_BYTES: u64 = 16 << 20;
const BOOT: &str = r#"{ "server_type": "web", "reports": "none", "settings": null,
    "boot": { "partition": "root", "efi_path": null, "options": "",
    "kexec": { "partition": "root", "kernel": "/boot/vmlinuz", "initrd": null, "options": "" } } }"#;

pub(crate) struct Bench {
    folder: tempfile::TempDir,
    key: SigningKey,
}

impl Bench {
    /// A library with `web:1`, one ext4 with three mebibytes of noise in it.
    pub(crate) fn new() -> Self {
        let noise = (0_u32..3 << 18).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes());
        Self::with(&noise.collect::<Vec<u8>>(), &ImportOptions::new("web", 1))
    }

    /// The same with a file of other bytes in it.
    pub(crate) fn with(bytes: &[u8], options: &ImportOptions) -> Self {
        let bench =
            Self { folder: tempfile::tempdir().unwrap(), key: SigningKey::from_seed(&[7; 32]) };
        let boot = bench.path("tree/boot");
        fs::create_dir_all(&boot).unwrap();
        let mut program = vec![0x90; 4096];
        program[..2].copy_from_slice(b"MZ");
        program[0x3c] = 128;
        program[128..134].copy_from_slice(b"PE\0\0\x64\x86");
        fs::write(boot.join("vmlinuz"), program).unwrap();
        fs::write(bench.path("tree/noise"), bytes).unwrap();
        let image = bench.path("root.ext4");
        let made = Command::new("/sbin/mkfs.ext4")
            .args(["-q", "-d"])
            .args([&bench.path("tree"), &image])
            .arg(format!("{}k", SIZE_BYTES >> 10))
            .status();
        assert!(made.unwrap().success());
        fs::write(bench.path("boot.json"), BOOT).unwrap();
        let boot = BootDescriptor::read(&bench.path("boot.json")).unwrap();
        let library = Library::open_or_create(&bench.path("library")).unwrap();
        import(&image, &boot, options, &library, &bench.key, &mut |_| {}).unwrap();
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A device of the image's size, full of noise.
    pub(crate) fn device(&self) -> PathBuf {
        let path = self.path("device");
        fs::write(&path, vec![0x5a; SIZE_BYTES as usize]).unwrap();
        path
    }
}
