//! Images of the library, and the channels that point at their versions.

use std::collections::BTreeMap;

use repave_image::ImageManifest;
use repave_image_codec::{Images, LibraryError};
use repave_protocol::ImageReference;
use serde::{Deserialize, Serialize};

use super::{Control, ControlError, operator};
use crate::balance::AvailableImage;
use crate::clock;
use crate::policy::ImageChannel;
use crate::records::{self, kind};
use crate::store::changes::{Changes, Expected};

/// Points at the newest version unless somebody set it.
const LATEST: &str = "latest";

/// Where a channel points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Channel {
    /// The version.
    pub version: u64,
    /// The version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
}

/// An image of the library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImageInfo {
    /// Name.
    pub name: String,
    /// Version.
    pub version: u64,
    /// Digest of its OCI manifest.
    pub manifest: String,
    /// The channels that point at it.
    pub channels: Vec<String>,
}

/// An image, whole.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImageDetail {
    /// Digest of its OCI manifest.
    pub digest: String,
    /// Blobs that hold its chunks.
    pub packs: usize,
    /// Keys that it says it is signed with, in hexadecimal; whether they did is not checked here.
    pub claimed_keys: Vec<String>,
    /// What it is.
    #[schema(value_type = Object)]
    pub image: ImageManifest,
}

impl ImageDetail {
    /// Of an image of a library.
    pub fn of(
        library: &(impl Images + ?Sized),
        image: &ImageReference,
    ) -> Result<Self, LibraryError> {
        let stored = library.read(image)?;
        Ok(Self {
            digest: stored.reference.manifest.to_string(),
            packs: stored.oci.packs.len(),
            claimed_keys: library.claimed_keys(&stored)?.iter().map(ToString::to_string).collect(),
            image: stored.manifest.manifest().clone(),
        })
    }
}

impl Control {
    /// One image of the library.
    pub async fn image(&self, name: &str, version: u64) -> Result<ImageDetail, ControlError> {
        let image = self.library.find(name, version)?;
        let library = self.library.clone();
        // A registry may take its time.
        let read = move || ImageDetail::of(library.reader(), &image);
        match tokio::task::spawn_blocking(read).await {
            Ok(detail) => Ok(detail?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Every image of the library, with the channels that point at it.
    pub async fn images(&self) -> Result<Vec<ImageInfo>, ControlError> {
        let channels = self.channels().await?;
        let info = |image: ImageReference| {
            let points_here = |(name, channel): (&String, &Channel)| {
                let (image_name, channel_name) = name.split_once(':')?;
                let here = image_name == image.name && channel.version == image.version;
                here.then(|| channel_name.to_owned())
            };
            let channels = channels.iter().filter_map(points_here).collect();
            let manifest = image.manifest.to_string();
            ImageInfo { name: image.name, version: image.version, manifest, channels }
        };
        Ok(self.library.images()?.into_iter().map(info).collect())
    }

    /// Every channel, `latest` of each image included.
    pub async fn channels(&self) -> Result<BTreeMap<String, Channel>, ControlError> {
        let mut channels = BTreeMap::new();
        for image in self.library.images()? {
            let latest = channels
                .entry(format!("{}:{LATEST}", image.name))
                .or_insert(Channel { version: image.version, previous: None });
            if image.version > latest.version {
                *latest = Channel { version: image.version, previous: Some(latest.version) };
            }
        }
        channels.extend(self.documents::<Channel>(kind::CHANNEL).await?);
        Ok(channels)
    }

    /// Points a channel at a version that the library has.
    pub async fn set_channel(
        &self,
        image: &ImageChannel,
        version: u64,
        actor: &str,
    ) -> Result<Channel, ControlError> {
        self.library.find(&image.name, version)?;
        let key = image.to_string();
        let before = self.document::<Channel>(kind::CHANNEL, &key).await?;
        let expected =
            before.as_ref().map_or(Expected::MustNotExist, |(_, r)| Expected::Exactly(*r));
        let previous = match before {
            Some((channel, _)) if channel.version == version => channel.previous,
            Some((channel, _)) => Some(channel.version),
            None => None,
        };
        let channel = Channel { version, previous };
        let put = records::document(kind::CHANNEL, &key, expected, &channel);
        let detail = Some(format!("version {version}"));
        let event = operator(actor, clock::now_ms(), "channel.set", &key, detail);
        let changes = Changes { documents: vec![put], ..Changes::default() };
        self.commit(changes, &[event]).await?;
        Ok(channel)
    }

    /// The versions that types may be given, by `name:channel`; those whose images the library no
    /// longer has are left out.
    pub(super) async fn available(&self) -> Result<BTreeMap<String, AvailableImage>, ControlError> {
        let images = self.library.images()?;
        let has = |name: &str, version: u64| {
            images.iter().any(|image| image.name == name && image.version == version)
        };
        let mut available = BTreeMap::new();
        for (key, channel) in self.channels().await? {
            let name = key.split(':').next().unwrap_or_default();
            let previous = channel.previous.filter(|&version| has(name, version));
            if has(name, channel.version) {
                available.insert(key, AvailableImage { version: channel.version, previous });
            }
        }
        Ok(available)
    }
}
