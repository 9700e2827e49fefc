//! From the field to a test: lives a dump of a server's field log again. The world is made of what
//! the dump's first boot found, calls fail where and how they failed, answers, completions and chance
//! come as they came, and power goes where a boot breaks off. The core that runs is the one in this
//! tree, every check watches it, and each event that it makes must be the dump's next line.

mod dump;
mod edges;
mod firmware;
mod link;
mod power_loss;
mod same;
mod scene;
mod script;
mod workers;

use repave_core::event::Event;
use thiserror::Error;

pub(crate) use edges::Scripted;
pub(crate) use script::Script;
pub(crate) use workers::ScriptedCrew;

use crate::check::Violation;
use crate::world::World;
use scene::Scene;

/// How often a dump is lived with other choices of what no line tells.
const ATTEMPTS: usize = 64;
/// Steps of the world for each event of a dump, and some to begin with: more mean that it hangs.
const STEPS_PER_EVENT: usize = 8;

/// What a dump came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Events that were made again.
    pub events: usize,
    /// How often power was on.
    pub boots: usize,
    /// The simulator's own log of it.
    pub log: Vec<String>,
}

/// Why a dump was not lived to its end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Trouble {
    /// The core did something else than in the field.
    #[error("line {line}: the field says\n  {field}\nthe simulator\n  {simulated}")]
    Differs {
        /// Line of the dump.
        line: usize,
        /// What it says.
        field: String,
        /// What the simulator made.
        simulated: String,
    },
    /// An invariant does not hold: the fault is found.
    #[error("line {line}: {violation}")]
    Violated {
        /// The line that was next.
        line: usize,
        /// What does not hold.
        violation: Violation,
    },
    /// The dump cannot be lived here.
    #[error("line {line}: {why}")]
    Unfit {
        /// Line of the dump; 0 where it is the whole of it.
        line: usize,
        /// What cannot be, and what can be done.
        why: String,
    },
}

impl Trouble {
    /// The line of the dump; 0 where it is the whole of it.
    pub const fn line(&self) -> usize {
        match self {
            Self::Differs { line, .. } | Self::Violated { line, .. } | Self::Unfit { line, .. } => {
                *line
            }
        }
    }
}

/// Lives a dump to its end. What no line tells is tried until all of the dump can be followed; if
/// none of it leads there, the line is told that was come to furthest.
pub fn replay(text: &str) -> Result<Replayed, Trouble> {
    let scene = Scene::of(dump::parse(text)?)?;
    let (mut plan, mut furthest) = (Vec::new(), None);
    for _ in 0..ATTEMPTS {
        let (mut world, script) = scene.set(plan);
        let trouble = match follow(&mut world, &script, scene.told.len()) {
            Ok(()) => return Ok(replayed(&world, &scene)),
            Err(trouble @ Trouble::Differs { .. }) => trouble,
            Err(trouble) => return Err(trouble),
        };
        if furthest.as_ref().is_none_or(|found: &Trouble| found.line() < trouble.line()) {
            furthest = Some(trouble);
        }
        match script.next_plan() {
            Some(next) => plan = next,
            None => break,
        }
    }
    Err(furthest.expect("there is at least one attempt"))
}

fn replayed(world: &World, scene: &Scene) -> Replayed {
    let is_boot = |told: &&dump::Told| matches!(*told.event, Event::Home { life: 1 });
    let boots = scene.told.iter().filter(is_boot).count();
    let log = world.machine.borrow().events.lines().to_vec();
    Replayed { events: scene.told.len(), boots, log }
}

/// Steps until the dump is at its end.
fn follow(world: &mut World, script: &Script, events: usize) -> Result<(), Trouble> {
    let steps = (events + 16) * STEPS_PER_EVENT;
    for _ in 0..steps {
        let is_off = world.is_off();
        if script.is_over() && is_off {
            return Ok(());
        }
        if is_off {
            world.arrived(script.up_ahead());
        }
        let stepped = world.step();
        if let Some(trouble) = script.trouble() {
            return Err(trouble);
        }
        if let Err(violation) = stepped {
            return Err(Trouble::Violated { line: script.line(), violation });
        }
    }
    let why = format!("the simulator came no further in {steps} steps");
    Err(Trouble::Unfit { line: script.line(), why })
}
