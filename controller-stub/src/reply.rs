//! The body of an answer: bytes from memory or from a file, in pieces, and damaged where a fault
//! says so.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

/// Largest piece handed to the connection at once, in bytes.
const PIECE_BYTES: u64 = 256 * 1024;

/// A body of known length.
pub(crate) struct Body {
    reader: Box<dyn Read + Send>,
    sent_bytes: u64,
    length_bytes: u64,
    truncate_at: Option<u64>,
    corrupt_at: Option<u64>,
    flushed: bool,
}

impl Body {
    /// These bytes.
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        let length_bytes = bytes.len() as u64;
        Self::new(Box::new(Cursor::new(bytes)), length_bytes)
    }

    /// `length_bytes` of a file, from `start_bytes` on.
    pub(crate) fn file(mut file: File, start_bytes: u64, length_bytes: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(start_bytes))?;
        Ok(Self::new(Box::new(file), length_bytes))
    }

    fn new(reader: Box<dyn Read + Send>, length_bytes: u64) -> Self {
        Self {
            reader,
            sent_bytes: 0,
            length_bytes,
            truncate_at: None,
            corrupt_at: None,
            flushed: false,
        }
    }

    /// How many bytes are promised.
    pub(crate) const fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// The connection breaks after this many bytes, though more were promised.
    pub(crate) const fn truncate_at(&mut self, bytes: u64) {
        self.truncate_at = Some(bytes);
    }

    /// Only this many bytes were ever promised.
    pub(crate) fn shorten_to(&mut self, bytes: u64) {
        self.length_bytes = self.length_bytes.min(bytes);
    }

    /// One bit of the byte at this offset is flipped.
    pub(crate) const fn corrupt_at(&mut self, offset_bytes: u64) {
        self.corrupt_at = Some(offset_bytes);
    }

    fn next_piece(&mut self) -> io::Result<Bytes> {
        let end = self.truncate_at.unwrap_or(u64::MAX).min(self.length_bytes);
        let length = PIECE_BYTES.min(end - self.sent_bytes);
        // At most PIECE_BYTES, so it fits any usize.
        let mut piece = vec![0; length as usize];
        // A blocking read: library files come from the page cache, and only tests wait for them.
        self.reader.read_exact(&mut piece)?;
        let hit = self
            .corrupt_at
            .and_then(|at| at.checked_sub(self.sent_bytes))
            .and_then(|at| usize::try_from(at).ok());
        if let Some(byte) = hit.and_then(|at| piece.get_mut(at)) {
            *byte ^= 1;
        }
        self.sent_bytes += length;
        Ok(piece.into())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.sent_bytes == self.length_bytes {
            return Poll::Ready(None);
        }
        if self.truncate_at.is_some_and(|at| self.sent_bytes >= at) {
            if self.flushed {
                let error =
                    io::Error::new(io::ErrorKind::ConnectionAborted, "truncated by a fault");
                return Poll::Ready(Some(Err(error)));
            }
            // An error discards what the connection has not sent yet; one turn lets it be sent.
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(self.next_piece().map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length_bytes - self.sent_bytes)
    }
}
