//! One blob on its way into a library: written to a file of no name that counts, then given the
//! name that its digest is. A cut leaves either the whole blob or none.

use std::io::Write;

use repave_image::{Descriptor, blob_path};
use repave_protocol::Digester;
use tempfile::NamedTempFile;

use crate::error::LibraryError;
use crate::folder::{Folder, failed};

/// A blob that is being written.
pub(crate) struct BlobWriter {
    folder: Folder,
    file: NamedTempFile,
    digester: Digester,
    size_bytes: u64,
}

impl BlobWriter {
    /// Begins a blob in the library in `folder`.
    pub(crate) fn new(folder: &Folder) -> Result<Self, LibraryError> {
        Ok(Self {
            folder: folder.clone(),
            file: folder.scratch()?,
            digester: Digester::new(),
            size_bytes: 0,
        })
    }

    /// Appends `bytes`.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), LibraryError> {
        self.file.write_all(bytes).map_err(|source| failed("write", self.file.path(), source))?;
        self.digester.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes appended so far.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Gives the blob its name. A blob of the same bytes that is there already is as good.
    pub(crate) fn finish(self) -> Result<Descriptor, LibraryError> {
        let descriptor = Descriptor { sha256: self.digester.finish(), size_bytes: self.size_bytes };
        let path = self.folder.join(blob_path(&descriptor.sha256));
        self.folder.place(self.file, &path)?;
        Ok(descriptor)
    }

    /// The same for a blob that is to be this one; another is not kept.
    pub(crate) fn finish_as(self, wanted: &Descriptor) -> Result<(), LibraryError> {
        let found = self.digester.finish();
        if found != wanted.sha256 {
            return Err(LibraryError::BlobDigest { wanted: wanted.sha256, found });
        }
        let path = self.folder.join(blob_path(&found));
        self.folder.place(self.file, &path)
    }
}
