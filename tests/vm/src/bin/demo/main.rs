//! `make demo`: a controller and three servers with nothing on them but the default side. A policy
//! makes one of them a web server and two of them databases; a real load on the web server makes
//! the balancer take a database for it, and give it back when the load goes. Everything is asked of
//! the controller by its own command line, and proved from outside.
//!
//! Exit code 0: everything was proved. 1: a step failed; it is named. 130: interrupted.

mod controller;
mod load;
mod operator;
mod pool;
mod report;
mod screen;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use repave_controller::views::ServerView;
use repave_qemu::accel::Accelerator;
use repave_vm::{build_folder, proof};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::controller::Controller;
use crate::load::Load;
use crate::pool::{Interrupted, Node, Pool, title, up};
use crate::screen::Screen;

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
/// Room for the default side and the larger of the two images.
const DISK_MIB: u64 = 1024;
const INTERRUPTED: u8 = 130;
const POLICY: &str = include_str!("policy.toml");

fn main() -> ExitCode {
    let mut screen = Screen::new();
    match watch_signals().and_then(|stop| demo(&mut screen, &stop)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref::<Interrupted>().is_some() => {
            screen.line("demo: interrupted; controller, machines and ports are gone");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            screen.line(&format!("demo: FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The first Ctrl-C ends the demo in order, the second one at once.
fn watch_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), stop.clone())?;
        flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

fn demo(screen: &mut Screen, stop: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    let step = |what: &str| {
        ensure!(!stop.load(Ordering::Relaxed), Interrupted);
        Ok::<_, anyhow::Error>(format!("{:4} s  {what}", start.elapsed().as_secs()))
    };
    let folder = build_folder().join("demo");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("emptying build/demo")?;
    }
    fs::create_dir_all(&folder).context("making build/demo")?;

    screen.line(&step("controller: keys, trust document, images web and db, the daemon")?);
    let mut controller = Controller::start(&folder).context("starting the controller")?;

    let accelerator = Accelerator::detect()?;
    screen.line(&step(&format!("servers: inviting and powering on three ({accelerator})"))?);
    let disks = tempfile::Builder::new().prefix("repave-demo-").tempdir()?;
    let nodes = power_on(&controller, &folder, disks.path())?;
    let mut pool = Pool::new(&mut controller, nodes, stop);

    screen.line(&step("policy: one web that may become two under load, two db")?);
    apply(&pool, &folder)?;
    let web = |servers: &[ServerView]| up(servers, "web").len();
    let db = |servers: &[ServerView]| up(servers, "db").len();
    let servers = pool.until("1 web and 2 db", screen, |all| web(all) == 1 && db(all) == 2)?;
    prove(&pool, screen, &servers)?;

    let busy = title(up(&servers, "web")[0]);
    screen.line(&step(&format!("load: people reload the page of {busy} as fast as it comes"))?);
    let load = Load::on(pool.node(&busy)?.ports[0]);
    let servers = pool.until("a second web", screen, |all| web(all) == 2 && db(all) == 1)?;
    prove(&pool, screen, &servers)?;
    let pages = load.end();
    screen.line(&step(&format!("load: gone after {pages} pages"))?);
    let servers = pool.until("it given back", screen, |all| web(all) == 1 && db(all) == 2)?;
    prove(&pool, screen, &servers)?;

    report::report(&pool, &folder.join("report.json"), screen).context("writing the report")?;
    screen.line(&step(&format!("done; report, log and consoles are in {}", folder.display()))?);
    Ok(())
}

fn power_on(controller: &Controller, folder: &Path, disks: &Path) -> Result<Vec<Node>> {
    let burned = disks.join("default.img");
    controller.burn(&burned, DISK_MIB).context("burning the default disk")?;
    let mut nodes = Vec::new();
    for name in NODES {
        // Its serial number is its name: that is how this machine is expected.
        controller.operator().run(&["server", "invite", name, "--name", name])?;
        let node = Node::power_on(name, folder, &burned);
        nodes.push(node.with_context(|| format!("powering on {name}"))?);
    }
    Ok(nodes)
}

fn apply(pool: &Pool<'_>, folder: &Path) -> Result<()> {
    let path = folder.join("policy.toml");
    fs::write(&path, POLICY).context("writing policy.toml")?;
    let path = path.display().to_string();
    pool.controller.operator().run(&["apply", "--yes", &path]).map(drop)
}

/// Asks every server from outside whether it is what it is said to be.
fn prove(pool: &Pool<'_>, screen: &mut Screen, servers: &[ServerView]) -> Result<()> {
    let stopped = || pool.stop.load(Ordering::Relaxed);
    let mut proved = || -> Result<()> {
        for server in up(servers, "web") {
            let name = title(server);
            let page = proof::page(pool.node(&name)?.ports[0], &stopped)?;
            let greeting = format!("This server was told to be {name}, a web server of pool demo.");
            ensure!(page.text.contains(&greeting), "{name} served another page: {}", page.text);
            let hostname = page.hostname.unwrap_or_default();
            ensure!(hostname == name, "{name} calls itself {hostname:?}");
            screen.line(&format!("        nginx on {hostname}: {greeting:?}"));
        }
        for server in up(servers, "db") {
            let name = title(server);
            let port = pool.node(&name)?.ports[1];
            let cluster = proof::query(port, "SHOW cluster_name", &stopped)?;
            ensure!(cluster == [name.as_str()], "{name} calls itself {cluster:?}");
            let sum = "SELECT sum(n) FROM generate_series(1, 100) AS n";
            let sum = proof::query(port, sum, &stopped)?;
            ensure!(sum == ["5050"], "{name} adds up to {sum:?}");
            screen
                .line(&format!("        PostgreSQL on {name}: the sum of 1 to 100 is {}", sum[0]));
        }
        Ok(())
    };
    proved().map_err(|error| match pool.stop.load(Ordering::Relaxed) {
        // A try that was ended by a signal did not fail.
        true => Interrupted.into(),
        false => error.context("asking the servers from outside"),
    })
}
