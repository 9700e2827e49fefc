//! `make demo`: two servers with nothing on them but the default side become a web server and a
//! database, are asked from outside whether they are, and then the web server becomes a database
//! too. What is shown here is what is tested in tests/; this is for people to watch.
//!
//! Exit code 0: everything was proved. 1: a step failed; it is named. 130: interrupted.

mod report;
mod road;
mod screen;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use repave_controller_stub::Scenario;
use repave_protocol::{ImageReference, Order, Purpose, Settings, SettingsFile};
use repave_qemu::accel::Accelerator;
use repave_qemu::disk::Disk;
use repave_qemu::net::{Nic, free_port};
use repave_vm::{Lab, TargetImage, build_folder, proof};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::road::{Interrupted, Road, arrive};
use crate::screen::Screen;

/// Room for the default side and the larger of the two images.
const DISK_MIB: u64 = 1024;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let mut screen = Screen::new();
    match watch_signals().and_then(|stop| demo(&mut screen, &stop)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref::<Interrupted>().is_some() => {
            screen.line("demo: interrupted; machines, disks and ports are gone");
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
    let folder = build_folder().join("demo");
    let step = |what: &str| {
        let ended = stop.load(Ordering::Relaxed);
        ensure!(!ended, Interrupted);
        Ok::<_, anyhow::Error>(format!("{:4} s  {what}", start.elapsed().as_secs()))
    };
    let stopped = || stop.load(Ordering::Relaxed);

    screen.line(&step("controller: starting the stub, with keys and a library of its own")?);
    if folder.exists() {
        fs::remove_dir_all(&folder).context("emptying build/demo")?;
    }
    fs::create_dir_all(&folder).context("making build/demo")?;
    let mut lab = Lab::new("demo", Scenario::default()).context("starting the controller")?;
    lab.keep_consoles_in(folder.clone());
    let lab = lab;

    screen.line(&step("images: importing web and db (Debian with nginx and with PostgreSQL)")?);
    let import = |name: &str| -> Result<ImageReference> {
        lab.import(name, &TargetImage::build(name)?).with_context(|| format!("importing {name}"))
    };
    let (web, db) = (import("web")?, import("db")?);

    let accelerator = Accelerator::detect()?;
    screen.line(&step(&format!("servers: powering on web-1 and db-1 ({accelerator})"))?);
    let burned = lab.burn("default", DISK_MIB).context("burning the default disk")?;
    let server = |name: &str, web_port, db_port| -> Result<Road<'_>> {
        let mut spec = lab.bare(name);
        let path = lab.dir().join(format!("{name}.img"));
        spec.disks.push(Disk::copy(burned.path(), path)?.serial(name.to_uppercase()));
        spec.nics.push(Nic::slirp().forward(web_port, 80).forward(db_port, 5432));
        let mut server = lab.server(spec)?;
        server.power_on()?;
        Ok(Road::new(server))
    };
    let [web_port, first_db_port, unused_port, db_port] =
        [free_port()?, free_port()?, free_port()?, free_port()?];
    let mut roads = [
        server("web-1", web_port, first_db_port).context("powering on web-1")?,
        server("db-1", unused_port, db_port).context("powering on db-1")?,
    ];

    screen.line(&step("orders: web-1 becomes web, db-1 becomes db")?);
    let [web_1, db_1] = &mut roads;
    web_1.order(become_web(&lab, &web, "web-1"));
    db_1.order(become_db(&lab, &db, "db-1"));
    arrive(&mut roads, screen, stop).context("purposing web-1 to web and db-1 to db")?;

    screen.line(&step("proof: asking nginx and PostgreSQL from outside")?);
    prove_web(screen, web_port, &stopped).or_else(|error| interrupted_or(error, stop))?;
    prove_db(screen, db_port, "db-1", &stopped).or_else(|error| interrupted_or(error, stop))?;

    screen.line(&step("orders: web-1 becomes db; its resident takes it home")?);
    roads[0].order(become_db(&lab, &db, "db-2"));
    arrive(&mut roads[..1], screen, stop).context("repurposing web-1 from web to db")?;
    screen.line(&step("proof: asking PostgreSQL on what was the web server")?);
    prove_db(screen, first_db_port, "db-2", &stopped)
        .or_else(|error| interrupted_or(error, stop))?;

    lab.finish().context("what the servers reported")?;
    let figures = roads.iter().map(Road::figures).collect::<Result<Vec<_>>>()?;
    report::write(&folder.join("report.json"), &figures).context("writing the report")?;
    report::show(&figures, screen);
    screen.line(&step(&format!("done; the report and the consoles are in {}", folder.display()))?);
    Ok(())
}

/// A try that was ended by a signal did not fail.
fn interrupted_or(error: anyhow::Error, stop: &AtomicBool) -> Result<()> {
    match stop.load(Ordering::Relaxed) {
        true => Err(Interrupted.into()),
        false => Err(error),
    }
}

/// A page that only this order can have written, and a header that only the host name can fill.
fn become_web(lab: &Lab, image: &ImageReference, hostname: &str) -> Order {
    let page = format!("<!doctype html>\n<title>web</title>\n<p>{}</p>\n", greeting(hostname));
    let header = b"add_header X-Hostname $hostname always;\n";
    let files = vec![
        SettingsFile::new("/var/www/html/index.html", 0o644, page.as_bytes()),
        SettingsFile::new("/etc/nginx/conf.d/hostname.conf", 0o644, header),
    ];
    order(lab, image, hostname, files)
}

/// A cluster name that only this order can have given.
fn become_db(lab: &Lab, image: &ImageReference, hostname: &str) -> Order {
    let line = format!("cluster_name = '{hostname}'\n");
    let path = "/etc/postgresql/15/main/conf.d/server.conf";
    order(lab, image, hostname, vec![SettingsFile::new(path, 0o644, line.as_bytes())])
}

fn order(lab: &Lab, image: &ImageReference, hostname: &str, files: Vec<SettingsFile>) -> Order {
    let settings = Settings { hostname: Some(hostname.into()), files, ..Settings::default() };
    Order::Purpose(Box::new(Purpose { settings, ..lab.purpose(image) }))
}

fn greeting(hostname: &str) -> String {
    format!("This server was told to be {hostname}.")
}

fn prove_web(screen: &mut Screen, port: u16, stopped: &dyn Fn() -> bool) -> Result<()> {
    let page = proof::page(port, stopped).context("asking web-1 for its page")?;
    ensure!(page.text.contains(&greeting("web-1")), "web-1 served another page: {}", page.text);
    let hostname = page.hostname.unwrap_or_default();
    ensure!(hostname == "web-1", "web-1 calls itself {hostname:?}");
    screen.line(&format!("        nginx on {hostname}: {:?}", greeting(&hostname)));
    Ok(())
}

fn prove_db(
    screen: &mut Screen,
    port: u16,
    hostname: &str,
    stopped: &dyn Fn() -> bool,
) -> Result<()> {
    let asked = || format!("asking {hostname} a query");
    let name = proof::query(port, "SHOW cluster_name", stopped).with_context(asked)?;
    ensure!(name == [hostname], "{hostname} calls itself {name:?}");
    let sum = proof::query(port, "SELECT sum(n) FROM generate_series(1, 100) AS n", stopped)
        .with_context(asked)?;
    ensure!(sum == ["5050"], "{hostname} adds up to {sum:?}");
    screen.line(&format!("        PostgreSQL on {hostname}: the sum of 1 to 100 is {}", sum[0]));
    Ok(())
}
