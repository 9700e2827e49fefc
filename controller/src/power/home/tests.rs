//! Single rules by hand, and the promises that hold for any history by chance: of all that can
//! happen to a pool, a random run is played against the ledger.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::power::{Off, Power, PowerError, PowerState};

fn policy() -> Policy {
    Policy {
        silent_ms: 100,
        boot: BootSource::Disk,
        max_tries: 3,
        first_pause_ms: 1000,
        most_pause_ms: 1500,
        order_limit_ms: 500,
        budget_orders: 2,
        budget_window_ms: 10_000,
    }
}

fn server(tries: u32, tried_ms: u64) -> ServerHistory {
    ServerHistory { expected: true, heard_ms: 50, tries, tried_ms, ..ServerHistory::default() }
}

fn check(pool: &PoolHistory, server: &ServerHistory, now_ms: u64, expected: Step) {
    let policy = policy();
    let found = decide(&History { policy: &policy, pool, server }, now_ms);
    assert_eq!(found, expected, "{pool:?} {server:?} at {now_ms}");
}

fn wait(why: Wait, until_ms: impl Into<Option<u64>>) -> Step {
    Step::Wait { why, until_ms: until_ms.into() }
}

fn home(attempt: u32) -> Step {
    Step::BringHome { attempt, boot: BootSource::Disk }
}

#[test]
fn a_silent_server_is_brought_home_a_few_times() {
    let pool = PoolHistory::default();
    check(&pool, &server(0, 0), 149, wait(Wait::Heard, 150));
    check(&pool, &server(0, 0), 150, home(1));
    // A clock that was set back makes nobody silent.
    check(&pool, &server(0, 0), 0, wait(Wait::Heard, 150));
    check(
        &pool,
        &ServerHistory { expected: false, ..server(0, 0) },
        9999,
        wait(Wait::Excused, None),
    );

    let pause_ms = |tries| policy().pause_ms(tries, 0);
    assert!((1000..1125).contains(&pause_ms(1)) && (1500..1688).contains(&pause_ms(2)));
    assert!(pause_ms(u32::MAX) < 1688);
    let again_ms = 200 + pause_ms(1);
    check(&pool, &server(1, 200), again_ms - 1, wait(Wait::Pause, again_ms));
    check(&pool, &server(1, 200), again_ms, home(2));
    let end_ms = 200 + pause_ms(3);
    check(&pool, &server(3, 200), end_ms - 1, wait(Wait::Pause, end_ms));
    check(&pool, &server(3, 200), end_ms, Step::GiveUp { attempts: 3, silent_ms: end_ms - 50 });
    let given_up = ServerHistory { gave_up: true, ..server(3, 200) };
    check(&pool, &given_up, u64::MAX, wait(Wait::GivenUp, None));
}

#[test]
fn a_pool_holds_its_servers_back() {
    let pool = |frozen, began_ms: &[u64]| PoolHistory { frozen, began_ms: began_ms.to_vec() };
    check(&pool(true, &[]), &server(0, 0), 150, wait(Wait::Frozen, None));
    check(&pool(false, &[140]), &server(0, 0), 150, home(1));
    check(&pool(false, &[130, 140]), &server(0, 0), 150, wait(Wait::Budget, 10_130));
    check(&pool(false, &[130, 140]), &server(0, 0), 10_130, home(1));
    // Orders of people count and may be more than the budget has.
    check(&pool(false, &[110, 130, 140]), &server(0, 0), 150, wait(Wait::Budget, 10_130));

    let none = Policy { budget_orders: 0, ..policy() };
    assert_eq!(pool(false, &[]).budget_free_ms(&none, 1), Some(u64::MAX));
}

#[test]
fn an_order_that_is_under_way_is_alone_until_it_is_lost() {
    let flying = ServerHistory { in_flight_ms: Some(150), ..server(0, 0) };
    let pool = PoolHistory::default();
    check(&pool, &flying, 649, wait(Wait::InFlight, 650));
    check(&pool, &flying, 650, home(1));

    let (policy, mut ledger) = (policy(), Ledger::default());
    ledger.expect("a", 0);
    assert_eq!(ledger.claim(&policy, "a", 100), home(1));
    assert_eq!(ledger.book(&policy, "a", 101), Err(Busy { since_ms: 100 }));
    ledger.heard("a", 102);
    assert_eq!(ledger.claim(&policy, "a", 300), wait(Wait::InFlight, 600));
    assert_eq!(ledger.book(&policy, "a", 600), Ok(()));
    // The first order ends late: it must not set the second one free.
    ledger.settle(&record("a", 100));
    assert_eq!(ledger.book(&policy, "a", 601), Err(Busy { since_ms: 600 }));
    ledger.settle(&record("a", 600));
    assert_eq!(ledger.book(&policy, "a", 601), Ok(()));
}

fn record(server: &str, began_ms: u64) -> Record {
    Record {
        server: server.to_owned(),
        who: Who::Policy,
        action: Action::BringHome(BootSource::Disk),
        why: "silent".to_owned(),
        began_ms,
        ended_ms: began_ms,
        outcome: Outcome::Done,
    }
}

#[test]
fn records_and_ledgers_survive_being_written_down() {
    let mut ledger = Ledger::default();
    ledger.expect("a", 0);
    ledger.claim(&policy(), "a", 100);
    let text = serde_json::to_string(&ledger).unwrap();
    assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
    let text = serde_json::to_string(&record("a", 100)).unwrap();
    assert_eq!(
        text,
        "{\"server\":\"a\",\"who\":\"policy\",\"action\":{\"bring_home\":\"disk\"},\
         \"why\":\"silent\",\"began_ms\":100,\"ended_ms\":100,\"outcome\":\"done\"}"
    );
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record("a", 100));
}

/// A power that writes its orders down, and refuses those that it is told to.
#[derive(Debug, Default)]
struct Paper {
    orders: Mutex<Vec<String>>,
    refused: &'static [&'static str],
}

impl Paper {
    fn order(&self, order: &str) -> Result<(), PowerError> {
        self.orders.lock().unwrap().push(order.to_owned());
        match self.refused.contains(&order) {
            true => Err(PowerError::refused("paper", order)),
            false => Ok(()),
        }
    }
}

impl Power for Paper {
    fn status(&self) -> Result<PowerState, PowerError> {
        Ok(PowerState::On)
    }
    fn on(&self) -> Result<(), PowerError> {
        self.order("on")
    }
    fn off(&self, how: Off) -> Result<(), PowerError> {
        self.order(if how == Off::Forced { "off" } else { "shutdown" })
    }
    fn cycle(&self) -> Result<(), PowerError> {
        self.order("cycle")
    }
    fn boot_once(&self, _: &BootSource) -> Result<(), PowerError> {
        self.order("boot")
    }
}

#[test]
fn orders_are_carried_out_and_say_how_they_ended() {
    let check = |refused, action, orders: &[&str], expected| {
        let paper = Paper { refused, ..Paper::default() };
        assert_eq!(carry_out(&paper, &action), expected);
        assert_eq!(*paper.orders.lock().unwrap(), orders);
    };
    let home = || Action::BringHome(BootSource::Disk);
    let no_boot = || "paper refused: boot".to_owned();
    check(&[], home(), &["boot", "cycle"], Outcome::Done);
    check(&["boot"], home(), &["boot", "cycle"], Outcome::DoneWithoutBoot { reason: no_boot() });
    let failed = Outcome::Failed { reason: "paper refused: cycle".to_owned() };
    check(&["boot", "cycle"], home(), &["boot", "cycle"], failed);
    check(
        &["boot"],
        Action::BootOnce(BootSource::Disk),
        &["boot"],
        Outcome::Failed { reason: no_boot() },
    );
    for (action, order) in [
        (Action::On, "on"),
        (Action::Off, "off"),
        (Action::Shutdown, "shutdown"),
        (Action::Cycle, "cycle"),
    ] {
        check(&[], action, &[order], Outcome::Done);
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Clone, Debug)]
enum Event {
    Pass(u64),
    Heard(usize),
    Settle(usize),
    Freeze(bool),
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (1..800_u64).prop_map(Event::Pass),
        1 => (0..NAMES.len()).prop_map(Event::Heard),
        8 => (0..NAMES.len()).prop_map(Event::Settle),
        1 => any::<bool>().prop_map(Event::Freeze),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 0..400)
}

proptest! {
    #[test]
    fn no_history_breaks_a_promise(events in events()) {
        // Longer than the pauses, which would keep a second order away, too.
        let policy = Policy { order_limit_ms: 2500, ..policy() };
        let mut ledger = Ledger::default();
        let mut now_ms = 0;
        let (mut frozen, mut began_ms) = (false, Vec::<u64>::new());
        let (mut flying, mut tries) = (BTreeMap::new(), BTreeMap::new());
        NAMES.iter().for_each(|name| ledger.expect(name, 0));
        for event in events {
            match event {
                Event::Pass(ms) => now_ms += ms,
                Event::Heard(at) => {
                    ledger.heard(NAMES[at], now_ms);
                    tries.remove(NAMES[at]);
                }
                Event::Settle(at) => if let Some(began_ms) = flying.remove(NAMES[at]) {
                    ledger.settle(&record(NAMES[at], began_ms));
                },
                Event::Freeze(on) => {
                    frozen = on;
                    ledger.freeze(on);
                }
                Event::Restart => {
                    let text = serde_json::to_string(&ledger).unwrap();
                    ledger = serde_json::from_str(&text).unwrap();
                }
            }
            for name in NAMES {
                match ledger.claim(&policy, name, now_ms) {
                    Step::Wait { until_ms, .. } => {
                        prop_assert!(until_ms.is_none_or(|until_ms| until_ms > now_ms));
                    }
                    Step::GiveUp { attempts, .. } => {
                        prop_assert_eq!(attempts, policy.max_tries);
                        // Once: another needs to hear it first.
                        prop_assert_eq!(tries.insert(name, u32::MAX), Some(policy.max_tries));
                    }
                    Step::BringHome { attempt, .. } => {
                        prop_assert!(!frozen);
                        let lost = |&ms: &u64| now_ms >= ms + policy.order_limit_ms;
                        prop_assert!(flying.insert(name, now_ms).as_ref().is_none_or(lost));
                        let before = tries.insert(name, attempt).unwrap_or(0);
                        prop_assert!(attempt == before + 1 && attempt <= policy.max_tries);
                        began_ms.push(now_ms);
                        let recent = |ms: &&u64| now_ms < **ms + policy.budget_window_ms;
                        let recent = began_ms.iter().filter(recent);
                        prop_assert!(recent.count() <= policy.budget_orders as usize);
                    }
                }
            }
        }
    }
}
