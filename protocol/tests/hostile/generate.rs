//! Makes every attack folder out of the example world. Each attack starts from a message that its
//! receiver would accept and changes the one thing that its name says.

use std::fs;
use std::path::Path;

use repave_protocol::{
    Blame, BootMethod, Coverage, Directive, Envelope, Fault, Generation, Guard, ImageSignature,
    LogTail, Message, Order, Purpose, Refusal, Settings, SettingsFile, Sha256, SigningKey,
    Standing, Status, TrustDocument, WatchdogReport, Wipe, limits, seal,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Expected, Receiver};
use crate::example;

struct Attack {
    name: &'static str,
    original: Vec<u8>,
    received: Vec<u8>,
    expected: Expected,
}

/// Replaces all attack folders below `home`.
pub(super) fn write_all(home: &Path) {
    for entry in fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        }
    }
    let attacks =
        [on_envelopes(), on_signatures(), on_directives(), on_limits(), on_other_messages()];
    for attack in attacks.into_iter().flatten() {
        let folder = home.join(attack.name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("original.json"), attack.original).unwrap();
        fs::write(folder.join("envelope.json"), attack.received).unwrap();
        let expected = serde_json::to_string_pretty(&attack.expected).unwrap() + "\n";
        fs::write(folder.join("expected.json"), expected).unwrap();
    }
}

/// An attack on the receiver of a directive, whose original is the purpose directive.
fn on_directive(
    name: &'static str,
    attack: &str,
    refusal: &str,
    received: impl Into<Vec<u8>>,
) -> Attack {
    Attack {
        name,
        original: sealed(&example::directive_purpose()),
        received: received.into(),
        expected: Expected {
            attack: attack.into(),
            refusal: refusal.into(),
            padded_to_bytes: None,
            receiver_before: None,
            receiver: receiver(None),
        },
    }
}

fn receiver(accepted: Option<(Generation, Sha256)>) -> Receiver {
    Receiver::Directive {
        keys: vec![example::directive_key().public()],
        pool: example::pool(),
        server: example::server(),
        nonce: example::NONCE,
        accepted,
    }
}

fn sealed(directive: &Directive) -> Vec<u8> {
    seal(directive, &example::directive_key())
}

/// The purpose directive's envelope with `change` made to it.
fn envelope_with(change: impl FnOnce(&mut Envelope)) -> Vec<u8> {
    let mut envelope = open_envelope(&sealed(&example::directive_purpose()));
    change(&mut envelope);
    serde_json::to_vec(&envelope).unwrap()
}

fn open_envelope(bytes: &[u8]) -> Envelope {
    serde_json::from_slice(bytes).unwrap()
}

/// The purpose directive's text with `from` replaced by `to`, signed with the genuine key: what a
/// controller with another JSON library, or a captured one, could send.
fn genuine_text_with(from: &str, to: &str) -> Vec<u8> {
    let text = serde_json::to_string(&example::directive_purpose()).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from}");
    let raw = RawDirective(RawValue::from_string(text.replace(from, to)).unwrap());
    seal(&raw, &example::directive_key())
}

/// A directive's payload as any text; only for sealing.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct RawDirective(Box<RawValue>);

impl Message for RawDirective {
    const PAYLOAD_TYPE: &'static str = Directive::PAYLOAD_TYPE;
    type Expected = ();
    type Finding = ();

    fn critical(&self) -> &[String] {
        &[]
    }

    fn check(&self, (): &()) -> Result<(), Refusal> {
        Ok(())
    }
}

fn on_envelopes() -> Vec<Attack> {
    let genuine = sealed(&example::directive_purpose());
    let with_extra_field = [br#"{"key":"trust me","#, &genuine[1..]].concat();
    let oversized = on_directive(
        "oversized",
        "white space blows the envelope up beyond what is read at all",
        "oversized",
        &genuine[..],
    );
    vec![
        on_directive(
            "truncated",
            "the connection closed after half of the envelope",
            "truncated",
            &genuine[..genuine.len() / 2],
        ),
        on_directive(
            "trailing-bytes",
            "a second value follows the envelope",
            "trailing-bytes",
            [&genuine[..], b"{}"].concat(),
        ),
        Attack {
            expected: Expected {
                padded_to_bytes: Some(limits::ENVELOPE_BYTES + 1),
                ..oversized.expected
            },
            ..oversized
        },
        on_directive(
            "deep-nesting",
            "a field that nobody reads nests 64 levels deep, to exhaust the parser's stack",
            "too-deep",
            genuine_text_with(
                r#""generation":7"#,
                &format!(r#""generation":7,"x":{}{}"#, "[".repeat(64), "]".repeat(64)),
            ),
        ),
        on_directive(
            "duplicate-keys",
            "the signed payload names its generation twice, so that two parsers see two messages",
            "duplicate-key",
            genuine_text_with(r#""generation":7"#, r#""generation":7,"generation":8"#),
        ),
        on_directive(
            "duplicate-payload",
            "the envelope holds a second, unsigned payload under the same key",
            "duplicate-key",
            [br#"{"payload":"e30=","#, &genuine[1..]].concat(),
        ),
        on_directive(
            "unknown-envelope-field",
            "the envelope brings its own key along",
            "malformed",
            with_extra_field,
        ),
        on_directive(
            "garbled-base64",
            "the payload holds a character that base64 does not have",
            "malformed",
            envelope_with(|envelope| envelope.payload.replace_range(8..9, "*")),
        ),
        on_directive(
            "other-type",
            "a trust document, signed with the directive key, where a directive is awaited",
            "other-type",
            seal(&example::trust_document(), &example::directive_key()),
        ),
    ]
}

fn on_signatures() -> Vec<Attack> {
    let foreign = seal(&example::directive_purpose(), &example::foreign_key());
    let of_another = open_envelope(&sealed(&example::directive_boot())).signatures;
    vec![
        on_directive(
            "unsigned",
            "the signature was taken away",
            "unsigned",
            envelope_with(|envelope| envelope.signatures.clear()),
        ),
        on_directive(
            "wrong-key",
            "properly signed, by a key that nobody trusts",
            "unknown-key",
            &foreign[..],
        ),
        on_directive(
            "borrowed-key-id",
            "signed by a key that nobody trusts, under the name of one that is trusted",
            "bad-signature",
            envelope_with(|envelope| {
                envelope.signatures[0].sig = open_envelope(&foreign).signatures[0].sig.clone();
            }),
        ),
        on_directive(
            "altered-byte",
            "one byte of the signed payload was altered: pool demo became pool dem0",
            "bad-signature",
            envelope_with(|envelope| {
                let text = serde_json::to_string(&example::directive_purpose()).unwrap();
                let altered = text.replacen(r#""pool":"demo""#, r#""pool":"dem0""#, 1);
                let raw = RawDirective(RawValue::from_string(altered).unwrap());
                envelope.payload = open_envelope(&seal(&raw, &example::foreign_key())).payload;
            }),
        ),
        on_directive(
            "transplanted-signature",
            "the signature of another genuine directive",
            "bad-signature",
            envelope_with(|envelope| envelope.signatures = of_another),
        ),
        on_directive(
            "relabelled",
            "a genuine image signature made with the directive key, its type rewritten to directive",
            "bad-signature",
            envelope_with(|envelope| {
                let other = seal(&example::image_signature(), &example::directive_key());
                let other = open_envelope(&other);
                envelope.payload = other.payload;
                envelope.signatures = other.signatures;
            }),
        ),
        on_directive(
            "signature-spare-bits",
            "the spare bits of the signature's base64 are set: the same signature in other bytes",
            "malformed",
            envelope_with(|envelope| {
                let sig = &mut envelope.signatures[0].sig;
                let last = sig.len() - 3;
                let next = sig.as_bytes()[last] + 1;
                sig.replace_range(last..=last, &char::from(next).to_string());
            }),
        ),
        on_directive(
            "too-many-signatures",
            "more signatures than a change of keys needs, each checked at the receiver's cost",
            "too-many-signatures",
            envelope_with(|envelope| {
                let one = envelope.signatures[0].clone();
                envelope.signatures = vec![one; limits::SIGNATURES + 1];
            }),
        ),
    ]
}

fn on_directives() -> Vec<Attack> {
    let genuine = example::directive_purpose;
    let accepted = genuine();
    let accepted = Some((accepted.generation, accepted.order_digest()));
    let after_accepting = |attack: Attack| Attack {
        expected: Expected { receiver: receiver(accepted), ..attack.expected },
        ..attack
    };
    vec![
        on_directive(
            "other-pool",
            "a genuine directive of another pool that uses the same key",
            "other-pool",
            sealed(&Directive { pool: example::other_pool(), ..genuine() }),
        ),
        on_directive(
            "other-server",
            "a genuine directive for another server",
            "other-server",
            sealed(&Directive { server: example::other_server(), ..genuine() }),
        ),
        on_directive(
            "other-nonce",
            "a genuine directive replayed: it answers an earlier status",
            "other-nonce",
            sealed(&Directive { nonce: example::OTHER_NONCE, ..genuine() }),
        ),
        after_accepting(on_directive(
            "lower-generation",
            "an order that was overtaken by the one accepted",
            "lower-generation",
            sealed(&Directive { generation: Generation(example::GENERATION.0 - 1), ..genuine() }),
        )),
        after_accepting(on_directive(
            "reused-generation",
            "another order under the generation already accepted",
            "reused-generation",
            sealed(&example::directive(Order::Purpose(Box::new(Purpose {
                boot: BootMethod::Kexec,
                ..example::purpose()
            })))),
        )),
        after_accepting(on_directive(
            "wipe-reused-generation",
            "a purpose becomes a wipe under the generation already accepted",
            "reused-generation",
            sealed(&example::directive_wipe()),
        )),
        on_directive(
            "unknown-critical-field",
            "the sender demands that a field be understood which this version does not know",
            "unknown-critical",
            sealed(&Directive { crit: vec!["not_before".into()], ..genuine() }),
        ),
    ]
}

fn on_limits() -> Vec<Attack> {
    let purpose = |change: fn(&mut Purpose)| {
        let mut purpose = example::purpose();
        change(&mut purpose);
        sealed(&example::directive(Order::Purpose(Box::new(purpose))))
    };
    vec![
        on_directive(
            "wait-too-long",
            "a captured controller silences a server for a year",
            "outside-limit",
            sealed(&example::directive(Order::Wait { after_ms: 365 * 24 * 60 * 60 * 1000 })),
        ),
        on_directive(
            "stay-reason-too-long",
            "a reason that would not fit into the journal",
            "outside-limit",
            sealed(&example::directive(Order::Stay {
                reason: "x".repeat(limits::FAULT_MESSAGE_BYTES + 1),
            })),
        ),
        on_directive(
            "wipe-reason-too-long",
            "a reason for a wipe that would not fit into the journal",
            "outside-limit",
            sealed(&example::directive(Order::Wipe(Wipe {
                reason: "x".repeat(limits::FAULT_MESSAGE_BYTES + 1),
                disk: None,
            }))),
        ),
        on_directive(
            "too-many-sources",
            "more mirrors than a server will try",
            "outside-limit",
            purpose(|purpose| {
                purpose.sources = vec!["http://mirror.example".into(); limits::SOURCES + 1];
            }),
        ),
        on_directive(
            "source-url-too-long",
            "a source whose URL is longer than any server's buffer for it",
            "outside-limit",
            purpose(|purpose| {
                purpose.sources = vec![format!("http://{}", "a".repeat(limits::URL_BYTES))];
            }),
        ),
        on_directive(
            "server-type-too-long",
            "a name longer than names are",
            "outside-limit",
            purpose(|purpose| purpose.server_type = "w".repeat(limits::NAME_BYTES + 1)),
        ),
        on_directive(
            "too-many-settings-files",
            "more files to configure than a server allows",
            "outside-limit",
            purpose(|purpose| {
                purpose.settings = Settings {
                    files: vec![SettingsFile::new("/e", 0, b""); limits::SETTINGS_FILES + 1],
                    ..Settings::default()
                };
            }),
        ),
        on_directive(
            "settings-garbled",
            "a settings file whose content is not base64",
            "malformed",
            purpose(|purpose| purpose.settings.files[0].content = "not base64".into()),
        ),
    ]
}

fn on_other_messages() -> Vec<Attack> {
    vec![
        on_status(
            "status-borrowed-id",
            "another server speaks under this server's id",
            "unknown-key",
            &example::status_up(),
            &example::foreign_key(),
        ),
        on_status(
            "status-other-address",
            "a server vouches with its own key for the id of another",
            "other-server",
            &Status { server: example::other_server(), ..example::status_up() },
            &example::device_key(),
        ),
        on_status(
            "status-other-pool",
            "a server of another pool reports here",
            "other-pool",
            &Status { pool: example::other_pool(), ..example::status_up() },
            &example::device_key(),
        ),
        on_status(
            "status-fault-too-long",
            "a fault's message as long as an envelope allows, once per status",
            "outside-limit",
            &example::status(Standing::Failed {
                fault: Fault {
                    message: "x".repeat(limits::FAULT_MESSAGE_BYTES + 1),
                    ..Fault::new(Blame::Agent, "verbose", "", None)
                },
            }),
            &example::device_key(),
        ),
        on_status(
            "status-log-too-long",
            "each line within its limit, and so many that they would fill the controller's store",
            "outside-limit",
            &{
                let line = "x".repeat(limits::LOG_LINE_BYTES);
                let kernel = vec![line; limits::LOG_BYTES / limits::LOG_LINE_BYTES + 1];
                let log = Some(LogTail { kernel, ..example::log() });
                Status { log, ..example::status_failed() }
            },
            &example::device_key(),
        ),
        on_status(
            "status-log-line-too-long",
            "a log of one endless line",
            "outside-limit",
            &{
                let agent = vec!["x".repeat(limits::LOG_LINE_BYTES + 1)];
                let log = Some(LogTail { agent, ..example::log() });
                Status { log, ..example::status_failed() }
            },
            &example::device_key(),
        ),
        on_status(
            "status-log-too-many-lines",
            "a log of more lines than there is room for, none of which holds anything",
            "outside-limit",
            &{
                let agent = vec![String::new(); limits::LOG_LINES + 1];
                let log = Some(LogTail { agent, ..example::log() });
                Status { log, ..example::status_failed() }
            },
            &example::device_key(),
        ),
        on_status(
            "status-log-escape",
            "a kernel's line that clears the terminal of whoever reads it",
            "malformed",
            &{
                let kernel = vec!["<4>[    2.0] \u{1b}[2J".into()];
                let log = Some(LogTail { kernel, ..example::log() });
                Status { log, ..example::status_failed() }
            },
            &example::device_key(),
        ),
        on_status(
            "status-log-of-no-failure",
            "a log with every status of a server that is well, to fill the controller's store",
            "malformed",
            &Status { log: Some(example::log()), ..example::status_up() },
            &example::device_key(),
        ),
        on_status(
            "status-too-many-bad-sources",
            "more bad sources than an order names, to fill the controller's records",
            "outside-limit",
            &{
                let bad_sources = vec![example::bad_sources().remove(0); limits::SOURCES + 1];
                Status { bad_sources, ..example::status_purposing() }
            },
            &example::device_key(),
        ),
        on_status(
            "status-bad-source-too-long",
            "a bad source whose reason fills an envelope",
            "outside-limit",
            &{
                let mut bad_sources = example::bad_sources();
                bad_sources[1].reason = "x".repeat(limits::SOURCE_REPORT_TEXT_BYTES + 1);
                Status { bad_sources, ..example::status_purposing() }
            },
            &example::device_key(),
        ),
        on_status(
            "status-bad-source-escape",
            "a bad source whose name clears the terminal of whoever reads it",
            "malformed",
            &{
                let mut bad_sources = example::bad_sources();
                bad_sources[0].source = "http://mirror/\u{1b}[2J".into();
                Status { bad_sources, ..example::status_failed() }
            },
            &example::device_key(),
        ),
        on_status(
            "status-bad-sources-of-no-purposing",
            "bad sources of a server that fetches nothing, to put them into the pool's events",
            "malformed",
            &Status { bad_sources: example::bad_sources(), ..example::status_up() },
            &example::device_key(),
        ),
        on_status(
            "status-watchdog-too-long",
            "a watchdog whose name fills an envelope",
            "outside-limit",
            &Status {
                watchdog: Some(WatchdogReport {
                    guard: Guard::Armed {
                        device: "x".repeat(limits::INVENTORY_TEXT_BYTES + 1),
                        timeout_s: 180,
                    },
                    expired: false,
                }),
                ..example::status_up()
            },
            &example::device_key(),
        ),
        on_status(
            "status-too-many-ranges",
            "a coverage that would fill the controller's records",
            "outside-limit",
            &{
                let Coverage { generation, ranges, missing } = example::coverage();
                let ranges = vec![ranges[0].clone(); limits::WIPED_RANGES + 1];
                let wiped = Some(Coverage { generation, ranges, missing });
                Status { wiped, ..example::status_wiped() }
            },
            &example::device_key(),
        ),
        on_trust(
            "trust-rollback",
            "an older trust document, which still trusts a key withdrawn since",
            "rollback",
            &TrustDocument {
                version: example::trust_document().version - 1,
                ..example::trust_document()
            },
            &example::root_key(),
        ),
        on_trust(
            "trust-by-directive-key",
            "a captured controller extends its own trust",
            "unknown-key",
            &example::trust_document(),
            &example::directive_key(),
        ),
        on_trust(
            "trust-too-many-keys",
            "more directive keys than a server keeps",
            "outside-limit",
            &TrustDocument {
                directive_keys: vec![example::directive_key().public(); limits::TRUST_KEYS + 1],
                ..example::trust_document()
            },
            &example::root_key(),
        ),
        on_image(
            "image-rollback",
            "a genuine old image with a hole that was mended since",
            "rollback",
            &example::image_signature(),
            4,
        ),
        on_image(
            "image-other-index",
            "the signature of one image put beside the chunks of another",
            "other-content",
            &ImageSignature { index: Sha256::of(b"another index"), ..example::image_signature() },
            2,
        ),
    ]
}

fn on_status(
    name: &'static str,
    attack: &str,
    refusal: &str,
    received: &Status,
    key: &SigningKey,
) -> Attack {
    Attack {
        name,
        original: seal(&example::status_up(), &example::device_key()),
        received: seal(received, key),
        expected: Expected {
            attack: attack.into(),
            refusal: refusal.into(),
            padded_to_bytes: None,
            receiver_before: None,
            receiver: Receiver::Status { pool: example::pool(), server: example::server() },
        },
    }
}

fn on_trust(
    name: &'static str,
    attack: &str,
    refusal: &str,
    received: &TrustDocument,
    key: &SigningKey,
) -> Attack {
    Attack {
        name,
        original: seal(&example::trust_document(), &example::root_key()),
        received: seal(received, key),
        expected: Expected {
            attack: attack.into(),
            refusal: refusal.into(),
            padded_to_bytes: None,
            receiver_before: None,
            receiver: Receiver::TrustDocument {
                keys: vec![example::root_key().public()],
                pool: example::pool(),
                least_version: example::trust_document().version,
            },
        },
    }
}

/// An attack on the receiver of an image signature that accepts `least_version` and up.
fn on_image(
    name: &'static str,
    attack: &str,
    refusal: &str,
    received: &ImageSignature,
    least_version: u64,
) -> Attack {
    let genuine = example::image_signature();
    let receiver = |least_version| Receiver::ImageSignature {
        keys: vec![example::image_key().public()],
        name: genuine.name.clone(),
        version: genuine.version,
        least_version,
        config: genuine.config,
        index: genuine.index,
    };
    Attack {
        name,
        original: seal(&genuine, &example::image_key()),
        received: seal(received, &example::image_key()),
        expected: Expected {
            attack: attack.into(),
            refusal: refusal.into(),
            padded_to_bytes: None,
            receiver_before: Some(receiver(genuine.version)),
            receiver: receiver(least_version),
        },
    }
}
