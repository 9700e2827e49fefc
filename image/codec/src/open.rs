//! From a path to a source: raw, qcow2, or one of them packed, told apart by content alone. A name
//! is only ever a name: `json:…` is a file that is probably not there.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::error::ImportError;
use crate::import::Progress;
use crate::qcow2;
use crate::source::{FileSource, Source};
use crate::unpack::{Packing, unpack};

/// Most bytes that a packed source or a qcow2 may unfold to, unless the operator says otherwise.
pub const UNPACKED_BYTES: u64 = 256 << 30;
/// Longest of the first bytes that tell formats apart.
const HEAD_BYTES: usize = 16;

/// Opens the source at `path`. What has to be unpacked first goes to a file of no name on the file
/// system of `folder`, and is refused beyond `limit_bytes`.
pub fn open_source(
    path: &Path,
    folder: &Path,
    limit_bytes: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Arc<dyn Source>, ImportError> {
    let failed = |source| ImportError::Io { what: "open", path: path.into(), source };
    let mut file = File::open(path).map_err(failed)?;
    if let Some(packing) = Packing::of(&head(&file)?) {
        file = unpack(&file, packing, folder, limit_bytes, progress)?;
        if Packing::of(&head(&file)?).is_some() {
            return Err(ImportError::PackedTwice);
        }
    }
    if head(&file)?.starts_with(&qcow2::MAGIC) {
        file = qcow2::convert(&file, folder, limit_bytes)?;
    }
    Ok(Arc::new(FileSource::new(file).map_err(failed)?))
}

fn head(file: &File) -> Result<Vec<u8>, ImportError> {
    let mut head = vec![0; HEAD_BYTES];
    let len = qcow2::read_head(file, &mut head)?;
    head.truncate(len);
    Ok(head)
}
