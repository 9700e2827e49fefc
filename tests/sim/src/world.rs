//! A world with one server in it: power on, firmware, default side, target, and again. The agent
//! and the resident are the core's own; everything around them is simulated.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use repave_core::agent::{Agent, Character, Round};
use repave_core::edges::{Edges, Host, Watchdog};
use repave_core::efi::numbers_to_bytes;
use repave_core::home::Home;
use repave_core::journal::{Journal, Place as JournalPlace, Record};
use repave_core::resident::{Resident, Surroundings, find_journal};
use repave_core::settings::{RESIDENT_CONFIG, ResidentConfig};
use repave_core::trust;
use repave_core::watchdog::TIMEOUT_S;
use repave_image::Reports;
use repave_protocol::{
    BootMethod, Generation, Guid, Load, Nonce, Order, Purpose, ServerId, Settings, SettingsFile,
    Side, SigningKey, Standing, strict_json,
};

use crate::bench::{BURNED_BYTES, Bench, MIB, burn};
use crate::chance::Chance;
use crate::check::{self, Step, Violation, Watch};
use crate::configurator::{Files, file_in};
use crate::controller::{Controller, SOURCES};
use crate::crew::Hands;
use crate::disk::{DiskSpec, Drive, Medium};
use crate::events::{Events, PANIC};
use crate::firmware::{Nvram, Quirks, Started, Variables};
use crate::host::Clock;
use crate::image::{Image, ImageSpec, SETTINGS_BYTES};
use crate::link::Line;
use crate::machine::{Exit, Machine, Shared};
use crate::power::Switch;
use crate::stable::find;
use crate::watchdog::Timer;

/// Steps after which something that should have happened will not.
const STEPS: usize = 300;
/// Pause after a failed round.
const PAUSE_MS: u64 = 1_000;

/// How long a server waits for its controller before it boots its last good target.
pub const PATIENCE_MS: u64 = 60_000;

/// What a target does when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetConduct {
    /// It comes up, writes a row into its database, and its resident reports.
    ComesUp,
    /// Its kernel panics and resets.
    Panics,
    /// Its kernel hangs; only a watchdog that was left armed brings the server home.
    Hangs,
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Decides all chance.
    pub seed: u64,
    /// Disks; the first is burned with the default side.
    pub disks: Vec<DiskSpec>,
    /// How the firmware disappoints.
    pub quirks: Quirks,
    /// What targets do.
    pub conduct: TargetConduct,
    /// The server's processor.
    pub architecture: String,
}

impl Spec {
    /// A server with one disk, honest firmware and a target that comes up.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            disks: vec![DiskSpec::new("first", 8)],
            quirks: Quirks::default(),
            conduct: TargetConduct::ComesUp,
            architecture: "amd64".into(),
        }
    }
}

enum Place {
    Off,
    Entering,
    Default(Box<Agent>),
    Arriving {
        disk: usize,
        boot: Guid,
    },
    Target(Box<Resident>),
    /// A target that says nothing.
    Dark,
}

/// A server in its world.
pub struct World {
    /// The server, its controller, and the checks.
    pub machine: Shared,
    spec: Spec,
    place: Place,
    /// What outlives the agent's life within a boot: the default partition's GUID, and a panic.
    latest: Option<Guid>,
    has_panicked: bool,
}

impl World {
    /// A server whose disk was just burned, with power off.
    pub fn new(spec: Spec) -> Self {
        let chance = Chance::new(spec.seed);
        let mut media: Vec<_> =
            spec.disks.iter().enumerate().map(|(n, disk)| Medium::new(disk, n)).collect();
        burn(&mut media[0], &spec.disks[0]);
        let foreign =
            BTreeMap::from([("Boot0000".to_owned(), b"the firmware's own setup".to_vec())]);
        let watch = Watch::new(MIB..2 * MIB, 2 * MIB..3 * MIB, foreign.clone());
        let nvram = Nvram::new(foreign, spec.quirks.clone());
        let machine = Machine {
            events: Events::default(),
            chance,
            media,
            nvram,
            controller: Controller::new(),
            watch,
            broken_power: Vec::new(),
            bad_bytes: None,
            unreadable: None,
            holds_partitions: false,
            loaded: None,
            watchdog_s: None,
            is_watchdog_stuck: false,
            trusted_ca: String::new(),
            exit: None,
            side: Side::Default,
        };
        let machine = Rc::new(RefCell::new(machine));
        Self { machine, spec, place: Place::Off, latest: None, has_panicked: false }
    }

    /// Puts an image into the library.
    pub fn publish(&self, spec: &ImageSpec) -> Rc<Image> {
        self.machine.borrow_mut().controller.publish(spec)
    }

    /// A purpose with this image, a host name and a file.
    pub fn purpose(image: &Image) -> Purpose {
        let settings = match image.manifest.reports {
            Reports::None => Settings::default(),
            Reports::Resident => Settings {
                hostname: Some(format!("{}-1", image.reference.name)),
                files: vec![SettingsFile::new("/etc/motd", 0o644, b"hello\n")],
                ..Settings::default()
            },
        };
        Purpose {
            server_type: image.reference.name.clone(),
            image: image.reference.clone(),
            sources: SOURCES.map(String::from).to_vec(),
            disk: None,
            boot: BootMethod::Firmware,
            settings,
        }
    }

    /// From now on the controller answers with this order.
    pub fn order(&self, order: Order) -> Generation {
        self.machine.borrow_mut().controller.order(order)
    }

    /// Orders the plain purpose of an image.
    pub fn order_image(&self, image: &Image) -> Generation {
        self.order(Order::Purpose(Box::new(Self::purpose(image))))
    }

    /// One thing happens: a power-on, a round of the agent, a report of the resident.
    pub fn step(&mut self) -> Result<(), Violation> {
        let place = std::mem::replace(&mut self.place, Place::Off);
        self.place = match place {
            Place::Off => self.power_on(),
            Place::Entering => self.life(Self::enter),
            Place::Default(agent) => self.life(|world| world.round(agent)),
            Place::Arriving { disk, boot } => self.arrive(disk, boot),
            Place::Target(resident) => self.report(resident),
            Place::Dark => {
                self.pause(PAUSE_MS);
                Place::Dark
            }
        };
        let exit = {
            let machine = &mut *self.machine.borrow_mut();
            if machine.events.is_cut() {
                machine.crash();
                Some(Exit::Reboot)
            } else {
                machine.exit.take()
            }
        };
        match exit {
            Some(Exit::Reboot) => self.place = Place::Off,
            Some(Exit::Kexec(image)) => {
                let started = Started { disk: image.volume.disk, partition: image.volume.guid };
                self.place = self.start_target(started);
            }
            None => {}
        }
        match check::violation(&self.machine.borrow()) {
            Some(violation) => Err(violation),
            None => Ok(()),
        }
    }

    /// Steps until something holds. That it never does violates I12.
    pub fn run_until(
        &mut self,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<(), Violation> {
        for _ in 0..STEPS {
            if holds(self) {
                return Ok(());
            }
            self.step()?;
        }
        let machine = &mut *self.machine.borrow_mut();
        machine.watch.violated("I12", &format!("after {STEPS} steps still not: {what}"));
        Err(check::violation(machine).expect("it was just put there"))
    }

    /// Steps until the target of that generation reports.
    pub fn run_until_up(&mut self, generation: Generation) -> Result<(), Violation> {
        self.run_until("up", |world| world.is_up(generation))
    }

    /// Steps until a failure is told, and returns its code.
    pub fn run_until_failed(&mut self) -> Result<String, Violation> {
        let heard = self.machine.borrow().controller.statuses.len();
        let failed = |world: &Self| {
            let statuses = &world.machine.borrow().controller.statuses[heard..];
            let mut standings = statuses.iter().map(|status| &status.standing);
            standings.any(|standing| matches!(standing, Standing::Failed { .. }))
        };
        self.run_until("a failure is told", failed)?;
        Ok(self.machine.borrow().controller.last_fault().unwrap_or_default().to_owned())
    }

    /// Whether the last thing that the controller heard is that this generation is up.
    pub fn is_up(&self, generation: Generation) -> bool {
        let machine = self.machine.borrow();
        machine.controller.statuses.last().is_some_and(|status| {
            let sealed = status.seal.as_ref().map(|seal| seal.generation);
            matches!(status.standing, Standing::Up { .. }) && sealed == Some(generation)
        })
    }

    /// From now on targets do this.
    pub const fn conduct(&mut self, conduct: TargetConduct) {
        self.spec.conduct = conduct;
    }

    /// Pulls the plug, between two steps.
    pub fn pull_plug(&mut self) {
        self.machine.borrow_mut().crash();
        self.place = Place::Off;
    }

    /// Another world that is like this one would be if its plug were pulled now, with a life of
    /// its own from here on.
    pub fn fork(&self) -> Self {
        let machine = Rc::new(RefCell::new(self.machine.borrow().clone()));
        let spec = self.spec.clone();
        let mut fork = Self { machine, spec, place: Place::Off, latest: None, has_panicked: false };
        fork.pull_plug();
        fork
    }

    /// The bytes of a file in the target whose image this is.
    pub fn target_file(&self, image: &Image, path: &str) -> Option<Vec<u8>> {
        let machine = self.machine.borrow();
        let root = &image.manifest.partitions[1];
        let (disk, at, _) = find(&machine, root.guid)?;
        let end = at + root.size_bytes;
        file_in(&machine.media[disk].durable_bytes(end - SETTINGS_BYTES..end), path)
    }

    /// The durable bytes of every disk and all variables: what must not change when nothing may.
    pub fn fingerprint(&self) -> Vec<Vec<u8>> {
        let machine = self.machine.borrow();
        let disks = machine.media.iter().map(|m| m.durable_bytes(0..m.facts().size_bytes));
        disks.chain(machine.nvram.variables.values().cloned()).collect()
    }

    /// The bytes of the default partition.
    pub fn default_partition(&self) -> Vec<u8> {
        let machine = self.machine.borrow();
        machine.media[0].durable_bytes(machine.watch.default.clone())
    }

    /// Writes of the default side to a target so far.
    pub fn target_writes(&self) -> u64 {
        self.machine.borrow().watch.target_writes
    }

    /// Whether a target runs, whatever it says.
    pub const fn is_running_target(&self) -> bool {
        matches!(self.place, Place::Target(_) | Place::Dark)
    }

    /// How many events say this.
    pub fn count_events(&self, words: &str) -> usize {
        let machine = self.machine.borrow();
        machine.events.lines().iter().filter(|line| line.ends_with(words)).count()
    }

    /// Somebody other than the default side sets BootOrder.
    pub fn order_boot(&self, order: &[u16]) {
        let machine = &mut *self.machine.borrow_mut();
        machine.nvram.variables.insert("BootOrder".into(), numbers_to_bytes(order));
        machine.watch.forget_order();
    }

    /// Somebody copies the default disk to the second one, block by block.
    pub fn clone_default_disk(&self) {
        let machine = &mut *self.machine.borrow_mut();
        let bytes = machine.media[0].durable_bytes(0..BURNED_BYTES);
        machine.media[1].write(0, &bytes);
        machine.media[1].flush();
    }

    /// A target's root changes the journal.
    pub fn rewrite_journal(&self, change: impl FnOnce(&mut Record)) {
        let machine = &mut *self.machine.borrow_mut();
        let place = JournalPlace { disk: 0, offset_bytes: machine.watch.state.start };
        let mut bench = Bench(machine.media[0].clone());
        let journal = Journal::open(place, &mut bench).expect("the bench does not fail");
        let mut journal = journal.expect("a server that was up has a journal");
        journal.update(&mut bench, change).expect("the bench does not fail");
        machine.media[0] = bench.0;
    }

    fn pause(&self, duration_ms: u64) {
        self.machine.borrow_mut().events.sleep(duration_ms);
    }

    /// A reset does not lose what a disk has in its cache; a power cut has done so already.
    fn power_on(&mut self) -> Place {
        let started = {
            let machine = &mut *self.machine.borrow_mut();
            machine.events.power_on();
            machine.media.iter_mut().for_each(Medium::flush);
            machine.loaded = None;
            machine.watchdog_s = None;
            let started = machine.nvram.start(&machine.media);
            machine.events.note(&format!("power on: {started:?}"));
            started
        };
        match started {
            Some(started) if self.is_default(started) => {
                self.machine.borrow_mut().side = Side::Default;
                (self.latest, self.has_panicked) = (None, false);
                Place::Entering
            }
            Some(started) => self.start_target(started),
            None => {
                self.machine.borrow_mut().watch.violated("I8", "nothing can be started");
                Place::Off
            }
        }
    }

    fn is_default(&self, started: Started) -> bool {
        let machine = self.machine.borrow();
        let at = find(&machine, started.partition).map(|(disk, at, _)| (disk, at));
        at == Some((0, machine.watch.default.start))
    }

    fn start_target(&mut self, Started { disk, partition }: Started) -> Place {
        let machine = &mut *self.machine.borrow_mut();
        machine.side = Side::Target;
        machine.events.note(&format!("target starts from {partition}"));
        check::after(machine, &Step::Boots { partition });
        let feeder = machine.watch.record.as_ref().and_then(|r| r.seal.as_ref()?.watchdog_s);
        if machine.watchdog_s.is_some() && machine.watchdog_s != feeder {
            machine.watch.violated("I8", "a target that does not feed the watchdog runs with it");
        }
        match self.spec.conduct {
            TargetConduct::Panics => Place::Off,
            TargetConduct::Hangs if machine.watchdog_s.is_some() => {
                machine.events.note("the watchdog resets");
                Place::Off
            }
            TargetConduct::Hangs => Place::Dark,
            TargetConduct::ComesUp => Place::Arriving { disk, boot: partition },
        }
    }

    fn line(&self, server: ServerId) -> Line {
        Line { machine: Rc::clone(&self.machine), server }
    }

    /// A stretch of the agent's life. A panic ends it; the next one is told, as PID 1 does.
    fn life(&mut self, stretch: impl FnOnce(&mut Self) -> Place) -> Place {
        match catch_unwind(AssertUnwindSafe(|| stretch(self))) {
            Ok(place) => place,
            Err(_) => {
                self.has_panicked = true;
                self.pause(PAUSE_MS);
                Place::Entering
            }
        }
    }

    fn enter(&mut self) -> Place {
        let mut disks = Drive::all(&self.machine);
        let mut firmware = Variables(Rc::clone(&self.machine));
        let mut host = Clock(Rc::clone(&self.machine));
        let entered = Home::find(&mut disks, &mut firmware, self.latest).and_then(|default| {
            Home::enter(default, &mut disks, &mut firmware, &mut host, &mut self.latest)
        });
        // As PID 1 does before it comes home.
        self.machine.borrow_mut().watchdog_s = Some(TIMEOUT_S);
        let mut home = match entered {
            Ok(home) => home,
            Err(failure) => {
                self.machine.borrow_mut().events.note(&format!("not at home: {}", failure.chain()));
                self.pause(PAUSE_MS);
                return Place::Entering;
            }
        };
        let (burned, root_key, pool) = {
            let controller = &self.machine.borrow().controller;
            (controller.burned_trust(), controller.root_key(), controller.pool.clone())
        };
        let disk = disks[home.default.disk].as_mut();
        let trust = match home.trust(&burned, root_key, &pool, disk) {
            Ok(trust) => trust,
            Err(failure) => {
                self.machine.borrow_mut().events.note(&format!("no trust: {}", failure.chain()));
                self.pause(PAUSE_MS);
                return Place::Entering;
            }
        };
        self.machine.borrow_mut().trusted_ca.clone_from(&trust.message().ca_pem);
        let character = Character {
            pool,
            controllers: vec!["https://sim".into()],
            root_key,
            join_token: None,
            architecture: self.spec.architecture.clone(),
            patience_ms: PATIENCE_MS,
        };
        let boot = Nonce::from_random(host.entropy());
        let mut agent = Agent::new(character, trust, home, boot);
        if std::mem::take(&mut self.has_panicked) {
            agent.confess(PANIC);
        }
        Place::Default(Box::new(agent))
    }

    fn round(&self, mut agent: Box<Agent>) -> Place {
        let mut edges = Edges {
            disks: Drive::all(&self.machine),
            firmware: &mut Variables(Rc::clone(&self.machine)),
            link: &mut self.line(self.server()),
            crew: &mut Hands(Rc::clone(&self.machine)),
            configurator: &mut Files(Rc::clone(&self.machine)),
            power: &mut Switch(Rc::clone(&self.machine)),
            watchdog: &mut Timer(Rc::clone(&self.machine)),
            host: &mut Clock(Rc::clone(&self.machine)),
        };
        match agent.round(&mut edges) {
            Ok(Round::Left) => return Place::Off,
            Ok(Round::Again(pause_ms)) => self.pause(pause_ms),
            Err(failure) => {
                self.machine
                    .borrow_mut()
                    .events
                    .note(&format!("round failed: {}", failure.chain()));
                self.pause(PAUSE_MS);
            }
        }
        Place::Default(agent)
    }

    /// Who the server is, by the key on its stable storage.
    pub fn server(&self) -> ServerId {
        let machine = self.machine.borrow();
        let seed = machine.watch.record.as_ref().map_or([0; 32], |r| *r.device_seed.expose());
        ServerId::of(&SigningKey::from_seed(&seed).public())
    }

    /// The target's own boot: a row in its database, then its resident.
    fn arrive(&self, disk: usize, boot: Guid) -> Place {
        let again = Place::Arriving { disk, boot };
        let image = {
            let machine = self.machine.borrow();
            let mut images = machine.controller.images.values();
            let sealed = machine.watch.record.as_ref().and_then(|r| r.seal.as_ref());
            images.find(|i| Some(i.reference.manifest) == sealed.map(|s| s.manifest)).cloned()
        };
        let Some(image) = image else {
            self.machine.borrow_mut().watch.violated("I8", "a target without a seal runs");
            return Place::Off;
        };
        self.write_row(&image);
        if image.manifest.reports == Reports::None {
            return Place::Dark;
        }
        let config = self.target_file(&image, RESIDENT_CONFIG);
        let config = config.and_then(|bytes| strict_json::<ResidentConfig>(&bytes, 1 << 16).ok());
        let Some(config) = config else {
            self.machine.borrow_mut().watch.violated("I3", "no resident in a running target");
            return Place::Dark;
        };
        let mut disks = Drive::all(&self.machine);
        let Ok(Some((place, journal))) = find_journal(&config, &mut disks) else {
            return again;
        };
        let kept = journal.record().trust.clone().unwrap_or_default();
        let kept = std::iter::once(kept.as_bytes());
        let (trust, _) = trust::newest(kept, config.root_key, &config.pool)
            .expect("the default side kept a good one");
        self.machine.borrow_mut().trusted_ca.clone_from(&trust.message().ca_pem);
        let nonce = Nonce::from_random(self.machine.borrow_mut().chance.bytes());
        let drive = disks[place.disk].as_mut();
        let resident = Resident::arrive(config, trust, (place, &journal), drive, nonce);
        resident.map_or(again, |resident| Place::Target(Box::new(resident)))
    }

    /// A block in the middle of the data partition counts the target's starts.
    fn write_row(&self, image: &Image) {
        let machine = &mut *self.machine.borrow_mut();
        let Some((disk, at, _)) = find(machine, image.manifest.partitions[2].guid) else {
            return;
        };
        let at = at + 8192;
        let mut row = vec![0; 4096];
        if machine.read(disk, at, &mut row).is_err() {
            return;
        }
        if !row[1..].starts_with(b"row") {
            row[..4].copy_from_slice(b"\0row");
        }
        row[0] = row[0].wrapping_add(1);
        machine.watch.own_writes.push((disk, at, row.clone()));
        if machine.write(disk, at, &row).and_then(|()| machine.flush(disk)).is_err() {
            machine.events.note("the row was not written");
        }
    }

    /// The row that the target of this image keeps.
    pub fn row(&self, image: &Image) -> Option<Vec<u8>> {
        let machine = self.machine.borrow();
        let (disk, at, _) = find(&machine, image.manifest.partitions[2].guid)?;
        Some(machine.media[disk].durable_bytes(at + 8192..at + 8196))
    }

    fn report(&self, mut resident: Box<Resident>) -> Place {
        let timer = Timer(Rc::clone(&self.machine));
        let mut around = Surroundings {
            link: &mut self.line(self.server()),
            power: &mut Switch(Rc::clone(&self.machine)),
            host: &mut Clock(Rc::clone(&self.machine)),
            load: &mut Load::default,
            watchdog: &mut || timer.report(),
            // The targets of this world leave their firmware alone.
            home: None,
        };
        match resident.round(&mut around) {
            Ok(None) => return Place::Off,
            Ok(Some(pause_ms)) => self.pause(pause_ms),
            Err(failure) => {
                let line = format!("resident failed: {}", failure.chain());
                self.machine.borrow_mut().events.note(&line);
                self.pause(PAUSE_MS);
            }
        }
        Place::Target(resident)
    }
}
