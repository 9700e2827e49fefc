//! The way to the controller in a replay: answers, refusals and failures come as the field log tells
//! them. What the server claims is checked all the same.

use repave_core::edges::{BadCa, Link, LinkError};
use repave_core::event::Event;
use repave_protocol::Sha256;

use super::edges::Scripted;
use crate::controller::{BURNED_CA, Lie};

impl Scripted<dyn Link> {
    fn lost(&self, reason: &str) -> LinkError {
        LinkError::trouble("sim://controller", reason.into())
    }

    /// A blob is had, unless the line ahead says that it was missed.
    fn missed(&self, source: &str) -> Result<(), LinkError> {
        match self.script.peek().as_deref() {
            Some(Event::Missed(kind, reason)) => {
                Err(LinkError { peer: source.into(), reason: reason.clone(), kind: *kind })
            }
            _ => Ok(()),
        }
    }
}

impl Link for Scripted<dyn Link> {
    fn trust_ca(&mut self, ca_pem: &str) -> Result<(), BadCa> {
        self.edge.trust_ca(ca_pem)
    }

    fn ask(&mut self, status: &[u8]) -> Result<Vec<u8>, LinkError> {
        {
            let machine = &mut *self.machine.borrow_mut();
            machine.watch.ask(machine.events.uptime_ms());
        }
        match self.script.peek().as_deref() {
            Some(Event::Answered(generation, order)) => {
                let order = self.script.order(order);
                let controller = &mut self.machine.borrow_mut().controller;
                controller.order_as(*generation, order);
                controller.brings = match self.script.peek_second().as_deref() {
                    Some(Event::Trust(version)) => Some(controller.trust(*version, BURNED_CA)),
                    _ => None,
                };
            }
            Some(Event::Refused(code)) => {
                match Lie::ALL.into_iter().find(|lie| lie.code() == Some(code.as_str())) {
                    Some(lie) => self.machine.borrow_mut().controller.lies.push_back(lie),
                    None => self.script.give_up(format!("no lie is refused as {code:?}")),
                }
            }
            Some(Event::Unanswered(reason)) => {
                // It left the server, so what it claims must hold.
                self.edge.tell(status.to_vec());
                return Err(self.lost(reason));
            }
            None | Some(Event::Home { life: 1 }) => {
                self.script.cut(&mut self.machine.borrow_mut());
                return Err(self.lost("power is gone"));
            }
            _ => {}
        }
        self.edge.ask(status)
    }

    fn tell(&mut self, status: Vec<u8>) {
        self.edge.tell(status);
    }

    fn settle(&mut self) {
        self.edge.settle();
    }

    fn blob(
        &mut self,
        source: &str,
        blob: &Sha256,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.missed(source)?;
        self.edge.blob(source, blob, limit_bytes)
    }

    fn blob_range(
        &mut self,
        source: &str,
        blob: &Sha256,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.missed(source)?;
        self.edge.blob_range(source, blob, offset_bytes, length_bytes)
    }
}
