//! A swarm: one seed decides a server, images, a mix of faults and what is ordered meanwhile. First
//! everything may go wrong; then nothing does any more, and the server has to become what it is
//! ordered to within a bounded number of steps (I12).

mod drawn;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use repave_image::Reports;
use repave_protocol::{BootMethod, DiskSelector, Generation, Order};

use crate::check::{Violation, i9_controller_knows};
use crate::faults::Fault;
use crate::image::Image;
use crate::world::World;
use repave_chance::Chance;

/// Steps while faults may strike.
const CHAOS_STEPS: u64 = 40;
/// Steps that a server may take to what it is ordered to, once nothing goes wrong any more.
const CALM_STEPS: usize = 60;
/// Variables that a firmware has at the end: its own, default's, the target's, BootOrder, and a
/// stranger's entry.
const VARIABLES: usize = 5;

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// What was drawn, in words.
    pub drawn: String,
    /// Everything that happened.
    pub events: Vec<String>,
    /// How often each fault struck.
    pub struck: BTreeMap<Fault, u64>,
    /// Targets that were started.
    pub departures: u64,
    /// Effects on the world.
    pub effects: u64,
    /// What did not hold.
    pub violation: Option<Violation>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.drawn)?;
        self.events.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Lives one seed to its end.
pub fn run(seed: u64) -> Run {
    let mut chance = Chance::new(seed ^ 0x0073_7761_726d);
    let spec = drawn::spec(seed, &mut chance);
    let mut drawn = format!("seed {seed}: {}", spec.mix);
    for disk in &spec.disks {
        drawn += &format!("; {} of {} bytes", disk.serial, disk.size_bytes);
    }
    let mut swarm = Swarm { images: Vec::new(), world: World::new(spec), chance };
    swarm.images = drawn::images(&swarm.world, &mut swarm.chance);
    let outcome = swarm.chaos().and_then(|()| swarm.calm());
    let machine = swarm.world.machine.borrow();
    Run {
        drawn,
        events: machine.events.lines().to_vec(),
        struck: machine.dice.struck().clone(),
        departures: machine.watch.departures,
        effects: machine.events.effects(),
        violation: outcome.err(),
    }
}

struct Swarm {
    world: World,
    images: Vec<Rc<Image>>,
    chance: Chance,
}

impl Swarm {
    /// Faults strike, and people order this and that.
    fn chaos(&mut self) -> Result<(), Violation> {
        self.order_something();
        for _ in 0..CHAOS_STEPS {
            match self.chance.below(24) {
                0 | 1 => self.order_something(),
                2 => self.world.pull_plug(),
                3 if self.world.is_dark() => self.world.pull_plug(),
                _ => {}
            }
            self.world.step()?;
        }
        Ok(())
    }

    fn order_something(&mut self) {
        let order = match self.chance.below(12) {
            0 => Order::Wait { after_ms: 1_000 },
            1 | 2 => Order::Stay { reason: "maintenance".into() },
            3 => Order::Boot { sealed: Generation(self.chance.below(4)) },
            _ => self.purpose(),
        };
        self.world.machine.borrow_mut().events.note(&drawn::words(&order));
        self.world.order(order);
    }

    fn purpose(&mut self) -> Order {
        let image = Rc::clone(&self.images[self.chance.below(self.images.len() as u64) as usize]);
        let mut purpose = World::purpose(&image);
        let methods = [BootMethod::Firmware, BootMethod::Auto, BootMethod::Kexec];
        purpose.boot = methods[self.chance.below(3) as usize];
        if self.chance.below(3) == 0 {
            let disks = self.world.machine.borrow().media.len() as u64;
            let serial = drawn::serial(self.chance.below(disks) as usize);
            purpose.disk = Some(DiskSelector { serial: Some(serial), ..DiskSelector::default() });
        }
        if self.chance.below(4) == 0 {
            purpose.sources.reverse();
        }
        Order::Purpose(Box::new(purpose))
    }

    /// Nothing goes wrong any more. Operators pull the plug of what says nothing.
    fn calm(&mut self) -> Result<(), Violation> {
        self.world.calm();
        let fits = |image: &&Rc<Image>| image.manifest.reports == Reports::Resident;
        let fitting: Vec<_> = self.images.iter().filter(fits).cloned().collect();
        let image = &fitting[self.chance.below(fitting.len() as u64) as usize];
        let mut purpose = World::purpose(image);
        // Where its own disk's copy of it would be in the way, the first disk would be refused.
        purpose.disk = self.world.disk_of(image).map(|number| DiskSelector {
            serial: Some(drawn::serial(number)),
            ..DiskSelector::default()
        });
        let generation = self.world.order(Order::Purpose(Box::new(purpose)));
        self.world.machine.borrow_mut().events.note(&format!("calm: become {generation}"));
        for _ in 0..CALM_STEPS {
            if self.world.is_up(generation) {
                return self.settled(image);
            }
            if self.world.is_dark() {
                self.world.pull_plug();
            }
            self.world.step()?;
        }
        let found = format!("faults have stopped, and {CALM_STEPS} steps later it is still not up");
        self.world.violation("I12", &found)
    }

    /// What must be so in the end.
    fn settled(&self, image: &Image) -> Result<(), Violation> {
        let name = format!("{}-1\n", image.reference.name);
        let machine = self.world.machine.borrow();
        let known = i9_controller_knows(&machine);
        let variables = machine.nvram.variables.len();
        drop(machine);
        if let Err(found) = known {
            return self.world.violation("I9", &found);
        }
        if self.world.default_partition() != self.world.burned_partition() {
            return self.world.violation("I1", "the default partition is not as it was burned");
        }
        if variables > VARIABLES {
            return self.world.violation("I10", &format!("the firmware has {variables} variables"));
        }
        let hostname = self.world.target_file(image, "/etc/hostname");
        if hostname.as_deref() != Some(name.as_bytes()) {
            return self.world.violation("I3", "the target's host name is not as ordered");
        }
        Ok(())
    }
}
