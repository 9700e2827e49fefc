//! `repave image list`: the images of a library.

use repave_image_codec::Library;

use super::Output;
use crate::cli::{Failure, print, print_json};

pub(super) fn run(output: &Output) -> Result<(), Failure> {
    let images = Library::open(&output.library)?.images()?;
    if output.json {
        return print_json(&images);
    }
    for image in images {
        print(&format!("{}:{} sha256:{}", image.name, image.version, image.manifest))?;
    }
    Ok(())
}
