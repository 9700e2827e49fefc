//! An image library's list of images: the `index.json` of an OCI image layout (image-spec 1.1).
//! What other tools put there is kept as it is.

use std::collections::BTreeMap;

use repave_protocol::{ImageReference, strict_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits;
use crate::oci::{ARTIFACT_TYPE, Descriptor, MANIFEST_TYPE, SCHEMA_VERSION, WireDescriptor};
use crate::refusal::OciRefusal;
use crate::text;

/// Media type of an OCI image index.
const LAYOUT_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Annotation that names a manifest in a layout (image-spec, annotations).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The bytes of a layout's `oci-layout` file, as we write them.
pub const OCI_LAYOUT_FILE: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";
/// Largest `oci-layout` file, in bytes.
const MARKER_BYTES: usize = 4096;
const LAYOUT_VERSION: &str = "1.0.0";

/// Whether these are the bytes of an `oci-layout` file of a version that we know, whoever wrote it.
pub fn marks_layout(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    strict_json::<Marker>(bytes, MARKER_BYTES)
        .is_ok_and(|marker| marker.image_layout_version == LAYOUT_VERSION)
}

/// Which images a library lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(WireLayout);

impl Layout {
    /// A library without images.
    pub fn empty() -> Self {
        Self(WireLayout {
            schema_version: SCHEMA_VERSION,
            media_type: Some(LAYOUT_TYPE.into()),
            manifests: Vec::new(),
            other: BTreeMap::new(),
        })
    }

    /// From the bytes of `index.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciRefusal> {
        let wire: WireLayout = strict_json(bytes, limits::LAYOUT_BYTES)?;
        if wire.schema_version != SCHEMA_VERSION {
            return Err(OciRefusal::BadSchema { found: wire.schema_version });
        }
        Ok(Self(wire))
    }

    /// The bytes of `index.json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).expect("a layout is always JSON")
    }

    /// The images listed, in the order in which they came. Entries that are none are passed over.
    pub fn images(&self) -> impl Iterator<Item = ImageReference> + '_ {
        self.0.manifests.iter().filter_map(LayoutEntry::image)
    }

    /// The image of that name and version.
    pub fn find(&self, name: &str, version: u64) -> Option<ImageReference> {
        self.images().find(|image| image.name == name && image.version == version)
    }

    /// The digests of everything that is listed, images or not, as they are written: what must stay.
    pub fn digests(&self) -> impl Iterator<Item = &str> {
        self.0.manifests.iter().map(|entry| entry.descriptor.digest())
    }

    /// Lists the image of that name and version no longer; whether it was listed.
    pub fn unlist(&mut self, name: &str, version: u64) -> bool {
        let before = self.0.manifests.len();
        let is = |image: ImageReference| image.name == name && image.version == version;
        self.0.manifests.retain(|entry| !entry.image().is_some_and(is));
        self.0.manifests.len() < before
    }

    /// Lists an image whose manifest has `size_bytes`, in place of one of that name and version.
    pub fn list(&mut self, image: &ImageReference, size_bytes: u64) {
        let ref_name = format!("{}:{}", image.name, image.version);
        self.0.manifests.retain(|entry| entry.ref_name() != Some(&ref_name));
        let manifest = Descriptor { sha256: image.manifest, size_bytes };
        self.0.manifests.push(LayoutEntry {
            descriptor: WireDescriptor::new(MANIFEST_TYPE, manifest),
            artifact_type: Some(ARTIFACT_TYPE.into()),
            annotations: BTreeMap::from([(REF_NAME.into(), ref_name)]),
            other: BTreeMap::new(),
        });
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLayout {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<LayoutEntry>,
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutEntry {
    #[serde(flatten)]
    descriptor: WireDescriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

impl LayoutEntry {
    fn ref_name(&self) -> Option<&String> {
        self.annotations.get(REF_NAME)
    }

    fn image(&self) -> Option<ImageReference> {
        let (name, version) = self.ref_name()?.split_once(':')?;
        Some(ImageReference {
            name: Some(name).filter(|name| text::is_name(name))?.into(),
            version: version.parse().ok()?,
            manifest: self.descriptor.sha256()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use repave_protocol::Sha256;

    #[test]
    fn only_the_named_image_is_unlisted() {
        let other =
            r#"{"mediaType":"a/b","digest":"sha512:00","size":1,"platform":{"os":"linux"}}"#;
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{other}]}}"#);
        let mut layout = Layout::parse(text.as_bytes()).unwrap();
        let image = |version| ImageReference {
            name: "web".into(),
            version,
            manifest: Sha256::of(&[version as u8]),
        };
        layout.list(&image(1), 10);
        layout.list(&image(2), 10);
        assert!(!layout.unlist("web", 3));
        assert!(layout.unlist("web", 1));
        assert_eq!(layout.images().collect::<Vec<_>>(), [image(2)]);
        let expected = ["sha512:00".to_owned(), format!("sha256:{}", image(2).manifest)];
        assert_eq!(layout.digests().collect::<Vec<_>>(), expected);
        assert!(String::from_utf8(layout.to_bytes()).unwrap().contains(r#""os":"linux""#));
    }

    #[test]
    fn layouts_are_recognised_whoever_made_them() {
        assert!(marks_layout(OCI_LAYOUT_FILE));
        assert!(marks_layout(b"{\"imageLayoutVersion\": \"1.0.0\"}\n"));
        assert!(!marks_layout(b"{\"imageLayoutVersion\":\"2.0.0\"}"));
        assert!(!marks_layout(b"{}"));
        assert!(!marks_layout(b""));
    }
}
