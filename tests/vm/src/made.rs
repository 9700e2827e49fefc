//! What `make` has built: the default UKI, and the target images. Nothing is built here but target
//! images that are not in their cache yet; what is missing is named with the command that makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use repave_image_codec::BootDescriptor;

/// The top of the source tree.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // tests/vm
    here.ancestors().nth(2).unwrap_or(here)
}

/// Where `make` puts what it builds.
pub fn build_folder() -> PathBuf {
    root().join("build")
}

/// The default UKI.
///
/// # Errors
/// It was not built.
pub fn default_uki() -> Result<PathBuf> {
    let path = build_folder().join("repave-default.efi");
    match path.is_file() {
        true => Ok(path),
        false => bail!("{} is missing; make it with `make image`", path.display()),
    }
}

/// A target image: a raw disk, and how to boot it.
#[derive(Clone, Debug)]
pub struct TargetImage {
    /// The raw disk image.
    pub disk: PathBuf,
    /// How to boot it; a test may have it lie.
    pub descriptor: BootDescriptor,
}

impl TargetImage {
    /// The target image of `tests/targets/NAME`, out of its cache if it is there.
    ///
    /// # Errors
    /// The build failed; what it said is on standard error.
    pub fn build(name: &str) -> Result<Self> {
        let folder = Self::folder(name)?;
        let descriptor = BootDescriptor::read(&folder.join("boot.json"))
            .with_context(|| format!("target image {name}"))?;
        let disk = folder.join("disk.raw");
        Ok(Self { disk, descriptor })
    }

    /// Its folder in the cache, with `disk.raw` and `boot.json`.
    ///
    /// # Errors
    /// As [`TargetImage::build`].
    pub fn folder(name: &str) -> Result<PathBuf> {
        let script = root().join("tests/targets/build.sh");
        let output = Command::new(&script)
            .arg(name)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run {}", script.display()))?;
        if !output.status.success() {
            bail!("target image {name} cannot be built; try `make targets`");
        }
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
    }
}

/// Puts a default disk of that size in MiB and block size in bytes, with these files, into `output`.
///
/// # Errors
/// The disk cannot be burned.
pub fn burn(
    output: &Path,
    [size_mib, block_bytes]: [u64; 2],
    uki: &Path,
    [config, trust]: [&[u8]; 2],
) -> Result<()> {
    let file = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = output.with_extension(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    let script = root().join("initramfs/burn.sh");
    let status = Command::new(&script)
        .arg("--output")
        .arg(output)
        .args(["--size", &format!("{size_mib}M")])
        .args(["--sector-size", &block_bytes.to_string()])
        .arg("--uki")
        .arg(uki)
        .arg("--config")
        .arg(file("agent.json", config)?)
        .arg("--trust")
        .arg(file("trust.json", trust)?)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", script.display()))?;
    match status.success() {
        true => Ok(()),
        false => bail!("{} failed", script.display()),
    }
}

/// Runs a tool to its end; what it complains about is the error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.stderr(Stdio::piped()).stdout(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {complaint}");
    Ok(())
}
