//! Images between a folder and a registry, as the same artifact. A blob that is there already is not
//! sent again, so an interrupted transfer goes on where it was; the image is listed last.

use std::fs::File;

use repave_image::{Descriptor, MANIFEST_TYPE, OciManifest};
use repave_protocol::{ImageReference, PublicKey, Sha256};
use serde::Serialize;
use ureq::http::Method;

use super::client::{ATTEMPTS, Ask, Payload};
use super::{DIGEST_HEADER, Registry, RegistryError, tag_of};
use crate::blob::BlobWriter;
use crate::error::LibraryError;
use crate::import::Progress;
use crate::library::Library;
use crate::reading::Images;

/// Bytes of a blob that are asked for at once; what a broken connection costs again.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// What a push or a pull did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transferred {
    /// The image, now at both places.
    pub reference: ImageReference,
    /// Blobs that were sent.
    pub new_blobs: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// Blobs that were there already.
    pub reused_blobs: u64,
    /// Their bytes.
    pub reused_bytes: u64,
}

impl Transferred {
    fn new(reference: &ImageReference) -> Self {
        let reference = reference.clone();
        Self { reference, new_blobs: 0, new_bytes: 0, reused_blobs: 0, reused_bytes: 0 }
    }

    fn note(&mut self, blob: &Descriptor, is_new: bool) {
        let (blobs, bytes) = match is_new {
            true => (&mut self.new_blobs, &mut self.new_bytes),
            false => (&mut self.reused_blobs, &mut self.reused_bytes),
        };
        *blobs += 1;
        *bytes += blob.size_bytes;
    }
}

impl Registry {
    /// Sends an image of a folder to the registry.
    pub fn push(
        &self,
        library: &Library,
        reference: &ImageReference,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transferred, LibraryError> {
        let _kept = library.keep_blobs()?;
        let image = library.read(reference)?;
        let manifest = library.manifest_bytes(&reference.manifest)?;
        self.check_free(reference, &image.oci)?;
        let mut transferred = Transferred::new(reference);
        let blobs = blobs_of(&image.oci);
        let mut progressed = Progressed::new(&blobs, progress);
        for blob in &blobs {
            let is_new = !self.has_blob(blob)?;
            if is_new {
                self.upload(&library.open_blob(blob)?, blob)?;
            }
            transferred.note(blob, is_new);
            progressed.add(blob.size_bytes);
        }
        self.put_manifest(reference, &manifest)?;
        Ok(transferred)
    }

    /// Fetches an image from the registry into a folder. With `keys`, only an image that one of
    /// them signed.
    pub fn pull(
        &self,
        library: &Library,
        reference: &ImageReference,
        keys: &[PublicKey],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transferred, LibraryError> {
        let _lock = library.lock()?;
        library.folder().clear_leftovers()?;
        let image = self.read(reference)?;
        if !keys.is_empty() {
            self.check_signature(&image, keys)?;
        }
        if let Ok(found) = library.find(&reference.name, reference.version)
            // The same one may lack blobs here; then this mends it.
            && found.manifest != reference.manifest
            && !library.read(&found).is_ok_and(|found| same_image(&found.oci, &image.oci))
        {
            return Err(LibraryError::VersionExists {
                path: library.root().into(),
                name: found.name,
                version: found.version,
                found: found.manifest,
            });
        }
        let manifest = self.manifest_bytes(&reference.manifest)?;
        let mut transferred = Transferred::new(reference);
        let blobs = blobs_of(&image.oci);
        let mut progressed = Progressed::new(&blobs, progress);
        for blob in &blobs {
            let is_new = library.open_blob(blob).is_err();
            if is_new {
                self.download(library, blob, &mut progressed)?;
            } else {
                progressed.add(blob.size_bytes);
            }
            transferred.note(blob, is_new);
        }
        library.add_blob(&manifest)?;
        library.list(reference, manifest.len() as u64)?;
        Ok(transferred)
    }

    /// Checks that nothing else has the image's tag. The same image signed otherwise may be
    /// replaced.
    fn check_free(
        &self,
        reference: &ImageReference,
        oci: &OciManifest,
    ) -> Result<(), RegistryError> {
        let ImageReference { name, version, .. } = reference;
        let Some((found, bytes)) = self.tagged(&tag_of(name, *version))? else {
            return Ok(());
        };
        if OciManifest::parse(&bytes).is_ok_and(|other| same_image(&other, oci)) {
            return Ok(());
        }
        Err(RegistryError::VersionExists {
            registry: self.url().to_string(),
            name: name.clone(),
            version: *version,
            found,
        })
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool, RegistryError> {
        let path = format!("blobs/sha256:{}", blob.sha256);
        let what = format!("look for blob {}", blob.sha256);
        let answer = self.client.ask(&Ask::new(Method::HEAD, path, what), &[200, 404])?;
        Ok(answer.status.is_success())
    }

    /// Sends one blob. An upload that broke is begun anew, since what a registry kept of it is for
    /// the registry to forget.
    fn upload(&self, file: &File, blob: &Descriptor) -> Result<(), RegistryError> {
        let what = format!("take blob {}", blob.sha256);
        let begin = Ask::new(Method::POST, "blobs/uploads/".into(), what.clone());
        for attempt in 0..ATTEMPTS {
            self.client.rest_before(attempt);
            let answer = self.client.ask(&begin, &[202])?;
            let location = self.client.location(&begin, &answer)?;
            let joint = if location.contains('?') { '&' } else { '?' };
            let path = format!("{location}{joint}digest=sha256:{}", blob.sha256);
            let put = Ask {
                content_type: Some("application/octet-stream"),
                payload: Payload::File(file, blob.size_bytes),
                attempts: 1,
                ..Ask::new(Method::PUT, path, what.clone())
            };
            match self.client.ask(&put, &[201]) {
                Ok(_) => return Ok(()),
                Err(RegistryError::Unreachable { .. }) if attempt + 1 < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn put_manifest(
        &self,
        reference: &ImageReference,
        manifest: &[u8],
    ) -> Result<(), RegistryError> {
        let tag = tag_of(&reference.name, reference.version);
        let ask = Ask {
            content_type: Some(MANIFEST_TYPE),
            payload: Payload::Bytes(manifest),
            ..Ask::new(Method::PUT, format!("manifests/{tag}"), format!("take the manifest {tag}"))
        };
        let answer = self.client.ask(&ask, &[201])?;
        let expected = format!("sha256:{}", reference.manifest);
        let named = answer.headers.get(DIGEST_HEADER).and_then(|value| value.to_str().ok());
        match named {
            Some(named) if named != expected => {
                Err(self.client.bad(&ask.what, format!("it stored {named}, not {expected}")))
            }
            _ => Ok(()),
        }
    }

    fn download(
        &self,
        library: &Library,
        blob: &Descriptor,
        progressed: &mut Progressed<'_>,
    ) -> Result<(), LibraryError> {
        let mut writer = BlobWriter::new(library.folder())?;
        while writer.size_bytes() < blob.size_bytes {
            let len = PART_BYTES.min(blob.size_bytes - writer.size_bytes());
            writer.append(&self.blob_part(blob, writer.size_bytes(), len)?)?;
            progressed.add(len);
        }
        writer.finish_as(blob)
    }
}

/// The blobs of an image, the large ones first.
fn blobs_of(oci: &OciManifest) -> Vec<Descriptor> {
    let mut blobs = oci.packs.clone();
    blobs.extend([oci.index, oci.signature, oci.config]);
    blobs
}

/// Whether two manifests carry the same image, whoever signed it.
fn same_image(one: &OciManifest, other: &OciManifest) -> bool {
    let content = |oci: &OciManifest| -> (Sha256, Sha256) { (oci.config.sha256, oci.index.sha256) };
    content(one) == content(other) && one.packs == other.packs
}

/// Counts bytes for whoever watches.
struct Progressed<'a> {
    so_far: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

impl<'a> Progressed<'a> {
    fn new(blobs: &[Descriptor], tell: &'a mut dyn FnMut(Progress)) -> Self {
        let total_bytes = blobs.iter().map(|blob| blob.size_bytes).sum();
        Self { so_far: Progress { done_bytes: 0, total_bytes }, tell }
    }

    fn add(&mut self, bytes: u64) {
        self.so_far.done_bytes += bytes;
        (self.tell)(self.so_far);
    }
}
