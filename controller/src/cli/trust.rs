//! `repave trust`: signing trust documents, which is done where the root key is and needs no
//! network, and giving them to the controller.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use repave_protocol::{
    Envelope, Keys, PoolId, PublicKey, Refusal, TrustDocument, TrustExpected, limits, seal,
    strict_json, verify,
};
use serde_json::{Value, json};
use ureq::tls::{PemItem, parse_pem};

use super::client::query;
use super::output::{read, write_or_print};
use super::remote::Remote;
use super::table::shown;
use super::{Failure, print, print_json};
use crate::control::TrustUse;
use crate::key_file;

/// Where the controller keeps the document in force.
const TRUST: &str = "/v1/trust";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sign a trust document with the root key. Needs no network: the root key stays offline.
    Sign(Sign),
    /// Show what a signed trust document says, and check it if the root key is given.
    Show(Show),
    /// Give a signed trust document to the controller, which hands it to every server.
    Set {
        /// The signed document.
        file: PathBuf,
        /// Drop a directive key even though servers may believe no other yet.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Say how many servers go by the document in force, and which do not yet.
    Status {
        #[command(flatten)]
        remote: Remote,
    },
    /// Print the signed trust document in force, as `set` takes it.
    Get {
        /// The file to write; without it, standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The root key's file.
    #[arg(long, value_name = "FILE")]
    root_key: PathBuf,
    /// The pool.
    #[arg(long)]
    pool: PoolId,
    /// Version; higher than that of the document in force.
    #[arg(long)]
    version: u64,
    /// Public key that may direct servers; may be given several times.
    #[arg(long = "directive-key", value_name = "HEX", required = true)]
    directive_keys: Vec<PublicKey>,
    /// Public key that may vouch for images; may be given several times.
    #[arg(long = "image-key", value_name = "HEX", required = true)]
    image_keys: Vec<PublicKey>,
    /// CA certificates of the controllers, PEM.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Least version of an image that servers accept; may be given several times.
    #[arg(long = "least-version", value_name = "IMAGE=N", value_parser = least_version)]
    least_versions: Vec<(String, u64)>,
    /// The file to write; without it, standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The signed document.
    file: PathBuf,
    /// Public key that must have signed it; without it the signature is not checked.
    #[arg(long, value_name = "HEX")]
    root_key: Option<PublicKey>,
    /// Print the document as JSON.
    #[arg(long)]
    json: bool,
}

fn least_version(text: &str) -> Result<(String, u64), String> {
    let parts =
        text.split_once('=').and_then(|(name, version)| Some((name, version.parse().ok()?)));
    match parts {
        Some((name, version)) if !name.is_empty() => Ok((name.into(), version)),
        _ => Err("a least version is IMAGE=N, such as web=3".into()),
    }
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Sign(arguments) => sign(arguments),
        Command::Show(arguments) => show(&arguments),
        Command::Set { file, force, remote } => set(&file, force, &remote),
        Command::Status { remote } => status(&remote),
        Command::Get { out, remote } => {
            let envelope: Value = remote.client()?.fetch(TRUST)?;
            let text = serde_json::to_string_pretty(&envelope).map_err(std::io::Error::from)?;
            write_or_print(out.as_deref(), &format!("{text}\n"))
        }
    }
}

fn sign(arguments: Sign) -> Result<(), Failure> {
    let key = key_file::read(&arguments.root_key)?;
    let (version, pool) = (arguments.version, arguments.pool);
    let document = TrustDocument {
        crit: Vec::new(),
        pool: pool.clone(),
        version,
        directive_keys: arguments.directive_keys,
        image_keys: arguments.image_keys,
        ca_pem: certificates(&arguments.ca)?,
        least_versions: arguments.least_versions.into_iter().collect(),
    };
    let bytes = seal(&document, &key);
    // As every server will: a document that they would refuse is better refused here.
    let expected = TrustExpected { pool, least_version: version };
    verify::<TrustDocument>(&bytes, Keys::Pinned(&[key.public()]), &expected)?;
    let text = String::from_utf8_lossy(&bytes);
    write_or_print(arguments.out.as_deref(), &format!("{}\n", text.trim_end()))
}

/// The certificates of a PEM file. One with a private key in it must not go to every server.
fn certificates(path: &Path) -> Result<String, Failure> {
    let text = read(path)?;
    let refused = |what: &str| Err(Failure::Refused(format!("{}: {what}", path.display())));
    let mut found = 0;
    for item in parse_pem(text.as_bytes()) {
        match item {
            Ok(PemItem::Certificate(_)) => found += 1,
            // A private key, most likely.
            Ok(_) => {
                return refused("holds more than certificates; give the CA's alone, ca.pem");
            }
            Err(_) => return refused("is not PEM: give the CA's certificate, ca.pem"),
        }
    }
    if found == 0 { refused("holds no certificate: give the CA's, ca.pem") } else { Ok(text) }
}

fn show(arguments: &Show) -> Result<(), Failure> {
    let text = read(&arguments.file)?;
    let document = match arguments.root_key {
        None => unchecked(text.as_bytes())?,
        Some(key) => {
            let pool = unchecked(text.as_bytes())?.pool;
            let expected = TrustExpected { pool, least_version: 0 };
            verify::<TrustDocument>(text.as_bytes(), Keys::Pinned(&[key]), &expected)?
                .into_message()
        }
    };
    if arguments.json {
        return print_json(&document);
    }
    print(&described(&document))?;
    match arguments.root_key {
        Some(key) => print(&format!("signed by {key}")),
        None => print("signature not checked (give --root-key)"),
    }
}

/// What a document says, whoever signed it.
fn unchecked(bytes: &[u8]) -> Result<TrustDocument, Refusal> {
    let envelope: Envelope = strict_json(bytes, limits::ENVELOPE_BYTES)?;
    let payload = STANDARD
        .decode(&envelope.payload)
        .map_err(|error| Refusal::Malformed { reason: error.to_string() })?;
    strict_json(&payload, limits::ENVELOPE_BYTES)
}

fn status(remote: &Remote) -> Result<(), Failure> {
    let answer = remote.client()?.get(&format!("{TRUST}/servers"))?;
    if remote.json {
        return print_json(&answer.json::<Value>()?);
    }
    print(&shown(&answer.json::<TrustUse>()?.to_string()))
}

fn set(file: &Path, force: bool, remote: &Remote) -> Result<(), Failure> {
    let text = read(file)?;
    let version = unchecked(text.as_bytes())?.version;
    let envelope: Value = strict_json(text.as_bytes(), limits::ENVELOPE_BYTES)?;
    let path = query(TRUST, &[("force", force.then(|| "true".into()))]);
    let answer = remote.client()?.put(&path, &envelope, None)?;
    match answer.value()? {
        Some(value) if remote.json => print_json(&value),
        None if remote.json => print_json(&json!({})),
        _ => print(&format!("trust document version {version} is in force")),
    }
}

fn described(document: &TrustDocument) -> String {
    let TrustDocument { pool, version, directive_keys, image_keys, ca_pem, .. } = document;
    let mut lines = vec![format!("trust document of pool {pool}, version {version}")];
    lines.extend(directive_keys.iter().map(|key| format!("directive key  {key}")));
    lines.extend(image_keys.iter().map(|key| format!("image key      {key}")));
    let least = document.least_versions.iter();
    lines.extend(least.map(|(name, version)| format!("least version  {name}:{version}")));
    let certificates = parse_pem(ca_pem.as_bytes()).filter(Result::is_ok).count();
    lines.push(format!("CA             {certificates} certificates, {} bytes", ca_pem.len()));
    lines.join("\n")
}
