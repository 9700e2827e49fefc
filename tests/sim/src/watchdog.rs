//! A simulated hardware watchdog: time does not run against it, but who left it armed is seen.

use repave_core::edges::{Watchdog, WatchdogError};
use repave_core::watchdog::Stretch;
use repave_protocol::{Guard, WatchdogReport};

use crate::events::Fate;
use crate::machine::Shared;

/// What the simulated chip is called.
const DEVICE: &str = "i6300ESB timer";

/// The core's way to the watchdog.
#[derive(Debug)]
pub struct Timer(pub Shared);

impl Timer {
    fn act(&mut self, operation: &'static str, then: Option<u32>) -> Result<(), WatchdogError> {
        let machine = &mut *self.0.borrow_mut();
        let fate = machine.events.effect_of_event(&format!("watchdog {operation}"));
        if fate != Fate::Happens || (operation == "stop" && machine.is_watchdog_stuck) {
            let reason = "it does not answer".into();
            return Err(WatchdogError { device: DEVICE.into(), operation, reason });
        }
        machine.watchdog_s = then;
        Ok(())
    }
}

impl Watchdog for Timer {
    fn report(&self) -> WatchdogReport {
        let guard = match self.0.borrow().watchdog_s {
            Some(timeout_s) => Guard::Armed { device: DEVICE.into(), timeout_s },
            None => Guard::NotArmed { reason: "stopped".into() },
        };
        WatchdogReport { guard, expired: false }
    }

    fn begin(&mut self, _: Stretch) {}

    fn arm(&mut self, timeout_s: u32) -> Result<(), WatchdogError> {
        self.act("arm", Some(timeout_s))
    }

    fn disarm(&mut self, _: &'static str) -> Result<(), WatchdogError> {
        self.act("stop", None)
    }
}
