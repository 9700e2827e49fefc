//! The device that everybody writes to: a file behind a loop device with direct I/O, so that neither
//! has a page cache in between.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use repave_sys::AlignedBuffer;
use rustix::fs::{Advice, OFlags, fadvise};

/// One request.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;
/// Requests under way at a time.
pub(crate) const DEPTH: usize = 4;

/// Does something with one piece of the open device, given an aligned buffer and the piece's number.
type Each<'a> = dyn Fn(&File, &mut [u8], u64) -> std::io::Result<()> + Sync + 'a;

/// A loop device; gone when dropped.
pub(crate) struct Device {
    node: PathBuf,
    file: PathBuf,
    size_bytes: u64,
}

impl Device {
    pub(crate) fn new(folder: &Path, size_bytes: u64) -> Result<Self> {
        let file = folder.join("device");
        File::create(&file)?.set_len(size_bytes)?;
        // coreos-installer asks for the partitions to be read again.
        let arguments = ["--find", "--show", "--direct-io=on", "--partscan"];
        let output = Command::new("losetup").args(arguments).arg(&file).output()?;
        ensure!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        let node = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        Ok(Self { node, file, size_bytes })
    }

    pub(crate) fn node(&self) -> &Path {
        &self.node
    }

    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// No block of it is zero afterwards.
    pub(crate) fn fill_with_noise(&self) -> Result<()> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut noise = AlignedBuffer::new(PIECE_BYTES, 4096);
        for word in noise.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let pieces: Vec<u64> = (0..self.size_bytes / PIECE_BYTES as u64).collect();
        let write = |file: &File, _: &mut [u8], piece: u64| {
            file.write_all_at(&noise, piece * PIECE_BYTES as u64)
        };
        self.at_depth(&pieces, &write)?;
        Ok(self.open()?.sync_all()?)
    }

    /// A raw image from its start, and noise behind it.
    pub(crate) fn fill_with(&self, raw: &Path) -> Result<()> {
        let source = File::open(raw)?;
        let pieces: Vec<u64> = (0..source.metadata()?.len() / PIECE_BYTES as u64).collect();
        let copy = |file: &File, buffer: &mut [u8], piece: u64| {
            source.read_exact_at(buffer, piece * PIECE_BYTES as u64)?;
            file.write_all_at(buffer, piece * PIECE_BYTES as u64)
        };
        self.at_depth(&pieces, &copy)?;
        Ok(self.open()?.sync_all()?)
    }

    /// Does something with every piece, several at a time. Each thread has an aligned buffer.
    pub(crate) fn at_depth(&self, pieces: &[u64], each: &Each<'_>) -> Result<()> {
        thread::scope(|scope| {
            let work = |number: usize| {
                let file = self.open()?;
                let mut buffer = AlignedBuffer::new(PIECE_BYTES, 4096);
                for piece in pieces.iter().skip(number).step_by(DEPTH) {
                    each(&file, &mut buffer, *piece)?;
                }
                anyhow::Ok(())
            };
            let threads: Vec<_> =
                (0..DEPTH).map(|number| scope.spawn(move || work(number))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
        })
    }

    /// Nothing of it is in memory any more. What the server serves stays there: it stands for another
    /// machine, whose disk is not the one that is measured.
    pub(crate) fn drop_caches(&self) -> Result<()> {
        rustix::fs::sync();
        for path in [&self.node, &self.file] {
            fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }

    fn open(&self) -> Result<File> {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(OFlags::DIRECT.bits() as i32);
        options.open(&self.node).with_context(|| format!("cannot open {}", self.node.display()))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.node).status();
        let _ = fs::remove_file(&self.file);
    }
}
