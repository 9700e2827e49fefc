//! A world with one server in it: power on, firmware, default side, target, and again. The agent
//! and the resident are the core's own; everything around them is simulated.

mod default_side;
mod edges;
mod seen;
mod target;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use repave_core::agent::Agent;
use repave_core::resident::Resident;
use repave_core::witness::Known;
use repave_image::Reports;
use repave_protocol::{
    BootMethod, Generation, Guid, Order, Purpose, ServerId, Settings, SettingsFile, Side, Standing,
};

use crate::bench::{MIB, burn};
use crate::check::{self, Violation, Watch, sound};
use crate::controller::{Controller, SOURCES};
use crate::disk::{DiskSpec, Medium, Unflushed};
use crate::events::Events;
use crate::faults::{Dice, Mix};
use crate::firmware::{Nvram, Quirks, Started};
use crate::image::{Image, ImageSpec};
use crate::link::Line;
use crate::machine::{Exit, Machine, Shared};
use crate::replay::Script;
use crate::stable::find;
use repave_chance::Chance;
pub(crate) use target::STRANGER;

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
    /// What goes wrong, and how often.
    pub mix: Mix,
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
            mix: Mix::default(),
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
    /// The agent's lives in this boot, and what the present one knows of the firmware's variables.
    lives: u32,
    known: Known,
    /// The field log that is lived again, if one is.
    script: Option<Rc<Script>>,
    patience_ms: u64,
    /// The server's id, by the seed that it comes from.
    server: Cell<Option<([u8; 32], ServerId)>>,
}

impl World {
    /// A server whose disk was just burned, with power off.
    pub fn new(spec: Spec) -> Self {
        let chance = Chance::new(spec.seed);
        let mut media: Vec<_> =
            spec.disks.iter().enumerate().map(|(n, disk)| Medium::new(disk, n)).collect();
        burn(&mut media[0], spec.disks[0].block_bytes);
        let foreign =
            BTreeMap::from([("Boot0000".to_owned(), b"the firmware's own setup".to_vec())]);
        media[0].watch(2 * MIB..3 * MIB);
        let mut watch = Watch::new(MIB..2 * MIB, 2 * MIB..3 * MIB, foreign.clone());
        let burned = media[0].durable_table().and_then(|t| t.entries.first().map(|e| e.guid));
        watch.burned = burned;
        let nvram = Nvram::new(foreign, spec.quirks.clone());
        let machine = Machine {
            events: Events::default(),
            chance,
            dice: Dice::new(spec.mix.clone(), spec.seed ^ 0x6661_756c_7473),
            unflushed: Unflushed::Mixed,
            media,
            nvram,
            controller: Controller::new(),
            watch,
            broken_power: Vec::new(),
            bad_bytes: None,
            unreadable: None,
            holds_partitions: false,
            crashes: 0,
            outage: None,
            late: Vec::new(),
            loaded: None,
            watchdog_s: None,
            is_watchdog_stuck: false,
            trusted_ca: String::new(),
            exit: None,
            side: Side::Default,
        };
        Self::around(machine, spec)
    }

    /// A server that runs the first version of `web`.
    ///
    /// # Panics
    /// Something did not hold on the way.
    pub fn running_web(seed: u64) -> (Self, Generation) {
        let mut world = Self::new(Spec::new(seed));
        let web = world.publish(&ImageSpec::new("web", 1));
        let generation = world.order_image(&web);
        sound(world.run_until_up(generation));
        (world, generation)
    }

    /// A machine with power off.
    fn around(machine: Machine, spec: Spec) -> Self {
        Self {
            machine: Rc::new(RefCell::new(machine)),
            spec,
            place: Place::Off,
            latest: None,
            has_panicked: false,
            lives: 0,
            known: Known::default(),
            script: None,
            patience_ms: PATIENCE_MS,
            server: Cell::default(),
        }
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
        let mut fork = Self::around(self.machine.borrow().clone(), self.spec.clone());
        fork.pull_plug();
        fork
    }

    fn pause(&self, duration_ms: u64) {
        self.machine.borrow_mut().events.sleep(duration_ms);
    }

    /// A reset does not lose what a disk has in its cache; a power cut has done so already.
    fn power_on(&mut self) -> Place {
        let started = {
            let machine = &mut *self.machine.borrow_mut();
            if machine.media.len() < self.spec.disks.len() {
                machine.watch.leave_old_targets();
            }
            machine.power_on();
            machine.start()
        };
        match started {
            Some(started) if self.is_default(started) => {
                self.machine.borrow_mut().side = Side::Default;
                (self.latest, self.has_panicked, self.lives) = (None, false, 0);
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

    fn line(&self, server: ServerId) -> Line {
        Line { machine: Rc::clone(&self.machine), server }
    }
}
