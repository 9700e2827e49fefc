//! An image of 2 TiB that is almost all holes, onto a file of holes: what memory the agent takes when
//! the image is large, and not how fast it is. Measured once, since it takes more than a minute.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use repave_image_codec::{BootDescriptor, ImportOptions, Library, import};
use repave_protocol::SigningKey;
use serde::Deserialize;

use crate::device::PIECE_BYTES;
use crate::made;
use crate::run::{Figures, agent};
use crate::server::Server;

/// What it is called on the command line and in the report.
pub(crate) const NAME: &str = "sparse-2t";

const SIZE_BYTES: u64 = 2 << 40;
/// Noise is put here and so many times this further on: away from what the file system has.
const NOISE_EVERY_BYTES: u64 = 65 << 30;
/// A small tree, a file system without a journal, which would take a gibibyte.
const MAKE: &str = "rm -rf tree; mkdir -p tree/boot; cp ../tree/boot/vmlinuz tree/boot; \
    mkfs.ext4 -q -O ^has_journal -U 33333333-3333-4333-8333-333333333333 -d tree image.raw 2048G > /dev/null; \
    truncate -s 2T device";

/// What the agent says of a run.
#[derive(Deserialize)]
struct Said {
    wall_s: f64,
    cpu_s: f64,
    peak_rss_bytes: u64,
    fetched_bytes: u64,
}

/// Makes image and device below `bench`, writes one to the other, and takes both away again.
pub(crate) fn measure(bench: &Path, server: &Server) -> Result<Figures> {
    let folder = bench.join(NAME);
    fs::create_dir_all(&folder)?;
    let figures = write(&folder, server);
    fs::remove_dir_all(&folder)?;
    figures
}

fn write(folder: &Path, server: &Server) -> Result<Figures> {
    made::shell(folder, MAKE)?;
    let raw = folder.join("image.raw");
    let image = File::options().write(true).open(&raw)?;
    let noise: Vec<u8> = (0..PIECE_BYTES).map(|at| (at % 251) as u8 + 1).collect();
    for offset_bytes in (NOISE_EVERY_BYTES..SIZE_BYTES).step_by(NOISE_EVERY_BYTES as usize) {
        image.write_all_at(&noise, offset_bytes)?;
    }
    image.write_all_at(&noise[..4096], SIZE_BYTES - 4096)?;
    fs::write(folder.join("boot.json"), made::BOOT)?;
    let boot = BootDescriptor::read(&folder.join("boot.json"))?;
    let library = Library::open_or_create(&folder.join("library"))?;
    let key = SigningKey::from_seed(&[7; 32]);
    import(&raw, &boot, &ImportOptions::new("sparse", 1), &library, &key, &mut |_| {})?;

    let device = folder.join("device");
    let agent = agent();
    let output = Command::new(&agent)
        .args(["write", "--json", "--bare", "--image", "sparse:1", "--source"])
        .arg(server.url(&format!("{NAME}/library")))
        .arg("--device")
        .arg(&device)
        .output()
        .with_context(|| format!("cannot run {}", agent.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", errors.trim());
    let written = File::open(&device)?;
    let mut piece = vec![0; PIECE_BYTES];
    for offset_bytes in (NOISE_EVERY_BYTES..SIZE_BYTES).step_by(NOISE_EVERY_BYTES as usize) {
        written.read_exact_at(&mut piece, offset_bytes)?;
        ensure!(piece == noise, "the device is not the image at byte {offset_bytes}");
    }
    let Said { wall_s, cpu_s, peak_rss_bytes, fetched_bytes } =
        serde_json::from_slice(&output.stdout)?;
    Ok(Figures { wall_s, cpu_s, peak_rss_bytes, fetched_bytes, runs: 1 })
}
