//! The keys and certificates of one private pool, all derived from one seed: the same seed gives
//! the same authority, so a burned disk outlives the stub that it was burned for.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use repave_protocol::{PoolId, Sha256, SigningKey, TrustDocument, seal};
use serde_json::json;
use thiserror::Error;
use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// PKCS #8 v1 around an Ed25519 seed (RFC 8410, 7): everything before the 32 bytes.
const PKCS8_ED25519_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A calendar date: year, month, day.
type Date = (i32, u8, u8);

/// What an authority is made of.
#[derive(Clone, Debug)]
pub struct AuthoritySpec {
    /// Everything secret derives from it.
    pub seed: [u8; 32],
    /// IP addresses and DNS names that the server certificate is for.
    pub names: Vec<String>,
    /// First day on which the server certificate is valid.
    pub not_before: Date,
    /// Last day on which the server certificate is valid.
    pub not_after: Date,
}

impl AuthoritySpec {
    /// An authority whose certificates are valid at any date a clock may show.
    pub fn new(seed: [u8; 32], names: &[&str]) -> Self {
        Self {
            seed,
            names: names.iter().map(|&name| name.into()).collect(),
            not_before: (1970, 1, 1),
            not_after: (4096, 1, 1),
        }
    }
}

/// Why there is no authority.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A certificate could not be made; the names are the usual reason.
    #[error("cannot make a certificate for {names:?}")]
    Certificate {
        /// The names it was to be for.
        names: Vec<String>,
        /// The library's reason.
        source: rcgen::Error,
    },
    /// The TLS library does not take the certificate.
    #[error("cannot serve TLS with the certificate for {names:?}")]
    Tls {
        /// The names it is for.
        names: Vec<String>,
        /// The library's reason.
        source: rustls::Error,
    },
}

/// A private CA with one server certificate, and the signing keys of a pool.
#[derive(Debug)]
pub struct Authority {
    spec: AuthoritySpec,
    root_key: SigningKey,
    directive_key: SigningKey,
    image_key: SigningKey,
    foreign_key: SigningKey,
    ca_pem: String,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// The authority of a seed, with a certificate for the names given.
    pub fn generate(spec: AuthoritySpec) -> Result<Self, AuthorityError> {
        let key = |purpose| SigningKey::from_seed(&derive(&spec.seed, purpose));
        let failed = |source| AuthorityError::Certificate { names: spec.names.clone(), source };
        let (ca_pem, certificate) = certificates(&spec).map_err(failed)?;
        Ok(Self {
            root_key: key("root"),
            directive_key: key("directive"),
            image_key: key("image"),
            foreign_key: key("foreign"),
            ca_pem,
            certificate,
            spec,
        })
    }

    /// The offline key that signs trust documents.
    pub const fn root_key(&self) -> &SigningKey {
        &self.root_key
    }

    /// The key that signs directives.
    pub const fn directive_key(&self) -> &SigningKey {
        &self.directive_key
    }

    /// The offline key that signs images.
    pub const fn image_key(&self) -> &SigningKey {
        &self.image_key
    }

    /// A key that nobody trusts, for forgeries.
    pub const fn foreign_key(&self) -> &SigningKey {
        &self.foreign_key
    }

    /// The CA's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The names that the server certificate is for; the first one is the one to be called by.
    pub fn names(&self) -> &[String] {
        &self.spec.names
    }

    /// What a server of `pool` should trust, version 1.
    pub fn trust(&self, pool: &PoolId) -> TrustDocument {
        TrustDocument {
            crit: Vec::new(),
            pool: pool.clone(),
            version: 1,
            directive_keys: vec![self.directive_key.public()],
            image_keys: vec![self.image_key.public()],
            ca_pem: self.ca_pem.clone(),
            least_versions: [].into(),
        }
    }

    /// [`Self::trust`] in its envelope: the bytes of a burned disk's `/repave/trust.json`.
    pub fn trust_document(&self, pool: &PoolId) -> Vec<u8> {
        seal(&self.trust(pool), &self.root_key)
    }

    /// The bytes of a burned disk's `/repave/agent.json`.
    pub fn agent_config(
        &self,
        pool: &PoolId,
        controllers: &[String],
        join_token: Option<&str>,
    ) -> Vec<u8> {
        let mut config = json!({
            "pool": pool,
            "controllers": controllers,
            "root_key": self.root_key.public(),
        });
        if let Some(token) = join_token {
            config["join_token"] = token.into();
        }
        format!("{config:#}\n").into_bytes()
    }

    pub(crate) fn tls(&self) -> Result<ServerConfig, AuthorityError> {
        let failed = |source| AuthorityError::Tls { names: self.spec.names.clone(), source };
        let key = PrivateKeyDer::Pkcs8(tls_key(&self.spec.seed, "tls"));
        ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .map_err(failed)
    }
}

/// A secret of its own for each purpose. Not HKDF: nothing here guards anything.
fn derive(seed: &[u8; 32], purpose: &str) -> [u8; 32] {
    *Sha256::of(&[seed, purpose.as_bytes()].concat()).as_bytes()
}

fn tls_key(seed: &[u8; 32], purpose: &str) -> PrivatePkcs8KeyDer<'static> {
    [&PKCS8_ED25519_HEAD[..], &derive(seed, purpose)].concat().into()
}

fn certificates(spec: &AuthoritySpec) -> Result<(String, CertificateDer<'static>), rcgen::Error> {
    let date = |(year, month, day): Date| date_time_ymd(year, month, day);
    let (not_before, not_after) = (date(spec.not_before), date(spec.not_after));
    let dated = |mut params: CertificateParams, name: &str| {
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (not_before, not_after);
        params
    };
    let mut ca = dated(CertificateParams::default(), "Repave test CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::try_from(&tls_key(&spec.seed, "ca"))?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();

    let mut server = dated(CertificateParams::new(spec.names.clone())?, "controller");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::try_from(&tls_key(&spec.seed, "tls"))?;
    let certificate = server.signed_by(&server_key, &Issuer::new(ca, ca_key))?;
    Ok((ca_pem, certificate.der().clone()))
}
