//! The ways out of a simulated kernel. Leaving is noted; the world sees the note and moves on.

use repave_core::edges::{KexecImage, Power, PowerError};

use crate::check::{self, Step};
use crate::events::Fate;
use crate::faults::Fault;
use crate::machine::{Exit, Shared};

/// The core's way out.
#[derive(Debug)]
pub struct Switch(pub Shared);

impl Switch {
    fn act(&mut self, operation: &'static str, exit: Option<Exit>) -> Result<(), PowerError> {
        let machine = &mut *self.0.borrow_mut();
        let broken = machine.broken_power.contains(&operation);
        let fate = machine.effect_of_event(operation);
        let fault = if operation == "reboot" { Fault::RebootFails } else { Fault::KexecFails };
        let broken = broken || machine.dice.strikes(fault);
        if fate != Fate::Happens || broken {
            return Err(PowerError { operation, reason: "not permitted".into() });
        }
        machine.exit = exit;
        Ok(())
    }
}

impl Power for Switch {
    fn load(&mut self, image: &KexecImage) -> Result<(), PowerError> {
        self.act("kexec load", None)?;
        let machine = &mut *self.0.borrow_mut();
        machine.loaded = Some(image.clone());
        check::after(machine, &Step::Loaded);
        Ok(())
    }

    fn kexec(&mut self) -> Result<(), PowerError> {
        let loaded = self.0.borrow().loaded.clone();
        let Some(image) = loaded else {
            return Err(PowerError { operation: "kexec", reason: "no kernel is loaded".into() });
        };
        self.act("kexec", Some(Exit::Kexec(image)))
    }

    fn reboot(&mut self) -> Result<(), PowerError> {
        self.act("reboot", Some(Exit::Reboot))
    }
}
