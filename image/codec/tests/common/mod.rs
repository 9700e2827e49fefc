//! Disks for the tests, made by the tools that make real ones: a GPT by the GPT library, FAT by
//! the FAT library, ext4 by mkfs.ext4.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "not every test uses every disk")]

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gpt::disk::LogicalBlockSize;
use gpt::partition_types::{BASIC, EFI, LINUX_ROOT_X64, Type};
use repave_image::{Chunk, blob_path};
use repave_image_codec::{
    BootDescriptor, Images, ImportError, ImportOptions, Imported, Library, decode_chunk, import,
};
use repave_protocol::{ImageReference, SigningKey};
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1024 * 1024;
pub(crate) const GROW: u64 = 1 << 59;

/// A folder with a library and a key, and where disks are made.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) library: Library,
    pub(crate) key: SigningKey,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let library = Library::open_or_create(&folder.path().join("library")).unwrap();
        Self { library, folder, key: SigningKey::from_seed(&[7; 32]) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn import(
        &self,
        source: &Path,
        version: u64,
        boot: &str,
    ) -> Result<Imported, ImportError> {
        let options = ImportOptions::new("web", version);
        let descriptor = self.descriptor(boot)?;
        let library = &self.library;
        import(source, &descriptor, &options, library, &self.key, &mut |_| {})
    }

    pub(crate) fn descriptor(&self, boot: &str) -> Result<BootDescriptor, ImportError> {
        let path = self.path("boot.json");
        fs::write(&path, boot).unwrap();
        BootDescriptor::read(&path)
    }

    /// Everything that an image's partitions hold, by its library alone.
    pub(crate) fn contents(&self, image: &ImageReference) -> Vec<Vec<u8>> {
        let stored = self.library.read(image).unwrap();
        let partitions = &stored.manifest.manifest().partitions;
        let mut contents: Vec<Vec<u8>> =
            partitions.iter().map(|p| vec![0; p.size_bytes as usize]).collect();
        for page in 0..stored.index.pages() {
            let Some(page) = self.library.index_page(&stored, page).unwrap() else {
                continue;
            };
            let chunks = (page.first_chunk()..).map_while(|n| Some((n, page.chunk(n)?)));
            for (number, chunk) in chunks {
                let Chunk::Stored(chunk) = chunk else {
                    continue;
                };
                let pack = stored.oci.packs[chunk.pack as usize];
                let pack = File::open(self.library.root().join(blob_path(&pack.sha256))).unwrap();
                let mut frame = vec![0; chunk.stored_bytes as usize];
                pack.read_exact_at(&mut frame, chunk.offset_bytes).unwrap();
                let place = stored.manifest.place(number).unwrap();
                let range = place.offset_bytes as usize..;
                let plain = &mut contents[place.partition][range][..place.len_bytes as usize];
                decode_chunk(&frame, plain).unwrap();
            }
        }
        contents
    }
}

pub(crate) struct Part<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Type,
    pub(crate) attributes: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) size_bytes: u64,
}

impl<'a> Part<'a> {
    pub(crate) fn new(name: &'a str, kind: Type, content: Vec<u8>) -> Self {
        Self { name, kind, attributes: 0, size_bytes: content.len() as u64, content }
    }
}

/// Writes a sparse GPT disk with these partitions, each at a whole mebibyte; returns where.
pub(crate) fn gpt_disk(path: &Path, block_bytes: u64, parts: &[Part<'_>]) -> Vec<u64> {
    let sizes = parts.iter().map(|p| p.size_bytes.next_multiple_of(MIB));
    let file = File::create_new(path).unwrap();
    file.set_len(sizes.sum::<u64>() + 2 * MIB).unwrap();
    let block = match block_bytes {
        512 => LogicalBlockSize::Lb512,
        _ => LogicalBlockSize::Lb4096,
    };
    let mut device = File::options().read(true).write(true).open(path).unwrap();
    let blocks = file.metadata().unwrap().len() / block_bytes - 1;
    gpt::mbr::ProtectiveMBR::with_lb_size(u32::try_from(blocks).unwrap_or(u32::MAX))
        .overwrite_lba0(&mut device)
        .unwrap();
    let mut gpt = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(block)
        .create_from_device(device, None)
        .unwrap();
    let mut starts = Vec::new();
    let mut start = MIB;
    for (number, part) in (1..).zip(parts) {
        gpt.add_partition_at(
            part.name,
            number,
            start / block_bytes,
            part.size_bytes / block_bytes,
            part.kind.clone(),
            part.attributes,
        )
        .unwrap();
        file.write_all_at(&part.content, start).unwrap();
        starts.push(start);
        start += part.size_bytes.next_multiple_of(MIB);
    }
    gpt.write().unwrap();
    starts
}

/// A FAT file system with these files in its root.
pub(crate) fn fat(size_bytes: u64, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; size_bytes as usize]);
    let options = fatfs::FormatVolumeOptions::new().volume_id(0x1A2B_3C4D);
    fatfs::format_volume(&mut disk, options).unwrap();
    let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
    for (name, content) in files {
        let mut file = volume.root_dir().create_file(name).unwrap();
        file.write_all(content).unwrap();
    }
    volume.unmount().unwrap();
    disk.into_inner()
}

/// An ext4 with `/boot/vmlinuz` and noise, made from a folder.
pub(crate) fn ext4(bench: &Bench, size_bytes: u64) -> Vec<u8> {
    let tree = bench.path("tree");
    fs::create_dir_all(tree.join("boot")).unwrap();
    fs::write(tree.join("boot/vmlinuz"), program()).unwrap();
    fs::write(tree.join("noise"), noise(3 * MIB as usize, 1)).unwrap();
    let image = bench.path("ext4.raw");
    let _ = fs::remove_file(&image);
    let made = Command::new("/sbin/mkfs.ext4")
        .args(["-q", "-U", "33333333-3333-4333-8333-333333333333", "-d"])
        .args([&tree, &image])
        .arg(format!("{}k", size_bytes / 1024))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    fs::read(&image).unwrap()
}

/// The least that passes for an EFI program.
pub(crate) fn program() -> Vec<u8> {
    let mut program = vec![0x90; 4096];
    program[..2].copy_from_slice(b"MZ");
    program[0x3c..0x40].copy_from_slice(&128_u32.to_le_bytes());
    program[128..134].copy_from_slice(b"PE\0\0\x64\x86");
    program
}

/// Bytes that neither repeat nor compress: xorshift (Marsaglia, 2003).
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

/// The usual disk: an ESP that is started by the firmware, an ext4 root, and noise whose last chunk
/// is short.
pub(crate) fn usual_parts(bench: &Bench) -> Vec<Part<'static>> {
    let esp = fat(4 * MIB, &[("vmlinuz.efi", &program()), ("initrd.img", b"initrd")]);
    let mut root = Part::new("web-root", LINUX_ROOT_X64, ext4(bench, 16 * MIB));
    root.attributes = GROW;
    let data = noise(MIB as usize + 8192, 2);
    vec![Part::new("web-esp", EFI, esp), root, Part::new("web-data", BASIC, data)]
}

pub(crate) const USUAL_BOOT: &str = r#"{
    "server_type": "web",
    "reports": "resident",
    "boot": {
        "partition": "web-esp",
        "efi_path": "\\vmlinuz.efi",
        "options": "initrd=\\initrd.img",
        "kexec": {
            "partition": "web-root",
            "kernel": "/boot/vmlinuz",
            "initrd": null,
            "options": "ro"
        }
    },
    "settings": { "engine": "linux", "partition": "web-root", "prefixes": ["/etc/"] }
}"#;

pub(crate) const BARE_BOOT: &str = r#"{
    "server_type": "web",
    "reports": "none",
    "boot": {
        "partition": "root",
        "efi_path": null,
        "options": "",
        "kexec": { "partition": "root", "kernel": "/boot/vmlinuz", "initrd": null, "options": "" }
    },
    "settings": null
}"#;
