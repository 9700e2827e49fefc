//! One run of one tool, as a process of its own under time(1), and the figures of several.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::device::Device;
use crate::limits;
use crate::made::{LIBRARY, Made};
use crate::server::Server;

/// Who writes.
pub(crate) enum Tool {
    Repave {
        image: &'static str,
        read_back: bool,
    },
    Curl,
    Bmaptool,
    CoreosInstaller,
    Casync {
        image: &'static str,
        seed: bool,
    },
    /// The same bytes from memory.
    RawLimit,
    /// As many bytes by fio(1), which knows threads and io_uring: what the one has over the other.
    Fio {
        threads: usize,
        uring_depth: Option<usize>,
    },
    /// The device read once, its bytes that are not zero hashed.
    ReadLimit,
}

/// What a run took.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) fetched_bytes: u64,
    pub(crate) runs: usize,
}

impl Figures {
    /// Each figure's median; `None` of no runs.
    pub(crate) fn median(all: Vec<Self>) -> Option<Self> {
        let middle = |figure: &dyn Fn(&Self) -> f64| {
            let mut values: Vec<f64> = all.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Some(Self {
            wall_s: middle(&|run| run.wall_s)?,
            cpu_s: middle(&|run| run.cpu_s)?,
            peak_rss_bytes: middle(&|run| run.peak_rss_bytes as f64)? as u64,
            fetched_bytes: middle(&|run| run.fetched_bytes as f64)? as u64,
            runs: all.len(),
        })
    }
}

pub(crate) fn measure(
    tool: &Tool,
    made: &Made,
    device: &Device,
    server: &Server,
) -> Result<Figures> {
    let node = device.node().display();
    let url = |name: &str| server.url(name);
    let script = match tool {
        Tool::Repave { image, read_back } => {
            let bare = if image.starts_with("disk") { "" } else { "--bare" };
            let read_back = if *read_back { "" } else { "--no-read-back" };
            let agent = agent();
            let agent = agent.display();
            let source = url(LIBRARY);
            format!(
                "{agent} write --json --source {source} --image {image} --device {node} {bare} {read_back}"
            )
        }
        Tool::Curl => {
            let source = url("old.raw.zst");
            format!(
                "set -o pipefail; curl -sf {source} | zstd -dc | dd of={node} bs=4M iflag=fullblock oflag=direct status=none"
            )
        }
        Tool::Bmaptool => {
            let (bmap, source) = (url("old.raw.bmap"), url("old.raw.zst"));
            format!("bmaptool -q copy --bmap {bmap} {source} {node}")
        }
        Tool::CoreosInstaller => {
            let installer = made.folder().join("tools/bin/coreos-installer");
            let (installer, source) = (installer.display(), url("disk.raw.gz"));
            let install = format!("{installer} install --insecure --image-url {source} {node}");
            with_udev(&install)
        }
        Tool::Casync { image, seed } => {
            let (index, store) = (url(&format!("{image}.caibx")), url("store.castr"));
            let old = made.raw("old");
            let seed = if *seed { format!("--seed={}", old.display()) } else { String::new() };
            format!("casync extract --store={store} {seed} {index} {node}")
        }
        Tool::RawLimit => return limits::raw(made, device),
        Tool::Fio { threads, uring_depth } => return limits::fio(device, *threads, *uring_depth),
        Tool::ReadLimit => return limits::read_and_hash(made, device),
    };
    timed(&script, made.folder())
}

/// A script that runs a command which needs udev: where none runs, one of its own runs meanwhile, in a
/// mount namespace with a `/run` of its own.
fn with_udev(command: &str) -> String {
    const CONTROL: &str = "/run/udev/control";
    format!(
        "[ -S {CONTROL} ] && exec {command}
        exec unshare --mount --propagation private bash -c '
            mount -t tmpfs none /run && mkdir /run/udev || exit
            /lib/systemd/systemd-udevd &
            until [ -S {CONTROL} ]; do kill -0 $! || exit; sleep 0.01; done
            {command}; done=$?
            kill -KILL $!; exit $done'"
    )
}

/// The agent as it is burned.
pub(crate) fn agent() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/repave-agent")
}

/// Runs a script, and whatever it starts, under time(1).
fn timed(script: &str, folder: &Path) -> Result<Figures> {
    let figures = folder.join("time");
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%e %U %S %M", "-o"])
        .arg(&figures)
        .args(["bash", "-c", script])
        .output()
        .context("/usr/bin/time is needed")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script}: {}", errors.trim());
    let text = std::fs::read_to_string(&figures)?;
    let numbers: Vec<f64> = text.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [wall_s, user_s, system_s, peak_kib] = numbers[..] else {
        anyhow::bail!("time(1) said {text:?}");
    };
    let peak_rss_bytes = peak_kib as u64 * 1024;
    Ok(Figures { wall_s, cpu_s: user_s + system_s, peak_rss_bytes, fetched_bytes: 0, runs: 1 })
}
