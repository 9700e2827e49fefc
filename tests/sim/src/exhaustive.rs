//! Whole small purposings, and every one of their instants: power is cut at each effect, with each
//! fate of the writes that were not flushed, each call of an edge fails once, and each write goes
//! elsewhere once. The server has to get where it is ordered to each time, and fetches nothing that its
//! disk already holds.

use std::fmt;
use std::rc::Rc;
use std::thread;

use repave_protocol::{Generation, Stage, Standing};

use crate::check::{Violation, i9_controller_knows};
use crate::disk::Unflushed;
use crate::image::{Image, ImageSpec};
use crate::stable::missing_chunks;
use crate::world::{Spec, World};

/// Failures after which a thread leaves the rest.
const FAILURES: usize = 4;

/// What a purposing begins with and comes to.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    before: Option<ImageSpec>,
    after: ImageSpec,
}

impl Scenario {
    /// A fresh server, an older image of the same layout, and a target of another layout. Every
    /// image has 30 chunks in three partitions, or more.
    pub fn all() -> [Self; 3] {
        let web = |version| ImageSpec::new("web", version);
        let sizes_bytes = [256 << 10, 1 << 20, 1 << 20];
        let db = ImageSpec { sizes_bytes, ..ImageSpec::new("db", 1) };
        [
            Self { name: "fresh", before: None, after: web(1) },
            Self { name: "over an older image", before: Some(web(1)), after: web(2) },
            Self { name: "over another layout", before: Some(web(1)), after: db },
        ]
    }

    /// The world just before the order is carried out. The same each time.
    fn world(&self) -> Result<(World, Rc<Image>, Generation), Violation> {
        let mut world = World::new(Spec::new(71));
        if let Some(before) = &self.before {
            let image = world.publish(before);
            let generation = world.order_image(&image);
            world.run_until_up(generation)?;
        }
        let image = world.publish(&self.after);
        let generation = world.order_image(&image);
        Ok((world, image, generation))
    }
}

/// What a scenario came to.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Effects on the way, each of which was cut.
    pub effects: u64,
    /// Calls on the way, each of which failed once.
    pub calls: u64,
    /// Worlds that were lived.
    pub worlds: u64,
    /// Cuts after which a purposing was resumed.
    pub resumed: u64,
    /// What did not hold, with where.
    pub failures: Vec<String>,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { effects, calls, worlds, resumed, failures } = self;
        let failures = failures.len();
        write!(
            f,
            "{effects} effects cut in {} ways and gone astray, {calls} calls failed, {worlds} worlds, {resumed} of them resumed; {failures} violations",
            Unflushed::ALL.len()
        )
    }
}

/// Lives all worlds of a scenario, on all processors.
pub fn run(scenario: &Scenario) -> Account {
    let threads = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let shares: Vec<Account> = thread::scope(|scope| {
        let live = |share| scope.spawn(move || live(scenario, share, threads));
        let workers: Vec<_> = (0..threads).map(live).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut total = Account::default();
    for share in shares {
        (total.effects, total.calls) = (share.effects, share.calls);
        total.worlds += share.worlds;
        total.resumed += share.resumed;
        total.failures.extend(share.failures);
    }
    total
}

fn panicked() -> Account {
    Account { failures: vec!["the simulator panicked".into()], ..Account::default() }
}

/// Lives every `threads`th world of a scenario.
fn live(scenario: &Scenario, share: u64, threads: u64) -> Account {
    let mut account = Account::default();
    if let Err(violation) = live_all(scenario, (share, threads), &mut account) {
        account.failures.push(format!("{}, nothing goes wrong: {violation}", scenario.name));
    }
    account
}

fn live_all(
    scenario: &Scenario,
    (share, threads): (u64, u64),
    account: &mut Account,
) -> Result<(), Violation> {
    let (world, image, generation) = scenario.world()?;
    let start = counts(&world);
    let mut whole = world.fork();
    whole.run_until_up(generation)?;
    let end = counts(&whole);
    (account.effects, account.calls) = (end.0 - start.0, end.1 - start.1);
    for number in (start.0..end.0).filter(|number| number % threads == share) {
        if account.failures.len() >= FAILURES {
            return Ok(());
        }
        for fate in Unflushed::ALL {
            let mut world = world.fork();
            world.machine.borrow_mut().unflushed = fate;
            world.machine.borrow_mut().events.cut_at(number);
            let outcome = cut(&mut world, &image, generation, account);
            account.note(scenario, &format!("power cut at effect {number}, {fate:?}"), outcome);
        }
        let mut world = world.fork();
        world.machine.borrow_mut().events.stray_at(number);
        let outcome = world.run_until_up(generation).and_then(|()| settled(&world));
        account.note(scenario, &format!("write at effect {number} goes elsewhere"), outcome);
    }
    for number in (start.1..end.1).filter(|number| number % threads == share) {
        let mut world = world.fork();
        world.machine.borrow_mut().events.fail_call_at(number);
        let outcome = world.run_until_up(generation).and_then(|()| settled(&world));
        account.note(scenario, &format!("call {number} fails"), outcome);
    }
    Ok(())
}

impl Account {
    fn note(&mut self, scenario: &Scenario, what: &str, outcome: Result<(), Violation>) {
        self.worlds += 1;
        if let Err(violation) = outcome {
            self.failures.push(format!("{}, {what}: {violation}", scenario.name));
        }
    }
}

fn counts(world: &World) -> (u64, u64) {
    let machine = world.machine.borrow();
    (machine.events.effects(), machine.events.calls())
}

/// To the cut, and from it to the target.
fn cut(
    world: &mut World,
    image: &Image,
    generation: Generation,
    account: &mut Account,
) -> Result<(), Violation> {
    let crashes = world.machine.borrow().crashes;
    let is_cut = |world: &World| world.machine.borrow().crashes > crashes;
    world.run_until("the cut", |world| is_cut(world) || world.is_up(generation))?;
    let missing = missing_after(world, image, generation);
    let before = world.fetches();
    world.run_until_up(generation)?;
    let fetched = world.fetches() - before;
    if let Some(missing) = missing {
        account.resumed += 1;
        if fetched > missing {
            let found = format!("{fetched} chunks were fetched, {missing} were missing");
            world.violation("I7", &found)?;
        }
    }
    settled(world)
}

/// How many chunks have to be fetched after a cut, if the purposing is one to be resumed: the table
/// is as planned, and the journal knows of it.
fn missing_after(world: &World, image: &Image, generation: Generation) -> Option<usize> {
    let machine = world.machine.borrow();
    let told_unsealed = machine.controller.statuses.iter().any(|status| {
        let is_it = status.generation == Some(generation);
        is_it && matches!(status.standing, Standing::Purposing { stage: Stage::Unsealed, .. })
    });
    let record = machine.watch.record.as_ref()?;
    let under_way = record.purposing.as_ref().filter(|_| record.seal.is_none())?;
    let resumes = told_unsealed && under_way.manifest == image.reference.manifest;
    resumes.then(|| missing_chunks(&machine, image))
}

fn settled(world: &World) -> Result<(), Violation> {
    let known = i9_controller_knows(&world.machine.borrow());
    if let Err(found) = known {
        return world.violation("I9", &found);
    }
    if !world.is_default_as_burned() {
        return world.violation("I1", "the default partition is not as it was burned");
    }
    Ok(())
}
