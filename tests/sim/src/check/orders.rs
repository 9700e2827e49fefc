//! What the orders that a server accepted leave to be booted: I8 for targets that were taken away, and
//! for those that a server boots without a controller. Worked out here from the orders and the journal
//! on stable storage, not asked of the core.

use repave_core::journal::Record;
use repave_protocol::{Generation, Order};

use crate::machine::Machine;
use crate::world::PATIENCE_MS;

/// What was made of the orders so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// The latest one that was followed. The journal may fall back to an earlier one, if accepting
    /// that one ended in a write that failed; it was given all the same.
    followed: Option<Generation>,
    /// Whether the sealed target was taken away by an order, and not given back by one since.
    is_withdrawn: bool,
    /// When the running agent first asked for an order.
    asked_ms: Option<u64>,
}

impl Orders {
    /// An agent's life begins.
    pub(super) const fn begin_life(&mut self) {
        self.asked_ms = None;
    }

    /// The agent asks for an order.
    pub(super) fn ask(&mut self, uptime_ms: u64) {
        self.asked_ms.get_or_insert(uptime_ms);
    }

    /// The journal on stable storage is this one now; `order` is what it accepted last.
    pub(super) fn follow(&mut self, record: &Record, order: Option<&Order>) {
        let under = record.accepted.map(|accepted| accepted.generation);
        let sealed = record.seal.as_ref().map(|seal| seal.generation);
        if under < self.followed {
            return;
        }
        if under > self.followed {
            self.followed = under;
            match order {
                Some(Order::Stay { .. } | Order::Wipe(_) | Order::Purpose(_)) => {
                    self.is_withdrawn = true;
                }
                Some(Order::Boot { sealed: wanted }) if sealed == Some(*wanted) => {
                    self.is_withdrawn = false;
                }
                Some(Order::Boot { .. } | Order::Wait { .. }) | None => {}
            }
        }
        if sealed.is_some() && sealed == under && matches!(order, Some(Order::Purpose(_))) {
            self.is_withdrawn = false;
        }
    }
}

/// A server that was told to stay in default starts no target, unless somebody else put one first, or
/// the firmware kept a BootNext that it was made to forget and the order was not carried out for that.
pub(super) fn i8_is_not_withdrawn(machine: &Machine) -> Result<(), String> {
    let Some(record) = &machine.watch.record else { return Ok(()) };
    let order = record.accepted.and_then(|it| machine.controller.genuine.get(&it.digest));
    let is_carried_out =
        record.staying.is_some() || record.wiping.is_some() || record.wiped.is_some();
    let is_excused = machine.nvram.kept_next && !is_carried_out;
    match order {
        Some(Order::Stay { .. } | Order::Wipe(_)) if machine.watch.is_ordered && !is_excused => {
            Err("it was ordered to stay in default".into())
        }
        _ => Ok(()),
    }
}

/// A server that leaves without a controller has waited as long as it should, and boots nothing that
/// an order took away.
pub(super) fn i8_alone_in_time(machine: &mut Machine) -> Result<(), String> {
    let seal = machine.watch.record.as_ref().and_then(|record| record.seal.as_ref());
    if !seal.is_some_and(|seal| seal.alone) {
        return Ok(());
    }
    machine.watch.counts.add("left-alone", 1);
    let orders = &machine.watch.orders;
    if orders.is_withdrawn {
        return Err("it boots by itself what an order took away".into());
    }
    let asked_ms = orders.asked_ms.ok_or("it boots by itself and has asked nobody")?;
    let waited_ms = machine.events.uptime_ms() - asked_ms;
    if waited_ms < PATIENCE_MS {
        return Err(format!("it boots by itself after {waited_ms} ms"));
    }
    Ok(())
}
