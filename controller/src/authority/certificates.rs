//! The private CA and the certificate that it gives the controller. ECDSA on P-256, since every TLS
//! client knows it, browsers included. Servers check chain and name only (decision 0002); operators'
//! clients check the dates too.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{AuthorityError, files};

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
/// Longer than any server keeps its disk; it is replaced by a trust document, not by its date.
const CA_DAYS: i64 = 30 * 365;
/// Renewed far more often, see the daemon.
const LEAF_DAYS: i64 = 90;
/// For clients whose clocks are behind.
const BACKDATED: Duration = Duration::days(1);

/// The CA's certificate; made, with its key, where there is none.
pub(super) fn ensure_ca(folder: &Path, now: OffsetDateTime) -> Result<String, AuthorityError> {
    let (path, key_path) = (folder.join(CA), folder.join(CA_KEY));
    if path.exists() {
        files::read_private(&key_path)?;
        return files::read(&path);
    }
    let failed = |source| AuthorityError::Certificate { path: path.clone(), source };
    let key = KeyPair::generate().map_err(failed)?;
    let mut ca = dated(CertificateParams::default(), "Repave pool CA", CA_DAYS, now);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = ca.self_signed(&key).map_err(failed)?.pem();
    // The key first: a certificate without its key would be of no use to the next start.
    files::write_new(&key_path, &key.serialize_pem(), true)?;
    files::write_new(&path, &pem, false)?;
    Ok(pem)
}

/// A certificate for `names`, with a key of its own that is never written anywhere.
pub(super) fn tls(
    folder: &Path,
    ca_pem: &str,
    names: &[String],
    now: OffsetDateTime,
) -> Result<ServerConfig, AuthorityError> {
    let (path, key_path) = (folder.join(CA), folder.join(CA_KEY));
    let bad_key = |source| AuthorityError::Certificate { path: key_path.clone(), source };
    let bad = |source| AuthorityError::Certificate { path: path.clone(), source };
    let ca_key = KeyPair::from_pem(&files::read_private(&key_path)?).map_err(bad_key)?;
    let issuer = Issuer::from_ca_cert_pem(ca_pem, ca_key).map_err(bad)?;
    let params = CertificateParams::new(names).map_err(bad)?;
    let mut params = dated(params, "Repave controller", LEAF_DAYS, now);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(bad)?;
    let certificate = params.signed_by(&key, &issuer).map_err(bad)?;
    let failed = |source| AuthorityError::Tls { names: names.into(), source };
    ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .map_err(failed)
}

fn dated(
    mut params: CertificateParams,
    name: &str,
    days: i64,
    now: OffsetDateTime,
) -> CertificateParams {
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (now - BACKDATED, now + Duration::days(days));
    params
}
