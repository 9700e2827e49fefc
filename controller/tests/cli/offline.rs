//! Commands that need no controller, and what they write as its readers read it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use repave_controller::authority::Authority;
use repave_core::config::Config;
use repave_protocol::{Keys, PublicKey, TrustDocument, TrustExpected, verify};
use tempfile::tempdir;
use time::OffsetDateTime;

use crate::check;

const ROOT: &str = "3ccd241cffc9b3618044b97d036d8614593d8b017c340f1dee8773385517654b";

/// Makes a root key and a CA; gives the root's public key and a directive key.
fn keys(folder: &Path) -> (String, String) {
    let root = check(folder, &["key", "generate", "--out", "root.key"], 0, "");
    let names = ["controller.test".to_owned()];
    let authority = Authority::open_or_create(folder, &names, OffsetDateTime::UNIX_EPOCH).unwrap();
    (root.trim().into(), authority.directive_keys()[0].to_string())
}

fn sign<'a>(directive: &'a str, ca: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let needed = ["trust", "sign", "--root-key", "root.key", "--pool", "demo", "--version", "7"];
    let given = ["--directive-key", directive, "--image-key", directive, "--ca", ca];
    [&needed[..], &given, more].concat()
}

#[test]
fn servers_believe_a_trust_document_that_was_signed_here() {
    let folder = tempdir().unwrap();
    let (root, directive) = keys(folder.path());
    let more = ["--least-version", "web=3", "--out", "trust.json"];
    check(folder.path(), &sign(&directive, "ca.pem", &more), 0, "");
    let bytes = fs::read(folder.path().join("trust.json")).unwrap();
    let expected = TrustExpected { pool: "demo".parse().unwrap(), least_version: 7 };
    let root_key: PublicKey = root.parse().unwrap();
    let verified = verify::<TrustDocument>(&bytes, Keys::Pinned(&[root_key]), &expected).unwrap();
    let document = verified.into_message();
    assert_eq!(document.version, 7);
    assert_eq!(document.directive_keys, [directive.parse().unwrap()]);
    assert_eq!(document.least_versions, BTreeMap::from([("web".into(), 3)]));
    assert_eq!(document.ca_pem, fs::read_to_string(folder.path().join("ca.pem")).unwrap());

    let show = ["trust", "show", "trust.json", "--root-key", &root];
    let text = check(folder.path(), &show, 0, "version 7");
    assert!(text.contains("least version  web:3") && text.contains("signed by"), "{text}");
    check(folder.path(), &["trust", "show", "trust.json"], 0, "signature not checked");
    let json = check(folder.path(), &["trust", "show", "trust.json", "--json"], 0, "ca_pem");
    assert!(json.contains("\"version\": 7"), "{json}");
    let other = ["trust", "show", "trust.json", "--root-key", &directive];
    check(folder.path(), &other, 3, "servers would refuse this trust document");
}

#[test]
fn a_trust_document_that_would_do_harm_is_not_signed() {
    let folder = tempdir().unwrap();
    let (_, directive) = keys(folder.path());
    let check = |arguments: &[&str], code, printed| check(folder.path(), arguments, code, printed);
    check(&sign(&directive, "none.pem", &[]), 1, "cannot read none.pem");
    check(&sign(&directive, "root.key", &[]), 3, "holds no certificate");
    check(&sign(&directive, "ca.key", &[]), 3, "holds more than certificates");
    check(&sign(&directive, "ca.pem", &["--least-version", "web"]), 2, "IMAGE=N");
    check(&sign("abc", "ca.pem", &[]), 2, "abc");
    let pem = fs::read_to_string(folder.path().join("ca.pem")).unwrap();
    fs::write(folder.path().join("many.pem"), pem.repeat(40)).unwrap();
    check(&sign(&directive, "many.pem", &[]), 3, "bytes of CA certificates");
}

#[test]
fn an_agent_reads_the_configuration_that_was_written_for_it() {
    let folder = tempdir().unwrap();
    let base = ["agent-config", "--pool", "demo", "--root-key", ROOT];
    let check =
        |more: &[&str], code, printed| check(folder.path(), &[&base, more].concat(), code, printed);
    let two = ["--controller", "https://one.test:8443", "--controller", "https://[::1]:8443"];
    let out = ["--join-token", "abc", "--out", "agent.json"];
    check(&[&two[..], &out].concat(), 0, "");
    let bytes = fs::read(folder.path().join("agent.json")).unwrap();
    let config = Config::<()>::parse(&bytes).unwrap();
    assert_eq!(config.pool, "demo".parse().unwrap());
    assert_eq!(config.controllers, ["https://one.test:8443", "https://[::1]:8443"]);
    assert_eq!(config.root_key.to_string(), ROOT);
    assert_eq!(config.join_token.as_deref(), Some("abc"));

    let text = check(&two, 0, "\"pool\"");
    assert_eq!(Config::<()>::parse(text.as_bytes()).unwrap().join_token, None);
    check(&["--controller", "http://one.test"], 3, "https://HOST");
    check(&["--controller", "https://me@one.test"], 3, "https://HOST");
    check(&["--controller", "https://one.test"].repeat(9), 3, "9 controllers are too many");
    check(&[], 2, "--controller");
}

#[test]
fn every_command_is_completed_and_has_its_page() {
    let folder = tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = check(folder.path(), &["completions", shell], 0, "agent-config");
        assert!(script.contains("least-version"), "{shell}");
    }
    check(folder.path(), &["completions", "tcsh"], 2, "tcsh");
    let mut man = Command::new(env!("CARGO_BIN_EXE_repave"));
    man.args(["man", "pages"]).current_dir(folder.path()).env("REPAVE_URL", "https://own.test");
    assert!(man.status().unwrap().success());
    let pages = folder.path().join("pages");
    let first = fs::read_to_string(pages.join("repave.1")).unwrap();
    assert!(first.contains("Exit codes"), "{first}");
    let names = commands(folder.path(), &[]);
    assert!(names.contains(&"repave-trust-sign".into()), "{names:?}");
    for name in names {
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).expect(&name);
        assert!(!page.contains("own.test"), "{name} holds what was in the environment");
        assert!(page.contains(".SH DESCRIPTION"), "{name}: {page}");
        assert!(page.lines().count() > 8, "{name}: {page}");
    }
    fs::write(folder.path().join("file"), "").unwrap();
    check(folder.path(), &["man", "file"], 1, "cannot make folder file");
}

/// Every command and its commands, as `--help` lists them.
fn commands(folder: &Path, under: &[&str]) -> Vec<String> {
    let help = check(folder, &[under, &["--help"]].concat(), 0, "Usage");
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
    let mut found = Vec::new();
    for line in listed.lines().take_while(|line| line.starts_with("  ")) {
        let Some(name) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) else {
            continue;
        };
        let own = [under, &[name.split(' ').next().unwrap()]].concat();
        found.push(format!("repave-{}", own.join("-")));
        found.extend(commands(folder, &own));
    }
    found
}
