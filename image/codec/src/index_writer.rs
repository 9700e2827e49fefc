//! Writes a chunk index page by page, so that no more than one page is ever in memory. Where the
//! chunks are stored is decided by `packs`.

use std::io::{Read, Seek, SeekFrom, Write};

use repave_image::{Chunk, Descriptor, ImageManifest, IndexReference, encode_page, encode_root};
use repave_protocol::Sha256;
use tempfile::NamedTempFile;

use crate::blob::BlobWriter;
use crate::error::LibraryError;
use crate::folder::{Folder, failed};

const COPY_BYTES: usize = 1024 * 1024;

/// An index that is being written.
pub(crate) struct IndexWriter {
    folder: Folder,
    chunk_bytes: u32,
    chunks: u64,
    page_chunks: u32,
    page: Vec<Chunk>,
    digests: Vec<Option<Sha256>>,
    /// Stored pages; they follow the root, which is complete only at the end.
    pages: NamedTempFile,
}

impl IndexWriter {
    /// An index of the chunks that `manifest` says it has.
    pub(crate) fn new(folder: &Folder, manifest: &ImageManifest) -> Result<Self, LibraryError> {
        Ok(Self {
            folder: folder.clone(),
            chunk_bytes: manifest.chunk_bytes,
            chunks: manifest.index.chunks,
            page_chunks: manifest.index.page_chunks,
            page: Vec::new(),
            digests: Vec::new(),
            pages: folder.scratch()?,
        })
    }

    /// The next chunk in order.
    pub(crate) fn push(&mut self, chunk: Chunk) -> Result<(), LibraryError> {
        self.page.push(chunk);
        if self.page.len() == self.page_chunks as usize {
            self.end_page()?;
        }
        Ok(())
    }

    /// The whole index as a blob, and what the manifest must say of it.
    pub(crate) fn finish(mut self) -> Result<(Descriptor, IndexReference), LibraryError> {
        if !self.page.is_empty() {
            self.end_page()?;
        }
        let index_root =
            encode_root(self.chunk_bytes, self.chunks, self.page_chunks, &self.digests);
        let reference = IndexReference {
            root_bytes: index_root.len() as u64,
            root_sha256: Sha256::of(&index_root),
            chunks: self.chunks,
            page_chunks: self.page_chunks,
        };
        let mut blob = BlobWriter::new(&self.folder)?;
        blob.append(&index_root)?;
        self.copy_pages(&mut blob)?;
        Ok((blob.finish()?, reference))
    }

    fn end_page(&mut self) -> Result<(), LibraryError> {
        let bytes = encode_page(&self.page);
        self.digests.push(bytes.as_deref().map(Sha256::of));
        self.page.clear();
        let Some(bytes) = bytes else {
            return Ok(());
        };
        self.pages.write_all(&bytes).map_err(|source| failed("write", self.pages.path(), source))
    }

    fn copy_pages(&mut self, blob: &mut BlobWriter) -> Result<(), LibraryError> {
        let path = self.pages.path().to_path_buf();
        let read = |source| failed("read", &path, source);
        let file = self.pages.as_file_mut();
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        let mut part = vec![0; COPY_BYTES];
        loop {
            let len = file.read(&mut part).map_err(read)?;
            if len == 0 {
                return Ok(());
            }
            blob.append(&part[..len])?;
        }
    }
}
