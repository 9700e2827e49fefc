//! Where `write` gets its bytes: folders and web servers behind one interface, with the bytes
//! counted. The link to a controller that the core would talk to is not there.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use repave_core::edges::{BadCa, Link, LinkError};
use repave_protocol::Sha256;

use crate::http::{Http, one_by_one};
use crate::https::{Client, Timeouts};

/// Folders and web servers.
pub(super) struct Sources {
    client: Client,
    fetched_bytes: AtomicU64,
}

impl Sources {
    /// With the file of the CA certificates of https sources, if there are such, and a limit for each
    /// source.
    pub(super) fn new(ca: Option<&str>, bytes_per_s: Option<NonZeroU64>) -> Result<Self> {
        let client = match ca {
            Some(path) => std::fs::read(path)
                .map_err(anyhow::Error::from)
                .and_then(|pem| Ok(Client::new(&pem, Timeouts::default())?))
                .with_context(|| format!("--ca {path}"))?,
            None => Client::plain(Timeouts::default()),
        };
        Ok(Self { client: client.limited(bytes_per_s), fetched_bytes: AtomicU64::new(0) })
    }

    /// Bytes of bodies received or read so far.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.fetched_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The path, if the source is a folder.
fn path_of(url: &str) -> Option<&str> {
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    (!is_web).then(|| url.strip_prefix("file://").unwrap_or(url))
}

fn fail(path: &str, error: &std::io::Error) -> LinkError {
    LinkError::trouble(path, error.to_string())
}

impl Http for Sources {
    fn post(&self, url: &str, _: &[u8], _: usize, _: Duration) -> Result<Vec<u8>, LinkError> {
        Err(no_controller(url))
    }

    fn get(&self, url: &str, limit_bytes: usize) -> Result<Vec<u8>, LinkError> {
        let bytes = match path_of(url) {
            None => Http::get(&self.client, url, limit_bytes)?,
            Some(path) => {
                let mut bytes = Vec::new();
                let file = File::open(path).map_err(|error| fail(path, &error))?;
                let mut file = file.take(limit_bytes as u64 + 1);
                file.read_to_end(&mut bytes).map_err(|error| fail(path, &error))?;
                if bytes.len() > limit_bytes {
                    let reason = format!("longer than {limit_bytes} bytes");
                    return Err(LinkError::lie(path, reason));
                }
                bytes
            }
        };
        self.count(bytes.len());
        Ok(bytes)
    }

    fn get_range(&self, url: &str, offset_bytes: u64, into: &mut [u8]) -> Result<(), LinkError> {
        match path_of(url) {
            None => Http::get_range(&self.client, url, offset_bytes, into)?,
            Some(path) => File::open(path)
                .and_then(|file| file.read_exact_at(into, offset_bytes))
                .map_err(|error| fail(path, &error))?,
        }
        self.count(into.len());
        Ok(())
    }

    fn get_pieces(
        &self,
        url: &str,
        offset_bytes: u64,
        lengths: &[usize],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), LinkError> {
        if path_of(url).is_some() {
            return one_by_one(self, url, offset_bytes, lengths, each);
        }
        let counted = &mut |piece: &[u8]| {
            self.count(piece.len());
            each(piece);
        };
        Http::get_pieces(&self.client, url, offset_bytes, lengths, counted)
    }

    fn book(&self, source: &str, bytes: u64) -> Duration {
        self.client.book(source, bytes)
    }

    fn trust_ca(&self, _: &str) -> Result<(), BadCa> {
        Err(BadCa { reason: "nobody to be told of by".into() })
    }
}

fn no_controller(peer: &str) -> LinkError {
    LinkError::trouble(peer, "there is no controller here".into())
}

/// A link without a controller at its end.
pub(super) struct LibraryLink(pub(super) Arc<Sources>);

impl LibraryLink {
    /// A whole small file of a library.
    pub(super) fn file(
        &self,
        source: &str,
        name: &str,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.0.get(&format!("{}/{name}", source.trim_end_matches('/')), limit_bytes)
    }
}

impl Link for LibraryLink {
    fn trust_ca(&mut self, ca_pem: &str) -> Result<(), BadCa> {
        self.0.trust_ca(ca_pem)
    }

    fn ask(&mut self, _: &[u8]) -> Result<Vec<u8>, LinkError> {
        Err(no_controller("ask"))
    }

    fn tell(&mut self, _: Vec<u8>) {}

    fn settle(&mut self) {}

    fn blob(
        &mut self,
        source: &str,
        blob: &Sha256,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.0.blob(source, blob, limit_bytes)
    }

    fn blob_range(
        &mut self,
        source: &str,
        blob: &Sha256,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.0.blob_range(source, blob, offset_bytes, length_bytes)
    }
}
