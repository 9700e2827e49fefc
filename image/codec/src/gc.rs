//! Throwing away what no listed image needs. First everything that is listed is read, images or
//! not, and what it refers to is marked; only if all of that could be read is anything removed.
//! Each removal stands alone, so a cut leaves a library with less rubbish and nothing missing.

use std::collections::BTreeSet;
use std::path::Path;

use repave_image::{blob_path, limits, parse_digest};
use repave_protocol::{BadId, Sha256};
use serde::Serialize;
use serde_json::Value;

use crate::error::LibraryError;
use crate::folder::files;
use crate::library::Library;
use crate::reading::Images;

/// What was found and thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Blobs that stay.
    pub kept_blobs: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Blobs that nothing needs, and files that killed writers left.
    pub removed_blobs: u64,
    /// Their bytes.
    pub removed_bytes: u64,
}

impl Library {
    /// Throws away every blob that nothing listed needs, or only counts them.
    pub fn collect(&self, only_count: bool) -> Result<Collected, LibraryError> {
        let _writing = self.lock()?;
        let _throwing = self.throw_away()?;
        // The list as it is read here must be the one that a cut leaves.
        self.folder().sync_folder(self.root())?;
        let needed = self.needed()?;
        let mut collected = Collected::default();
        let mut rubbish = self.folder().leftovers()?;
        for (path, size_bytes) in files(&self.blobs())? {
            if is_rubbish(&path, &needed) {
                rubbish.push((path, size_bytes));
            } else {
                collected.kept_blobs += 1;
                collected.kept_bytes += size_bytes;
            }
        }
        for (path, size_bytes) in rubbish {
            if !only_count {
                self.folder().remove(&path)?;
            }
            collected.removed_blobs += 1;
            collected.removed_bytes += size_bytes;
        }
        if !only_count && collected.removed_blobs > 0 {
            self.folder().sync_folder(&self.blobs())?;
        }
        Ok(collected)
    }

    /// Every blob that something listed refers to, directly or through other manifests. What other
    /// tools have listed counts as much as images do.
    fn needed(&self) -> Result<BTreeSet<Sha256>, LibraryError> {
        let layout = self.layout()?;
        let mut manifests: Vec<Sha256> = layout.digests().filter_map(parse_digest).collect();
        let mut needed = BTreeSet::new();
        while let Some(sha256) = manifests.pop() {
            if !needed.insert(sha256) {
                continue;
            }
            let manifest = self.any_manifest(&sha256)?;
            // An index (image-spec, image-index) names manifests, which name further blobs.
            let listed = manifest.get("manifests").and_then(Value::as_array);
            manifests.extend(listed.into_iter().flatten().filter_map(digest_of));
            for (key, value) in manifest.as_object().into_iter().flatten() {
                if key != "manifests" {
                    mark(value, &mut needed);
                }
            }
        }
        Ok(needed)
    }

    fn any_manifest(&self, sha256: &Sha256) -> Result<Value, LibraryError> {
        let bytes = self.small_blob(sha256, limits::LAYOUT_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|error| LibraryError::NotAManifest {
            path: self.folder().join(blob_path(sha256)),
            reason: error.to_string(),
        })
    }
}

/// Whether a file among the blobs is one that nothing needs; what is no blob is not ours to remove.
fn is_rubbish(path: &Path, needed: &BTreeSet<Sha256>) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let sha256: Result<Sha256, BadId> = name.parse();
    sha256.is_ok_and(|sha256| sha256.to_string() == name && !needed.contains(&sha256))
}

/// Marks the digest of every descriptor in a part of a manifest, wherever it stands.
fn mark(value: &Value, needed: &mut BTreeSet<Sha256>) {
    needed.extend(digest_of(value));
    match value {
        Value::Array(values) => values.iter().for_each(|value| mark(value, needed)),
        Value::Object(fields) => fields.values().for_each(|value| mark(value, needed)),
        _ => {}
    }
}

fn digest_of(descriptor: &Value) -> Option<Sha256> {
    parse_digest(descriptor.get("digest")?.as_str()?)
}
