//! Sources that are packed: by their first bytes, never by their name. They are unpacked by the
//! usual libraries into a file of no name beside the library, in which zeroes take no room, and
//! not beyond a limit: a megabyte of some formats can stand for a terabyte.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::ImportError;
use crate::import::Progress;

/// Most memory that the xz decoder may ask for: the format's own `-9` takes 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 * 1024 * 1024;
/// Largest window of a zstd frame, as a power of two: 128 MiB, what `zstd -d` takes by itself.
const ZSTD_WINDOW_LOG: u32 = 27;
const READ_BYTES: usize = 1024 * 1024;
/// Zeroes of this length are left out of the unpacked file.
const HOLE_BYTES: usize = 64 * 1024;

/// How a source is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Zstd,
    Bzip2,
}

impl Packing {
    /// By the first bytes: RFC 1952, the .xz file format 1.1, RFC 8878, and bzip2's own manual.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => {
                Some(Self::Bzip2)
            }
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        }
    }

    /// A decoder of all streams of a file, one after the other; anything else behind them is an
    /// error.
    fn decoder<'a>(self, packed: impl io::BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
            Self::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, flags)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// Unpacks `packed` into a file in `folder` that goes away when it is closed.
pub(crate) fn unpack(
    packed: &File,
    packing: Packing,
    folder: &Path,
    limit_bytes: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<File, ImportError> {
    let failed = |source| ImportError::Unpack { packing: packing.name(), source };
    let spool = spool(folder)?;
    let mut start = packed.try_clone().map_err(failed)?;
    let total_bytes = start.seek(SeekFrom::End(0)).map_err(failed)?;
    start.seek(SeekFrom::Start(0)).map_err(failed)?;
    let done = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: start, done: Arc::clone(&done) };
    let mut decoder =
        packing.decoder(BufReader::with_capacity(READ_BYTES, counted)).map_err(failed)?;
    let mut part = vec![0; READ_BYTES];
    let mut size_bytes = 0;
    loop {
        let len = fill(&mut decoder, &mut part).map_err(failed)?;
        if len == 0 {
            break;
        }
        if size_bytes + len as u64 > limit_bytes {
            return Err(ImportError::TooLarge { limit_bytes });
        }
        write_data(&spool, &part[..len], size_bytes)
            .map_err(|source| unwritable(folder, source))?;
        size_bytes += len as u64;
        progress(Progress { done_bytes: done.load(Ordering::Relaxed), total_bytes });
    }
    spool.set_len(size_bytes).map_err(|source| unwritable(folder, source))?;
    Ok(spool)
}

/// A file of no name on the file system of `folder`.
pub(crate) fn spool(folder: &Path) -> Result<File, ImportError> {
    tempfile::tempfile_in(folder).map_err(|source| unwritable(folder, source))
}

fn unwritable(folder: &Path, source: io::Error) -> ImportError {
    ImportError::Io { what: "write an unpacked file in", path: folder.into(), source }
}

/// Reads until the buffer is full or the source ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match from.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Writes what is not zero.
fn write_data(file: &File, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
    for (number, part) in bytes.chunks(HOLE_BYTES).enumerate() {
        if !crate::chunk::is_zero(part) {
            file.write_all_at(part, offset_bytes + (number * HOLE_BYTES) as u64)?;
        }
    }
    Ok(())
}

/// Counts what was read of the packed file.
struct Counted {
    inner: File,
    done: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.done.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}
