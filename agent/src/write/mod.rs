//! `repave-agent write`: makes a device equal to an image on a running Linux, with the same engine
//! that purposes servers: comparing, scheduling and reading back are the core's, threads the crew's.
//! Settings, seals and boot entries are not here.

mod options;
mod report;
mod sources;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{SigSet, Signal};
use repave_core::alone::{self, Means, Wish};
use repave_core::edges::{Crew, Disk, Link};
use repave_core::image::{TrustedImage, Way};
use repave_core::mirrors::Mirrors;
use repave_image::{Layout, OciManifest, limits};
use repave_protocol::{Envelope, ImageReference, PublicKey, TrustDocument, strict_json};

use crate::crew::ThreadCrew;
use crate::disk::OpenDisk;
use crate::{console, inventory, say, world};

use options::Options;
pub(crate) use options::USAGE;
use report::{Progress, Report};
use sources::{LibraryLink, Sources};

/// Largest signature layer read, in bytes.
const SIGNATURE_BYTES: usize = 16 * 1024;

/// Runs the command; its arguments come after `write`.
pub(crate) fn run(arguments: &[&str]) -> ExitCode {
    console::start();
    let outcome = Options::parse(arguments).map_err(|error| (2, error)).and_then(|options| {
        let written = write(&options).map_err(|error| (1, error))?;
        Ok(match options.json {
            true => written.json(),
            false => written.words(&options),
        })
    });
    match outcome {
        Ok(text) => say(std::io::stdout(), &text),
        Err((code, error)) => {
            say(std::io::stderr(), &format!("repave-agent write: {error:#}\n"));
            ExitCode::from(code)
        }
    }
}

fn write(options: &Options) -> Result<Report> {
    let progress = Progress::start(options);
    stop_on_interrupt()?;
    let sources = Arc::new(Sources::new(options.ca.as_deref(), options.limit_rate)?);
    let mut link = LibraryLink(Arc::clone(&sources));
    let mut host = world::host();
    let mut mirrors = Mirrors::new(&options.sources);
    let (reference, trust) = find_image(options, &mut link)?;
    let mut way = Way { link: &mut link, host: &mut host, mirrors: &mut mirrors };
    let image = TrustedImage::fetch(&mut way, &reference, &trust)?;
    let path = Path::new(&options.device);
    let mut disk = OpenDisk::open_alone(facts_of(&options.device), path)?;
    let mut crew = ThreadCrew::new(vec![disk.clone()], Arc::clone(&sources) as _);
    let chunk_bytes = image.manifest().manifest().chunk_bytes;
    let mut workers = crew.start(0, chunk_bytes)?;
    let wish = Wish { bare: options.bare, read_back: options.read_back };
    let means = Means { way, disk: &mut disk, workers: workers.as_mut() };
    let total_bytes = image.manifest().size_bytes();
    let mut watch = |way: &mut Way<'_>, done_bytes: u64| {
        progress.show(way.host.uptime_ms(), done_bytes, total_bytes);
    };
    let tally = alone::write(&image, wish, means, &mut watch)?;
    if !options.bare
        && let Err(error) = disk.reread_partitions()
    {
        log::warn!("{error}; the kernel still knows the old partitions");
    }
    drop(workers);
    progress.end();
    Ok(progress.report(sources.fetched_bytes(), tally, mirrors.reports()))
}

/// What the system tells of the disk that the device is, or is a partition of; of anything else, such
/// as a file, nothing.
fn facts_of(device: &str) -> repave_protocol::Disk {
    let real = std::fs::canonicalize(device).unwrap_or_default();
    let name = real.strip_prefix("/dev").ok().and_then(Path::to_str);
    let known = name.and_then(|name| inventory::disk_of(Path::new("/sys"), name));
    repave_protocol::Disk { name: device.into(), ..known.unwrap_or_default() }
}

/// Ends the process when the terminal or a service manager asks: at once, since what is on the
/// device then has blank heads, and the next run compares and goes on.
fn stop_on_interrupt() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Before any other thread is made, so that all of them inherit it.
    signals.thread_block()?;
    let wait = move || {
        if let Ok(signal) = signals.wait() {
            let _ = std::io::stderr().lock().write_all(
                b"\ninterrupted: the device is part old, part new; run the same again to go on\n",
            );
            std::process::exit(128 + signal as i32);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

/// Finds the image by name and version in the library's list, or by the digest that was given; and
/// what is believed of it.
fn find_image(
    options: &Options,
    link: &mut LibraryLink,
) -> Result<(ImageReference, TrustDocument)> {
    let source = options.sources.first().context("--source is needed")?;
    let manifest = match options.manifest {
        Some(manifest) => manifest,
        None => {
            let bytes = link
                .file(source, "index.json", limits::LAYOUT_BYTES)
                .with_context(|| format!("no list of images at {source}"))?;
            let layout = Layout::parse(&bytes).with_context(|| format!("{source}/index.json"))?;
            let found = layout.find(&options.name, options.version);
            found
                .with_context(|| {
                    let names: Vec<String> = layout
                        .images()
                        .map(|image| format!("{}:{}", image.name, image.version))
                        .collect();
                    let there = if names.is_empty() { "nothing".into() } else { names.join(", ") };
                    format!(
                        "{source} has no image {}:{}; it has {there}",
                        options.name, options.version
                    )
                })?
                .manifest
        }
    };
    let (name, version) = (options.name.clone(), options.version);
    let reference = ImageReference { name, version, manifest };
    let trust = TrustDocument {
        crit: Vec::new(),
        pool: "alone".parse().context("pool")?,
        version: 0,
        directive_keys: Vec::new(),
        image_keys: vec![image_key(options, &reference, link)?],
        ca_pem: String::new(),
        least_versions: Default::default(),
    };
    Ok((reference, trust))
}

/// The key that must have signed the image: the one that was given, or the one that says it did.
fn image_key(
    options: &Options,
    image: &ImageReference,
    link: &mut LibraryLink,
) -> Result<PublicKey> {
    if let Some(key) = options.image_key {
        return Ok(key);
    }
    let source = &options.sources[0];
    let oci = link.blob(source, &image.manifest, limits::OCI_MANIFEST_BYTES)?;
    let oci = OciManifest::parse(&oci).context("the image's OCI manifest")?;
    let signature = link.blob(source, &oci.signature.sha256, SIGNATURE_BYTES)?;
    let envelope: Envelope = strict_json(&signature, SIGNATURE_BYTES)?;
    let Some(signature) = envelope.signatures.first() else {
        bail!("image {}:{} is not signed", image.name, image.version);
    };
    log::warn!("signed by {}, which nobody vouches for: give --image-key", signature.keyid);
    Ok(signature.keyid)
}

/// A positive number.
fn number(text: &str) -> Result<u64> {
    let number = text.parse().with_context(|| format!("{text:?} is no version"))?;
    ensure!(number > 0, "versions begin with 1");
    Ok(number)
}
