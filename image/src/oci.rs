//! The manifest of the artifact that carries an image through any OCI registry or image layout (OCI
//! image-spec 1.1). Strict in what it says about an image, tolerant of what other tools add, as
//! the specification demands. The list of images that a layout holds is in `layout`.

use repave_protocol::{BadId, Sha256, strict_json};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::refusal::OciRefusal;

/// Media type of an OCI image manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// What kind of artifact an image is.
pub const ARTIFACT_TYPE: &str = "application/vnd.repave.image.v1";
/// Media type of the image's own manifest.
pub const CONFIG_TYPE: &str = "application/vnd.repave.image.config.v1+json";
/// Media type of the chunk index.
pub const INDEX_TYPE: &str = "application/vnd.repave.image.index.v1";
/// Media type of the image's signature.
pub const SIGNATURE_TYPE: &str = "application/vnd.repave.image.signature.v1+json";
/// Media type of a pack.
pub const PACK_TYPE: &str = "application/vnd.repave.image.pack.v1";
pub(crate) const SCHEMA_VERSION: u32 = 2;
const DIGEST_PREFIX: &str = "sha256:";

/// A blob by digest and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Of its bytes.
    pub sha256: Sha256,
    /// Its length.
    pub size_bytes: u64,
}

impl Descriptor {
    /// The descriptor of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: Sha256::of(bytes), size_bytes: bytes.len() as u64 }
    }
}

/// Path of a blob below a layout's folder, or below the URL that serves it.
pub fn blob_path(sha256: &Sha256) -> String {
    format!("blobs/sha256/{sha256}")
}

/// The blobs of one image, by what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciManifest {
    /// The image's manifest.
    pub config: Descriptor,
    /// The chunk index.
    pub index: Descriptor,
    /// The signature over both.
    pub signature: Descriptor,
    /// Every pack that the index refers to, in the order of its numbers.
    pub packs: Vec<Descriptor>,
}

impl OciManifest {
    /// From bytes whose digest the caller has compared with an
    /// [`ImageReference`](repave_protocol::ImageReference)'s.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciRefusal> {
        let wire: WireManifest = strict_json(bytes, limits::OCI_MANIFEST_BYTES)?;
        if wire.schema_version != SCHEMA_VERSION {
            return Err(OciRefusal::BadSchema { found: wire.schema_version });
        }
        media_type("manifest", &wire.media_type, MANIFEST_TYPE)?;
        media_type("artifact", &wire.artifact_type, ARTIFACT_TYPE)?;
        let config = wire.config.read("config", CONFIG_TYPE)?;
        at_most("config", config, limits::MANIFEST_BYTES as u64)?;
        let [index, signature, packs @ ..] = wire.layers.as_slice() else {
            return Err(OciRefusal::TooFewLayers { found: wire.layers.len() });
        };
        if packs.len() > limits::PACKS {
            return Err(OciRefusal::TooManyPacks { found: packs.len(), limit: limits::PACKS });
        }
        let signature = signature.read("signature", SIGNATURE_TYPE)?;
        let envelope_bytes = repave_protocol::limits::ENVELOPE_BYTES as u64;
        at_most("signature", signature, envelope_bytes)?;
        let packs = packs.iter().enumerate();
        Ok(Self {
            config,
            index: index.read("index", INDEX_TYPE)?,
            signature,
            packs: packs
                .map(|(number, pack)| pack.read(&format!("pack {number}"), PACK_TYPE))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The manifest's bytes. Equal manifests give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut layers = vec![
            WireDescriptor::new(INDEX_TYPE, self.index),
            WireDescriptor::new(SIGNATURE_TYPE, self.signature),
        ];
        let packs = self.packs.iter();
        layers.extend(packs.map(|pack| WireDescriptor::new(PACK_TYPE, *pack)));
        let wire = WireManifest {
            schema_version: SCHEMA_VERSION,
            media_type: MANIFEST_TYPE.into(),
            artifact_type: ARTIFACT_TYPE.into(),
            config: WireDescriptor::new(CONFIG_TYPE, self.config),
            layers,
        };
        serde_json::to_vec(&wire).expect("a manifest is always JSON")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireManifest {
    schema_version: u32,
    media_type: String,
    artifact_type: String,
    config: WireDescriptor,
    layers: Vec<WireDescriptor>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireDescriptor {
    media_type: String,
    digest: String,
    size: u64,
}

impl WireDescriptor {
    pub(crate) fn new(media_type: &str, descriptor: Descriptor) -> Self {
        Self {
            media_type: media_type.into(),
            digest: format!("{DIGEST_PREFIX}{}", descriptor.sha256),
            size: descriptor.size_bytes,
        }
    }

    fn read(&self, what: &str, wanted: &'static str) -> Result<Descriptor, OciRefusal> {
        media_type(what, &self.media_type, wanted)?;
        let sha256 = self.sha256().ok_or_else(|| OciRefusal::BadDigest {
            what: what.into(),
            found: self.digest.clone(),
        })?;
        Ok(Descriptor { sha256, size_bytes: self.size })
    }

    pub(crate) fn sha256(&self) -> Option<Sha256> {
        parse_digest(&self.digest)
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

/// A digest as OCI writes it, `sha256:…`; `None` if it is by another algorithm or is none.
pub fn parse_digest(text: &str) -> Option<Sha256> {
    let hex = text.strip_prefix(DIGEST_PREFIX)?;
    hex.parse().map_err(|_: BadId| ()).ok()
}

fn media_type(what: &str, found: &str, wanted: &'static str) -> Result<(), OciRefusal> {
    if found == wanted {
        return Ok(());
    }
    Err(OciRefusal::BadMediaType { what: what.into(), found: found.into(), wanted })
}

fn at_most(what: &str, descriptor: Descriptor, limit: u64) -> Result<(), OciRefusal> {
    let found = descriptor.size_bytes;
    if found <= limit {
        return Ok(());
    }
    Err(OciRefusal::TooLarge { what: what.into(), found, limit })
}
