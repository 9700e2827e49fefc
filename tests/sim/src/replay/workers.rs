//! Workers whose jobs end in a dump's order and as it says. What the target held before it was
//! compared is put there by what the comparison found; what was written since is the simulator's
//! own, so that a read-back which finds something else is found out.

use std::rc::Rc;

use repave_core::edges::{
    Completion, Crew, DeviceError, Job, LinkError, Seen, Slot, Work, WorkError, Workers,
};
use repave_core::event::{Call, Event, Outcome};
use repave_image::ChunkDigest;

use super::script::{Fate, Script};
use crate::crew::Gang;
use crate::events::PANIC;
use crate::machine::Shared;

/// Makes workers that follow a script.
pub(crate) struct ScriptedCrew {
    pub(crate) script: Rc<Script>,
    pub(crate) machine: Shared,
}

impl Crew for ScriptedCrew {
    fn start(&mut self, disk: usize, chunk_bytes: u32) -> Result<Box<dyn Workers>, DeviceError> {
        let slots = match self.script.peek().as_deref() {
            Some(Event::Call(Call::Workers { slots, .. }, _)) => *slots,
            _ => 0,
        };
        let call = Call::Workers { disk, chunk_bytes, slots };
        let failed = |reason: String| DeviceError {
            device: self.machine.borrow().media[disk].facts().name.clone(),
            operation: "start of workers",
            offset_bytes: 0,
            length_bytes: u64::from(chunk_bytes),
            reason,
        };
        match self.script.fate(&call) {
            Fate::Happens => {}
            Fate::Fails(reason) => return Err(failed(reason)),
            Fate::Cut => {
                self.script.cut(&mut self.machine.borrow_mut());
                return Err(failed("power is gone".into()));
            }
        }
        let gang = Gang::new(&self.machine, disk, chunk_bytes, slots);
        let (script, machine) = (Rc::clone(&self.script), Rc::clone(&self.machine));
        Ok(Box::new(ScriptedGang { script, machine, disk, gang }))
    }
}

struct ScriptedGang {
    script: Rc<Script>,
    machine: Shared,
    disk: usize,
    gang: Gang,
}

impl ScriptedGang {
    /// Ends a job as the dump says.
    fn end(&mut self, Job { slot, work }: Job, chunk: u64, outcome: &Outcome) -> Completion {
        let device = |operation, offset_bytes, length_bytes: u32, reason: &String| {
            WorkError::Device(DeviceError {
                device: self.machine.borrow().media[self.disk].facts().name.clone(),
                operation,
                offset_bytes,
                length_bytes: length_bytes.into(),
                reason: reason.clone(),
            })
        };
        let failure = match (outcome, &work) {
            (Outcome::Source(kind, reason), Work::Fetch { source, .. }) => {
                let (peer, reason) = (source.clone(), reason.clone());
                WorkError::Source(LinkError { peer, reason, kind: *kind })
            }
            (Outcome::Device(reason), Work::Write { offset_bytes, length_bytes, .. }) => {
                device("write", *offset_bytes, *length_bytes, reason)
            }
            (Outcome::Device(reason), Work::Read { offset_bytes, length_bytes, .. }) => {
                device("read", *offset_bytes, *length_bytes, reason)
            }
            (Outcome::Device(reason), Work::Zero { offset_bytes, length_bytes, .. }) => {
                device("zero", *offset_bytes, *length_bytes, reason)
            }
            (Outcome::Device(reason), Work::Flush) => device("flush", 0, 0, reason),
            (Outcome::Lied, Work::Fetch { .. }) => {
                self.gang.forget(slot);
                let digest = ChunkDigest::of(b"other bytes");
                return Completion { slot, outcome: Ok(Seen::Fetched { digest }) };
            }
            (Outcome::Same | Outcome::Other, Work::Read { offset_bytes, length_bytes, .. }) => {
                self.find(chunk, (*offset_bytes, *length_bytes), *outcome == Outcome::Same);
                return self.gang.finish(slot);
            }
            (Outcome::Zeroed(written), Work::Zero { offset_bytes, length_bytes, .. }) => {
                self.find_zero((*offset_bytes, *length_bytes), *written == 0);
                let mut ended = self.gang.finish(slot);
                // Of a range that was looked at piece by piece, a part may have been zero.
                if let Ok(Seen::Zeroed { written_bytes }) = &mut ended.outcome {
                    *written_bytes = *written;
                }
                return ended;
            }
            _ => return self.gang.finish(slot),
        };
        self.gang.forget(slot);
        Completion { slot, outcome: Err(failure) }
    }

    /// The field found the right bytes here, or others.
    fn find(&self, chunk: u64, (offset_bytes, length_bytes): (u64, u32), is_same: bool) {
        // What was found before it was written is the field's; what was read back is our own, and
        // only a disk that keeps other bytes than it was told makes it another.
        if is_same && !self.script.is_comparing() {
            return;
        }
        let image = self.script.image();
        let zeroes = vec![0; length_bytes as usize];
        let wanted = image.as_ref().and_then(|image| image.chunk(chunk)).unwrap_or(&zeroes);
        let medium = &mut self.machine.borrow_mut().media[self.disk];
        let mut found = vec![0; wanted.len()];
        medium.read(offset_bytes, &mut found);
        if (found == wanted) == is_same {
            return;
        }
        let mut put = wanted.to_vec();
        if !is_same {
            put[0] ^= 1;
        }
        match self.script.is_comparing() {
            true => medium.hold(offset_bytes, &put),
            false => medium.write_astray(offset_bytes, &put),
        }
    }

    /// The field found zeroes here, or something else, and nobody had looked before.
    fn find_zero(&self, (offset_bytes, length_bytes): (u64, u32), is_zero: bool) {
        let medium = &mut self.machine.borrow_mut().media[self.disk];
        let mut found = vec![0; length_bytes as usize];
        medium.read(offset_bytes, &mut found);
        if found.iter().all(|byte| *byte == 0) != is_zero {
            found.fill(0);
            found[0] = u8::from(!is_zero);
            medium.hold(offset_bytes, &found);
        }
    }
}

impl Workers for ScriptedGang {
    fn slots(&self) -> usize {
        self.gang.slots()
    }

    fn submit(&mut self, job: Job) {
        self.gang.submit(job);
    }

    fn reap(&mut self) -> Completion {
        let is_cut = self.machine.borrow().events.is_cut();
        match self.script.peek().as_deref() {
            _ if is_cut => {}
            Some(Event::Job(chunk, slot, outcome)) => match self.gang.job(Slot(*slot)) {
                Some(job) => return self.end(job, *chunk, outcome),
                None => self.script.give_up(format!("slot {slot} has no job here")),
            },
            Some(Event::Home { life: 2.. }) => panic!("{PANIC}"),
            None | Some(Event::Home { .. }) => self.script.cut(&mut self.machine.borrow_mut()),
            // After a failure the jobs under way are waited for, and nobody tells of them.
            Some(_) => {}
        }
        self.gang.reap()
    }
}
