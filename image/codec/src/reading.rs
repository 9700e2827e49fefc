//! Reading images of a library, whatever keeps it: a folder or a registry. What is read is hostile
//! until its digest was compared.

use repave_image::{Descriptor, IndexPage, IndexRoot, OciManifest, ValidManifest, limits};
use repave_protocol::{
    Envelope, ImageReference, ImageSignature, ImageSignatureExpected, Keys, PublicKey, Sha256,
    strict_json, verify,
};

use crate::error::LibraryError;
use crate::lock::Lock;

/// An image of a library, with everything about it read and checked but its chunks.
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// Its name, version and digest.
    pub reference: ImageReference,
    /// Its blobs.
    pub oci: OciManifest,
    /// Its manifest.
    pub manifest: ValidManifest,
    /// The root of its chunk index.
    pub index: IndexRoot,
}

impl StoredImage {
    /// `NAME:VERSION`.
    pub(crate) fn title(&self) -> String {
        title(&self.reference)
    }
}

/// What keeps images.
pub trait Images: Sync {
    /// The bytes of the OCI manifest of that digest, compared with it.
    fn manifest_bytes(&self, sha256: &Sha256) -> Result<Vec<u8>, LibraryError>;

    /// A whole blob of at most `limit` bytes, compared with its digest.
    fn small_blob(&self, sha256: &Sha256, limit: usize) -> Result<Vec<u8>, LibraryError>;

    /// A part of a blob; whoever asks compares its digest.
    fn blob_part(
        &self,
        blob: &Descriptor,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> Result<Vec<u8>, LibraryError>;

    /// Keeps every blob where it is, if that can be had, until it is dropped.
    fn keep(&self) -> Result<Option<Lock>, LibraryError>;

    /// The image of that name and version.
    fn find(&self, name: &str, version: u64) -> Result<ImageReference, LibraryError>;

    /// The images that it lists.
    fn images(&self) -> Result<Vec<ImageReference>, LibraryError>;

    /// Reads an image up to the root of its chunk index.
    fn read(&self, reference: &ImageReference) -> Result<StoredImage, LibraryError> {
        let image = || title(reference);
        let bytes = self.manifest_bytes(&reference.manifest)?;
        let oci = OciManifest::parse(&bytes)
            .map_err(|source| LibraryError::Oci { image: image(), source })?;
        let bytes = self.small_blob(&oci.config.sha256, limits::MANIFEST_BYTES)?;
        let manifest = ValidManifest::parse(&bytes)
            .map_err(|source| LibraryError::Manifest { image: image(), source })?;
        let (name, version) = (&manifest.manifest().name, manifest.manifest().version);
        if (name, version) != (&reference.name, reference.version) {
            return Err(LibraryError::OtherImage {
                image: image(),
                found: format!("{name}:{version}"),
            });
        }
        let root_bytes = manifest.manifest().index.root_bytes;
        let root = self.blob_part(&oci.index, 0, root_bytes)?;
        let index = IndexRoot::parse(&root, &manifest)
            .map_err(|source| LibraryError::Index { image: image(), source })?;
        Ok(StoredImage { reference: reference.clone(), oci, manifest, index })
    }

    /// Reads one page of an image's index; `None` if all its chunks are zero.
    fn index_page(
        &self,
        image: &StoredImage,
        page: u64,
    ) -> Result<Option<IndexPage>, LibraryError> {
        let Some(reference) = image.index.page(page) else {
            return Ok(None);
        };
        let (offset, len) = (reference.offset_bytes, reference.len_bytes);
        let bytes = self.blob_part(&image.oci.index, offset, len)?;
        let page = image.index.parse_page(page, bytes, &image.oci.packs);
        page.map(Some).map_err(|source| LibraryError::Index { image: image.title(), source })
    }

    /// Checks that one of `keys` vouches for an image; returns which.
    fn check_signature(
        &self,
        image: &StoredImage,
        keys: &[PublicKey],
    ) -> Result<PublicKey, LibraryError> {
        let limit = repave_protocol::limits::ENVELOPE_BYTES;
        let envelope = self.small_blob(&image.oci.signature.sha256, limit)?;
        let expected = ImageSignatureExpected {
            name: image.reference.name.clone(),
            version: image.reference.version,
            least_version: 0,
            config: image.oci.config.sha256,
            index: image.oci.index.sha256,
        };
        verify::<ImageSignature>(&envelope, Keys::Pinned(keys), &expected)
            .map(|verified| verified.key())
            .map_err(|source| LibraryError::Signature { image: image.title(), source })
    }

    /// The keys that an image says it is signed with; whether they did is not looked at.
    fn claimed_keys(&self, image: &StoredImage) -> Result<Vec<PublicKey>, LibraryError> {
        let limit = repave_protocol::limits::ENVELOPE_BYTES;
        let envelope = self.small_blob(&image.oci.signature.sha256, limit)?;
        let envelope: Envelope = strict_json(&envelope, limit)
            .map_err(|source| LibraryError::Signature { image: image.title(), source })?;
        Ok(envelope.signatures.into_iter().map(|signature| signature.keyid).collect())
    }
}

fn title(reference: &ImageReference) -> String {
    format!("{}:{}", reference.name, reference.version)
}
