//! What a dump says comes next. Everything that a replay leaves open is read off the line ahead:
//! which call fails and with which words, which answer comes, which job ends, what chance gave, when
//! power is gone or the agent panics. And every event that the core makes is compared with its line.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use repave_core::event::{Call, Event};
use repave_core::journal::UpRecord;
use repave_protocol::{Order, Sha256, Stage, Standing};

use super::dump::Told;
use super::scene::Scene;
use super::{Trouble, power_loss, same};
use crate::events::PANIC;
use crate::image::Image;
use crate::machine::Machine;

/// How far the clock moves when a dump shows that time has passed: more than lies between two
/// reports of progress.
const PROGRESS_MS: u64 = 1_000;
/// The patience of a replayed server: it is over when the dump says so.
pub(super) const PATIENCE_MS: u64 = 1 << 40;

/// A dump, and how far it was followed.
#[derive(Debug)]
pub(crate) struct Script {
    told: Rc<Vec<Told>>,
    next: Cell<usize>,
    trouble: RefCell<Option<Trouble>>,
    clock_ms: Cell<u64>,
    /// The event for which the clock was moved last.
    moved_for: Cell<Option<usize>>,
    stage: Cell<Option<Stage>>,
    choices: RefCell<Choices>,
    image: RefCell<Option<Rc<Image>>>,
    /// Images by the digest that the dump calls them by.
    pub(super) images: BTreeMap<Sha256, Rc<Image>>,
    /// The state partition's bytes on disk 0.
    pub(super) state: Range<u64>,
}

/// What no line tells, and only what comes later shows: which writes a power cut kept, whether one
/// that failed was made, whether a flush that failed lost what was in the cache.
#[derive(Debug)]
struct Choices {
    plan: Vec<usize>,
    /// What was chosen, and of how many.
    made: Vec<(usize, usize)>,
}

/// What a dump says of a call that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is made.
    Happens,
    /// It fails for this reason.
    Fails(String),
    /// Power is gone before anybody was told how it ended.
    Cut,
}

impl Script {
    /// A dump to be followed with these choices.
    pub(super) fn new(scene: &Scene, plan: Vec<usize>) -> Self {
        let (told, images, state) =
            (Rc::clone(&scene.told), scene.images.clone(), scene.state.clone());
        Self {
            told,
            next: Cell::new(0),
            trouble: RefCell::new(None),
            clock_ms: Cell::new(0),
            moved_for: Cell::new(None),
            stage: Cell::new(None),
            choices: RefCell::new(Choices { plan, made: Vec::new() }),
            image: RefCell::new(None),
            images,
            state,
        }
    }

    /// The event that comes next.
    pub(crate) fn peek(&self) -> Option<Rc<Event>> {
        self.told.get(self.next.get()).map(|told| Rc::clone(&told.event))
    }

    /// The event after that.
    pub(crate) fn peek_second(&self) -> Option<Rc<Event>> {
        self.told.get(self.next.get() + 1).map(|told| Rc::clone(&told.event))
    }

    /// The events from the next one on to the end of its boot.
    pub(super) fn boot_ahead(&self) -> impl Iterator<Item = &Event> {
        let mut events = self.told[self.next.get()..].iter().map(|told| &*told.event);
        let first = events.next();
        first
            .into_iter()
            .chain(events.take_while(|event| !matches!(event, Event::Home { life: 1 })))
    }

    /// Whether all of it was followed.
    pub(super) fn is_over(&self) -> bool {
        self.next.get() >= self.told.len()
    }

    /// What went wrong with following it.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.borrow().clone()
    }

    /// The dump cannot be followed any further.
    pub(crate) fn give_up(&self, why: String) {
        let line = self.line();
        self.trouble.borrow_mut().get_or_insert(Trouble::Unfit { line, why });
    }

    /// Whether the present boot has no further line.
    fn is_cut_here(&self) -> bool {
        matches!(self.peek().as_deref(), None | Some(Event::Home { life: 1 }))
    }

    /// A life that ends here and is followed by another one in the same boot ended in a panic.
    fn panic_here(&self) {
        if matches!(self.peek().as_deref(), Some(Event::Home { life: 2.. })) {
            panic!("{PANIC}");
        }
    }

    /// What becomes of a call which tells how it ended; of a read, which tells only of failure.
    pub(crate) fn fate(&self, call: &Call) -> Fate {
        let is_read = matches!(call, Call::Read { .. } | Call::Get { .. } | Call::List);
        if !is_read {
            self.panic_here();
            if self.is_cut_here() {
                return Fate::Cut;
            }
        }
        match self.peek().as_deref() {
            Some(Event::Call(told, Some(reason))) if same::call(told, call, &self.state) => {
                Fate::Fails(reason.clone())
            }
            _ => Fate::Happens,
        }
    }

    /// The core makes an event: it must be the dump's. Says whether it goes into the log.
    pub(crate) fn saw(&self, event: &Event, machine: &mut Machine) -> bool {
        if machine.events.is_cut() || self.trouble.borrow().is_some() {
            return false;
        }
        if !matches!(event, Event::Home { .. }) {
            self.panic_here();
            if self.is_cut_here() {
                self.cut(machine);
                return false;
            }
        }
        let Some(told) = self.told.get(self.next.get()) else {
            return false;
        };
        if !same::event(&told.event, event, &self.state) {
            let (field, simulated) = (told.event.to_string(), event.to_string());
            let differs = Trouble::Differs { line: told.line, field, simulated };
            self.trouble.borrow_mut().get_or_insert(differs);
            machine.events.cut();
            return false;
        }
        self.next.set(self.next.get() + 1);
        match event {
            Event::Told(_, standing) => self.stage.set(stage(standing)),
            Event::Image(..) => {
                if let Event::Image(manifest, ..) = &*told.event {
                    *self.image.borrow_mut() = self.images.get(manifest).cloned();
                }
            }
            _ => {}
        }
        true
    }

    /// Power is gone. What became of the writes that were not flushed shows in the next boot.
    pub(crate) fn cut(&self, machine: &mut Machine) {
        machine.events.cut();
        let ahead: Vec<&Event> = self.boot_ahead().collect();
        power_loss::strike(machine, &ahead, &|count| self.choose(count));
    }

    /// Which of `count` things happened that no line tells.
    pub(crate) fn choose(&self, count: usize) -> usize {
        let choices = &mut *self.choices.borrow_mut();
        let planned = choices.plan.get(choices.made.len()).copied().unwrap_or(0);
        choices.made.push((planned, count));
        planned
    }

    /// The next choices to try, if there are others: the latest that can still be another one is.
    pub(super) fn next_plan(&self) -> Option<Vec<usize>> {
        let made = &self.choices.borrow().made;
        let latest = made.iter().rposition(|(chosen, count)| chosen + 1 < *count)?;
        let before = made[..latest].iter().map(|(chosen, _)| *chosen);
        Some(before.chain([made[latest].0 + 1]).collect())
    }

    /// The time that was read last.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.clock_ms.get()
    }

    /// The time: it stands still until the next line shows that some has passed.
    pub(crate) fn uptime_ms(&self) -> u64 {
        let is_first = self.moved_for.replace(Some(self.next.get())) != Some(self.next.get());
        let passed_ms = match self.peek().as_deref() {
            Some(Event::Told(_, standing))
                if is_first && is_progress(standing, self.stage.get()) =>
            {
                PROGRESS_MS
            }
            Some(Event::Alone) if is_first => PATIENCE_MS,
            _ => 0,
        };
        self.clock_ms.set(self.clock_ms.get() + passed_ms);
        self.clock_ms.get()
    }

    /// Whether the target is being compared with the image that is about to be written.
    pub(crate) fn is_comparing(&self) -> bool {
        self.stage.get() == Some(Stage::Planned)
    }

    /// The image that is being written.
    pub(crate) fn image(&self) -> Option<Rc<Image>> {
        self.image.borrow().clone()
    }

    /// An order of the dump, as it is given here.
    pub(crate) fn order(&self, order: &Order) -> Order {
        order_here(&self.images, order)
    }

    /// What the resident said by the next boot, if the dump tells.
    pub(super) fn up_ahead(&self) -> Option<UpRecord> {
        self.boot_ahead().find_map(|event| match event {
            Event::Up(up) => *up,
            _ => None,
        })
    }

    /// The line of the next event.
    pub(super) fn line(&self) -> usize {
        let next = self.told.get(self.next.get()).or(self.told.last());
        next.map_or(0, |told| told.line)
    }
}

/// An order of a dump, for the images and settings that a replay has.
pub(super) fn order_here(images: &BTreeMap<Sha256, Rc<Image>>, order: &Order) -> Order {
    let mut order = order.clone();
    if let Order::Purpose(purpose) = &mut order
        && let Some(image) = images.get(&purpose.image.manifest)
    {
        purpose.image.manifest = image.reference.manifest;
        let policy = image.manifest.settings.as_ref();
        let takes_files = policy.is_some_and(|p| p.prefixes.iter().any(|path| path == "/etc/"));
        purpose.settings.hostname = takes_files.then(|| "replayed".into());
    }
    order
}

/// The stage that a standing tells.
fn stage(standing: &Standing) -> Option<Stage> {
    match standing {
        Standing::Purposing { stage, .. } => Some(*stage),
        _ => None,
    }
}

/// Whether a status tells how far a stretch has come that was told of before: only time makes it.
fn is_progress(standing: &Standing, before: Option<Stage>) -> bool {
    match standing {
        Standing::Purposing { stage, .. } => Some(*stage) == before,
        Standing::Wiping { done_bytes, .. } => *done_bytes > 0,
        _ => false,
    }
}
