//! The image that the tests of this crate take apart: two partitions, the second of which ends in
//! the middle of a chunk, and a page of the index that is not stored.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "not every test takes all of it apart")]

use repave_image::{
    Architecture, Boot, Chunk, ChunkDigest, Descriptor, ESP_TYPE, FileSystem, FileSystemKind,
    ImageManifest, IndexReference, Kexec, LINUX_ROOT_TYPE, OciManifest, Partition, Reports, Role,
    SettingsEngine, SettingsPolicy, StoredChunk, encode_page, encode_root,
};
use repave_protocol::{Guid, Sha256};

pub(crate) const CHUNK_BYTES: u32 = 64 * 1024;
pub(crate) const PAGE_CHUNKS: u32 = 4;
const KIB: u64 = 1024;

pub(crate) fn guid(text: &str) -> Guid {
    text.parse().unwrap()
}

/// Stored pages of the index, by page number.
pub(crate) fn pages() -> Vec<Option<Vec<u8>>> {
    let stored = |number: u8, pack| {
        Chunk::Stored(StoredChunk {
            digest: ChunkDigest::of(&[number]),
            crc32: 0x0102_0300 + u32::from(number),
            pack,
            offset_bytes: 1000 * u64::from(number),
            stored_bytes: 1000,
        })
    };
    let zero = Chunk::Zero;
    vec![
        encode_page(&[stored(0, 0), zero, stored(1, 0), zero]),
        encode_page(&[zero, zero, zero, zero]),
        encode_page(&[stored(2, 1), zero]),
    ]
}

pub(crate) fn root() -> Vec<u8> {
    let pages = pages();
    let digests: Vec<_> = pages.iter().map(|p| p.as_deref().map(Sha256::of)).collect();
    encode_root(CHUNK_BYTES, 10, PAGE_CHUNKS, &digests)
}

pub(crate) fn index() -> Vec<u8> {
    let pages = pages().into_iter().flatten().flatten();
    root().into_iter().chain(pages).collect()
}

pub(crate) fn packs() -> Vec<Descriptor> {
    let pack = |text: &[u8], size_bytes| Descriptor { sha256: Sha256::of(text), size_bytes };
    vec![pack(b"pack 0", 2000), pack(b"pack 1", 3000)]
}

pub(crate) fn oci() -> OciManifest {
    OciManifest {
        config: Descriptor::of(&manifest().to_bytes()),
        index: Descriptor::of(&index()),
        signature: Descriptor::of(b"signature"),
        packs: packs(),
    }
}

pub(crate) fn manifest() -> ImageManifest {
    let esp = Partition {
        name: "web-esp".into(),
        role: Role::Esp,
        type_guid: ESP_TYPE,
        guid: guid("11111111-1111-4111-8111-111111111111"),
        size_bytes: 256 * KIB,
        attributes: 1,
        file_system: Some(FileSystem { kind: FileSystemKind::Vfat, uuid: "1A2B-3C4D".into() }),
        grow: false,
        first_chunk: 0,
    };
    let root_partition = Partition {
        name: "web-root".into(),
        role: Role::Root,
        type_guid: LINUX_ROOT_TYPE,
        guid: guid("22222222-2222-4222-8222-222222222222"),
        size_bytes: 356 * KIB,
        attributes: 1 << 59,
        file_system: Some(FileSystem {
            kind: FileSystemKind::Ext4,
            uuid: "33333333-3333-4333-8333-333333333333".into(),
        }),
        grow: true,
        first_chunk: 4,
    };
    ImageManifest {
        crit: Vec::new(),
        name: "web".into(),
        version: 7,
        server_type: "web".into(),
        architecture: Architecture::Amd64,
        logical_block_bytes: 512,
        chunk_bytes: CHUNK_BYTES,
        partitions: vec![esp, root_partition],
        boot: Boot {
            partition: "web-esp".into(),
            efi_path: Some("\\vmlinuz.efi".into()),
            options: "root=PARTUUID=22222222-2222-4222-8222-222222222222 initrd=\\initrd.img"
                .into(),
            kexec: Some(Kexec {
                partition: "web-esp".into(),
                kernel: "/vmlinuz.efi".into(),
                initrd: Some("/initrd.img".into()),
                options: "root=PARTUUID=22222222-2222-4222-8222-222222222222".into(),
            }),
        },
        settings: Some(SettingsPolicy {
            engine: SettingsEngine::Linux,
            partition: "web-root".into(),
            prefixes: vec!["/etc/".into(), "/var/www/".into()],
        }),
        reports: Reports::Resident,
        index: IndexReference {
            root_bytes: root().len() as u64,
            root_sha256: Sha256::of(&root()),
            chunks: 10,
            page_chunks: PAGE_CHUNKS,
        },
    }
}
