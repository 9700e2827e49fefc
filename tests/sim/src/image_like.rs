//! An image of the shape that a field log tells: its manifest as it was signed, and which of its
//! chunks are stored. The bytes are made up, and so are the digests; all else is the field's.

use repave_image::{ESP_TYPE, ImageManifest, Partition, ValidManifest};
use repave_protocol::SigningKey;

use crate::image::{ESP_MAGIC, Image, ROOT_MAGIC, SETTINGS_BYTES};

/// Largest image that is made up: all of its bytes are in memory, more than once.
const IMAGE_BYTES: u64 = 2 << 30;
/// What a chunk repeats, so that it takes little room in a pack.
const WORD_BYTES: usize = 32;

/// Which chunks are stored, page by page, as far as it was told.
#[derive(Clone, Debug)]
pub(crate) struct Pages(Vec<Page>);

#[derive(Clone, Debug)]
struct Page {
    is_stored: bool,
    /// Of each chunk, if the page was fetched.
    chunks: Option<Vec<bool>>,
}

impl Pages {
    /// Pages of which these are stored.
    pub(crate) fn new(stored: &[bool]) -> Self {
        Self(stored.iter().map(|&is_stored| Page { is_stored, chunks: None }).collect())
    }

    /// A page was fetched.
    pub(crate) fn tell(&mut self, number: u64, stored: &[bool]) {
        if let Some(page) = usize::try_from(number).ok().and_then(|number| self.0.get_mut(number)) {
            page.chunks = Some(stored.to_vec());
        }
    }

    /// Whether a chunk is stored. Of a page that nobody fetched nobody knows, and then any will do.
    fn is_stored(&self, chunk: usize, page_chunks: usize) -> bool {
        let page = self.0.get(chunk / page_chunks);
        page.is_some_and(|page| match &page.chunks {
            Some(chunks) => chunks.get(chunk % page_chunks).copied().unwrap_or(false),
            None => page.is_stored,
        })
    }
}

impl Image {
    /// Makes it up, signed with the image key. Says what does not fit a simulated server.
    pub(crate) fn like(config: &str, pages: &Pages, key: &SigningKey) -> Result<Self, String> {
        let manifest =
            ValidManifest::parse(config.as_bytes()).map_err(|error| error.to_string())?;
        let manifest = manifest.manifest().clone();
        let size_bytes: u64 = manifest.partitions.iter().map(|part| part.size_bytes).sum();
        if size_bytes > IMAGE_BYTES {
            return Err(format!("an image of {size_bytes} bytes, of at most {IMAGE_BYTES}"));
        }
        if manifest.partitions[0].name != manifest.boot.partition {
            return Err("the boot partition is not the image's first".into());
        }
        let (chunk_bytes, page_chunks) = (manifest.chunk_bytes, manifest.index.page_chunks);
        let stored = |chunk| pages.is_stored(chunk, page_chunks as usize);
        let mut plain: Vec<Vec<u8>> = Vec::new();
        for partition in &manifest.partitions {
            let mut bytes = vec![0; partition.size_bytes as usize];
            let first = partition.first_chunk as usize;
            for (number, chunk) in (first..).zip(bytes.chunks_mut(chunk_bytes as usize)) {
                if stored(number) {
                    fill(chunk, number);
                }
            }
            put_signs(&mut bytes, partition, &manifest);
            plain.push(bytes);
        }
        let is_stored = |chunk: usize, _: &[u8]| stored(chunk);
        Ok(Self::assemble(plain, (chunk_bytes, page_chunks), is_stored, key, |index| {
            ImageManifest { index, ..manifest.clone() }
        }))
    }
}

fn fill(chunk: &mut [u8], number: usize) {
    let mut word = [0xa5; WORD_BYTES];
    word[..8].copy_from_slice(&(number as u64).to_le_bytes());
    for part in chunk.chunks_mut(WORD_BYTES) {
        part.copy_from_slice(&word[..part.len()]);
    }
}

/// What the simulator's firmware and its settings know a partition by.
fn put_signs(bytes: &mut [u8], partition: &Partition, manifest: &ImageManifest) {
    let settings = manifest.settings.as_ref().map(|policy| &policy.partition);
    if settings == Some(&partition.name) {
        let files_at = bytes.len().saturating_sub(SETTINGS_BYTES as usize);
        bytes[files_at..].fill(0);
        bytes[..ROOT_MAGIC.len()].copy_from_slice(ROOT_MAGIC);
    } else if partition.type_guid == ESP_TYPE || partition.name == manifest.boot.partition {
        bytes[..ESP_MAGIC.len()].copy_from_slice(ESP_MAGIC);
    }
}
