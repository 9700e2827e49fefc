//! Whom the control channel trusts: a server with a certificate for its name, issued by a pinned
//! CA, at whatever time.
//!
//! A server's clock may say 1970 after its battery died, and a rack must come home after years in a
//! store, so the dates of a certificate are not held against it. That an answer is fresh is proven
//! by its nonce, and a lost key is revoked by a new trust document. Everything else is rustls'
//! own check: chain, signatures, name, usage.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Instants at which a chain is tried. Each try moves to the edge of a certificate's dates and
/// never back, so that a chain of n certificates whose dates have an instant in common needs n+1
/// tries at most; longer chains than this are refused by rustls anyway.
const MAX_TRIES: usize = 8;

/// rustls' verifier, asked about an instant at which the chain's certificates are all valid.
///
/// A chain that was valid at no single instant is still refused, by the dates: no CA that issues
/// properly makes one.
#[derive(Debug)]
pub(super) struct DatelessVerifier {
    inner: Arc<WebPkiServerVerifier>,
}

impl DatelessVerifier {
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>) -> Self {
        Self { inner }
    }
}

impl ServerCertVerifier for DatelessVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let check = |instant| {
            let inner = &self.inner;
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, instant)
        };
        let mut result = check(now);
        for _ in 1..MAX_TRIES {
            let instant = match result {
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                })) => not_after,
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) => not_before,
                other => return other,
            };
            result = check(instant);
        }
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
