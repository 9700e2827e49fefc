//! The images that are measured, and their chunks. Those of `make bench` if they were made: an
//! image, the same upgraded in place, the same built again. Otherwise the targets of the demo.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use repave_image::ChunkDigest;

/// What `make bench` makes, in the order in which the images replace each other.
const MADE: [&str; 3] = ["old.raw", "new.raw", "rebuilt.raw"];
/// Targets of the demo; of each there may be several builds.
const TARGETS: [&str; 2] = ["web-", "db-"];

/// A raw image.
pub(crate) struct Raw {
    name: String,
    file: File,
    size_bytes: u64,
}

impl Raw {
    /// The images at `paths`, or what the cache has.
    pub(crate) fn open_all(paths: Vec<PathBuf>) -> Result<Vec<Self>> {
        let paths = if paths.is_empty() { cached()? } else { paths };
        ensure!(!paths.is_empty(), "no image to measure: give raw images, or run `make targets`");
        paths.iter().map(|path| Self::open(path)).collect()
    }

    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let size_bytes = file.metadata()?.len();
        let names = path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy());
        let mut names: Vec<_> = names.collect();
        names.reverse();
        Ok(Self { name: names.join("/"), file, size_bytes })
    }

    /// Its file's name, and its folder's.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(crate) fn read(&self, offset_bytes: u64, len_bytes: u32) -> Result<Vec<u8>> {
        let len = self.size_bytes.saturating_sub(offset_bytes).min(len_bytes.into());
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, offset_bytes)?;
        Ok(bytes)
    }

    /// Calls `each` with the number and the bytes of every chunk.
    pub(crate) fn each_chunk(
        &self,
        chunk_bytes: u32,
        mut each: impl FnMut(u64, Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        for chunk in 0..self.size_bytes.div_ceil(chunk_bytes.into()) {
            each(chunk, self.read(chunk * u64::from(chunk_bytes), chunk_bytes)?)?;
        }
        Ok(())
    }

    /// Digest of every chunk; `None` for one of zeroes.
    pub(crate) fn digests(&self, chunk_bytes: u32) -> Result<Vec<Option<ChunkDigest>>> {
        let mut digests = Vec::new();
        self.each_chunk(chunk_bytes, |_, bytes| {
            digests.push((!is_zero(&bytes)).then(|| ChunkDigest::of(&bytes)));
            Ok(())
        })?;
        Ok(digests)
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn cached() -> Result<Vec<PathBuf>> {
    let cache = match env::var_os("REPAVE_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => {
            PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache/repave")
        }
    };
    let made: Vec<PathBuf> =
        MADE.iter().map(|name| cache.join("bench").join(name)).filter(|p| p.exists()).collect();
    if made.len() == MADE.len() {
        return Ok(made);
    }
    let mut folders: Vec<PathBuf> = fs::read_dir(cache.join("targets"))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    folders.sort();
    let images = TARGETS.iter().flat_map(|prefix| {
        let is_one = move |folder: &&PathBuf| {
            folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        };
        folders.iter().filter(is_one).map(|folder| folder.join("disk.raw"))
    });
    Ok(images.filter(|image| image.exists()).collect())
}
