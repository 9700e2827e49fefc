//! What a server is answered: the order that leads it from where it says it is to what it is to be,
//! under the generation that makes it a new order or the last one again.

use repave_protocol::{Generation, Order, Purpose, Side, Standing as Said, Status, Wipe};

use super::event::{Event, EventKind};
use super::orders::Wish;
use super::server::{Issued, Server};

/// What there is to say to a status.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// This, now.
    Order(Order),
    /// Nothing yet; look again at news of the server, and at this time at the latest if it is
    /// given, in milliseconds since 1970.
    Hold {
        /// When the answer changes by itself.
        until_ms: Option<u64>,
    },
}

const NOTHING: Answer = Answer::Hold { until_ms: None };

/// Whether whoever sent `status` waits for its answer; progress is told to nobody in particular.
pub const fn listens(status: &Status) -> bool {
    !matches!(
        status.standing,
        Said::Purposing { .. } | Said::Wiping { .. } | Said::Leaving { .. } | Said::Returning
    )
}

/// The answer to `status`, which the record has taken in already.
pub fn answer(server: &Server, status: &Status, now_ms: u64) -> Answer {
    if !server.enrolment.is_approved() {
        return NOTHING;
    }
    let Some(assignment) = &server.assignment else {
        return adopt(status);
    };
    let is_up = matches!(status.standing, Said::Up { .. });
    if is_up && assignment.drained_ms > now_ms && !server.is_fulfilled() {
        return Answer::Hold { until_ms: Some(assignment.drained_ms) };
    }
    match &assignment.wish {
        Wish::Be { purpose } => be(server, purpose, status),
        Wish::Spare => stay("spare", status),
        Wish::Retired => stay("retired", status),
        Wish::Wiped { wipe, .. } => erase(server, wipe, status),
    }
}

/// A server that nothing was decided about keeps what it has: one that comes with a whole target, as
/// after the controller has lost its memory, boots it.
fn adopt(status: &Status) -> Answer {
    match (&status.standing, &status.seal) {
        (Said::Idle, Some(seal)) => Answer::Order(Order::Boot { sealed: seal.generation }),
        _ => NOTHING,
    }
}

fn be(server: &Server, purpose: &Purpose, status: &Status) -> Answer {
    if let Some(failures) = server.quarantine() {
        return stay(&format!("gave up after {}", failures.code), status);
    }
    let sealed = status.seal.as_ref().filter(|_| server.is_fulfilled());
    let out = server.issued.as_ref().filter(|issued| {
        let is_work = matches!(issued.order, Order::Purpose(_) | Order::Boot { .. });
        is_work && Some(issued.assignment) == server.assignment.as_ref().map(|a| a.number)
    });
    let order = match (&status.standing, sealed, out) {
        (Said::Up { .. }, Some(_), _) => return NOTHING,
        // Busy with the last order, or failed at it: the same again.
        (
            Said::Purposing { .. }
            | Said::Wiping { .. }
            | Said::Leaving { .. }
            | Said::Returning
            | Said::Failed { .. },
            _,
            Some(issued),
        ) => issued.order.clone(),
        (_, Some(seal), _) => Order::Boot { sealed: seal.generation },
        (_, None, _) => Order::Purpose(Box::new(purpose.clone())),
    };
    Answer::Order(order)
}

/// An order to wipe is said until the server tells what it covered, and then held back.
fn erase(server: &Server, wipe: &Wipe, status: &Status) -> Answer {
    match (status.side, &status.standing) {
        (Side::Default, Said::Staying) if server.is_wiped() => NOTHING,
        _ => Answer::Order(Order::Wipe(wipe.clone())),
    }
}

/// An order to stay is said until it is obeyed, and then held back.
fn stay(reason: &str, status: &Status) -> Answer {
    match (status.side, &status.standing) {
        (Side::Default, Said::Staying) => NOTHING,
        _ => Answer::Order(Order::Stay { reason: reason.into() }),
    }
}

impl Server {
    /// Puts an order on record and gives it its generation: that of the last order if it is the
    /// same again for the same assignment, else one that nobody has seen. An event tells of new
    /// ones that are more than a `wait`.
    pub fn issue(
        &mut self,
        order: Order,
        status: &Status,
        now_ms: u64,
    ) -> (Generation, Option<Event>) {
        let assignment = self.assignment.as_ref().map_or(0, |assignment| assignment.number);
        let is_work = matches!(order, Order::Purpose(_) | Order::Boot { .. });
        let before = self.issued.take();
        let same_assignment = before.as_ref().filter(|issued| issued.assignment == assignment);
        let purposed = same_assignment.and_then(|issued| issued.purposed);
        let writes = matches!(order, Order::Purpose(_) | Order::Wipe(_));
        let is_rewrite = writes && same_assignment.is_none();
        let again = before.as_ref().filter(|issued| issued.order == order && !is_rewrite);
        let generation = match again {
            Some(issued) => issued.generation,
            None => self.next_generation(before.as_ref(), status),
        };
        let is_new = again.is_none();
        let name = order_name(&order);
        self.issued = Some(Issued {
            generation,
            assignment,
            purposed: if writes { Some(generation) } else { purposed },
            is_out: is_work,
            order,
        });
        let event = (is_new && name != "wait").then(|| {
            Event::of(self.id, now_ms, EventKind::Order { generation, order: name.into() })
        });
        (generation, event)
    }

    /// Above everything issued here, and above what the server accepted before our time.
    fn next_generation(&self, before: Option<&Issued>, status: &Status) -> Generation {
        match before.map(|issued| issued.generation).max(status.generation) {
            Some(generation) => Generation(generation.0.saturating_add(1)),
            // Generation 0 is the wait of servers that nobody has approved yet.
            None => Generation(u64::from(self.enrolment.is_approved())),
        }
    }
}

const fn order_name(order: &Order) -> &'static str {
    match order {
        Order::Purpose(_) => "purpose",
        Order::Boot { .. } => "boot",
        Order::Stay { .. } => "stay",
        Order::Wipe(_) => "wipe",
        Order::Wait { .. } => "wait",
    }
}
