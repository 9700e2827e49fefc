//! The images that are written: 2 GiB of ext4 with real files in it, the same after an upgrade in
//! place, the same built again from the upgraded files, and a whole disk; each as every tool wants
//! it. Made once, in a cache outside the tree.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use repave_image::{Chunk, blob_path};
use repave_image_codec::Images;
use repave_image_codec::{BootDescriptor, ImportOptions, Library, import};
use repave_protocol::SigningKey;

use crate::device::PIECE_BYTES;

/// The library; another version of the image format wants another.
pub(crate) const LIBRARY: &str = "library-2";
const IMAGE_MIB: u64 = 2048;
const DISK_MIB: u64 = IMAGE_MIB + 2;
/// Most bytes of files.
const FILES_BYTES: u64 = 1350 << 20;
/// An upgrade replaces every so manieth file.
const UPGRADED: usize = 100;

/// What all images are started by.
pub(crate) const BOOT: &str = r#"{ "server_type": "bench", "reports": "none", "settings": null,
    "boot": { "partition": "root", "efi_path": null, "options": "",
    "kexec": { "partition": "root", "kernel": "/boot/vmlinuz", "initrd": null, "options": "" } } }"#;

/// Every step leaves a file that says that it was done; steps only add to what is there.
const STEPS: [(&str, &str); 7] = [
    (
        "old",
        "mkfs.ext4 -q -U 33333333-3333-4333-8333-333333333333 -E hash_seed=33333333-3333-4333-8333-333333333333 -d tree old.raw 2048M",
    ),
    (
        "new",
        "cp --sparse=always old.raw new.raw; mkdir -p mount; mount -o loop new.raw mount; \
             while read -r file; do sed s/e/E/g \"tree/$file\" > mount/upgraded; mv mount/upgraded \"mount/$file\"; done < upgraded; \
             umount mount",
    ),
    (
        "rebuilt",
        "cp -a tree new-tree; while read -r file; do sed s/e/E/g \"tree/$file\" > \"new-tree/$file\"; done < upgraded; \
                 mkfs.ext4 -q -U 44444444-4444-4444-8444-444444444444 -d new-tree rebuilt.raw 2048M; rm -r new-tree",
    ),
    (
        "disk",
        "truncate -s 2050M disk.raw; echo 'size=2048MiB, name=root, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709' | sfdisk -q --label gpt disk.raw; \
              dd if=old.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none",
    ),
    ("zst", "zstd -q -3 -T0 -f old.raw; bmaptool -q create old.raw -o old.raw.bmap"),
    ("gz", "gzip -1 -k -f disk.raw"),
    (
        "casync",
        "for name in new rebuilt; do casync make --store=store.castr $name.caibx $name.raw > /dev/null; done",
    ),
];

/// The images, and where they are.
pub(crate) struct Made {
    folder: PathBuf,
    library: Library,
    zero_pieces: OnceCell<Vec<bool>>,
}

impl Made {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        once(folder, "tree", || make_tree(folder))?;
        for (name, script) in STEPS {
            once(folder, name, || shell(folder, script))?;
        }
        let library = Library::open_or_create(&folder.join(LIBRARY))?;
        let made = Self { folder: folder.into(), library, zero_pieces: OnceCell::new() };
        once(folder, LIBRARY, || made.fill_library())?;
        Ok(made)
    }

    /// Reads once whatever a server has to serve.
    pub(crate) fn warm(&self) -> Result<()> {
        let script = "find . -type f ! -name '*.raw' ! -path './tree/*' ! -path './tools/*' -exec cat {} + > /dev/null";
        shell(&self.folder, script)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn raw(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.raw"))
    }

    pub(crate) fn device_bytes(&self) -> u64 {
        // A little more than the image: its end is not the device's.
        (DISK_MIB + 2) << 20
    }

    /// Which pieces of the first image are zero.
    pub(crate) fn zero_pieces(&self) -> Result<&[bool]> {
        if let Some(pieces) = self.zero_pieces.get() {
            return Ok(pieces);
        }
        let mut raw = File::open(self.raw("old"))?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut pieces = Vec::new();
        while raw.read_exact(&mut piece).is_ok() {
            pieces.push(piece.iter().all(|byte| *byte == 0));
        }
        Ok(self.zero_pieces.get_or_init(|| pieces))
    }

    /// The stored chunks of the first image.
    pub(crate) fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let image = self.library.read(&self.library.find("bench", 1)?)?;
        let open = |pack: &repave_image::Descriptor| {
            File::open(self.library.root().join(blob_path(&pack.sha256)))
        };
        let packs: Vec<File> = image.oci.packs.iter().map(open).collect::<Result<_, _>>()?;
        let mut frames = Vec::new();
        for page in 0..image.index.pages() {
            let Some(page) = self.library.index_page(&image, page)? else { continue };
            for chunk in (page.first_chunk()..).map_while(|chunk| page.chunk(chunk)) {
                let Chunk::Stored(chunk) = chunk else { continue };
                let mut frame = vec![0; chunk.stored_bytes as usize];
                packs[chunk.pack as usize].read_exact_at(&mut frame, chunk.offset_bytes)?;
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn fill_library(&self) -> Result<()> {
        fs::write(self.folder.join("boot.json"), BOOT)?;
        let boot = BootDescriptor::read(&self.folder.join("boot.json"))?;
        let key = SigningKey::from_seed(&[7; 32]);
        let images = [
            ("bench", 1, "old"),
            ("bench", 2, "new"),
            ("bench", 3, "rebuilt"),
            ("disk", 1, "disk"),
        ];
        for (name, version, raw) in images {
            let options = ImportOptions::new(name, version);
            import(&self.raw(raw), &boot, &options, &self.library, &key, &mut |_| {})?;
        }
        Ok(())
    }
}

/// Does something unless it was done before.
fn once(folder: &Path, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = folder.join(format!("{name}.done"));
    if done.exists() {
        return Ok(());
    }
    println!("making {name}");
    work().with_context(|| format!("making {name}"))?;
    Ok(fs::write(done, b"")?)
}

/// Runs a script in `folder`.
pub(crate) fn shell(folder: &Path, script: &str) -> Result<()> {
    let script = format!("set -euo pipefail; PATH=$PATH:/sbin:/usr/sbin; {script}");
    let status = Command::new("bash").args(["-c", &script]).current_dir(folder).status()?;
    ensure!(status.success(), "{script}: {status}");
    Ok(())
}

/// Files of this machine's `/usr`, in the order of their names, until there are enough.
fn make_tree(folder: &Path) -> Result<()> {
    let tree = folder.join("tree");
    let mut files = Vec::new();
    walk(Path::new("/usr"), &mut files)?;
    files.sort();
    let mut upgraded = File::create(folder.join("upgraded"))?;
    let mut total_bytes = 0;
    for (number, path) in files.iter().enumerate() {
        let size_bytes = fs::metadata(path)?.len();
        if total_bytes + size_bytes > FILES_BYTES {
            continue;
        }
        total_bytes += size_bytes;
        let name = path.strip_prefix("/")?;
        let copy = tree.join(name);
        fs::create_dir_all(copy.parent().context("a file is in a folder")?)?;
        fs::copy(path, copy)?;
        if number % UPGRADED == 0 {
            writeln!(upgraded, "{}", name.display())?;
        }
    }
    let mut program = vec![0x90; 4096];
    program[..2].copy_from_slice(b"MZ");
    program[0x3c] = 128;
    program[128..134].copy_from_slice(b"PE\0\0\x64\x86");
    fs::create_dir_all(tree.join("boot"))?;
    Ok(fs::write(tree.join("boot/vmlinuz"), program)?)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}
