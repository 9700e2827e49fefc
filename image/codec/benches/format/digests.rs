//! Processor time of hashing a GiB in chunks, on one thread: SHA-256 as everything here uses it, the
//! same without the processor's instructions for it, and BLAKE3.

use std::hint::black_box;
use std::process::Command;

use repave_protocol::Sha256;
use serde_json::json;

use crate::USUAL_CHUNK_BYTES;
use crate::table::{Report, Row, cpu_s};

const TIMES: usize = 5;
/// What is hashed each time.
const CHUNKS: u32 = (1 << 30) / USUAL_CHUNK_BYTES;

pub(crate) fn measure(report: &mut Report) {
    let mut noise = vec![0; USUAL_CHUNK_BYTES as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let each = |hash: &dyn Fn(&[u8])| {
        cpu_s(TIMES, || {
            for _ in 0..CHUNKS {
                hash(black_box(&noise));
            }
        })
    };
    let mut rows = vec![
        row("SHA-256", each(&|bytes| _ = black_box(Sha256::of(bytes)))),
        row("BLAKE3", each(&|bytes| _ = black_box(blake3::hash(bytes)))),
        row("CRC-32", each(&|bytes| _ = black_box(crc32fast::hash(bytes)))),
    ];
    // The library that we use asks the processor and nobody else. OpenSSL's code is of the same
    // origin, and can be told what the processor lacks.
    for (name, capabilities) in [
        ("openssl", None),
        ("no SHA-NI", Some(":~0x20000000")),
        ("no AVX2 either", Some(":~0x20000020")),
    ] {
        rows.extend(openssl_s(capabilities).map(|cpu_s| row(name, cpu_s)));
    }
    report.add("digests", rows);
}

fn row(name: &str, cpu_s: f64) -> Row {
    vec![("digest", json!(name)), ("CPU s/GiB", json!(cpu_s))]
}

/// Seconds of a GiB, by `openssl speed`, which counts processor time; `None` where there is no such
/// command.
fn openssl_s(capabilities: Option<&str>) -> Option<f64> {
    let mut command = Command::new("openssl");
    if let Some(capabilities) = capabilities {
        command.env("OPENSSL_ia32cap", capabilities);
    }
    let output = command
        .args(["speed", "-mr", "-seconds", "3", "-bytes", &USUAL_CHUNK_BYTES.to_string()])
        .args(["-evp", "sha256"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate: f64 = text.lines().rev().find_map(|line| line.rsplit_once(':')?.1.parse().ok())?;
    Some(f64::from(1 << 30) / rate)
}
