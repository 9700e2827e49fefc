//! A library in a registry (OCI distribution-spec 1.1): one repository for all images, each under
//! the tag `NAME-VERSION`, as the same manifest and blobs that a folder has (decision 0017).

mod client;
mod error;
mod place;
mod transfer;

use std::io::Read;

use repave_image::{Descriptor, MANIFEST_TYPE, limits, parse_digest};
use repave_protocol::{ImageReference, Sha256};
use serde::Deserialize;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, LINK};
use ureq::http::{Method, StatusCode};

use crate::error::LibraryError;
use crate::lock::Lock;
use crate::parallel;
use crate::reading::Images;
use client::{ATTEMPTS, Answer, Ask, Client};

pub use client::RegistryAccess;
pub use error::RegistryError;
pub use place::{Credentials, RegistryUrl};
pub use transfer::Transferred;

/// Most tags of a repository that are read.
const TAGS: usize = 100_000;
/// Tags asked for at once.
const PAGE_TAGS: usize = 1000;
/// Bytes of one page of tags.
const PAGE_BYTES: usize = 1024 * 1024;
/// The header in which a registry says what it holds.
const DIGEST_HEADER: &str = "docker-content-digest";

/// A repository of a registry as a library.
pub struct Registry {
    client: Client,
}

/// A blob, or a part of one, as a registry sends it.
pub struct Fetched {
    /// 200, or 206 for a part.
    pub status: u16,
    /// Its length, if the registry says it.
    pub len_bytes: Option<u64>,
    /// The part, as `Content-Range` has it.
    pub content_range: Option<String>,
    /// Its bytes. Whoever reads them compares the digest.
    pub body: Box<dyn Read + Send>,
}

impl Registry {
    /// Of the repository at `url`. Nothing is asked yet.
    pub fn new(url: RegistryUrl, access: RegistryAccess) -> Result<Self, RegistryError> {
        Ok(Self { client: Client::new(url, access)? })
    }

    /// Where it is.
    pub const fn url(&self) -> &RegistryUrl {
        &self.client.url
    }

    /// Removes an image. Its blobs go when the registry collects its own garbage.
    pub fn remove(&self, name: &str, version: u64) -> Result<(), LibraryError> {
        let found = self.find(name, version)?;
        let path = format!("manifests/sha256:{}", found.manifest);
        let what = format!("remove image {name}:{version}, for which it must allow deletion");
        self.client.ask(&Ask::new(Method::DELETE, path, what), &[200, 202])?;
        Ok(())
    }

    /// A blob or OCI manifest of that digest, or the `range` of one; `None` if there is none.
    pub fn fetch(
        &self,
        sha256: &Sha256,
        range: Option<&str>,
    ) -> Result<Option<Fetched>, RegistryError> {
        for kind in ["blobs", "manifests"] {
            let mut ask = get(format!("{kind}/sha256:{sha256}"), format!("read blob {sha256}"));
            ask.range = range.map(Into::into);
            let answer = self.client.ask(&ask, &[200, 206, 404, 416])?;
            if answer.status == StatusCode::NOT_FOUND {
                continue;
            }
            let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
            if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
                // Its body is words about the failure, and Debian's registry gets its length wrong.
                let (len_bytes, content_range) = (Some(0), header(CONTENT_RANGE).map(Into::into));
                let (status, body) = (answer.status.as_u16(), Box::new(std::io::empty()));
                return Ok(Some(Fetched { status, len_bytes, content_range, body }));
            }
            return Ok(Some(Fetched {
                status: answer.status.as_u16(),
                len_bytes: header(CONTENT_LENGTH).and_then(|len| len.parse().ok()),
                content_range: header(CONTENT_RANGE).map(Into::into),
                body: Box::new(answer.body.into_reader()),
            }));
        }
        Ok(None)
    }

    /// The manifest under a tag, and its digest; `None` if there is no such tag.
    fn tagged(&self, tag: &str) -> Result<Option<(Sha256, Vec<u8>)>, RegistryError> {
        let ask = get(format!("manifests/{tag}"), format!("read the manifest of tag {tag}"));
        let answer = self.client.ask(&ask, &[200, 404])?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let bytes = self.client.body(&ask, answer, limits::OCI_MANIFEST_BYTES)?;
        Ok(Some((Sha256::of(&bytes), bytes)))
    }

    /// The image under a tag, if the tag is one of ours.
    fn image(&self, tag: &str) -> Result<Option<ImageReference>, RegistryError> {
        let Some((name, version)) = image_of(tag) else {
            return Ok(None);
        };
        let path = format!("manifests/{tag}");
        let mut ask = Ask::new(Method::HEAD, path, format!("look at tag {tag}"));
        ask.accept = Some(MANIFEST_TYPE);
        let answer = self.client.ask(&ask, &[200, 404])?;
        let named = answer.headers.get(DIGEST_HEADER).and_then(|value| value.to_str().ok());
        let manifest = match (answer.status, named.and_then(parse_digest)) {
            // It went between the list and this question.
            (StatusCode::NOT_FOUND, _) => None,
            (_, Some(manifest)) => Some(manifest),
            (_, None) => self.tagged(tag)?.map(|(manifest, _)| manifest),
        };
        Ok(manifest.map(|manifest| ImageReference { name, version, manifest }))
    }

    fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut next = Some(format!("tags/list?n={PAGE_TAGS}"));
        while let Some(path) = next {
            let ask = Ask::new(Method::GET, path, "list the tags".into());
            let answer = self.client.ask(&ask, &[200, 404])?;
            if answer.status == StatusCode::NOT_FOUND {
                break;
            }
            next = self.next_page(&ask, &answer)?;
            let bytes = self.client.body(&ask, answer, PAGE_BYTES)?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| self.client.bad(&ask.what, error.to_string()))?;
            let before = tags.len();
            tags.extend(page.tags.unwrap_or_default());
            if tags.len() > TAGS || (tags.len() == before && next.is_some()) {
                return Err(self.client.bad(&ask.what, format!("it goes on beyond {before} tags")));
            }
        }
        Ok(tags)
    }

    /// Where the list goes on (RFC 8288): `<…>; rel="next"`.
    fn next_page(&self, ask: &Ask<'_>, answer: &Answer) -> Result<Option<String>, RegistryError> {
        let Some(link) = answer.headers.get(LINK).and_then(|link| link.to_str().ok()) else {
            return Ok(None);
        };
        let target = link.strip_prefix('<').and_then(|rest| rest.split('>').next());
        let origin = &self.client.url.origin;
        match target {
            Some(path) if path.starts_with('/') => Ok(Some(format!("{origin}{path}"))),
            Some(url) if url.starts_with(&format!("{origin}/")) => Ok(Some(url.into())),
            _ => Err(self.client.bad(&ask.what, format!("it goes on at {link:?}"))),
        }
    }
}

impl Images for Registry {
    fn manifest_bytes(&self, sha256: &Sha256) -> Result<Vec<u8>, LibraryError> {
        let ask = get(format!("manifests/sha256:{sha256}"), format!("read manifest {sha256}"));
        let answer = self.client.ask(&ask, &[200])?;
        let bytes = self.client.body(&ask, answer, limits::OCI_MANIFEST_BYTES)?;
        is(sha256, bytes)
    }

    fn small_blob(&self, sha256: &Sha256, limit: usize) -> Result<Vec<u8>, LibraryError> {
        let ask = get(format!("blobs/sha256:{sha256}"), format!("read blob {sha256}"));
        let answer = self.client.ask(&ask, &[200])?;
        is(sha256, self.client.body(&ask, answer, limit)?)
    }

    fn blob_part(
        &self,
        blob: &Descriptor,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> Result<Vec<u8>, LibraryError> {
        let sha256 = &blob.sha256;
        let end = offset_bytes + len_bytes;
        let mut ask = get(
            format!("blobs/sha256:{sha256}"),
            format!("read bytes {offset_bytes} to {end} of blob {sha256}"),
        );
        if len_bytes == 0 {
            return Ok(Vec::new());
        }
        let range = format!("{offset_bytes}-{}", end - 1);
        ask.range = Some(format!("bytes={range}"));
        let expected = format!("bytes {range}/{}", blob.size_bytes);
        let mut reason = String::new();
        for attempt in 0..ATTEMPTS {
            self.client.rest_before(attempt);
            let answer = self.client.ask(&ask, &[200, 206])?;
            let part = answer.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let is_whole = answer.status == StatusCode::OK && len_bytes == blob.size_bytes;
            if !is_whole && part != Some(expected.as_str()) {
                let found = part.unwrap_or("the whole blob").to_owned();
                return Err(self.client.bad(&ask.what, format!("it is {found}")).into());
            }
            match self.client.body(&ask, answer, len_bytes as usize) {
                Ok(bytes) if bytes.len() as u64 == len_bytes => return Ok(bytes),
                Ok(bytes) => reason = format!("it ends after {} bytes", bytes.len()),
                // A connection that broke in the middle.
                Err(error) => reason = error.to_string(),
            }
        }
        Err(self.client.bad(&ask.what, format!("{reason}, {ATTEMPTS} times")).into())
    }

    fn keep(&self) -> Result<Option<Lock>, LibraryError> {
        Ok(None)
    }

    fn find(&self, name: &str, version: u64) -> Result<ImageReference, LibraryError> {
        match self.tagged(&tag_of(name, version))? {
            Some((manifest, _)) => Ok(ImageReference { name: name.into(), version, manifest }),
            None => {
                let registry = self.url().to_string();
                Err(RegistryError::NoSuchImage { registry, name: name.into(), version }.into())
            }
        }
    }

    fn images(&self) -> Result<Vec<ImageReference>, LibraryError> {
        let found = parallel::map(&self.tags()?, || (), |(), tag| self.image(tag));
        let found: Result<Vec<_>, RegistryError> = found.into_iter().collect();
        let mut images: Vec<_> = found?.into_iter().flatten().collect();
        images.sort_by(|one, other| (&one.name, one.version).cmp(&(&other.name, other.version)));
        Ok(images)
    }
}

/// The tag of an image: a colon may not stand in one. A version has no dash, so the last one parts.
fn tag_of(name: &str, version: u64) -> String {
    format!("{name}-{version}")
}

/// The image that a tag names; `None` for a tag that is not ours.
fn image_of(tag: &str) -> Option<(String, u64)> {
    let (name, version) = tag.rsplit_once('-')?;
    let version = version.parse().ok()?;
    let is_ours = repave_image::is_name(name) && tag_of(name, version) == tag;
    is_ours.then(|| (name.into(), version))
}

fn get(path: String, what: String) -> Ask<'static> {
    Ask { accept: Some(MANIFEST_TYPE), ..Ask::new(Method::GET, path, what) }
}

fn is(wanted: &Sha256, bytes: Vec<u8>) -> Result<Vec<u8>, LibraryError> {
    let found = Sha256::of(&bytes);
    if found == *wanted {
        return Ok(bytes);
    }
    Err(LibraryError::BlobDigest { wanted: *wanted, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let check = |tag: &str, expected: Option<(&str, u64)>| {
            let found = image_of(tag);
            let found = found.as_ref().map(|(name, version)| (name.as_str(), *version));
            assert_eq!(found, expected, "{tag}");
        };
        check(&tag_of("web", 1), Some(("web", 1)));
        check(&tag_of("db-15", 3), Some(("db-15", 3)));
        check(&tag_of("db", 15), Some(("db", 15)));
        for other in ["latest", "web", "web-", "web-01", "web-+1", "-1", "Web-1", "v1.2-3"] {
            check(other, None);
        }
    }
}
