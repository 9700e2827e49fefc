//! What `repave-agent write` is asked to do.

use std::num::NonZeroU64;

use anyhow::{Context, Result, bail};
use repave_protocol::{PublicKey, Sha256};

use super::number;

/// How it is called.
pub(crate) const USAGE: &str = "\
usage: repave-agent write --source URL|DIR --image NAME:VERSION[@SHA256] --device DEVICE
                          [--bare] [--no-read-back] [--json] [--limit-rate BYTES_PER_S]
                          [--image-key KEY] [--ca FILE]
  --source        an image library: its folder, or where it is served; may be given again for mirrors
  --image         the image; with the digest of its manifest the library's list is not needed
  --device        a whole disk, a partition, or a file; it must not be in use
  --bare          the device becomes the image's one partition, with no partition table
  --no-read-back  do not read back what was written
  --json          figures of the run on standard output
  --limit-rate    most bytes per second that are asked of each source
  --image-key     the public key that must have signed the image
  --ca            PEM file of the certificates that https sources must be vouched for by
";

/// The command line, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) sources: Vec<String>,
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) manifest: Option<Sha256>,
    pub(super) device: String,
    pub(super) bare: bool,
    pub(super) read_back: bool,
    pub(super) json: bool,
    pub(super) limit_rate: Option<NonZeroU64>,
    pub(super) image_key: Option<PublicKey>,
    pub(super) ca: Option<String>,
}

impl Options {
    pub(super) fn parse(arguments: &[&str]) -> Result<Self> {
        let (mut sources, mut image, mut device) = (Vec::new(), None, None);
        let (mut image_key, mut ca, mut limit_rate) = (None, None, None);
        let (mut bare, mut read_back, mut json) = (false, true, false);
        let mut words = arguments.iter().copied();
        while let Some(word) = words.next() {
            let (option, inline) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (word, None),
            };
            let mut value = || {
                // An option that follows is no value; one that begins so is given with `=`.
                let next = || words.next().filter(|word| !word.starts_with("--"));
                let value = inline.or_else(next).filter(|value| !value.is_empty());
                value.with_context(|| format!("{option} needs a value"))
            };
            match option {
                "--source" => sources.push(value()?.to_owned()),
                "--image" => once(option, &mut image, value()?)?,
                "--device" => once(option, &mut device, value()?)?,
                "--image-key" => once(option, &mut image_key, value()?)?,
                "--ca" => once(option, &mut ca, value()?)?,
                "--limit-rate" => once(option, &mut limit_rate, value()?)?,
                "--bare" if inline.is_none() => bare = true,
                "--no-read-back" if inline.is_none() => read_back = false,
                "--json" if inline.is_none() => json = true,
                _ => bail!("{word:?} is no option\n{USAGE}"),
            }
        }
        let (Some(image), Some(device), false) = (image, device, sources.is_empty()) else {
            bail!("--source, --image and --device are needed\n{USAGE}");
        };
        for source in &sources {
            check_source(source, ca.is_some())?;
        }
        let (name_version, manifest) = match image.split_once('@') {
            Some((image, digest)) => {
                let digest = digest.trim_start_matches("sha256:");
                let digest = digest.parse().with_context(|| format!("{digest:?} is no SHA-256"))?;
                (image, Some(digest))
            }
            None => (image, None),
        };
        let (name, version) = name_version
            .split_once(':')
            .with_context(|| format!("{image:?} has no version: give NAME:VERSION"))?;
        let (name, version) = (name.to_owned(), number(version)?);
        let key = |text: &str| text.parse().with_context(|| format!("{text:?} is no public key"));
        let rate = |text: &str| {
            let way_out = "give bytes per second, at least 1";
            text.parse().with_context(|| format!("{text:?} is no rate: {way_out}"))
        };
        Ok(Self {
            sources,
            name,
            version,
            manifest,
            device: device.to_owned(),
            bare,
            read_back,
            json,
            limit_rate: limit_rate.map(rate).transpose()?,
            image_key: image_key.map(key).transpose()?,
            ca: ca.map(str::to_owned),
        })
    }
}

/// Takes what may be given once: of two devices the wrong one might be overwritten.
fn once<'a>(option: &str, place: &mut Option<&'a str>, value: &'a str) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(before) => bail!("{option} is given twice: {before} and {value}"),
    }
}

/// What has a scheme must be of a scheme that can be read; nobody vouches for https but a CA file.
fn check_source(source: &str, has_ca: bool) -> Result<()> {
    match source.split_once("://") {
        Some(("https", _)) if !has_ca => {
            bail!("{source} is https: give --ca FILE with the certificates that vouch for it")
        }
        Some(("http" | "https" | "file", _)) | None => Ok(()),
        Some(_) => bail!("{source} is no source: give a folder, http://… or https://…"),
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    const NEEDED: [&str; 4] = ["--source", "http://mirror", "--device", "/dev/vdb"];

    fn parse(more: &[&str]) -> Result<Options, String> {
        let image =
            (!more.iter().any(|word| word.starts_with("--image"))).then_some("--image=web:7");
        let words: Vec<&str> = NEEDED.iter().chain(&image).chain(more).copied().collect();
        Options::parse(&words).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_is_needed_and_what_is_usual() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.name.as_str(), options.version), ("web", 7));
        assert_eq!(options.sources, ["http://mirror"]);
        assert!(options.read_back && !options.bare && !options.json);
        let options = parse(&["--no-read-back", "--bare", "--json"]).unwrap();
        assert!(!options.read_back && options.bare && options.json);
        assert_eq!(options.limit_rate, None);
        let options = parse(&["--limit-rate", "1000000"]).unwrap();
        assert_eq!(options.limit_rate.map(u64::from), Some(1_000_000));
        let digest = "ab".repeat(32);
        let image = format!("--image=web:7@sha256:{digest}");
        assert_eq!(parse(&[&image]).unwrap().manifest.unwrap().to_string(), digest);
        let options =
            parse(&["--source=https://mirror", "--source=lib", "--ca", "ca.pem"]).unwrap();
        assert_eq!(options.sources[1..], ["https://mirror", "lib"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, part) in [
            (&["--sauce", "x"][..], "\"--sauce\" is no option"),
            (&["--json=yes"], "\"--json=yes\" is no option"),
            (&["--ca"], "--ca needs a value"),
            (&["--ca", "--json"], "--ca needs a value"),
            (&["--source="], "--source needs a value"),
            (&["--device", "/dev/vdc"], "--device is given twice: /dev/vdb and /dev/vdc"),
            (&["--image=web:1", "--image=web:2"], "--image is given twice"),
            (&["--limit-rate=1", "--limit-rate=2"], "--limit-rate is given twice: 1 and 2"),
            (&["--source", "https://mirror"], "https://mirror is https: give --ca FILE"),
            (&["--source", "ftp://mirror"], "ftp://mirror is no source"),
            (&["--image", "web"], "give NAME:VERSION"),
            (&["--image", "web:0"], "versions begin with 1"),
            (&["--image", "web:new"], "\"new\" is no version"),
            (&["--image", "web:1@sha256:12"], "\"12\" is no SHA-256"),
            (&["--image=web:1", "--image-key", "12"], "\"12\" is no public key"),
            (&["--image=web:1", "--limit-rate", "0"], "\"0\" is no rate: give bytes per second"),
            (&["--image=web:1", "--limit-rate=1M"], "\"1M\" is no rate"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(part), "{error:?}, not {part:?}");
        }
        let error = Options::parse(&["--image", "web:1"]).unwrap_err().to_string();
        assert!(error.starts_with("--source, --image and --device are needed"), "{error}");
    }
}
