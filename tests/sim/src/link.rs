//! The core's way to the controller's double. What is told arrives at once and in order; what is
//! asked is answered truly, or by the next lie.

use repave_core::edges::{BadCa, Link, LinkError};
use repave_protocol::{ServerId, Sha256};

use crate::check::{self, Step};
use crate::machine::{Machine, Shared};

/// The network of a machine. Every status goes to the address of the server that its key says.
#[derive(Debug)]
pub struct Line {
    /// The machine.
    pub machine: Shared,
    /// The address.
    pub server: ServerId,
}

fn is_gone(machine: &Machine) -> Result<(), LinkError> {
    let gone = LinkError { peer: "sim://".into(), reason: "power is gone".into() };
    if machine.events.is_cut() { Err(gone) } else { Ok(()) }
}

fn is_reached(machine: &Machine) -> Result<(), LinkError> {
    is_gone(machine)?;
    if machine.controller.ca == machine.trusted_ca {
        return Ok(());
    }
    Err(LinkError { peer: "sim://".into(), reason: "TLS: unknown issuer".into() })
}

impl Line {
    fn deliver(&self, machine: &mut Machine, bytes: &[u8]) {
        match machine.controller.hear(bytes, self.server) {
            Err(reason) => machine.watch.violated("I11", &format!("status refused: {reason}")),
            Ok(status) => {
                let line =
                    format!("status {} {:?} {:?}", status.sequence, status.side, status.standing);
                let status = status.clone();
                machine.events.note(&line);
                check::after(machine, &Step::Told { status: &status });
            }
        }
    }
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
        is_reached(machine)?;
        self.deliver(machine, status);
        let lie = machine.controller.lies.front().copied();
        let answer = machine.controller.answer();
        match lie {
            Some(lie) => machine.events.note(&format!("answer: a lie, {lie:?}")),
            None => machine.events.note("answer"),
        }
        answer
    }

    fn tell(&mut self, status: Vec<u8>) {
        let machine = &mut *self.machine.borrow_mut();
        if is_reached(machine).is_ok() {
            self.deliver(machine, &status);
        }
    }

    fn settle(&mut self) {}

    fn blob(
        &mut self,
        source: &str,
        blob: &Sha256,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        let machine = self.machine.borrow();
        is_gone(&machine)?;
        let bytes = machine.controller.blob(source, blob, 0, None)?;
        if bytes.len() <= limit_bytes {
            return Ok(bytes);
        }
        let reason = format!("{} bytes, the limit is {limit_bytes}", bytes.len());
        Err(LinkError { peer: source.into(), reason })
    }

    fn blob_range(
        &mut self,
        source: &str,
        blob: &Sha256,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        let machine = self.machine.borrow();
        is_gone(&machine)?;
        machine.controller.blob(source, blob, offset_bytes, Some(length_bytes))
    }
}
