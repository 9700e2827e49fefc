//! The controller of the demo, set up as the tutorial does it: keys, trust document, images, and
//! the daemon as a process of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use repave_qemu::HANG_GUARD;
use repave_qemu::net::free_port;
use repave_vm::{TargetImage, build_folder, default_uki};

use crate::operator::Operator;

/// This host, as a machine in QEMU's user-mode network sees it.
const GATEWAY: &str = "10.0.2.2";
const POOL: &str = "demo";
const LOOK: Duration = Duration::from_millis(100);

/// A running controller; dropped, it is told to end.
pub(crate) struct Controller {
    daemon: Child,
    folder: PathBuf,
    operator: Operator,
}

impl Controller {
    /// Sets everything up in `folder`, and starts the daemon.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let program = |name: &str| -> Result<PathBuf> {
            let path = build_folder().join(name);
            ensure!(path.is_file(), "{} is missing; make it with `make repave`", path.display());
            Ok(path)
        };
        let [port, blob_port] = [free_port()?, free_port()?];
        let state = folder.join("state");
        let url = format!("https://127.0.0.1:{port}");
        let operator = Operator::new(program("repave")?, &state, url);
        let daemon = program("repave-controller")?;
        let root_key = set_up(folder, &state, &operator, &daemon, port)?;
        let library = folder.join("library");
        let log = File::create(folder.join("controller.log")).context("controller.log")?;
        let daemon = Command::new(&daemon)
            .args(["run", "--pool", POOL, "--name", GATEWAY, "--name", "127.0.0.1"])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--root-key", &root_key])
            .args(["--blob-listen", &format!("127.0.0.1:{blob_port}")])
            .arg("--state")
            .arg(&state)
            .arg("--library")
            .arg(&library)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the daemon")?;
        let mut controller = Self { daemon, folder: folder.into(), operator };
        controller.wait_until_ready()?;
        Ok(controller)
    }

    /// Whoever runs it.
    pub(crate) const fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Burns a default disk for this pool.
    pub(crate) fn burn(&self, output: &Path, size_mib: u64) -> Result<()> {
        let read = |name: &str| fs::read(self.folder.join(name)).with_context(|| name.to_owned());
        let config = read("agent.json")?;
        let trust = read("state/trust.json")?;
        repave_vm::burn(output, [size_mib, 512], &default_uki()?, [&config, &trust])
    }

    /// Whether the daemon runs.
    ///
    /// # Errors
    /// It ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.daemon.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let log =
                    fs::read_to_string(self.folder.join("controller.log")).unwrap_or_default();
                bail!("the controller ended ({status}):\n{log}")
            }
        }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + HANG_GUARD;
        while self.operator.servers().is_err() {
            self.check()?;
            ensure!(Instant::now() < deadline, "the controller does not answer");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let pid = self.daemon.id().to_string();
        // In order, so that it says goodbye; one that does not is killed.
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if !matches!(self.daemon.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Keys, trust document, agent.json and images; gives the public root key.
fn set_up(
    folder: &Path,
    state: &Path,
    operator: &Operator,
    daemon: &Path,
    port: u16,
) -> Result<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let key = |name: &str| operator.run(&["key", "generate", "--out", &path(name)]);
    let (root_key, image_key) = (key("root.key")?, key("image.key")?);
    let made = Command::new(daemon)
        .args(["init", "--pool", POOL, "--name", GATEWAY, "--name", "127.0.0.1", "--state"])
        .arg(state)
        .output()
        .context("cannot run the daemon")?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = String::from_utf8_lossy(&made.stdout);
    let directive_key = said
        .lines()
        .find_map(|line| line.strip_prefix("directive key "))
        .context("the daemon did not say its directive key")?;
    let (ca, trust) = (path("state/ca.pem"), path("state/trust.json"));
    operator.run(&[
        "trust",
        "sign",
        "--root-key",
        &path("root.key"),
        "--pool",
        POOL,
        "--version",
        "1",
        "--directive-key",
        directive_key,
        "--image-key",
        &image_key,
        "--ca",
        &ca,
        "--out",
        &trust,
    ])?;
    let controller = format!("https://{GATEWAY}:{port}");
    operator.run(&[
        "agent-config",
        "--pool",
        POOL,
        "--controller",
        &controller,
        "--root-key",
        &root_key,
        "--out",
        &path("agent.json"),
    ])?;
    for name in ["web", "db"] {
        let target = TargetImage::folder(name)?;
        let file = |file: &str| target.join(file).display().to_string();
        operator
            .run(&[
                "image",
                "import",
                &file("disk.raw"),
                "--name",
                name,
                "--version",
                "1",
                "--boot",
                &file("boot.json"),
                "--key",
                &path("image.key"),
                "--library",
                &path("library"),
            ])
            .with_context(|| format!("importing {name}"))?;
    }
    Ok(root_key)
}
