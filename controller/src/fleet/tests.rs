//! Lives of servers: statuses in, orders and standings out.

mod telling;

use repave_protocol::{
    Blame, BootMethod, Coverage, Dmi, Fault, Generation, ImageReference, Inventory, Load, Nonce,
    Order, PoolId, Purpose, SealReport, ServerId, Settings, Sha256, Side, SigningKey, Stage,
    Standing as Said, Status, Wipe, WipePass,
};

use super::{
    Answer, Credentials, EventKind, Invitation, NotAdmitted, Rules, Server, Standing, Wish, admit,
    answer, listens, silence,
};

const RULES: Rules = Rules { retries: 2, silent_after_ms: 60_000, boot_within_ms: 300_000 };
const WAIT: Order = Order::Wait { after_ms: 1_000 };

fn purpose(server_type: &str) -> Purpose {
    Purpose {
        server_type: server_type.into(),
        image: ImageReference {
            name: server_type.into(),
            version: 1,
            manifest: Sha256::of(server_type.as_bytes()),
        },
        sources: Vec::new(),
        disk: None,
        boot: BootMethod::Auto,
        settings: Settings::default(),
    }
}

fn seal(server_type: &str, generation: u64) -> Option<SealReport> {
    Some(SealReport {
        generation: Generation(generation),
        server_type: server_type.into(),
        image: server_type.into(),
        version: 1,
        manifest: Sha256::of(server_type.as_bytes()),
        attempts: 0,
        alone: false,
    })
}

fn failed(blame: Blame) -> Said {
    Said::Failed { fault: Fault::new(blame, "chunk", "a chunk", None) }
}

fn up() -> Said {
    Said::Up { load: Load::default() }
}

fn at(stage: Stage) -> Said {
    Said::Purposing { stage, done_bytes: 1, total_bytes: 4, bytes_per_s: 9 }
}

fn boot(sealed: u64) -> Order {
    Order::Boot { sealed: Generation(sealed) }
}

fn order_for(server_type: &str) -> Order {
    Order::Purpose(Box::new(purpose(server_type)))
}

fn stay(reason: &str) -> Order {
    Order::Stay { reason: reason.into() }
}

fn inventory(serial: &str) -> Inventory {
    let dmi = Dmi { serial: Some(serial.into()), ..Dmi::default() };
    Inventory { dmi, architecture: "amd64".into(), ..Inventory::default() }
}

/// One server that lives by the orders it gets, and the controller's record of it.
struct Life {
    server: Server,
    now_ms: u64,
    sequence: u64,
    boot: u8,
    accepted: Option<Generation>,
    events: Vec<EventKind>,
}

fn status() -> Status {
    Status {
        crit: Vec::new(),
        pool: "demo".parse::<PoolId>().unwrap(),
        server: ServerId::of(&SigningKey::from_seed(&[1; 32]).public()),
        nonce: Nonce::from_random([0; 32]),
        boot: Nonce::from_random([0; 32]),
        sequence: 0,
        side: Side::Default,
        agent: "1".into(),
        generation: None,
        seal: None,
        wiped: None,
        standing: Said::Idle,
        log: None,
        bad_sources: Vec::new(),
        uptime_ms: 0,
        watchdog: None,
        inventory: Some(inventory("S1")),
        default_partition: None,
        trust: None,
        join_token: None,
    }
}

impl Life {
    fn new() -> Self {
        let credentials = Credentials { open: true, ..Credentials::default() };
        let (server, _) = admit(&status(), &credentials, 1_000).unwrap();
        let events = Vec::new();
        Self { server, now_ms: 1_000, sequence: 0, boot: 0, accepted: None, events }
    }

    fn approved() -> Self {
        let mut life = Self::new();
        life.server.approve("ann", life.now_ms);
        life
    }

    fn assign(&mut self, wish: Wish, drain_ms: u64) {
        self.server.assign(wish, "because", None, self.now_ms, drain_ms);
    }

    fn be(&mut self, server_type: &str) {
        self.assign(Wish::Be { purpose: Box::new(purpose(server_type)) }, 0);
    }

    fn status(&mut self, standing: Said, seal: Option<SealReport>) -> Status {
        self.sequence += 1;
        self.now_ms += 1_000;
        let side = match standing {
            Said::Up { .. } | Said::Returning => Side::Target,
            _ => Side::Default,
        };
        Status {
            boot: Nonce::from_random([self.boot; 32]),
            sequence: self.sequence,
            generation: self.accepted,
            inventory: None,
            side,
            seal,
            standing,
            ..status()
        }
    }

    /// Reports, and obeys; what is held back becomes a wait, as when the poll is over.
    fn report(&mut self, status: &Status) -> (u64, Order) {
        let events = self.server.observe(status, self.now_ms, &RULES);
        self.events.extend(events.into_iter().map(|event| event.kind));
        let order = match answer(&self.server, status, self.now_ms) {
            Answer::Order(order) => order,
            Answer::Hold { .. } => WAIT,
        };
        let (generation, event) = self.server.issue(order.clone(), status, self.now_ms);
        self.events.extend(event.map(|event| event.kind));
        self.accepted = Some(generation);
        (generation.0, order)
    }

    #[track_caller]
    fn check(&mut self, said: Said, seal: Option<SealReport>, expected: (u64, Order)) {
        let status = self.status(said, seal);
        assert_eq!(self.report(&status), expected);
    }

    #[track_caller]
    fn stands(&self, name: &str) {
        assert_eq!(self.server.standing.name(), name);
    }
}

#[test]
fn a_whole_life() {
    let mut life = Life::new();
    life.be("web");
    life.check(Said::Idle, None, (0, WAIT));
    life.stands("pending");
    life.server.approve("ann", life.now_ms);
    life.check(Said::Idle, None, (1, order_for("web")));
    life.check(at(Stage::Accepted), None, (1, order_for("web")));
    life.stands("purposing");
    // A crash in the middle, and the same order again.
    life.boot = 1;
    life.check(Said::Idle, None, (1, order_for("web")));
    life.check(at(Stage::Armed), seal("web", 1), (1, order_for("web")));
    let leaving = Said::Leaving { method: BootMethod::Firmware };
    life.check(leaving.clone(), seal("web", 1), (1, order_for("web")));
    life.stands("booting");
    life.check(up(), seal("web", 1), (2, WAIT));
    life.stands("up");
    life.check(up(), seal("web", 1), (2, WAIT));
    // A power cycle: the target is booted, not written.
    life.boot = 2;
    life.check(Said::Idle, seal("web", 1), (3, boot(1)));
    life.check(leaving, seal("web", 1), (3, boot(1)));
    life.check(up(), seal("web", 1), (4, WAIT));
    // Another purpose.
    life.be("db");
    life.check(up(), seal("web", 1), (5, order_for("db")));
    life.check(Said::Returning, seal("web", 1), (5, order_for("db")));
    life.stands("returning");
    life.check(Said::Idle, seal("web", 1), (5, order_for("db")));
    life.check(up(), seal("db", 5), (6, WAIT));
    // The same purpose, decided again: it is written again.
    life.be("db");
    life.check(up(), seal("db", 5), (7, order_for("db")));
    life.check(Said::Idle, seal("db", 5), (7, order_for("db")));
    // Not needed any more.
    life.assign(Wish::Spare, 0);
    life.check(up(), seal("db", 7), (8, stay("spare")));
    life.check(Said::Idle, seal("db", 7), (8, stay("spare")));
    life.check(Said::Staying, seal("db", 7), (9, WAIT));
    life.stands("staying");
    assert_eq!(life.server.server_type(), None);
}

#[test]
fn a_running_target_is_drained_before_it_is_taken() {
    let mut life = Life::approved();
    life.be("web");
    life.check(Said::Idle, None, (1, order_for("web")));
    life.check(up(), seal("web", 1), (2, WAIT));
    let decided_ms = life.now_ms;
    life.assign(Wish::Be { purpose: Box::new(purpose("db")) }, 5_000);
    let status = life.status(up(), seal("web", 1));
    life.server.observe(&status, life.now_ms, &RULES);
    life.stands("draining");
    let until_ms = Some(decided_ms + 5_000);
    assert_eq!(answer(&life.server, &status, life.now_ms), Answer::Hold { until_ms });
    life.now_ms = decided_ms + 5_000;
    life.check(up(), seal("web", 1), (3, order_for("db")));
}

#[test]
fn an_image_that_fails_too_often_is_quarantined_and_can_be_cleared() {
    let mut life = Life::approved();
    life.be("web");
    life.check(Said::Idle, None, (1, order_for("web")));
    // Told twice without an order in between, it is one failure.
    let status = life.status(failed(Blame::Image), None);
    life.server.observe(&status, life.now_ms, &RULES);
    life.check(failed(Blame::Image), None, (1, order_for("web")));
    life.stands("failed");
    life.check(failed(Blame::Image), None, (2, stay("gave up after chunk")));
    life.stands("quarantined");
    let counted = |event: &EventKind| matches!(event, EventKind::Quarantine { count: 2, .. });
    assert!(life.events.iter().any(counted));
    life.check(Said::Staying, None, (3, WAIT));
    life.stands("quarantined");
    // Another image is another matter.
    life.be("db");
    life.check(Said::Staying, None, (4, order_for("db")));
    life.be("web");
    life.check(Said::Idle, None, (5, stay("gave up after chunk")));
    life.server.clear_failures();
    life.check(Said::Staying, None, (6, order_for("web")));
}

#[test]
fn a_network_that_fails_is_not_the_images_fault() {
    let mut life = Life::approved();
    life.be("web");
    life.check(Said::Idle, None, (1, order_for("web")));
    for _ in 0..9 {
        life.check(failed(Blame::Network), None, (1, order_for("web")));
    }
    life.stands("failed");
}

#[test]
fn a_success_clears_the_failures_before_it() {
    let mut life = Life::approved();
    life.be("web");
    life.check(Said::Idle, None, (1, order_for("web")));
    life.check(failed(Blame::Device), None, (1, order_for("web")));
    assert_eq!(life.server.failures.len(), 1);
    life.check(up(), seal("web", 1), (2, WAIT));
    assert_eq!(life.server.failures.len(), 0);
}

#[test]
fn generations_go_on_from_where_the_server_is() {
    let mut life = Life::approved();
    life.accepted = Some(Generation(41));
    // Nothing was decided about it: it boots what it has.
    life.check(Said::Idle, seal("web", 40), (42, boot(40)));
    life.check(up(), seal("web", 40), (43, WAIT));
    assert_eq!(life.server.server_type(), Some("web"));
    life.be("web");
    life.check(up(), seal("web", 40), (44, order_for("web")));
}

#[test]
fn what_comes_late_changes_nothing() {
    let mut life = Life::approved();
    life.be("web");
    let early = life.status(at(Stage::Accepted), None);
    life.check(at(Stage::Written), None, (1, order_for("web")));
    let before = life.server.clone();
    assert_eq!(life.server.observe(&early, life.now_ms, &RULES), []);
    assert_eq!(life.server, before);
}

#[test]
fn silence_is_found_and_ends() {
    let mut life = Life::approved();
    life.be("web");
    life.check(Said::Idle, None, (1, order_for("web")));
    life.check(up(), seal("web", 1), (2, WAIT));
    let seen_ms = life.now_ms;
    assert_eq!(silence(&mut life.server, seen_ms + 60_000, &RULES), None);
    assert!(silence(&mut life.server, seen_ms + 60_001, &RULES).is_some());
    assert_eq!(silence(&mut life.server, seen_ms + 70_000, &RULES), None);
    // It is welcomed back as what it is, without a second purposing.
    life.check(up(), seal("web", 1), (2, WAIT));
    life.stands("up");
}

#[test]
fn a_server_between_its_sides_has_longer() {
    let mut life = Life::approved();
    life.be("web");
    life.check(Said::Idle, None, (1, order_for("web")));
    let leaving = Said::Leaving { method: BootMethod::Kexec };
    life.check(leaving, seal("web", 1), (1, order_for("web")));
    let seen_ms = life.now_ms;
    assert_eq!(silence(&mut life.server, seen_ms + 300_000, &RULES), None);
    assert!(silence(&mut life.server, seen_ms + 300_001, &RULES).is_some());
}

#[test]
fn one_key_in_two_machines_is_suspended_until_somebody_looks() {
    let mut life = Life::approved();
    life.be("web");
    let mut status = life.status(Said::Idle, None);
    status.inventory = Some(inventory("S1"));
    assert_eq!(life.report(&status), (1, order_for("web")));
    let mut clone = life.status(Said::Idle, None);
    clone.inventory = Some(inventory("S2"));
    assert_eq!(life.report(&clone), (2, WAIT));
    assert_eq!(
        life.server.standing,
        Standing::Suspended { reason: "its key is used by two machines".into() }
    );
    life.server.approve("ann", life.now_ms);
    life.check(Said::Idle, None, (3, order_for("web")));
}

#[test]
fn a_changed_default_partition_suspends() {
    let mut life = Life::approved();
    let mut first = life.status(Said::Idle, None);
    first.default_partition = Some(Sha256::of(b"one"));
    life.report(&first);
    life.stands("idle");
    let mut second = life.status(Said::Idle, None);
    second.default_partition = Some(Sha256::of(b"two"));
    life.report(&second);
    life.stands("suspended");
}

#[test]
fn whom_nobody_invited_is_not_let_in() {
    let invitation = |machine: &str, uses, expires_ms| Invitation {
        machine: machine.into(),
        uses,
        expires_ms,
        name: Some("web-1".into()),
        labels: [("rack".into(), "a".into())].into(),
    };
    let check = |credentials: Credentials, expected: Result<&str, ()>| {
        let found = admit(&status(), &credentials, 1_000);
        assert_eq!(found.map(|(server, _)| server.standing.name()).map_err(drop), expected);
    };
    let none = Credentials::default;
    check(none(), Err(()));
    check(Credentials { open: true, ..none() }, Ok("pending"));
    check(Credentials { join_token: Some("rack".into()), ..none() }, Ok("pending"));
    let invited = |invitation| Credentials { invitation: Some((invitation, 1)), ..none() };
    check(invited(invitation("S1", 1, 1_001)), Ok("idle"));
    check(invited(invitation("S1", 0, 1_001)), Err(()));
    check(invited(invitation("S1", 1, 1_000)), Err(()));
    check(invited(invitation("S2", 1, 1_001)), Err(()));
    let blank = Status { inventory: None, ..status() };
    let refused = admit(&blank, &none(), 0).map(drop);
    assert!(matches!(refused, Err(NotAdmitted::NoInventory { .. })));
}

#[test]
fn a_burned_machine_takes_over_from_its_old_key() {
    let (mut old, mut new) = (Life::approved(), Life::new());
    old.server.name = Some("db-1".into());
    old.server.pinned = Some("db".into());
    let events = new.server.succeed(&mut old.server, "ann", 9_000);
    assert_eq!(events.len(), 2);
    assert_eq!(new.server.title(), "db-1");
    assert_eq!(new.server.pinned.as_deref(), Some("db"));
    assert!(new.server.enrolment.is_approved());
    new.be("db");
    new.check(Said::Idle, None, (1, order_for("db")));
    old.check(Said::Idle, None, (0, WAIT));
    old.stands("suspended");
}

#[test]
fn a_round_moves_no_server_that_has_changed_since_it_looked() {
    let mut life = Life::approved();
    life.be("web");
    let status = life.status(Said::Idle, None);
    life.report(&status);
    let seen = life.server.clone();
    let same = life.status(Said::Idle, None);
    life.server.observe(&same, life.now_ms, &RULES);
    assert!(life.server.stands_as(&seen), "it has only been heard of again");

    let changes: [fn(&mut Server); 5] = [
        |server| server.cordoned = true,
        |server| server.pinned = Some("db".into()),
        |server| drop(server.labels.insert("rack".into(), "2".into())),
        |server| drop(server.expel("ann", 9_000)),
        |server| drop(server.assign(Wish::Retired, "old", Some("ann"), 9_000, 0)),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = life.server.clone();
        change(&mut changed);
        assert!(!changed.stands_as(&seen), "change {number}");
    }
}

#[test]
fn a_server_goes_by_the_older_trust_of_its_two_sides() {
    let mut life = Life::approved();
    let mut tell = |side, sequence, boot, trust| {
        let boot = Nonce::from_random([boot; 32]);
        let status = Status { side, sequence, boot, trust: Some(trust), ..status() };
        life.server.observe(&status, 2_000, &RULES);
        life.server.trust()
    };
    assert_eq!(tell(Side::Default, 1, 1, 1), Some(1));
    // What a resident says first is what the default side keeps; what it learns later is its own.
    assert_eq!(tell(Side::Target, 0, 2, 1), Some(1));
    assert_eq!(tell(Side::Target, 1, 2, 2), Some(1));
    assert_eq!(tell(Side::Default, 0, 3, 1), Some(1));
    assert_eq!(tell(Side::Default, 1, 3, 2), Some(2));
    assert_eq!(tell(Side::Target, 0, 4, 2), Some(2));
    assert_eq!(tell(Side::Target, 1, 4, 3), Some(2));
}

#[test]
fn a_record_that_says_nothing_of_trust_is_read_and_counts_as_behind() {
    let mut doc = serde_json::to_value(&Life::approved().server).unwrap();
    let seen = doc["seen"].as_object_mut().unwrap();
    seen.retain(|name, _| !name.contains("trust"));
    let server: Server = serde_json::from_value(doc).unwrap();
    assert_eq!(server.trust(), None);
    assert!(server.is_told() && server.trust() < Some(1));
}

fn wipe() -> Wipe {
    Wipe { reason: "ann wiped it".into(), disk: None }
}

fn wiping(done_bytes: u64) -> Said {
    let pass = WipePass::Zeroing;
    Said::Wiping { pass, done_bytes, total_bytes: 4, bytes_per_s: 9 }
}

/// A status of a server that stays, and tells of the wipe of that generation.
fn wiped(life: &mut Life, generation: u64) -> Status {
    let (generation, ranges, missing) = (Generation(generation), Vec::new(), Vec::new());
    let wiped = Some(Coverage { generation, ranges, missing });
    Status { wiped, ..life.status(Said::Staying, None) }
}

#[test]
fn a_wipe_is_ordered_until_its_coverage_is_told_and_a_second_one_is_another() {
    let mut life = Life::approved();
    life.be("web");
    life.check(Said::Idle, None, (1, order_for("web")));
    life.check(up(), seal("web", 1), (2, WAIT));
    life.assign(Wish::Wiped { wipe: wipe(), retired: false }, 0);
    life.check(up(), seal("web", 1), (3, Order::Wipe(wipe())));
    // The same order again until it is done, whatever the server says of itself.
    life.check(Said::Idle, seal("web", 1), (3, Order::Wipe(wipe())));
    let told = life.status(wiping(1), None);
    life.report(&told);
    assert!(!listens(&told));
    assert_eq!(
        life.server.standing,
        Standing::Wiping { pass: WipePass::Zeroing, percent: 25, bytes_per_s: 9 }
    );
    life.check(failed(Blame::Device), None, (3, Order::Wipe(wipe())));
    life.check(Said::Staying, None, (3, Order::Wipe(wipe())));
    // An older wipe is no answer to this one.
    let old = wiped(&mut life, 2);
    assert_eq!(life.report(&old), (3, Order::Wipe(wipe())));
    assert_eq!(life.server.standing, Standing::Staying);
    for generation in [4, 4] {
        let done = wiped(&mut life, 3);
        assert_eq!(life.report(&done), (generation, WAIT));
        assert_eq!(life.server.standing, Standing::Wiped);
    }
    life.assign(Wish::Wiped { wipe: wipe(), retired: true }, 0);
    let done = wiped(&mut life, 3);
    assert_eq!(life.report(&done), (5, Order::Wipe(wipe())));
    let done = wiped(&mut life, 5);
    assert_eq!(life.report(&done), (6, WAIT));
    assert_eq!(life.server.standing, Standing::Retired);
}
