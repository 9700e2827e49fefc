//! Signing an image that is in a library already: with one more key while keys overlap, or with
//! another one alone. Config, index and packs stay; the signature is a layer, so the image gets a
//! new OCI manifest and is listed by that.

use repave_image::{Descriptor, OciManifest};
use repave_protocol::{Envelope, ImageReference, ImageSignature, SigningKey, seal, strict_json};

use crate::error::LibraryError;
use crate::library::Library;
use crate::reading::{Images, StoredImage};

impl Library {
    /// Signs an image with `key`. What other keys have signed stays, unless it is to be `alone`.
    pub fn sign(
        &self,
        reference: &ImageReference,
        key: &SigningKey,
        alone: bool,
    ) -> Result<ImageReference, LibraryError> {
        let _lock = self.lock()?;
        let image = self.read(reference)?;
        let new = seal(&signature_of(&reference.name, reference.version, &image.oci), key);
        let new = match alone {
            true => new,
            false => self.with_others(&image, new)?,
        };
        let oci = OciManifest { signature: self.add_blob(&new)?, ..image.oci };
        let Descriptor { sha256, size_bytes } = self.add_blob(&oci.to_bytes())?;
        let reference = ImageReference { manifest: sha256, ..reference.clone() };
        self.list(&reference, size_bytes)?;
        Ok(reference)
    }

    /// The new envelope with those signatures of the old one that are over the same payload.
    fn with_others(&self, image: &StoredImage, new: Vec<u8>) -> Result<Vec<u8>, LibraryError> {
        let limit = repave_protocol::limits::ENVELOPE_BYTES;
        let old = self.small_blob(&image.oci.signature.sha256, limit)?;
        let (Ok(old), Ok(mut new_envelope)) =
            (strict_json::<Envelope>(&old, limit), strict_json::<Envelope>(&new, limit))
        else {
            return Ok(new);
        };
        if (&old.payload_type, &old.payload) != (&new_envelope.payload_type, &new_envelope.payload)
        {
            return Ok(new);
        }
        let own: Vec<_> = new_envelope.signatures.iter().map(|own| own.keyid).collect();
        let others = old.signatures.into_iter().filter(|other| !own.contains(&other.keyid));
        new_envelope.signatures.extend(others);
        let found = new_envelope.signatures.len();
        let most = repave_protocol::limits::SIGNATURES;
        if found > most {
            return Err(LibraryError::TooManySignatures { found, limit: most });
        }
        Ok(serde_json::to_vec(&new_envelope).expect("an envelope is always JSON"))
    }
}

/// What is signed of an image.
pub(crate) fn signature_of(name: &str, version: u64, oci: &OciManifest) -> ImageSignature {
    ImageSignature {
        crit: Vec::new(),
        name: name.into(),
        version,
        config: oci.config.sha256,
        index: oci.index.sha256,
    }
}
