//! A swarm: one seed decides a server, images, a mix of faults and what is ordered meanwhile. First
//! everything may go wrong; then nothing does any more, and the server has to become what it is
//! ordered to within a bounded number of steps (I12), which is in `calm`.

mod calm;
mod drawn;
mod orders;

use std::fmt;
use std::rc::Rc;

use crate::check::Violation;
use crate::counts::Counts;
use crate::image::Image;
use crate::world::World;
use repave_chance::Chance;

/// Steps while faults may strike.
const CHAOS_STEPS: u64 = 40;

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// What was drawn, in words.
    pub drawn: String,
    /// Everything that happened.
    pub events: Vec<String>,
    /// How often what happened, struck, was ordered and was checked.
    pub counts: Counts,
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
    let world = World::new(spec);
    let images = drawn::images(&world, &mut chance);
    let mut swarm = Swarm { world, images, chance, counts: Counts::default() };
    let outcome = swarm.chaos().and_then(|()| swarm.calm());
    let mut counts = swarm.counts;
    let machine = &mut *swarm.world.machine.borrow_mut();
    counts.join(&machine.watch.counts);
    counts.add("effects", machine.events.effects());
    counts.add("power-losses", machine.crashes);
    counts.add("targets-started", machine.watch.departures);
    for (invariant, count) in &machine.watch.checks {
        counts.add(&format!("check:{invariant}"), *count);
    }
    for (fault, count) in machine.dice.struck() {
        counts.add(&format!("fault:{fault:?}"), *count);
    }
    let events = machine.events.take_lines();
    Run { drawn, events, counts, violation: outcome.err() }
}

struct Swarm {
    world: World,
    images: Vec<Rc<Image>>,
    chance: Chance,
    counts: Counts,
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
            self.step()?;
        }
        Ok(())
    }

    fn order_something(&mut self) {
        let (name, order) = orders::draw(&self.world, &self.images, &mut self.chance);
        self.counts.add(name, 1);
        self.world.machine.borrow_mut().events.note(&drawn::words(&order));
        self.world.order(order);
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.counts.add("steps", 1);
        self.world.step()
    }
}
