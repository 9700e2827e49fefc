//! Where an image's bytes come from: random access, and where the holes are. Raw files and block
//! devices are one kind, and what was unpacked is a file again; another kind needs this trait only.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::Errno;

/// A disk or partition image that can be read at any place, by several threads at once.
pub trait Source: Send + Sync {
    /// Its length.
    fn size_bytes(&self) -> u64;

    /// Fills `buffer` from `offset_bytes` on, or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()>;

    /// The first byte at or after `offset_bytes` that may not be zero; `None` if there is none.
    fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>>;
}

/// A raw image in a file or on a block device.
pub struct FileSource {
    file: File,
    size_bytes: u64,
}

impl FileSource {
    /// The image in an open file.
    pub fn new(mut file: File) -> io::Result<Self> {
        // A block device has no length in its metadata.
        let size_bytes = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size_bytes })
    }
}

impl Source for FileSource {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset_bytes)
    }

    fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>> {
        // lseek(2): ENXIO means no data from here on; EINVAL that the device knows of no holes.
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset_bytes)) {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL) => Ok(Some(offset_bytes)),
            Err(error) => Err(error.into()),
        }
    }
}

/// A part of a source, as the libraries want it that read partition tables and file systems.
#[derive(Clone)]
pub(crate) struct Window {
    source: Arc<dyn Source>,
    start_bytes: u64,
    size_bytes: u64,
    position: u64,
}

impl Window {
    /// The `size_bytes` of `source` from `start_bytes` on.
    pub(crate) fn new(source: &Arc<dyn Source>, start_bytes: u64, size_bytes: u64) -> Self {
        Self { source: Arc::clone(source), start_bytes, size_bytes, position: 0 }
    }

    /// Its length.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fills `buffer` from `offset_bytes` of the window on; what lies beyond its end is an error.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.source.read_exact_at(buffer, self.start_bytes + offset_bytes)
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size_bytes.saturating_sub(self.position);
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.read_exact_at(&mut buffer[..len], self.position)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size_bytes.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// The libraries ask for it; a source is never written.
impl Write for Window {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.start_bytes + self.size_bytes;
        write!(f, "Window({}..{end})", self.start_bytes)
    }
}

impl ext4_view::Ext4Read for Window {
    fn read(
        &mut self,
        start_byte: u64,
        into: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.read_exact_at(into, start_byte)?)
    }
}

/// A partition in memory, for the tests of what reads partitions.
#[cfg(test)]
pub(crate) fn window_of(bytes: Vec<u8>) -> Window {
    struct Memory(Vec<u8>);

    impl Source for Memory {
        fn size_bytes(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
            buffer.copy_from_slice(&self.0[offset_bytes as usize..][..buffer.len()]);
            Ok(())
        }

        fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>> {
            Ok(Some(offset_bytes))
        }
    }

    let size_bytes = bytes.len() as u64;
    let source: Arc<dyn Source> = Arc::new(Memory(bytes));
    Window::new(&source, 0, size_bytes)
}
