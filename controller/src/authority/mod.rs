//! What the controller can prove: its directive keys, and a certificate of the pool's private CA.
//! Made at the first start in the state folder, or put there by the operator before it. The root key
//! and the image keys are offline and never here.

mod certificates;
mod files;
mod trust;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repave_protocol::{Directive, PublicKey, Refusal, SigningKey, seal_by};
use thiserror::Error;
use time::OffsetDateTime;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::key_file::{self, KeyFileError};

pub use trust::{TrustError, Trusted};

/// The key that signs directives.
const DIRECTIVE_KEY: &str = "directive.key";
/// The key that will sign them next; while it is there, both do.
const NEXT_DIRECTIVE_KEY: &str = "directive-next.key";

/// Why the controller cannot prove who it is.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A directive key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A certificate or its key.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A private key that others may read.
    #[error("{path} has mode {mode:o}: others have access to it; chmod 600 if nobody read it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A certificate or key that is none.
    #[error("{path} cannot be used")]
    Certificate {
        /// The file that it came from, or was to go into.
        path: PathBuf,
        /// The library's reason.
        source: rcgen::Error,
    },
    /// A certificate that the TLS library does not take.
    #[error("cannot serve TLS for {names:?}")]
    Tls {
        /// The names that it is for.
        names: Vec<String>,
        /// The library's reason.
        source: rustls::Error,
    },
    /// A trust document that does not come through the one door.
    #[error("trust document refused")]
    Trust(#[from] Refusal),
}

/// The controller's own secrets, in use.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    names: Vec<String>,
    directive_keys: Vec<SigningKey>,
    ca_pem: String,
}

impl Authority {
    /// Reads what is in `folder`, and makes what is not there yet. `names` are the DNS names and
    /// addresses by which servers and operators call this controller.
    pub fn open_or_create(
        folder: &Path,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let first = folder.join(DIRECTIVE_KEY);
        let key = if first.exists() { key_file::read(&first) } else { key_file::generate(&first) };
        let mut directive_keys = vec![key?];
        let next = folder.join(NEXT_DIRECTIVE_KEY);
        if next.exists() {
            directive_keys.push(key_file::read(&next)?);
        }
        let ca_pem = certificates::ensure_ca(folder, now)?;
        Ok(Self { folder: folder.into(), names: names.into(), directive_keys, ca_pem })
    }

    /// The public halves of the keys that sign directives, the one in use first.
    pub fn directive_keys(&self) -> Vec<PublicKey> {
        self.directive_keys.iter().map(SigningKey::public).collect()
    }

    /// The CA's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Signs a directive with every key there is: a server believes it if it trusts one of them.
    pub fn sign(&self, directive: &Directive) -> Vec<u8> {
        seal_by(directive, &self.directive_keys.iter().collect::<Vec<_>>())
    }

    /// A TLS configuration with a fresh certificate. Made anew long before it ends.
    pub fn tls(&self, now: OffsetDateTime) -> Result<Arc<ServerConfig>, AuthorityError> {
        certificates::tls(&self.folder, &self.ca_pem, &self.names, now).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use repave_protocol::{DirectiveExpected, Generation, Keys, Nonce, Order, ServerId, verify};

    use super::*;

    fn open(folder: &Path) -> Result<Authority, AuthorityError> {
        let names = ["controller.test".into(), "127.0.0.1".into(), "::1".into()];
        Authority::open_or_create(folder, &names, OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn a_second_start_goes_on_with_what_the_first_one_made() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path()).unwrap();
        first.tls(OffsetDateTime::UNIX_EPOCH).unwrap();
        let second = open(folder.path()).unwrap();
        assert_eq!(first.directive_keys(), second.directive_keys());
        assert_eq!(first.ca_pem(), second.ca_pem());
        second.tls(OffsetDateTime::UNIX_EPOCH).unwrap();
    }

    #[test]
    fn a_private_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap();
        fs::set_permissions(folder.path().join("ca.key"), Permissions::from_mode(0o640)).unwrap();
        let found = open(folder.path());
        assert!(matches!(found, Err(AuthorityError::Exposed { mode: 0o640, .. })), "{found:?}");
    }

    #[test]
    fn while_two_keys_are_there_either_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap();
        key_file::generate(&folder.path().join(NEXT_DIRECTIVE_KEY)).unwrap();
        let authority = open(folder.path()).unwrap();
        let server = ServerId::of(&SigningKey::from_seed(&[1; 32]).public());
        let (pool, nonce) = ("demo".parse().unwrap(), Nonce::from_random([7; 32]));
        let directive = Directive {
            crit: Vec::new(),
            pool,
            server,
            nonce,
            generation: Generation(1),
            order: Order::Wait { after_ms: 1 },
            trust: None,
        };
        let bytes = authority.sign(&directive);
        let [first, next] = authority.directive_keys().try_into().unwrap();
        let check = |key: PublicKey, believed: bool| {
            let pool = directive.pool.clone();
            let expected = DirectiveExpected { pool, server, nonce, accepted: None };
            let found = verify::<Directive>(&bytes, Keys::Pinned(&[key]), &expected);
            assert_eq!(found.is_ok(), believed, "{found:?}");
        };
        check(first, true);
        check(next, true);
        check(SigningKey::from_seed(&[2; 32]).public(), false);
    }

    #[test]
    fn a_certificate_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap();
        fs::write(folder.path().join("ca.pem"), "no certificate").unwrap();
        let found = open(folder.path()).unwrap().tls(OffsetDateTime::UNIX_EPOCH);
        let path = folder.path().join("ca.pem");
        assert!(
            matches!(&found, Err(AuthorityError::Certificate { path: found, .. }) if *found == path)
        );
    }
}
