//! From the name of an image in a directive to an image that may be written: OCI manifest, its
//! digest, configuration, the offline signature over both digests, and the root of the chunk
//! index. What comes out is pinned down to the last chunk; nothing else makes a [`TrustedImage`].

use repave_image::{
    Chunk, IndexPage, IndexRefusal, IndexRoot, ManifestRefusal, OciManifest, OciRefusal,
    ValidManifest, limits,
};
use repave_protocol::{
    ImageReference, ImageSignature, ImageSignatureExpected, Keys, Refusal, Sha256, TrustDocument,
    verify,
};
use thiserror::Error;

use crate::edges::{Host, Link, LinkError};
use crate::event::Event;

/// How often one part of an image, or one chunk, is asked for, over all sources, before it is given
/// up.
pub const FETCH_ATTEMPTS: u32 = 8;
/// Pause before the second attempt; it doubles with each.
const FIRST_PAUSE_MS: u64 = 100;
/// Longest pause between two attempts, jitter apart.
const LONGEST_PAUSE_MS: u64 = 5_000;
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
    #[error("{what} could not be had in {attempts} attempts over {sources} sources")]
    Unavailable {
        /// Which part.
        what: &'static str,
        /// Attempts made.
        attempts: u32,
        /// Sources that the directive named.
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
        host: &mut dyn Host,
        reference: &ImageReference,
        sources: &[String],
        trust: &TrustDocument,
    ) -> Result<Self, ImageError> {
        if sources.is_empty() {
            return Err(ImageError::NoSource { image: reference.name.clone() });
        }
        let mut blob = |what, sha256: &Sha256, limit| {
            first_good(sources, what, &mut between(host), |source| {
                let bytes = link.blob(source, sha256, limit)?;
                matches_digest(source, &bytes, sha256).map(|()| bytes)
            })
        };
        let oci = blob("OCI manifest", &reference.manifest, limits::OCI_MANIFEST_BYTES)?;
        let oci = OciManifest::parse(&oci)?;
        let config = blob("image manifest", &oci.config.sha256, limits::MANIFEST_BYTES)?;
        let signature = blob("signature", &oci.signature.sha256, SIGNATURE_BYTES)?;
        let expected = ImageSignatureExpected {
            name: reference.name.clone(),
            version: reference.version,
            least_version: trust.least_versions.get(&reference.name).copied().unwrap_or(0),
            config: oci.config.sha256,
            index: oci.index.sha256,
        };
        verify::<ImageSignature>(&signature, Keys::Pinned(&trust.image_keys), &expected)?;
        let manifest = ValidManifest::parse(&config)?;
        check_name(reference, &manifest)?;
        let index = &manifest.manifest().index;
        let root = first_good(sources, "index root", &mut between(host), |source| {
            let length = index.root_bytes as usize;
            let bytes = link.blob_range(source, &oci.index.sha256, 0, length)?;
            matches_digest(source, &bytes, &index.root_sha256).map(|()| bytes)
        })?;
        let root = IndexRoot::parse(&root, &manifest)?;
        let pages = (0..root.pages()).map(|page| root.page(page).is_some()).collect();
        let config = String::from_utf8_lossy(&config).into_owned();
        host.saw(Event::Image(reference.manifest, pages, config));
        Ok(Self { reference: reference.clone(), manifest, oci, root, sources: sources.to_vec() })
    }

    /// The page of the index that has `chunk`'s entry; `None` if all its chunks are zero.
    pub fn page_with(
        &self,
        link: &mut dyn Link,
        host: &mut dyn Host,
        chunk: u64,
    ) -> Result<Option<IndexPage>, ImageError> {
        let number = self.root.page_of(chunk);
        let Some(reference) = self.root.page(number) else {
            return Ok(None);
        };
        let bytes = first_good(&self.sources, "index page", &mut between(host), |source| {
            let length = reference.len_bytes as usize;
            let bytes =
                link.blob_range(source, &self.oci.index.sha256, reference.offset_bytes, length)?;
            matches_digest(source, &bytes, &reference.sha256).map(|()| bytes)
        })?;
        let page = self.root.parse_page(number, bytes, &self.oci.packs)?;
        let is_stored = |chunk| matches!(page.chunk(chunk), Some(Chunk::Stored(_)));
        let chunks = page.first_chunk()..self.manifest.manifest().index.chunks;
        let chunks = chunks.take(self.manifest.manifest().index.page_chunks as usize);
        host.saw(Event::Page(number, chunks.map(is_stored).collect()));
        Ok(Some(page))
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

/// Asks one source after the other, and all of them again, with a pause before each further attempt.
fn first_good<T>(
    sources: &[String],
    what: &'static str,
    between: &mut dyn FnMut(Between<'_>),
    mut ask: impl FnMut(&str) -> Result<T, LinkError>,
) -> Result<T, ImageError> {
    let mut last = LinkError { peer: String::new(), reason: "no source was named".into() };
    for (source, attempts) in sources.iter().cycle().zip(0..FETCH_ATTEMPTS) {
        if attempts > 0 {
            between(Between::Pause { attempts });
        }
        match ask(source) {
            Ok(value) => return Ok(value),
            Err(error) => {
                between(Between::Missed(&error));
                last = error;
            }
        }
    }
    Err(ImageError::Unavailable { what, attempts: FETCH_ATTEMPTS, sources: sources.len(), last })
}

/// What there is to do between two attempts.
enum Between<'a> {
    /// One failed.
    Missed(&'a LinkError),
    /// Another is about to begin, after so many.
    Pause { attempts: u32 },
}

/// Tells a host of failures, and pauses by its clock.
fn between(host: &mut dyn Host) -> impl FnMut(Between<'_>) {
    |step| match step {
        Between::Missed(error) => host.saw(Event::Missed(error.reason.clone())),
        Between::Pause { attempts } => {
            let seed = host.seed();
            host.sleep(pause_ms(attempts, seed));
        }
    }
}

/// Nothing before the first attempt; then doubling, with up to half as much again by `seed`.
pub(crate) fn pause_ms(attempts: u32, seed: u64) -> u64 {
    let Some(doublings) = attempts.checked_sub(1) else {
        return 0;
    };
    let pause = (FIRST_PAUSE_MS << doublings.min(16)).min(LONGEST_PAUSE_MS);
    // Knuth's multiplicative hash: neighbouring chunks land far apart.
    pause + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (pause / 2)
}

fn matches_digest(source: &str, bytes: &[u8], wanted: &Sha256) -> Result<(), LinkError> {
    let found = Sha256::of(bytes);
    if found == *wanted {
        return Ok(());
    }
    let reason = format!("served {} bytes with SHA-256 {found} instead of {wanted}", bytes.len());
    Err(LinkError { peer: source.into(), reason })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failures: usize) -> (Result<usize, ImageError>, Vec<String>, Vec<u32>) {
        let sources = ["a", "b", "c"].map(String::from);
        let (mut asked, mut paused) = (Vec::new(), Vec::new());
        let mut between = |step: Between<'_>| {
            if let Between::Pause { attempts } = step {
                paused.push(attempts);
            }
        };
        let outcome = first_good(&sources, "page", &mut between, |source| {
            asked.push(source.to_owned());
            if asked.len() > failures {
                return Ok(asked.len());
            }
            Err(LinkError { peer: source.into(), reason: "connection reset".into() })
        });
        (outcome, asked, paused)
    }

    #[test]
    fn every_source_is_asked_again_after_a_pause() {
        assert_eq!(check(0), (Ok(1), vec!["a".into()], vec![]));
        let (outcome, asked, paused) = check(4);
        assert_eq!(outcome, Ok(5));
        assert_eq!(asked, ["a", "b", "c", "a", "b"]);
        assert_eq!(paused, [1, 2, 3, 4]);
    }

    #[test]
    fn attempts_end() {
        let (outcome, asked, paused) = check(usize::MAX);
        assert_eq!(asked.len(), FETCH_ATTEMPTS as usize);
        assert_eq!(paused.len(), FETCH_ATTEMPTS as usize - 1);
        let error = outcome.unwrap_err().to_string();
        assert_eq!(error, "page could not be had in 8 attempts over 3 sources");
    }

    #[test]
    fn pauses_double_to_their_limit_and_spread_by_half() {
        let least: Vec<u64> = (0..9).map(|attempts| pause_ms(attempts, 0)).collect();
        assert_eq!(least, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!((1..100).all(|seed| (5000..7500).contains(&pause_ms(8, seed))));
    }
}
