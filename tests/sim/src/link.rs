//! The core's way to the controller's double. What is told arrives in order, unless a fault strikes:
//! then it is lost, mangled, doubled or late. What is asked is answered truly, or by a lie. A claim
//! is checked when it is made, whether it arrives or not.

use repave_core::edges::{BadCa, Link, LinkError};
use repave_protocol::{Keys, ServerId, Sha256, Status, StatusExpected, verify};

use crate::check::{self, Step};
use crate::controller::{Lie, Mishap};
use crate::faults::Fault;
use crate::machine::{Machine, Shared};

/// Longest time that an answer takes to arrive when it is slow.
const DELAY_MS: u64 = 120_000;
/// Shortest and longest absence of the controller.
const AWAY_MS: [u64; 2] = [30_000, 600_000];
/// How long a connection takes to fail: somebody refuses it, or nobody answers.
const CONNECT_MS: [u64; 4] = [0, 10_000, 30_000, 30_000];
/// Most statuses that are on their way at one time; the eldest is lost.
const LATE: usize = 8;

/// The network of a machine. Every status goes to the address of the server that its key says.
#[derive(Debug)]
pub struct Line {
    /// The machine.
    pub machine: Shared,
    /// The address.
    pub server: ServerId,
}

/// A time in which the controller cannot be reached.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    until_ms: u64,
    /// How long each attempt to reach it takes.
    connect_ms: u64,
}

impl Outage {
    /// One begins, if chance has it.
    pub(crate) fn strike(machine: &mut Machine) {
        if !machine.dice.strikes(Fault::ControllerAway) {
            return;
        }
        let shape = machine.dice.shape();
        let away_ms = AWAY_MS[0] + shape.below(AWAY_MS[1] - AWAY_MS[0]);
        let connect_ms = CONNECT_MS[shape.below(CONNECT_MS.len() as u64) as usize];
        machine.events.note(&format!("controller: away for {away_ms} ms"));
        let until_ms = machine.events.clock_ms() + away_ms;
        machine.outage = Some(Self { until_ms, connect_ms });
    }

    fn is_over(self, now_ms: u64) -> bool {
        now_ms >= self.until_ms
    }
}

fn reset(reason: &str) -> LinkError {
    LinkError::trouble("sim://controller", reason.into())
}

fn is_reached(machine: &mut Machine) -> Result<(), LinkError> {
    let now_ms = machine.events.clock_ms();
    machine.outage = machine.outage.filter(|outage| !outage.is_over(now_ms));
    if machine.outage.is_some() {
        return Err(reset("no route to host"));
    }
    if machine.controller.ca == machine.trusted_ca {
        return Ok(());
    }
    Err(reset("TLS: unknown issuer"))
}

impl Line {
    /// A status leaves the server: every claim in it must be true now.
    fn check(&self, machine: &mut Machine, bytes: &[u8]) -> Option<Status> {
        let expected =
            StatusExpected { pool: machine.controller.pool.clone(), server: self.server };
        match verify::<Status>(bytes, Keys::Device(&self.server), &expected) {
            Err(refusal) => {
                machine.watch.violated("I11", &format!("status refused: {refusal}"));
                None
            }
            Ok(status) => {
                let status = status.into_message();
                let (sequence, side, standing) = (status.sequence, status.side, &status.standing);
                machine.events.note(&format!("status {sequence} {side:?} {standing:?}"));
                check::after(machine, &Step::Told { status: &status });
                Some(status)
            }
        }
    }

    /// A status arrives, or not; says whether it did.
    fn carry(&self, machine: &mut Machine, bytes: &[u8], status: Status) -> bool {
        let mangled = if machine.dice.strikes(Fault::StatusTruncated) {
            bytes[..machine.dice.shape().below(bytes.len() as u64) as usize].to_vec()
        } else if machine.dice.strikes(Fault::StatusCorrupt) {
            corrupt(bytes, machine.dice.shape().draw())
        } else {
            bytes.to_vec()
        };
        if mangled != bytes {
            machine.events.note("status: mangled on its way");
            if machine.controller.hear(&mangled, self.server).is_ok() {
                machine.watch.violated("I6", "a mangled status was believed");
            }
            return false;
        }
        if machine.dice.strikes(Fault::StatusLost) {
            machine.events.note("status: lost");
            return false;
        }
        arrive(machine, status.clone());
        if machine.dice.strikes(Fault::StatusRepeated) {
            machine.events.note("status: arrives twice");
            if machine.controller.take(status).is_ok() {
                machine.watch.violated("I7", "a repeated status was taken for another");
            }
        }
        true
    }
}

fn arrive(machine: &mut Machine, status: Status) {
    if let Err(reason) = machine.controller.take(status) {
        machine.events.note(&format!("status not taken: {reason}"));
    }
}

fn arrive_late(machine: &mut Machine) {
    for status in std::mem::take(&mut machine.late) {
        machine.events.note("status: arrives late");
        arrive(machine, status);
    }
}

/// One character of the base64 payload becomes another.
fn corrupt(bytes: &[u8], draw: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 4 + draw as usize % (bytes.len() / 4);
    bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
    bytes
}

fn mishap(machine: &mut Machine) -> Option<Mishap> {
    let mishaps = [
        (Fault::ControllerRestarts, Mishap::Restart),
        (Fault::ControllerForgets, Mishap::Forget),
        (Fault::ControllerSecond, Mishap::Second),
    ];
    let struck = mishaps.into_iter().find(|(fault, _)| machine.dice.strikes(*fault));
    let (_, mishap) = struck?;
    machine.events.note(&format!("controller: {mishap:?}"));
    machine.controller.befall(mishap);
    Some(mishap)
}

impl Link for Line {
    fn trust_ca(&mut self, ca_pem: &str) -> Result<(), BadCa> {
        if !ca_pem.starts_with("CA ") {
            return Err(BadCa { reason: "not PEM".into() });
        }
        let machine = &mut *self.machine.borrow_mut();
        machine.events.note(&format!("link believes {ca_pem}"));
        machine.trusted_ca = ca_pem.into();
        Ok(())
    }

    fn ask(&mut self, status: &[u8]) -> Result<Vec<u8>, LinkError> {
        let machine = &mut *self.machine.borrow_mut();
        if machine.events.is_cut() {
            return Err(reset("power is gone"));
        }
        machine.watch.ask(machine.events.uptime_ms());
        if machine.events.fails("ask") {
            return Err(reset("connection refused"));
        }
        let message = self.check(machine, status).ok_or_else(|| reset("401"))?;
        Outage::strike(machine);
        is_reached(machine).inspect_err(|_| {
            let connect_ms = machine.outage.map_or(0, |outage| outage.connect_ms);
            machine.events.sleep(connect_ms);
        })?;
        if !self.carry(machine, status, message) {
            return Err(reset("connection reset"));
        }
        arrive_late(machine);
        if machine.dice.strikes(Fault::AnswerLies) {
            let lie = machine.dice.shape().below(Lie::ALL.len() as u64);
            machine.controller.lies.push_back(Lie::ALL[lie as usize]);
        }
        let mishap = mishap(machine);
        let lie = machine.controller.lies.front().copied();
        let answer = machine.controller.answer(mishap);
        if machine.dice.strikes(Fault::AnswerDelayed) {
            let delay_ms = machine.dice.shape().below(DELAY_MS);
            machine.events.sleep(delay_ms);
        }
        if mishap == Some(Mishap::Restart) || machine.dice.strikes(Fault::AnswerLost) {
            machine.events.note("answer: lost");
            return Err(reset("connection reset"));
        }
        match lie {
            Some(lie) => machine.events.note(&format!("answer: a lie, {lie:?}")),
            None => machine.events.note("answer"),
        }
        answer
    }

    fn tell(&mut self, status: Vec<u8>) {
        let machine = &mut *self.machine.borrow_mut();
        if machine.events.is_cut() {
            return;
        }
        let Some(message) = self.check(machine, &status).filter(|_| is_reached(machine).is_ok())
        else {
            return;
        };
        if machine.dice.strikes(Fault::StatusLate) {
            machine.events.note("status: late");
            machine.late.push(message);
            let surplus = machine.late.len().saturating_sub(LATE);
            machine.late.drain(..surplus);
        } else {
            self.carry(machine, &status, message);
        }
    }

    fn settle(&mut self) {}

    fn blob(
        &mut self,
        source: &str,
        blob: &Sha256,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        let bytes = self.machine.borrow_mut().blob(source, blob, (0, None))?;
        if bytes.len() <= limit_bytes {
            return Ok(bytes);
        }
        let reason = format!("{} bytes, the limit is {limit_bytes}", bytes.len());
        Err(LinkError::lie(source, reason))
    }

    fn blob_range(
        &mut self,
        source: &str,
        blob: &Sha256,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.machine.borrow_mut().blob(source, blob, (offset_bytes, Some(length_bytes)))
    }
}
