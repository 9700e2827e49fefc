//! `repave image verify`: whether every byte of an image is what its maker signed.

use repave_image_codec::verify;
use repave_protocol::PublicKey;

use super::{ImageName, Output};
use crate::cli::progress::ProgressLine;
use crate::cli::{Failure, print, print_json};

pub(super) fn run(image: &ImageName, keys: &[PublicKey], output: &Output) -> Result<(), Failure> {
    let library = output.place.images()?;
    let reference = library.find(&image.name, image.version)?;
    let mut line = ProgressLine::new("verifying");
    let found = verify(&*library, &reference, keys, &mut |progress| line.show(progress))?;
    drop(line);
    if output.json {
        return print_json(&found);
    }
    let signature = match found.signed_by {
        Some(key) => format!("signed by {key}"),
        None => "signature not checked (give --public-key)".into(),
    };
    print(&format!(
        "{}:{} is whole: {} stored of {} chunks read; {signature}",
        image.name, image.version, found.stored_chunks, found.chunks
    ))
}
