//! PID 1 of the default side: mounts what it needs, comes home, brings the network up and lives the
//! agent's life. It never ends: a panic or an error is said on the console and followed by another
//! try, since a PID 1 that ends takes the kernel with it.

use std::ffi::CStr;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use log::{error, info, warn};
use repave_core::agent::{Agent, Character};
use repave_core::config::Config;
use repave_core::default_side::DefaultSide;
use repave_core::edges::{Configurator, Crew, Edges, Host, Power, Watchdog};
use repave_core::event::Event;
use repave_core::failure::Failure;
use repave_core::home::Home;
use repave_core::watchdog::{Stretch, TIMEOUT_S};
use repave_core::witness::{self, Known, Witness, Witnessed, WitnessedFirmware};
use repave_protocol::{Guid, Nonce, ServerId};
use rustix::mount::MountFlags;

use crate::console;
use crate::disk::{self, OpenDisk};
use crate::field_log::FieldLog;
use crate::firmware::{EFI_VARIABLES, EfiVariables};
use crate::network::{self, Network, NetworkConfig};
use crate::watchdog::HardwareWatchdog;
use crate::world::{self, World};

/// Where the agent's configuration lies on the default partition.
const CONFIG_PATH: &str = "repave/agent.json";
/// Where the burned trust document lies on the default partition.
const TRUST_PATH: &str = "repave/trust.json";
/// Longest wait for a first address; the rounds after it say what is wrong by themselves.
const ONLINE_WAIT: Duration = Duration::from_secs(60);
/// First pause after a failed try to come home: disks may still be appearing.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Lives for ever.
pub(crate) fn run() -> ! {
    // The kernel opened the console before it started us; no mount is needed to be heard.
    console::start();
    info!("repave-agent {} is PID 1", env!("CARGO_PKG_VERSION"));
    if let Err(error) = mount_all() {
        // What is missing will be named by whoever needs it; go on with what there is.
        error!("{error:#}");
    }
    let panic = Arc::new(Mutex::new(None));
    keep_panics(Arc::clone(&panic));
    let watchdog = HardwareWatchdog::new(Path::new("/sys"), Path::new("/dev"));
    let mut kept = Kept { network: None, default: None, lives: 0, watchdog };
    let mut pause = FIRST_PAUSE;
    loop {
        kept.watchdog.begin(Stretch::ComingHome);
        // Again for every life: one that went wrong while it was leaving had stopped it.
        if let Err(error) = kept.watchdog.arm(TIMEOUT_S) {
            error!("{error}");
        }
        match apart(|| life(&mut kept, &panic)) {
            Ok(()) => info!("other disks are attached; they are opened anew"),
            Err(error) => error!("the agent's life ended: {error:#}"),
        }
        warn!("trying again in {} ms", pause.as_millis());
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs `life` in a thread of its own, so that its panic is an error here and not the end of PID 1.
fn apart(life: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = Builder::new().name("life".into());
        let life = thread.spawn_scoped(scope, life).context("no thread to be had")?;
        life.join().unwrap_or_else(|_| Err(anyhow!("a panic, which is a fault of our own")))
    })
}

/// What outlives a life that went wrong.
struct Kept {
    /// Started once; it mends itself.
    network: Option<Network>,
    /// The default partition's GUID, which the first boot changes after the loader has told it.
    default: Option<Guid>,
    /// How many there have been.
    lives: u32,
    /// Fed by a thread of its own, which sees a life that hangs.
    watchdog: HardwareWatchdog,
}

/// Every panic is said on the console, and the latest is kept for the next status.
fn keep_panics(latest: Arc<Mutex<Option<String>>>) {
    std::panic::set_hook(Box::new(move |panic| {
        error!("{panic}");
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
    }));
}

/// From the disks to the agent's rounds. Comes back only when something went wrong, or when the
/// disks are others by then.
fn life(kept: &mut Kept, panic: &Mutex<Option<String>>) -> Result<()> {
    // Before the disks are opened, so that none can come unseen.
    let mut running = world::host();
    let open = disk::discover(Path::new("/sys"), Path::new("/dev"));
    let field_log = FieldLog::new();
    let witness: &dyn Witness = &field_log;
    let (mut variables, mut known) =
        (EfiVariables::new(Path::new(EFI_VARIABLES)), Known::default());
    let mut firmware = WitnessedFirmware { edge: &mut variables, known: &mut known, witness };
    let mut disks = witness::disks(world::boxed(&open), witness);
    let mut host = Witnessed::<dyn Host> { edge: &mut running, witness };
    kept.lives += 1;
    host.saw(Event::Home { life: kept.lives });
    let default = Home::find(&mut disks, &mut firmware, &mut host, kept.default).map_err(words)?;
    // A switch may take seconds to give a carrier, so the network comes first. What is wrong with
    // the configuration can wait: coming home puts the boot order right, whatever it says.
    let configured = configure(&open, &default, &mut kept.network);
    field_log.decide(configured.as_ref().is_ok_and(|(config, _)| config.events));
    let mut home = Home::enter(default, &mut disks, &mut firmware, &mut host, &mut kept.default)
        .map_err(words)?;
    let DefaultSide { disk, table, default, .. } = &home.default;
    world::watch_default(&mut running, &open[*disk], table.block_bytes, default);
    let (config, burned_trust) = configured?;
    let journal_disk = home.default.disk;
    let trust = home
        .trust(&burned_trust, config.root_key, &config.pool, disks[journal_disk].as_mut())
        .map_err(words)
        .context(TRUST_PATH)?;
    let server = ServerId::of(&home.journal.device_key().public());
    info!("server {server} of pool {}", config.pool);
    let mut host = Witnessed::<dyn Host> { edge: &mut running, witness };
    let boot = Nonce::from_random(host.entropy());
    let (ca_pem, rate) = (&trust.message().ca_pem, config.source_bytes_per_s);
    let mut world = World::new(&open, &config.controllers, server, ca_pem, rate)?;
    let is_online = |network: &Network| network.wait_online(Instant::now() + ONLINE_WAIT);
    if !kept.network.as_ref().is_some_and(is_online) {
        warn!("no network after {} s; still trying", ONLINE_WAIT.as_secs());
    }
    let character = Character {
        pool: config.pool,
        controllers: config.controllers,
        root_key: config.root_key,
        join_token: config.join_token,
        architecture: world::ARCHITECTURE.into(),
        patience_ms: config.patience_s.saturating_mul(1000),
    };
    let mut agent = Agent::new(character, trust, home, boot);
    if let Some(panic) = panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
        agent.confess(&panic);
    }
    let mut edges = Edges {
        disks,
        firmware: &mut firmware,
        link: &mut world.link,
        crew: &mut Witnessed::<dyn Crew> { edge: &mut world.crew, witness },
        configurator: &mut Witnessed::<dyn Configurator> { edge: &mut world.configurator, witness },
        power: &mut Witnessed::<dyn Power> { edge: &mut world.power, witness },
        watchdog: &mut Witnessed::<dyn Watchdog> { edge: &mut kept.watchdog, witness },
        host: &mut host,
    };
    agent.live(&mut edges);
    Ok(())
}

/// Reads the two files that were burned beside the UKI, and starts the network unless it runs.
fn configure(
    disks: &[OpenDisk],
    default: &DefaultSide,
    network: &mut Option<Network>,
) -> Result<(Config<NetworkConfig>, Vec<u8>)> {
    let volume = world::default_volume(default);
    let files = world::read_files(disks, &volume, &[CONFIG_PATH, TRUST_PATH])
        .context("default partition")?;
    let [config, trust] = <[Vec<u8>; 2]>::try_from(files).unwrap_or_default();
    let config = Config::<NetworkConfig>::parse(&config)?;
    if network.is_none() {
        let started = network::start(config.network.clone(), network::Paths::default());
        *network = Some(started.context("network configuration of agent.json")?);
    }
    Ok((config, trust))
}

/// The failure and its causes; below this floor they are not anyhow's.
fn words(failure: Failure) -> anyhow::Error {
    anyhow!(failure.chain())
}

/// The kernel's file systems. /dev comes first, since the console is in it.
fn mount_all() -> Result<()> {
    const MOUNTS: [(&str, &str, &CStr); 5] = [
        ("devtmpfs", "/dev", c"mode=0755"),
        ("proc", "/proc", c""),
        ("sysfs", "/sys", c""),
        ("tmpfs", "/run", c"mode=0755,size=16m"),
        ("efivarfs", "/sys/firmware/efi/efivars", c""),
    ];
    for (kind, target, data) in MOUNTS {
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        match rustix::mount::mount(kind, target, kind, flags, data) {
            // Already there (devtmpfs), or no EFI at all, which the firmware edge will say.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) if kind == "efivarfs" => warn!("efivarfs: {error}"),
            Err(error) => {
                return Err(error).with_context(|| format!("mounting {kind} on {target}"));
            }
        }
    }
    let null = File::open("/dev/null");
    null.map(drop).context("/dev is not usable")
}

#[cfg(test)]
mod tests {
    use super::{Arc, Mutex, apart, keep_panics};

    #[test]
    fn a_panic_ends_a_life_and_is_kept_for_the_next_one() {
        let latest = Arc::new(Mutex::new(None));
        keep_panics(Arc::clone(&latest));
        let outcome = apart(|| panic!("disk number 7 of 2"));
        assert!(outcome.unwrap_err().to_string().starts_with("a panic"));
        let told = latest.lock().unwrap().take().unwrap();
        assert!(told.contains("disk number 7 of 2") && told.contains("pid1.rs"), "{told}");
        assert!(apart(|| Ok(())).is_ok(), "the next life begins");
    }
}
