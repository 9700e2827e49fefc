//! Statuses as the controller takes them in: signed by a device, with an inventory of any kind, one
//! after the other into the record of their server, which is answered and kept.

use repave_controller::fleet::{
    Answer, Credentials, Invitation, Rules, Server, Wish, admit, answer, listens, silence,
};
use repave_protocol::{
    BootMethod, Generation, ImageReference, Keys, Nonce, Order, Purpose, ServerId, Sha256,
    Standing, Status, StatusExpected, limits, verify,
};

use crate::input::Input;
use crate::signed::{key, sealed_raw};

const RULES: Rules = Rules { retries: 2, silent_after_ms: 60_000, boot_within_ms: 300_000 };
/// Most statuses of one life.
const STATUSES: u8 = 12;

/// One payload, then a life of statuses like it.
pub fn status(data: &[u8]) {
    let mut input = Input::new(data);
    let life = input.array::<16>();
    let Some(status) = believed(input.rest()) else { return };
    check_status(&status);
    let Some(mut server) = admitted(&status, life[0]) else { return };
    let mut now_ms = 1_000;
    let mut life = Input::new(&life[1..]);
    for number in 0..life.u8() % STATUSES {
        let choice = life.u8();
        now_ms += if choice & 1 == 0 { 1_000 } else { 400_000 };
        operate(&mut server, choice, now_ms);
        let next = Status {
            sequence: status.sequence.wrapping_add(u64::from(choice >> 6)),
            boot: if choice & 2 == 0 { status.boot } else { Nonce::from_random([number; 32]) },
            inventory: status.inventory.clone().filter(|_| choice & 4 == 0),
            ..status.clone()
        };
        take_in(&mut server, &next, now_ms);
    }
}

/// The door: what is in the envelope came from the key that the address is the hash of.
fn believed(payload: &[u8]) -> Option<Status> {
    let server = ServerId::of(&key(1).public());
    let meant = serde_json::from_slice::<Status>(payload).ok()?;
    let expected = StatusExpected { pool: meant.pool, server };
    let sealed = sealed_raw::<Status>(payload, &key(1))?;
    let borrowed = sealed_raw::<Status>(payload, &key(66))?;
    assert!(verify::<Status>(&borrowed, Keys::Device(&server), &expected).is_err());
    verify::<Status>(&sealed, Keys::Device(&server), &expected).ok().map(|v| v.into_message())
}

fn check_status(status: &Status) {
    let again = serde_json::to_vec(status).expect("a status is JSON");
    assert_eq!(serde_json::from_slice::<Status>(&again).ok().as_ref(), Some(status));
    if let Some(inventory) = &status.inventory {
        assert!(inventory.disks.len() <= limits::INVENTORY_ENTRIES);
        assert!(inventory.nics.len() <= limits::INVENTORY_ENTRIES);
    }
    if let Some(log) = &status.log {
        assert!(matches!(status.standing, Standing::Failed { .. }));
        for lines in [&log.agent, &log.kernel] {
            assert!(lines.iter().map(String::len).sum::<usize>() <= limits::LOG_BYTES);
            assert!(lines.iter().all(|line| !line.contains(char::is_control)));
        }
    }
}

fn admitted(status: &Status, choice: u8) -> Option<Server> {
    let serial = status.inventory.as_ref().and_then(|inventory| inventory.dmi.serial.clone());
    let invitation = Invitation {
        machine: serial.unwrap_or_else(|| "SN0001".into()),
        uses: 1,
        expires_ms: 10_000,
        name: None,
        labels: Default::default(),
    };
    let invitation = Some((invitation, 1)).filter(|_| choice & 1 == 1);
    let credentials = Credentials { open: choice & 2 == 0, invitation, ..Default::default() };
    let (server, _) = admit(status, &credentials, 1_000).ok()?;
    assert_eq!(server.id, status.server);
    check_record(&server);
    Some(server)
}

fn operate(server: &mut Server, choice: u8, now_ms: u64) {
    let purpose = Purpose {
        server_type: "web".into(),
        image: ImageReference { name: "web".into(), version: 3, manifest: Sha256::of(b"manifest") },
        sources: Vec::new(),
        disk: None,
        boot: BootMethod::Auto,
        settings: Default::default(),
    };
    let wish = match choice >> 3 & 7 {
        0 => Wish::Be { purpose: Box::new(purpose) },
        1 => Wish::Spare,
        2 => Wish::Retired,
        3 => return drop(server.approve("ann", now_ms)),
        4 => return drop(silence(server, now_ms, &RULES)),
        5 => return drop(server.overdue(now_ms, 60_000, &RULES)),
        _ => return,
    };
    server.assign(wish, "because", None, now_ms, u64::from(choice) * 100);
}

/// A status changes the record and is answered; told twice it changes nothing more.
fn take_in(server: &mut Server, status: &Status, now_ms: u64) {
    let before = server.clone();
    let events = server.observe(status, now_ms, &RULES);
    let is_old = status.boot == before.seen.boot && status.sequence < before.seen.sequence;
    if is_old {
        assert!(events.is_empty() && *server == before, "what was overtaken is no news");
    }
    let mut again = server.clone();
    let repeated = again.observe(status, now_ms, &RULES);
    assert!(repeated.is_empty() && again == *server, "what is told twice is no news: {repeated:?}");
    if listens(status)
        && let Answer::Order(order) = answer(server, status, now_ms)
    {
        issue(server, order, status, now_ms);
    }
    check_record(server);
}

/// An order's generation is none that was used for another, and none below what the server knows.
fn issue(server: &mut Server, order: Order, status: &Status, now_ms: u64) {
    assert!(server.enrolment.is_approved(), "nobody else is given orders");
    let before = server.issued.clone();
    let is_last = |generation: Generation| generation == Generation(u64::MAX);
    let (generation, _) = server.issue(order.clone(), status, now_ms);
    if let Some(before) = before {
        assert!(generation >= before.generation);
        let is_same = before.order == order;
        assert!(generation > before.generation || is_same || is_last(generation));
    }
    let (again, event) = server.issue(order, status, now_ms);
    assert_eq!(again, generation, "the same order again is a repeat");
    assert!(event.is_none());
}

/// A record is kept as it is, and holds no more than its status could bring.
fn check_record(server: &Server) {
    let bytes = serde_json::to_vec(server).expect("a record is JSON");
    let again: Server = serde_json::from_slice(&bytes).expect("a record reads again");
    assert_eq!(again, *server);
    assert!(server.failures.len() <= 1, "one image was ordered here");
    assert!(!server.title().is_empty());
}
