//! The exact bytes of each message, as committed beside this file. A change of any of them is a
//! change of the wire: servers in the field would no longer be understood.

use std::fmt::Debug;
use std::fs;

use repave_protocol::{Keys, Message, SigningKey, seal, verify};

use crate::example;

fn check<M>(file: &str, message: &M, key: &SigningKey, expected: &M::Expected)
where
    M: Message + PartialEq + Debug,
{
    let path = example::tests_path("golden").join(file);
    let sealed = seal(message, key);
    if example::blessing() {
        fs::write(&path, &sealed).unwrap();
    }
    let golden = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(String::from_utf8_lossy(&sealed), String::from_utf8_lossy(&golden), "{file}");
    let opened = verify::<M>(&golden, Keys::Pinned(&[key.public()]), expected)
        .unwrap_or_else(|refusal| panic!("{file}: {refusal}"));
    assert_eq!(opened.message(), message, "{file}");
}

#[test]
fn statuses() {
    for (file, status) in [
        ("status-idle.json", example::status_idle()),
        ("status-purposing.json", example::status_purposing()),
        ("status-bad-sources.json", example::status_bad_sources()),
        ("status-leaving.json", example::status_leaving()),
        ("status-failed.json", example::status_failed()),
        ("status-up.json", example::status_up()),
        ("status-wiping.json", example::status_wiping()),
        ("status-wiped.json", example::status_wiped()),
    ] {
        let key = example::device_key();
        check(file, &status, &key, &example::status_expected());
    }
}

#[test]
fn directives() {
    for (file, directive) in [
        ("directive-purpose.json", example::directive_purpose()),
        ("directive-boot.json", example::directive_boot()),
        ("directive-stay.json", example::directive_stay()),
        ("directive-wipe.json", example::directive_wipe()),
        ("directive-wait.json", example::directive_wait()),
    ] {
        let key = example::directive_key();
        check(file, &directive, &key, &example::directive_expected());
    }
}

#[test]
fn trust_document() {
    check(
        "trust-document.json",
        &example::trust_document(),
        &example::root_key(),
        &example::trust_expected(),
    );
}

#[test]
fn image_signature() {
    check(
        "image-signature.json",
        &example::image_signature(),
        &example::image_key(),
        &example::image_signature_expected(),
    );
}

/// The digest that journals in the field hold; another one would turn every repeat into a reuse.
#[test]
fn order_digest() {
    assert_eq!(
        example::directive_purpose().order_digest().to_string(),
        "680c27918a56569041b3c37014f3d11b38e16e3a423129789d53c081ab1d4c6f"
    );
}
