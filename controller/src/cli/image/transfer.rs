//! `repave image push` and `pull`: the same image in a folder and in a registry.

use std::path::PathBuf;

use clap::Args;
use repave_image_codec::{Images, Library, RegistryUrl, Transferred};
use repave_protocol::PublicKey;

use super::{ImageName, MIB};
use crate::cli::progress::ProgressLine;
use crate::cli::{Failure, print, print_json};
use crate::library_place::RegistryFiles;

#[derive(Debug, Args)]
pub(in crate::cli) struct Push {
    /// The image, as NAME:VERSION.
    image: ImageName,
    /// The folder that it comes from.
    #[arg(long, env = "REPAVE_LIBRARY", value_name = "DIR")]
    library: PathBuf,
    /// The registry's repository, https://HOST/REPOSITORY.
    #[arg(long, value_name = "URL")]
    to: RegistryUrl,
    #[command(flatten)]
    files: RegistryFiles,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Pull {
    /// The image, as NAME:VERSION.
    image: ImageName,
    /// The registry's repository, https://HOST/REPOSITORY.
    #[arg(long, value_name = "URL")]
    from: RegistryUrl,
    #[command(flatten)]
    files: RegistryFiles,
    /// The folder that it goes to; made if it is not there.
    #[arg(long, env = "REPAVE_LIBRARY", value_name = "DIR")]
    library: PathBuf,
    /// Public key that must have signed the image; may be given several times. Without one the
    /// signature is not checked.
    #[arg(long = "public-key", value_name = "HEX")]
    public_keys: Vec<PublicKey>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn push(arguments: &Push) -> Result<(), Failure> {
    let registry = arguments.files.open(&arguments.to)?;
    let library = Library::open(&arguments.library)?;
    let image = library.find(&arguments.image.name, arguments.image.version)?;
    let mut line = ProgressLine::new("pushing");
    let pushed = registry.push(&library, &image, &mut |progress| line.show(progress))?;
    drop(line);
    say(&pushed, "sent", arguments.json)
}

pub(super) fn pull(arguments: &Pull) -> Result<(), Failure> {
    let registry = arguments.files.open(&arguments.from)?;
    let library = Library::open_or_create(&arguments.library)?;
    let image = registry.find(&arguments.image.name, arguments.image.version)?;
    let mut line = ProgressLine::new("pulling");
    let keys = &arguments.public_keys;
    let pulled = registry.pull(&library, &image, keys, &mut |progress| line.show(progress))?;
    drop(line);
    say(&pulled, "fetched", arguments.json)
}

fn say(done: &Transferred, what: &str, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(done);
    }
    print(&format!(
        "{}:{} sha256:{}: {} blobs {what} ({:.1} MiB), {} were there ({:.1} MiB)",
        done.reference.name,
        done.reference.version,
        done.reference.manifest,
        done.new_blobs,
        done.new_bytes as f64 / MIB,
        done.reused_blobs,
        done.reused_bytes as f64 / MIB,
    ))
}
