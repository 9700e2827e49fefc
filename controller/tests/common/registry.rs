//! A registry for tests: Debian's docker-registry on a loopback port of its own, over TLS that a test
//! CA vouches for, with one user. It ends with the value that holds it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

/// Who may use it.
pub(crate) const USER: &str = "images";
/// The password, which no message may contain.
pub(crate) const PASSWORD: &str = "s3cret-of-the-registry";
const READY: &str = "listening on";

/// A running registry.
pub(crate) struct Registry {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl Registry {
    /// Starts one and waits until it listens.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        certificates(folder.path());
        let made = Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]).output().unwrap();
        assert!(made.status.success(), "htpasswd, of the Debian package apache2-utils");
        fs::write(folder.path().join("users"), made.stdout).unwrap();
        let host = format!("127.0.0.1:{port}");
        let auth = |password: &str| {
            let auth = STANDARD.encode(format!("{USER}:{password}"));
            format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#)
        };
        owner_only(&folder.path().join("auth.json"), &auth(PASSWORD));
        owner_only(&folder.path().join("wrong.json"), &auth("wrong"));
        let at = folder.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\n\
             storage:\n  filesystem: {{rootdirectory: {at}/data}}\n  delete: {{enabled: true}}\n\
             http:\n  addr: {host}\n  tls: {{certificate: {at}/server.pem, key: {at}/server.key}}\n\
             auth:\n  htpasswd: {{realm: repave, path: {at}/users}}\n"
        );
        let path = folder.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the Debian package docker-registry; initramfs/deps.sh installs it");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        while !seen.last().is_some_and(|line: &String| line.contains(READY)) {
            let Some(Ok(line)) = log.next() else { panic!("no registry: {seen:#?}") };
            seen.push(line);
        }
        // Read for as long as it writes, or it would stop at a full pipe.
        thread::spawn(move || log.for_each(drop));
        Self { folder, child, port }
    }

    /// Host and port, as container tools have them.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of a repository.
    pub(crate) fn url(&self, repository: &str) -> String {
        format!("https://{}/{repository}", self.host())
    }

    /// `ca.crt`, `auth.json` and `wrong.json`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn owner_only(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// `ca.crt`, and `server.pem` and `server.key` by it.
fn certificates(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "a registry's CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let server = params.signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
    fs::write(folder.join("server.pem"), server.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}
