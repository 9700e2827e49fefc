//! The sushy-tools emulator of Redfish controllers with its fake servers, and OpenStack's client,
//! each a process of its own that ends with its value here.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{GUARD, write_secret};

pub(crate) const USERNAME: &str = "operator";
pub(crate) const PASSWORD: &str = "open sesame";
/// bcrypt of [`PASSWORD`], at its lowest cost.
const PASSWORD_HASH: &str = "$2b$04$OpW0lYvh.ia2Vs/95hK36OcyIDtvowNY7.T41hbfbZ/AbU3GkZuEi";

/// The Python that has both, installed on first use.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| crate::python::python("power"))
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power")
}

/// How the emulator proves itself, and asks us to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    None,
    TlsAndPassword,
}

/// A running emulator.
pub(crate) struct Emulator {
    process: Child,
    folder: TempDir,
    pub(crate) url: String,
    security: Security,
    log: Arc<Mutex<Vec<String>>>,
}

impl Emulator {
    /// Starts one with these servers and their power states, and waits until it listens.
    pub(crate) fn start(security: Security, servers: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let servers: Vec<Value> = servers
            .iter()
            .map(|(name, power)| {
                json!({"uuid": name, "name": name, "power_state": power, "nics": []})
            })
            .collect();
        // JSON is Python here; it has no true, false or null in it.
        let mut config = format!(
            "SUSHY_EMULATOR_FAKE_DRIVER = True\nSUSHY_EMULATOR_FAKE_SYSTEMS = {}\n\
             SUSHY_EMULATOR_STATE_DIR = {:?}\nSUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\n\
             SUSHY_EMULATOR_LISTEN_PORT = 0\n",
            json!(servers),
            at("state")
        );
        if security == Security::TlsAndPassword {
            make_certificates(folder.path());
            fs::write(at("users"), format!("{USERNAME}:{PASSWORD_HASH}\n")).unwrap();
            config.push_str(&format!(
                "SUSHY_EMULATOR_AUTH_FILE = {:?}\nSUSHY_EMULATOR_SSL_CERT = {:?}\n\
                 SUSHY_EMULATOR_SSL_KEY = {:?}\n",
                at("users"),
                at("server.pem"),
                at("server.key")
            ));
        }
        write_secret(&at("password"), &format!("{PASSWORD}\n"));
        fs::write(at("emulator.conf"), config).unwrap();
        let mut process = Command::new(python())
            .args(["-m", "sushy_tools.emulator.main", "--config"])
            .arg(at("emulator.conf"))
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let urls = follow(BufReader::new(process.stderr.take().unwrap()), Arc::clone(&log));
        let url = urls.recv_timeout(GUARD);
        let mut emulator = Self { process, folder, url: String::new(), security, log };
        emulator.url = url.unwrap_or_else(|_| panic!("no emulator: {:#?}", emulator.log()));
        emulator
    }

    /// Our settings for one of its servers.
    pub(crate) fn settings(&self, server: &str) -> Value {
        let mut settings =
            json!({"kind": "redfish", "address": self.url, "system": server, "trust": "insecure"});
        if self.security == Security::TlsAndPassword {
            settings["trust"] = json!({"ca_file": self.at("ca.pem")});
            settings["login"] = json!({"scheme": "basic", "username": USERNAME,
                "password_file": self.at("password")});
        }
        settings
    }

    /// A file of the emulator's folder.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it logged: a line for each request.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Keeps what is logged, and sends the address that it names.
fn follow(lines: impl BufRead + Send + 'static, log: Arc<Mutex<Vec<String>>>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if let Some((_, url)) = line.split_once("Running on ") {
                let url = url.split_whitespace().next().unwrap_or_default();
                // The test may have given up by now.
                let _ = sender.send(url.to_owned());
            }
            log.lock().unwrap().push(line);
        }
    });
    receiver
}

/// A CA, a certificate of it for 127.0.0.1, and another CA that signed nothing.
fn make_certificates(folder: &Path) {
    let ca_of = |name: &str| {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (Issuer::new(params, key), pem)
    };
    let (issuer, pem) = ca_of("management");
    fs::write(folder.join("ca.pem"), pem).unwrap();
    fs::write(folder.join("other.pem"), ca_of("another").1).unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join("server.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

/// OpenStack's client, connected to an emulator.
pub(crate) struct Sushy {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What it sees of a server, in Redfish's words.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Seen {
    pub(crate) power: String,
    pub(crate) boot: String,
    pub(crate) resets: Vec<String>,
}

impl Sushy {
    pub(crate) fn connect(emulator: &Emulator) -> Self {
        let mut process = Command::new(python())
            .arg(here().join("look.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let secure = emulator.security == Security::TlsAndPassword;
        let settings = json!({
            "url": emulator.url,
            "ca": secure.then(|| emulator.at("ca.pem")),
            "username": secure.then_some(USERNAME),
            "password": secure.then_some(PASSWORD),
        });
        writeln!(orders, "{settings}").unwrap();
        Self { process, orders, answers }
    }

    pub(crate) fn look(&mut self, server: &str) -> Seen {
        self.send(json!({"system": server}))
    }

    pub(crate) fn reset(&mut self, server: &str, reset: &str) -> Seen {
        self.send(json!({"system": server, "reset": reset}))
    }

    pub(crate) fn boot(&mut self, server: &str, target: &str) -> Seen {
        self.send(json!({"system": server, "boot": target}))
    }

    fn send(&mut self, order: Value) -> Seen {
        writeln!(self.orders, "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{order}: look.py said {line:?}"))
    }
}

impl Drop for Sushy {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
