//! From the name of an image in a directive to an image that may be written: OCI manifest, its
//! digest, configuration, the offline signature over both digests, and the root of the chunk
//! index. What comes out is pinned down to the last chunk; nothing else makes a [`TrustedImage`].

use repave_image::{
    IndexPage, IndexRefusal, IndexRoot, ManifestRefusal, OciManifest, OciRefusal, ValidManifest,
    limits,
};
use repave_protocol::{
    ImageReference, ImageSignature, ImageSignatureExpected, Keys, Refusal, Sha256, TrustDocument,
    verify,
};
use thiserror::Error;

use crate::edges::{Link, LinkError};

/// Largest signature layer accepted, in bytes.
const SIGNATURE_BYTES: usize = 16 * 1024;

/// An image whose every byte is pinned by a signature that this server trusts.
#[derive(Clone, Debug)]
pub struct TrustedImage {
    reference: ImageReference,
    manifest: ValidManifest,
    oci: OciManifest,
    root: IndexRoot,
    sources: Vec<String>,
}

/// Why an image was not trusted, or could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// No source gave a usable answer; the last one's is told.
    #[error("no source of {sources} has the {what}")]
    Unavailable {
        /// Which part.
        what: &'static str,
        /// How many sources were tried.
        sources: usize,
        /// What the last one said.
        #[source]
        last: LinkError,
    },
    /// A directive without sources.
    #[error("the directive names no source for image {image}")]
    NoSource {
        /// Image name.
        image: String,
    },
    /// The OCI manifest is not one of ours.
    #[error("OCI manifest refused")]
    Oci(#[from] OciRefusal),
    /// The configuration breaks a rule.
    #[error("image manifest refused")]
    Manifest(#[from] ManifestRefusal),
    /// The index is not what was pinned.
    #[error("chunk index refused")]
    Index(#[from] IndexRefusal),
    /// The image key did not vouch for it.
    #[error("image signature refused")]
    Signature(#[from] Refusal),
    /// The manifest calls itself by another name than the directive did.
    #[error("directive names image {wanted}, its manifest says {found}")]
    OtherName {
        /// In the directive.
        wanted: String,
        /// In the manifest.
        found: String,
    },
}

impl TrustedImage {
    /// Fetches and checks everything but the index pages and the chunks.
    pub fn fetch(
        link: &mut dyn Link,
        reference: &ImageReference,
        sources: &[String],
        trust: &TrustDocument,
    ) -> Result<Self, ImageError> {
        if sources.is_empty() {
            return Err(ImageError::NoSource {
                image: reference.name.clone(),
            });
        }
        let mut blob = |what, sha256: &Sha256, limit| {
            first_good(sources, what, |source| {
                let bytes = link.blob(source, sha256, limit)?;
                matches_digest(source, &bytes, sha256).map(|()| bytes)
            })
        };
        let oci = blob(
            "OCI manifest",
            &reference.manifest,
            limits::OCI_MANIFEST_BYTES,
        )?;
        let oci = OciManifest::parse(&oci)?;
        let config = blob("image manifest", &oci.config.sha256, limits::MANIFEST_BYTES)?;
        let signature = blob("signature", &oci.signature.sha256, SIGNATURE_BYTES)?;
        let expected = ImageSignatureExpected {
            name: reference.name.clone(),
            version: reference.version,
            least_version: trust
                .least_versions
                .get(&reference.name)
                .copied()
                .unwrap_or(0),
            config: oci.config.sha256,
            index: oci.index.sha256,
        };
        verify::<ImageSignature>(&signature, Keys::Pinned(&trust.image_keys), &expected)?;
        let manifest = ValidManifest::parse(&config)?;
        check_name(reference, &manifest)?;
        let index = &manifest.manifest().index;
        let root = first_good(sources, "index root", |source| {
            let length = index.root_bytes as usize;
            let bytes = link.blob_range(source, &oci.index.sha256, 0, length)?;
            matches_digest(source, &bytes, &index.root_sha256).map(|()| bytes)
        })?;
        let root = IndexRoot::parse(&root, &manifest)?;
        Ok(Self {
            reference: reference.clone(),
            manifest,
            oci,
            root,
            sources: sources.to_vec(),
        })
    }

    /// The page of the index that has `chunk`'s entry; `None` if all its chunks are zero.
    pub fn page_with(
        &self,
        link: &mut dyn Link,
        chunk: u64,
    ) -> Result<Option<IndexPage>, ImageError> {
        let number = self.root.page_of(chunk);
        let Some(reference) = self.root.page(number) else {
            return Ok(None);
        };
        let bytes = first_good(&self.sources, "index page", |source| {
            let length = reference.len_bytes as usize;
            let bytes = link.blob_range(
                source,
                &self.oci.index.sha256,
                reference.offset_bytes,
                length,
            )?;
            matches_digest(source, &bytes, &reference.sha256).map(|()| bytes)
        })?;
        Ok(Some(self.root.parse_page(
            number,
            bytes,
            &self.oci.packs,
        )?))
    }

    /// What the directive called it.
    pub const fn reference(&self) -> &ImageReference {
        &self.reference
    }

    /// Its manifest.
    pub const fn manifest(&self) -> &ValidManifest {
        &self.manifest
    }

    /// The root of its chunk index.
    pub const fn root(&self) -> &IndexRoot {
        &self.root
    }

    /// Where its blobs are served.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The digest of one of its packs.
    pub fn pack(&self, number: u32) -> Option<Sha256> {
        Some(self.oci.packs.get(number as usize)?.sha256)
    }
}

/// Asks one source after the other, each once: whoever retries starts over from status.
fn first_good<T>(
    sources: &[String],
    what: &'static str,
    mut ask: impl FnMut(&str) -> Result<T, LinkError>,
) -> Result<T, ImageError> {
    let mut last = LinkError {
        peer: String::new(),
        reason: "no source was named".into(),
    };
    for source in sources {
        match ask(source) {
            Ok(value) => return Ok(value),
            Err(error) => last = error,
        }
    }
    Err(ImageError::Unavailable {
        what,
        sources: sources.len(),
        last,
    })
}

fn matches_digest(source: &str, bytes: &[u8], wanted: &Sha256) -> Result<(), LinkError> {
    let found = Sha256::of(bytes);
    if found == *wanted {
        return Ok(());
    }
    let reason = format!(
        "served {} bytes with SHA-256 {found} instead of {wanted}",
        bytes.len()
    );
    Err(LinkError {
        peer: source.into(),
        reason,
    })
}

fn check_name(reference: &ImageReference, manifest: &ValidManifest) -> Result<(), ImageError> {
    let manifest = manifest.manifest();
    if (&manifest.name, manifest.version) == (&reference.name, reference.version) {
        return Ok(());
    }
    Err(ImageError::OtherName {
        wanted: format!("{} version {}", reference.name, reference.version),
        found: format!("{} version {}", manifest.name, manifest.version),
    })
}
