//! A small synthetic image: three partitions whose bytes are known, real packs of zstd frames, a
//! real index and real signatures, so that the core's own parsing and checking is what is tested.

use std::cell::RefCell;
use std::rc::Rc;

use repave_image::{
    Architecture, Boot, Chunk, ChunkDigest, Descriptor, ESP_TYPE, FileSystem, FileSystemKind,
    ImageManifest, IndexReference, Kexec, LINUX_ROOT_TYPE, OciManifest, Partition, Reports, Role,
    SettingsEngine, SettingsPolicy, StoredChunk, encode_page, encode_root,
};
use repave_protocol::{Guid, ImageReference, ImageSignature, PublicKey, Sha256, SigningKey, seal};

use repave_chance::Chance;

/// Size of a chunk: the smallest that an image may have.
pub const CHUNK_BYTES: u32 = 64 * 1024;
/// The last part of the root partition, where [`crate::configurator`] keeps files.
pub const SETTINGS_BYTES: u64 = 64 * 1024;
const PAGE_CHUNKS: u32 = 8;
/// What an upgrade changes in each partition, in its fourth chunk.
const UPGRADED_BYTE: usize = 3 * CHUNK_BYTES as usize + 100;
/// What a partition begins with that the firmware can mount.
pub(crate) const ESP_MAGIC: &[u8] = b"SIMFAT32";
/// And one that can be mounted as a root.
pub(crate) const ROOT_MAGIC: &[u8] = b"SIMEXT4!";

/// What is made into an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSpec {
    /// Name, and server type.
    pub name: String,
    /// Version; it changes the contents and keeps the GUIDs.
    pub version: u64,
    /// Logical block that it is made for.
    pub block_bytes: u32,
    /// Sizes of ESP, root and data.
    pub sizes_bytes: [u64; 3],
    /// Whether anything in it reports.
    pub reports: Reports,
    /// Whether its data partition grows.
    pub grow: bool,
    /// The version that it upgrades in place: its contents, but for one chunk of each partition.
    pub upgrades: Option<u64>,
}

impl ImageSpec {
    /// 30 chunks: half a mebibyte, one, and a third that ends within a chunk.
    pub fn new(name: &str, version: u64) -> Self {
        Self {
            name: name.into(),
            version,
            block_bytes: 512,
            sizes_bytes: [512 << 10, 1 << 20, 352 << 10],
            reports: Reports::Resident,
            grow: true,
            upgrades: None,
        }
    }
}

/// An image with its bytes, as packed and as they must stand on the disk.
#[derive(Clone, Debug)]
pub struct Image {
    /// How a directive names it.
    pub reference: ImageReference,
    /// Its manifest.
    pub manifest: ImageManifest,
    /// The bytes of each partition.
    pub plain: Vec<Vec<u8>>,
    /// Every blob, packs last.
    pub blobs: Vec<Rc<Vec<u8>>>,
    /// Their digests.
    pub digests: Vec<Sha256>,
}

/// Whether there is nothing but zeroes, told as fast as memory is read.
pub fn is_zero(bytes: &[u8]) -> bool {
    const ZEROES: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROES.len()).all(|part| part == &ZEROES[..part.len()])
}

/// Whether a partition that begins so could be mounted by the firmware.
pub fn is_mountable_esp(head: &[u8]) -> bool {
    head.starts_with(ESP_MAGIC)
}

/// Whether a partition that begins so could be mounted as a root.
pub fn is_mountable_root(head: &[u8]) -> bool {
    head.starts_with(ROOT_MAGIC)
}

/// The bytes of a partition that a firmware can start from.
pub fn esp_bytes(size_bytes: u64, chance: &mut Chance) -> Vec<u8> {
    contents(ESP_MAGIC, size_bytes, chance)
}

/// Images by what they were made of and the key that signed them.
type Made = Vec<(ImageSpec, PublicKey, Rc<Image>)>;

thread_local! {
    /// The same image is in thousands of worlds, and making it takes as long as purposing a server.
    static MADE: RefCell<Made> = const { RefCell::new(Vec::new()) };
}

impl Image {
    /// OCI manifest, manifest, index and signature come before the packs.
    pub const BLOBS_BEFORE_PACKS: usize = 4;

    /// Makes it, or finds that it was made before.
    pub fn cached(spec: &ImageSpec, key: &SigningKey) -> Rc<Self> {
        let key_of = key.public();
        MADE.with_borrow_mut(|made| {
            let found = made.iter().find(|(known, by, _)| known == spec && *by == key_of);
            if let Some((.., image)) = found {
                return Rc::clone(image);
            }
            let image = Rc::new(Self::build(spec, key));
            made.push((spec.clone(), key_of, Rc::clone(&image)));
            image
        })
    }

    /// Makes it, signed with the image key.
    pub fn build(spec: &ImageSpec, key: &SigningKey) -> Self {
        let mut name_seed = [0; 8];
        name_seed.copy_from_slice(&Sha256::of(spec.name.as_bytes()).as_bytes()[..8]);
        let name_seed = u64::from_le_bytes(name_seed);
        let mut chance = Chance::new(name_seed ^ spec.upgrades.unwrap_or(spec.version));
        let mut plain = vec![
            contents(ESP_MAGIC, spec.sizes_bytes[0], &mut chance),
            contents(ROOT_MAGIC, spec.sizes_bytes[1], &mut chance),
            contents(b"SIMDATA!", spec.sizes_bytes[2], &mut chance),
        ];
        let files_at = plain[1].len() - SETTINGS_BYTES as usize;
        plain[1][files_at..].fill(0);
        for bytes in plain.iter_mut().filter(|_| spec.upgrades.is_some()) {
            bytes[UPGRADED_BYTE] ^= spec.version as u8;
        }
        let is_stored = |_, piece: &[u8]| !is_zero(piece);
        Self::assemble(plain, (CHUNK_BYTES, PAGE_CHUNKS), is_stored, key, |index| {
            manifest(spec, Chance::new(name_seed), index)
        })
    }

    /// Packs, index, manifest and signature around the bytes of each partition; `is_stored` says of a
    /// chunk, by its number and bytes, whether it is in a pack.
    pub(crate) fn assemble(
        plain: Vec<Vec<u8>>,
        (chunk_bytes, page_chunks): (u32, u32),
        is_stored: impl Fn(usize, &[u8]) -> bool,
        key: &SigningKey,
        manifest: impl FnOnce(IndexReference) -> ImageManifest,
    ) -> Self {
        let mut packs = [Vec::new(), Vec::new()];
        let pieces = plain.iter().flat_map(|bytes| bytes.chunks(chunk_bytes as usize));
        let chunk = |(number, piece): (usize, &[u8])| match is_stored(number, piece) {
            true => pack(number, piece, &mut packs),
            false => Chunk::Zero,
        };
        let chunks: Vec<_> = pieces.enumerate().map(chunk).collect();
        let pages: Vec<_> = chunks.chunks(page_chunks as usize).map(encode_page).collect();
        let digests: Vec<_> = pages.iter().map(|page| page.as_deref().map(Sha256::of)).collect();
        let root = encode_root(chunk_bytes, chunks.len() as u64, page_chunks, &digests);
        let reference = IndexReference {
            root_bytes: root.len() as u64,
            root_sha256: Sha256::of(&root),
            chunks: chunks.len() as u64,
            page_chunks,
        };
        let index: Vec<u8> =
            root.into_iter().chain(pages.into_iter().flatten().flatten()).collect();
        let manifest = manifest(reference);
        let config = manifest.to_bytes();
        let signature = seal(
            &ImageSignature {
                crit: Vec::new(),
                name: manifest.name.clone(),
                version: manifest.version,
                config: Sha256::of(&config),
                index: Sha256::of(&index),
            },
            key,
        );
        let oci = OciManifest {
            config: Descriptor::of(&config),
            index: Descriptor::of(&index),
            signature: Descriptor::of(&signature),
            packs: packs.iter().map(|pack| Descriptor::of(pack)).collect(),
        };
        let oci = oci.to_bytes();
        let reference = ImageReference {
            name: manifest.name.clone(),
            version: manifest.version,
            manifest: Sha256::of(&oci),
        };
        let blobs: Vec<_> = [oci, config, index, signature].into_iter().chain(packs).collect();
        let digests = blobs.iter().map(|blob| Sha256::of(blob)).collect();
        let blobs = blobs.into_iter().map(Rc::new).collect();
        Self { reference, manifest, plain, blobs, digests }
    }
}

impl Image {
    /// The bytes of a chunk.
    pub(crate) fn chunk(&self, number: u64) -> Option<&[u8]> {
        let chunk_bytes = self.manifest.chunk_bytes as usize;
        let mut chunks = self.plain.iter().flat_map(|bytes| bytes.chunks(chunk_bytes));
        chunks.nth(usize::try_from(number).ok()?)
    }
}

/// A head that says what it is, and behind it every third chunk zero and the others text-like.
fn contents(magic: &[u8], size_bytes: u64, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = vec![0; size_bytes as usize];
    for (number, chunk) in bytes.chunks_mut(CHUNK_BYTES as usize).enumerate() {
        // Zeroes alone, and zeroes side by side.
        if matches!(number % 6, 2 | 4 | 5) {
            continue;
        }
        let word = chance.bytes();
        for part in chunk.chunks_mut(4096) {
            part[..word.len()].copy_from_slice(&word);
            part[32..40].copy_from_slice(&chance.draw().to_le_bytes());
        }
    }
    bytes[..magic.len()].copy_from_slice(magic);
    bytes
}

fn pack(number: usize, piece: &[u8], packs: &mut [Vec<u8>; 2]) -> Chunk {
    let frame = zstd::bulk::compress(piece, 1).expect("compressing memory to memory cannot fail");
    let which = number % packs.len();
    let stored = StoredChunk {
        digest: ChunkDigest::of(piece),
        crc32: crc32fast::hash(piece),
        pack: which as u32,
        offset_bytes: packs[which].len() as u64,
        stored_bytes: frame.len() as u32,
    };
    packs[which].extend(frame);
    Chunk::Stored(stored)
}

fn manifest(spec: &ImageSpec, mut guids: Chance, index: IndexReference) -> ImageManifest {
    let mut first_chunk = 0;
    let mut partition = |name: &str, role, type_guid, size_bytes: u64, kind| {
        let mut guid = [0; 16];
        guid.copy_from_slice(&guids.bytes()[..16]);
        let id = guids.draw() as u32;
        let uuid = format!("{:04X}-{:04X}", id >> 16, id & 0xffff);
        let made = Partition {
            name: format!("{}-{name}", spec.name),
            role,
            type_guid,
            guid: Guid::from_random(guid),
            size_bytes,
            attributes: 0,
            file_system: Some(FileSystem { kind, uuid }),
            grow: false,
            first_chunk,
        };
        first_chunk += size_bytes.div_ceil(CHUNK_BYTES.into());
        made
    };
    let [esp, root, data] = spec.sizes_bytes;
    let mut partitions = vec![
        partition("esp", Role::Esp, ESP_TYPE, esp, FileSystemKind::Vfat),
        partition("root", Role::Root, LINUX_ROOT_TYPE, root, FileSystemKind::Ext4),
        partition("data", Role::Data, LINUX_ROOT_TYPE, data, FileSystemKind::Xfs),
    ];
    partitions[2].grow = spec.grow;
    let options = format!("root=PARTUUID={}", partitions[1].guid);
    let takes_settings = spec.reports == Reports::Resident;
    ImageManifest {
        crit: Vec::new(),
        name: spec.name.clone(),
        version: spec.version,
        server_type: spec.name.clone(),
        architecture: Architecture::Amd64,
        logical_block_bytes: spec.block_bytes,
        chunk_bytes: CHUNK_BYTES,
        boot: Boot {
            partition: partitions[0].name.clone(),
            efi_path: Some(r"\vmlinuz.efi".into()),
            options: options.clone(),
            kexec: Some(Kexec {
                partition: partitions[0].name.clone(),
                kernel: "/vmlinuz.efi".into(),
                initrd: None,
                options,
            }),
        },
        settings: takes_settings.then(|| SettingsPolicy {
            engine: SettingsEngine::Linux,
            partition: partitions[1].name.clone(),
            prefixes: vec!["/etc/".into(), "/root/".into(), "/usr/lib/repave/".into()],
        }),
        partitions,
        reports: spec.reports,
        index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_zero_chunks_stored_chunks_and_a_short_last_one() {
        let image = Image::build(&ImageSpec::new("web", 1), &SigningKey::from_seed(&[1; 32]));
        let chunks: Vec<_> =
            image.plain.iter().flat_map(|p| p.chunks(CHUNK_BYTES as usize)).collect();
        assert_eq!(chunks.len(), 30);
        let zero = chunks.iter().filter(|chunk| chunk.iter().all(|&byte| byte == 0)).count();
        assert!((8..15).contains(&zero), "{zero} chunks are zero");
        assert_eq!(chunks.last().map(|chunk| chunk.len()), Some(CHUNK_BYTES as usize / 2));
        assert_eq!(repave_image::ValidManifest::new(image.manifest).map(|_| ()), Ok(()));
    }
}
