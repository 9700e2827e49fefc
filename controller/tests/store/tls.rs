//! TLS to PostgreSQL: a server whose certificate our CA signed is believed, any other is refused.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use repave_controller::store::{self, StoreError};

use crate::fixture::{Database, id, run, server, servers, write};
use crate::postgres::{PASSWORD, Server};

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn a_certificate_is_checked_against_the_ca_and_the_name() {
    let (ours, other) = (ca(), ca());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = params.signed_by(&key, &ours).unwrap();
    let server_process =
        Server::start_with(false, Some((&certificate.pem(), &key.serialize_pem())));
    run(Database::sqlite(), async |database| {
        let pem = |name: &str, text: String| {
            let path = database.folder().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (ours, other) = (pem("ours.pem", ours.pem()), pem("other.pem", other.pem()));
        let url = server_process.database();
        let with = |url: &str, ca: &std::path::Path| {
            format!("{url}?sslmode=verify-full&sslrootcert={}", ca.display())
        };
        let store = store::open(Some(&with(&url, &ours)), database.folder()).await.unwrap();
        write(&store, servers([server(1, None)])).await;
        assert_eq!(store.servers(&[id(1)]).await.unwrap().len(), 1);
        store.close().await;

        let refused =
            store::open(Some(&with(&url, &other)), database.folder()).await.err().unwrap();
        let text = format!("{refused} {refused:?}");
        assert!(text.contains("InvalidCertificate(") && !text.contains(PASSWORD), "{text}");
        assert!(text.contains("is reachable and not believed; see that sslrootcert"), "{text}");
        assert!(!refused.is_passing(), "somebody has to help");
        // The right CA, and a name that is not in the certificate.
        let named = url.replace("127.0.0.1", "localhost");
        let refused =
            store::open(Some(&with(&named, &ours)), database.folder()).await.err().unwrap();
        assert!(format!("{refused:?}").contains("NotValidForName"), "{refused:?}");
        assert!(matches!(refused, StoreError::Untrusted { .. }), "{refused}");
    });
}
