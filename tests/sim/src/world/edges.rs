//! The edges of a world's default side, and who sees them: the simulator's own, or in a replay the
//! same ones with the answers of a field log.

use std::rc::Rc;

use repave_core::edges::{Configurator, Crew, Disk, Firmware, Host, Link, Power, Watchdog};
use repave_core::journal::{Place as JournalPlace, UpRecord, write_up};

use super::{Place, World};
use crate::bench::Bench;
use crate::configurator::Files;
use crate::crew::Hands;
use crate::disk::Drive;
use crate::firmware::Variables;
use crate::host::Clock;
use crate::pen::Pen;
use crate::power::Switch;
use crate::replay::{Script, Scripted, ScriptedCrew};
use crate::watchdog::Timer;

/// All edges but the disks.
pub(super) struct Around {
    pub(super) firmware: Box<dyn Firmware>,
    pub(super) link: Box<dyn Link>,
    pub(super) crew: Box<dyn Crew>,
    pub(super) configurator: Box<dyn Configurator>,
    pub(super) power: Box<dyn Power>,
    pub(super) watchdog: Box<dyn Watchdog>,
    pub(super) host: Box<dyn Host>,
}

impl World {
    /// The edges, and whose log sees them.
    pub(super) fn edges(&self) -> (Pen, Vec<Box<dyn Disk>>, Around) {
        let machine = || Rc::clone(&self.machine);
        let around = Around {
            firmware: Box::new(Variables(machine())),
            link: Box::new(self.line(self.server())),
            crew: Box::new(Hands(machine())),
            configurator: Box::new(Files(machine())),
            power: Box::new(Switch(machine())),
            watchdog: Box::new(Timer(machine())),
            host: Box::new(Clock(machine())),
        };
        let pen = Pen::new(&self.machine, self.script.as_ref());
        let disks = Drive::all(&self.machine);
        match &self.script {
            None => (pen, disks, around),
            Some(script) => {
                let disks = disks.into_iter().map(|disk| self.scripted(script, disk) as _);
                (pen, disks.collect(), self.all_scripted(script, around))
            }
        }
    }

    fn all_scripted(&self, script: &Rc<Script>, around: Around) -> Around {
        let crew = ScriptedCrew { script: Rc::clone(script), machine: Rc::clone(&self.machine) };
        Around {
            firmware: self.scripted(script, around.firmware),
            link: self.scripted(script, around.link),
            crew: Box::new(crew),
            configurator: self.scripted(script, around.configurator),
            power: self.scripted(script, around.power),
            watchdog: self.scripted(script, around.watchdog),
            host: self.scripted(script, around.host),
        }
    }

    fn scripted<T: ?Sized>(&self, script: &Rc<Script>, edge: Box<T>) -> Box<Scripted<T>> {
        let (script, machine) = (Rc::clone(script), Rc::clone(&self.machine));
        Box::new(Scripted { script, machine, edge })
    }

    /// From now on this field log is lived again.
    pub(crate) fn follow(&mut self, script: Rc<Script>, patience_ms: u64) {
        self.script = Some(script);
        self.patience_ms = patience_ms;
    }

    /// Whether power is off, or comes on again with the next step.
    pub(crate) const fn is_off(&self) -> bool {
        matches!(self.place, Place::Off)
    }

    /// What a resident left in the journal while the target ran.
    pub(crate) fn arrived(&self, up: Option<UpRecord>) {
        let Some(up) = up else {
            return;
        };
        let machine = &mut *self.machine.borrow_mut();
        let place = JournalPlace { disk: 0, offset_bytes: machine.watch.state.start };
        let mut bench = Bench(machine.media[0].clone());
        let written = write_up(place, &mut bench, &up);
        assert!(written.is_ok(), "the bench does not fail");
        machine.media[0] = bench.0;
    }
}
