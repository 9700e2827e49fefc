//! What the link and the crew need of an HTTP client, so that their tests need no server. The
//! client that is burned is `https::Client`; TLS, redirects and ranges are its affair.

use std::error::Error;
use std::iter;
use std::time::Duration;

use repave_core::edges::{BadCa, LinkError};
use repave_protocol::Sha256;

use crate::https::{Client, HttpError};

/// A client, used from many threads at once. Errors name the URL.
pub trait Http: Send + Sync {
    /// Posts `body` and returns the body of the answer, at most `answer_bytes` long, within
    /// `limit`.
    fn post(
        &self,
        url: &str,
        body: &[u8],
        answer_bytes: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, LinkError>;
    /// Gets a whole body of at most `limit_bytes`.
    fn get(&self, url: &str, limit_bytes: usize) -> Result<Vec<u8>, LinkError>;
    /// Fills `into` with the bytes from `offset_bytes` on.
    fn get_range(&self, url: &str, offset_bytes: u64, into: &mut [u8]) -> Result<(), LinkError>;
    /// Gets the bytes from `offset_bytes` on in pieces of `lengths`, with one request where that is
    /// possible; `each` is given every piece as it comes. After an error the pieces that it was not
    /// given are missing.
    fn get_pieces(
        &self,
        url: &str,
        offset_bytes: u64,
        lengths: &[usize],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), LinkError> {
        one_by_one(self, url, offset_bytes, lengths, each)
    }
    /// Books what is about to be asked of a source. Returns how long to wait before that, so that no
    /// limit of its rate is broken.
    fn book(&self, _source: &str, _bytes: u64) -> Duration {
        Duration::ZERO
    }
    /// Gets a whole blob of at most `limit_bytes` from a source. At once, since everything else waits
    /// for it; by a limit of the rate it is the next ones who wait.
    fn blob(&self, source: &str, blob: &Sha256, limit_bytes: usize) -> Result<Vec<u8>, LinkError> {
        let bytes = self.get(&blob_url(source, blob), limit_bytes)?;
        self.book(source, bytes.len() as u64);
        Ok(bytes)
    }
    /// Gets `length_bytes` of a blob from a source, as [`Http::blob`] does.
    fn blob_range(
        &self,
        source: &str,
        blob: &Sha256,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.book(source, length_bytes as u64);
        let mut bytes = vec![0; length_bytes];
        self.get_range(&blob_url(source, blob), offset_bytes, &mut bytes)?;
        Ok(bytes)
    }
    /// Pins other CAs for the requests to come; after an error it is those of before.
    fn trust_ca(&self, ca_pem: &str) -> Result<(), BadCa>;
}

impl Http for Client {
    fn post(
        &self,
        url: &str,
        body: &[u8],
        answer_bytes: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, LinkError> {
        Client::post(self, url, body, answer_bytes, limit).map_err(link_error)
    }

    fn get(&self, url: &str, limit_bytes: usize) -> Result<Vec<u8>, LinkError> {
        Client::get(self, url, limit_bytes).map_err(link_error)
    }

    fn get_range(&self, url: &str, offset_bytes: u64, into: &mut [u8]) -> Result<(), LinkError> {
        Client::get_range(self, url, offset_bytes, into).map_err(link_error)
    }

    fn get_pieces(
        &self,
        url: &str,
        offset_bytes: u64,
        lengths: &[usize],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), LinkError> {
        Client::get_pieces(self, url, offset_bytes, lengths, each).map_err(link_error)
    }

    fn book(&self, source: &str, bytes: u64) -> Duration {
        Client::book(self, source, bytes)
    }

    fn trust_ca(&self, ca_pem: &str) -> Result<(), BadCa> {
        self.pin(ca_pem.as_bytes()).map_err(|error| BadCa { reason: chain(&error) })
    }
}

/// Gets pieces with a request each.
pub(crate) fn one_by_one<H: Http + ?Sized>(
    http: &H,
    url: &str,
    mut offset_bytes: u64,
    lengths: &[usize],
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), LinkError> {
    let mut piece = Vec::new();
    for length in lengths {
        piece.resize(*length, 0);
        http.get_range(url, offset_bytes, &mut piece)?;
        each(&piece);
        offset_bytes += *length as u64;
    }
    Ok(())
}

/// The error and its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn link_error(HttpError { url, fault }: HttpError) -> LinkError {
    let reason = fault.to_string();
    match fault.is_lie() {
        true => LinkError::lie(&url, reason),
        false => LinkError::trouble(&url, reason),
    }
}

/// Where a source serves a blob.
pub(crate) fn blob_url(source: &str, blob: &Sha256) -> String {
    format!("{}/blobs/sha256/{blob}", source.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use repave_protocol::Sha256;

    #[test]
    fn a_source_may_end_in_a_slash() {
        let blob = Sha256::from_bytes([0xab; 32]);
        for source in ["http://mirror/web", "http://mirror/web/"] {
            let url = super::blob_url(source, &blob);
            assert_eq!(url, format!("http://mirror/web/blobs/sha256/{}", "ab".repeat(32)));
        }
    }
}
