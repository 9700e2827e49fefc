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
use crate::mirrors::Mirrors;

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
}

/// The way to an image's blobs.
pub struct Way<'a> {
    /// Gets them.
    pub link: &'a mut dyn Link,
    /// Time, chance, and who is told what was missed.
    pub host: &'a mut dyn Host,
    /// Who has them.
    pub mirrors: &'a mut Mirrors,
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
        way: &mut Way<'_>,
        reference: &ImageReference,
        trust: &TrustDocument,
    ) -> Result<Self, ImageError> {
        if way.mirrors.count() == 0 {
            return Err(ImageError::NoSource { image: reference.name.clone() });
        }
        let mut blob = |what, sha256: &Sha256, limit| {
            way.first_good(what, sha256, &mut |link, source| link.blob(source, sha256, limit))
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
        let length = index.root_bytes as usize;
        let root = way.first_good("index root", &index.root_sha256, &mut |link, source| {
            link.blob_range(source, &oci.index.sha256, 0, length)
        })?;
        let root = IndexRoot::parse(&root, &manifest)?;
        let pages = (0..root.pages()).map(|page| root.page(page).is_some()).collect();
        let config = String::from_utf8_lossy(&config).into_owned();
        way.host.saw(Event::Image(reference.manifest, pages, config));
        Ok(Self { reference: reference.clone(), manifest, oci, root })
    }

    /// The page of the index that has `chunk`'s entry; `None` if all its chunks are zero.
    pub fn page_with(
        &self,
        way: &mut Way<'_>,
        chunk: u64,
    ) -> Result<Option<IndexPage>, ImageError> {
        let number = self.root.page_of(chunk);
        let Some(reference) = self.root.page(number) else {
            return Ok(None);
        };
        let (offset_bytes, length) = (reference.offset_bytes, reference.len_bytes as usize);
        let bytes = way.first_good("index page", &reference.sha256, &mut |link, source| {
            link.blob_range(source, &self.oci.index.sha256, offset_bytes, length)
        })?;
        let page = self.root.parse_page(number, bytes, &self.oci.packs)?;
        let is_stored = |chunk| matches!(page.chunk(chunk), Some(Chunk::Stored(_)));
        let chunks = page.first_chunk()..self.manifest.manifest().index.chunks;
        let chunks = chunks.take(self.manifest.manifest().index.page_chunks as usize);
        way.host.saw(Event::Page(number, chunks.map(is_stored).collect()));
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

    /// The digest of one of its packs.
    pub fn pack(&self, number: u32) -> Option<Sha256> {
        Some(self.oci.packs.get(number as usize)?.sha256)
    }
}

/// Asks a source for something.
type Ask<'a> = dyn FnMut(&mut dyn Link, &str) -> Result<Vec<u8>, LinkError> + 'a;

impl Way<'_> {
    /// Asks one source after the other, and all of them again, with a pause before each further
    /// attempt, until one gives the bytes with the digest that is wanted.
    fn first_good(
        &mut self,
        what: &'static str,
        wanted: &Sha256,
        ask: &mut Ask<'_>,
    ) -> Result<Vec<u8>, ImageError> {
        let mut last = LinkError::trouble("", "no source was named".into());
        let mut source = None;
        for attempts in 0..FETCH_ATTEMPTS {
            if attempts > 0 {
                let seed = self.host.seed();
                self.host.sleep(pause_ms(attempts, seed));
            }
            source = self.mirrors.pick(source);
            let url = source.and_then(|source| self.mirrors.url(source));
            let (Some(number), Some(url)) = (source, url) else { break };
            let got = ask(self.link, url);
            match got.and_then(|bytes| matches_digest(url, &bytes, wanted).map(|()| bytes)) {
                Ok(bytes) => {
                    self.mirrors.was_right(number);
                    return Ok(bytes);
                }
                Err(error) => {
                    self.host.saw(Event::Missed(error.kind, error.reason.clone()));
                    self.mirrors.blame(number, &error);
                    last = error;
                }
            }
        }
        let sources = self.mirrors.count();
        Err(ImageError::Unavailable { what, attempts: FETCH_ATTEMPTS, sources, last })
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
    Err(LinkError::lie(source, reason))
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

    /// A world in which time passes only by pauses, and everything else is out of place.
    #[derive(Default)]
    struct Pauses(Vec<u64>);

    impl Host for Pauses {
        fn uptime_ms(&self) -> u64 {
            0
        }
        fn sleep(&mut self, duration_ms: u64) {
            self.0.push(duration_ms);
        }
        fn entropy(&mut self) -> [u8; 32] {
            [0; 32]
        }
        fn inventory(&mut self) -> repave_protocol::Inventory {
            unreachable!()
        }
        fn has_other_disks(&mut self) -> bool {
            unreachable!()
        }
        fn default_partition(&mut self, _: u64) -> Option<Sha256> {
            unreachable!()
        }
        fn logs(&mut self) -> crate::edges::Logs {
            unreachable!()
        }
    }

    struct NoLink;

    impl Link for NoLink {
        fn trust_ca(&mut self, _: &str) -> Result<(), crate::edges::BadCa> {
            unreachable!()
        }
        fn ask(&mut self, _: &[u8]) -> Result<Vec<u8>, LinkError> {
            unreachable!()
        }
        fn tell(&mut self, _: Vec<u8>) {}
        fn settle(&mut self) {}
        fn blob(&mut self, _: &str, _: &Sha256, _: usize) -> Result<Vec<u8>, LinkError> {
            unreachable!()
        }
        fn blob_range(
            &mut self,
            _: &str,
            _: &Sha256,
            _: u64,
            _: usize,
        ) -> Result<Vec<u8>, LinkError> {
            unreachable!()
        }
    }

    type Answer = Result<Vec<u8>, LinkError>;

    /// Who was asked, the pauses between, and what came of it, if sources answer so in turn.
    fn check(
        mirrors: &mut Mirrors,
        answer: impl Fn(usize) -> Answer,
    ) -> (Vec<String>, Vec<u64>, Result<Vec<u8>, ImageError>) {
        let (mut asked, mut pauses) = (Vec::new(), Pauses::default());
        let mut way = Way { link: &mut NoLink, host: &mut pauses, mirrors };
        let outcome = way.first_good("page", &Sha256::of(b"page"), &mut |_, source| {
            asked.push(source.to_owned());
            answer(asked.len())
        });
        (asked, pauses.0, outcome)
    }

    fn three() -> Mirrors {
        Mirrors::new(&["a", "b", "c"].map(String::from))
    }

    fn reset() -> Answer {
        Err(LinkError::trouble("", "connection reset".into()))
    }

    #[test]
    fn every_source_is_asked_again_after_a_pause() {
        let good = || Ok(b"page".to_vec());
        let (asked, pauses, outcome) = check(&mut three(), |_| good());
        assert_eq!((asked, pauses, outcome), (vec!["a".into()], vec![], good_page()));
        let fifth = |asked| if asked < 5 { reset() } else { good() };
        let (asked, pauses, outcome) = check(&mut three(), fifth);
        assert_eq!(outcome, good_page());
        assert_eq!(asked, ["a", "b", "c", "a", "b"]);
        assert_eq!(pauses, [100, 200, 400, 800]);
    }

    fn good_page() -> Result<Vec<u8>, ImageError> {
        Ok(b"page".to_vec())
    }

    #[test]
    fn attempts_end() {
        let (asked, pauses, outcome) = check(&mut three(), |_| reset());
        assert_eq!(asked.len(), FETCH_ATTEMPTS as usize);
        assert_eq!(pauses.len(), FETCH_ATTEMPTS as usize - 1);
        let error = outcome.unwrap_err().to_string();
        assert_eq!(error, "page could not be had in 8 attempts over 3 sources");
    }

    #[test]
    fn who_gives_another_page_is_not_asked_for_the_next_one() {
        let mut mirrors = three();
        let second = |asked| if asked < 2 { Ok(b"other".to_vec()) } else { Ok(b"page".to_vec()) };
        let (asked, _, outcome) = check(&mut mirrors, second);
        assert_eq!((asked, outcome), (vec!["a".into(), "b".into()], good_page()));
        let (asked, ..) = check(&mut mirrors, |_| reset());
        assert_eq!(asked[..4], ["b", "c", "b", "c"]);
        let reports = mirrors.reports();
        assert!(reports[0].lied && reports[0].reason.starts_with("served 5 bytes"), "{reports:?}");
        assert!(reports[1..].iter().all(|report| !report.lied), "{reports:?}");
    }

    #[test]
    fn pauses_double_to_their_limit_and_spread_by_half() {
        let least: Vec<u64> = (0..9).map(|attempts| pause_ms(attempts, 0)).collect();
        assert_eq!(least, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!((1..100).all(|seed| (5000..7500).contains(&pause_ms(8, seed))));
    }
}
