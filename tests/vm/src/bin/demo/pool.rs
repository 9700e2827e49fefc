//! The machines of the demo, and what the controller says of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, thread};

use anyhow::{Context, Result, bail};
use repave_controller::fleet::{EventKind, Standing};
use repave_controller::views::{EventView, ServerView};
use repave_protocol::Stage;
use repave_qemu::HANG_GUARD;
use repave_qemu::disk::Disk;
use repave_qemu::net::{Nic, free_port};
use repave_qemu::spec::VmSpec;
use repave_qemu::vm::{Machine, Running};

use crate::controller::Controller;
use crate::screen::Screen;

/// How often the controller is asked.
const LOOK: Duration = Duration::from_millis(500);
/// RAM of a machine.
const MEMORY_MIB: u32 = 512;

/// Somebody pressed Ctrl-C.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// One machine.
pub(crate) struct Node {
    pub(crate) name: String,
    /// Ports of this host that lead to its ports 80 and 5432.
    pub(crate) ports: [u16; 2],
    pub(crate) powered_on_ms: u64,
    running: Running,
}

impl Node {
    /// A machine with a copy of a burned disk, which lies beside it; it is powered on. Its console
    /// stays in `folder`.
    pub(crate) fn power_on(name: &str, folder: &Path, burned: &Path) -> Result<Self> {
        let ports = [free_port()?, free_port()?];
        let mut spec = VmSpec::new(name, folder.join(name));
        spec.memory_mib = MEMORY_MIB;
        let disk = Disk::copy(burned, burned.with_file_name(format!("{name}.img")))?;
        spec.disks.push(disk.serial(name.to_uppercase()));
        spec.nics.push(Nic::slirp().forward(ports[0], 80).forward(ports[1], 5432));
        let machine = Machine::new(spec)?;
        let powered_on_ms = now_ms();
        let running = machine.power_on()?;
        Ok(Self { name: name.into(), ports, powered_on_ms, running })
    }

    fn is_on(&self) -> bool {
        self.running.wait_for_exit(Duration::ZERO).is_err()
    }

    /// What its console said.
    pub(crate) fn console(&self) -> Result<Vec<String>> {
        Ok(self.running.console().lines()?)
    }
}

/// All of it.
pub(crate) struct Pool<'demo> {
    pub(crate) controller: &'demo mut Controller,
    pub(crate) nodes: Vec<Node>,
    pub(crate) events: Vec<EventView>,
    pub(crate) stop: &'demo AtomicBool,
    names: BTreeMap<String, String>,
}

impl<'demo> Pool<'demo> {
    pub(crate) fn new(
        controller: &'demo mut Controller,
        nodes: Vec<Node>,
        stop: &'demo AtomicBool,
    ) -> Self {
        Self { controller, nodes, events: Vec::new(), stop, names: BTreeMap::new() }
    }

    /// The machine with that name.
    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).with_context(|| format!("no {name}"))
    }

    /// Whose id that is.
    pub(crate) fn name_of(&self, id: &str) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| id.chars().take(12).collect())
    }

    /// Watches until the servers fit, and shows what they do and what is decided meanwhile.
    pub(crate) fn until(
        &mut self,
        what: &str,
        screen: &mut Screen,
        mut fits: impl FnMut(&[ServerView]) -> bool,
    ) -> Result<Vec<ServerView>> {
        let deadline = Instant::now() + HANG_GUARD;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Interrupted.into());
            }
            self.controller.check()?;
            let mut servers = self.controller.operator().servers()?;
            servers.sort_by(|one, other| one.name.cmp(&other.name));
            for server in &servers {
                self.names.insert(server.id.clone(), title(server));
            }
            self.follow_events(screen)?;
            screen.progress(servers.iter().map(line).collect());
            if fits(&servers) {
                screen.end_progress();
                return Ok(servers);
            }
            if let Some(given_up) = servers.iter().find(|server| server.standing == "quarantined") {
                bail!("{}: {:?}", title(given_up), given_up.failures);
            }
            if let Some(node) = self.nodes.iter().find(|node| !node.is_on()) {
                bail!("{}: its machine is gone", node.name);
            }
            if Instant::now() > deadline {
                let lines: Vec<String> = servers.iter().map(line).collect();
                bail!("no {what} after {} s: {}", HANG_GUARD.as_secs(), lines.join("; "));
            }
            thread::sleep(LOOK);
        }
    }

    /// Takes new events in; decisions are shown.
    fn follow_events(&mut self, screen: &mut Screen) -> Result<()> {
        let after = self.events.last().map_or(0, |event| event.sequence);
        for event in self.controller.operator().events(after)? {
            if let EventKind::Decision { to, why, .. } = &event.what {
                let name = self.name_of(event.server.as_deref().unwrap_or_default());
                let becomes = to.as_deref().unwrap_or("spare");
                screen.line(&format!("        {name} -> {becomes}: {why}"));
            }
            self.events.push(event);
        }
        Ok(())
    }
}

/// How many servers are up as that type.
pub(crate) fn up<'a>(servers: &'a [ServerView], server_type: &str) -> Vec<&'a ServerView> {
    let is = |server: &&ServerView| {
        server.standing == "up"
            && server.server_type.as_deref() == Some(server_type)
            && server.image == server.wanted_image
    };
    servers.iter().filter(is).collect()
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn title(server: &ServerView) -> String {
    server.name.clone().unwrap_or_else(|| server.id.chars().take(12).collect())
}

fn line(server: &ServerView) -> String {
    let server_type = server.server_type.as_deref().unwrap_or("-");
    format!("{:7} {server_type:4} {}", title(server), words(&server.standing_detail, server))
}

/// What a server is doing, for people. A status names the last stage that was reached; people ask
/// for what comes after it.
fn words(standing: &Standing, server: &ServerView) -> String {
    match standing {
        Standing::Purposing { stage, percent, bytes_per_s } => {
            let doing = match stage {
                Stage::Accepted => "planning",
                Stage::Planned => "unsealing",
                Stage::Unsealed => "writing",
                Stage::Written => "reading back",
                Stage::Audited => "configuring",
                Stage::Configured => "sealing",
                Stage::Sealed => "arming",
                Stage::Armed => "leaving",
            };
            if !matches!(stage, Stage::Unsealed | Stage::Written) || *bytes_per_s == 0 {
                return doing.into();
            }
            format!("{doing} {percent:3} %  {:6.1} MB/s", *bytes_per_s as f64 / 1e6)
        }
        Standing::Up => format!("up, CPU {:2} %", server.busy_milli / 10),
        Standing::Booting => "target boots".into(),
        Standing::Returning => "going back to default".into(),
        Standing::Draining => "draining".into(),
        Standing::Idle => "spare".into(),
        Standing::Staying => "spare, staying in default".into(),
        Standing::Failed { message, .. } => message.clone(),
        other => other.name().into(),
    }
}
