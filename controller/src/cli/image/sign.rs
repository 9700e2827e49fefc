//! `repave image sign`: one more signature for an image of a library, or another one in place of all.

use std::path::PathBuf;

use clap::Args;
use repave_image_codec::{Images, Library};

use super::{ImageName, Output};
use crate::cli::{Failure, print, print_json};
use crate::key_file;

#[derive(Debug, Args)]
pub(in crate::cli) struct Sign {
    /// The image, as NAME:VERSION.
    image: ImageName,
    /// The image key's file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Drop the signatures of other keys.
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(arguments: &Sign) -> Result<(), Failure> {
    let key = key_file::read(&arguments.key)?;
    let library = {
        let way_out = "pull the image, sign it, and push it again";
        Library::open(arguments.output.place.folder("signing", way_out)?)?
    };
    let image = library.find(&arguments.image.name, arguments.image.version)?;
    let signed = library.sign(&image, &key, arguments.alone)?;
    if arguments.output.json {
        return print_json(&signed);
    }
    print(&format!("{}:{} sha256:{}", signed.name, signed.version, signed.manifest))
}
