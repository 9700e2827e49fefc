//! How the index could be encoded: the pages of fixed entries that it has, the same as JSON, and each
//! packed with zstd page by page. Of an image, and of a page that holds one chunk among zeroes, as
//! most pages of a large empty disk do.

use std::hint::black_box;

use anyhow::{Context, Result};
use repave_image::{
    Architecture, Boot, Chunk, ImageManifest, IndexReference, IndexRoot, Kexec, LINUX_ROOT_TYPE,
    Partition, Reports, Role, ValidManifest, encode_page, encode_root, limits, root_bytes_of,
};
use repave_protocol::{Guid, Sha256};
use serde_json::{Value, json};

use crate::packs::Shelf;
use crate::table::{Report, Row, cpu_s};
use crate::{USUAL_CHUNK_BYTES, USUAL_LEVEL};

const TIMES: usize = 5;

pub(crate) fn measure(shelf: &Shelf, report: &mut Report) -> Result<()> {
    let chunks = shelf.first();
    let stored = chunks.iter().find(|chunk| **chunk != Chunk::Zero).context("all is zero")?;
    let mut lone = vec![Chunk::Zero; limits::PAGE_CHUNKS as usize];
    lone[0] = *stored;
    let mut rows = Vec::new();
    for (what, chunks) in [("image", chunks), ("lone chunk", &lone)] {
        let pages: Vec<&[Chunk]> = chunks.chunks(limits::PAGE_CHUNKS as usize).collect();
        let binary: Vec<Vec<u8>> =
            pages.iter().map(|page| encode_page(page).unwrap_or_default()).collect();
        let json: Vec<Vec<u8>> = pages.iter().map(|page| as_json(page)).collect();
        let parse_s = parse_s(shelf, chunks, &binary)?;
        let json_s = cpu_s(TIMES, || json.iter().for_each(|page| _ = black_box(read_json(page))));
        rows.push(row(what, "binary", &binary, parse_s));
        rows.push(row(what, "JSON", &json, json_s));
        rows.push(packed(what, "binary, zstd", &binary, parse_s)?);
        rows.push(packed(what, "JSON, zstd", &json, json_s)?);
    }
    report.add("index", rows);
    Ok(())
}

fn row(what: &str, encoding: &str, pages: &[Vec<u8>], parse_s: f64) -> Row {
    vec![
        ("of", json!(what)),
        ("encoding", json!(encoding)),
        ("bytes", json!(pages.iter().map(Vec::len).sum::<usize>())),
        ("read ms", json!(parse_s * 1000.0)),
    ]
}

/// Reading takes inflating first.
fn packed(what: &str, encoding: &str, pages: &[Vec<u8>], parse_s: f64) -> Result<Row> {
    let pack = |page: &Vec<u8>| zstd::bulk::compress(page, USUAL_LEVEL);
    let packed: Vec<Vec<u8>> = pages.iter().map(pack).collect::<Result<_, _>>()?;
    let inflate_s = cpu_s(TIMES, || {
        for (packed, page) in packed.iter().zip(pages) {
            black_box(zstd::bulk::decompress(packed, page.len()).ok());
        }
    });
    Ok(row(what, encoding, &packed, parse_s + inflate_s))
}

/// Reading all pages as the agent does: digest, and every entry checked.
fn parse_s(shelf: &Shelf, chunks: &[Chunk], pages: &[Vec<u8>]) -> Result<f64> {
    let digests: Vec<Option<Sha256>> =
        pages.iter().map(|page| (!page.is_empty()).then(|| Sha256::of(page))).collect();
    let count = chunks.len() as u64;
    let root = encode_root(USUAL_CHUNK_BYTES, count, limits::PAGE_CHUNKS, &digests);
    let manifest = ValidManifest::new(manifest(count, Sha256::of(&root)))?;
    let root = IndexRoot::parse(&root, &manifest)?;
    let packs = shelf.descriptors();
    let mut is_right = true;
    let taken_s = cpu_s(TIMES, || {
        for (number, page) in (0..).zip(pages).filter(|(_, page)| !page.is_empty()) {
            is_right &= root.parse_page(number, page.clone(), &packs).is_ok();
        }
    });
    anyhow::ensure!(is_right, "a page that was just encoded is refused");
    Ok(taken_s)
}

/// The least that an index belongs to: one partition of so many whole chunks.
fn manifest(chunks: u64, root_sha256: Sha256) -> ImageManifest {
    let kexec = Kexec {
        partition: "root".into(),
        kernel: "/vmlinuz".into(),
        initrd: None,
        options: String::new(),
    };
    let boot = Boot {
        partition: "root".into(),
        efi_path: None,
        options: String::new(),
        kexec: Some(kexec),
    };
    let partition = Partition {
        name: "root".into(),
        role: Role::Root,
        type_guid: LINUX_ROOT_TYPE,
        guid: Guid::from_random([7; 16]),
        size_bytes: chunks * u64::from(USUAL_CHUNK_BYTES),
        attributes: 0,
        file_system: None,
        grow: false,
        first_chunk: 0,
    };
    let page_chunks = limits::PAGE_CHUNKS;
    let root_bytes = root_bytes_of(chunks, page_chunks);
    ImageManifest {
        crit: Vec::new(),
        name: "bench".into(),
        version: 1,
        server_type: "bench".into(),
        architecture: Architecture::Amd64,
        logical_block_bytes: 512,
        chunk_bytes: USUAL_CHUNK_BYTES,
        partitions: vec![partition],
        boot,
        settings: None,
        reports: Reports::None,
        index: IndexReference { root_bytes, root_sha256, chunks, page_chunks },
    }
}

/// A page as JSON would have it, with names that are short.
fn as_json(page: &[Chunk]) -> Vec<u8> {
    let entry = |chunk: &Chunk| match chunk {
        Chunk::Zero => Value::Null,
        Chunk::Stored(chunk) => json!({
            "digest": chunk.digest.to_string(),
            "crc32": chunk.crc32,
            "pack": chunk.pack,
            "offset": chunk.offset_bytes,
            "stored": chunk.stored_bytes,
        }),
    };
    serde_json::to_vec(&page.iter().map(entry).collect::<Vec<_>>()).unwrap_or_default()
}

fn read_json(page: &[u8]) -> usize {
    let entries: Vec<Value> = serde_json::from_slice(page).unwrap_or_default();
    let digest = |entry: &Value| entry["digest"].as_str()?.parse::<Sha256>().ok();
    entries.iter().filter_map(digest).count()
}
