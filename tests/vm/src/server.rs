//! One server of a lab: a machine, and what it reports. A wait goes through its statuses in their
//! order and starts where the last one ended, so that a test reads like the road it watches.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use repave_controller_stub::{Answer, Event, Record};
use repave_protocol::{Fault, Order, ServerId, Sha256, Side, Stage, Standing, Status};
use repave_qemu::HANG_GUARD;
use repave_qemu::console::Console;
use repave_qemu::spec::VmSpec;
use repave_qemu::vm::{Machine, Running};

use crate::figures::{Figures, say};
use crate::lab::Lab;
use crate::raw_disk::RawDisk;
use crate::variables::Variables;

/// How often a wait looks whether the machine is still there.
const LOOK: Duration = Duration::from_secs(2);
/// How often events without a wait of their own are looked at.
const POLL: Duration = Duration::from_millis(50);
/// Long enough for a test to set the rest of the scene.
const FIRST_WAIT_MS: u64 = 2_000;
const SHORT_WAIT_MS: u64 = 50;
/// Long enough for a test to look at everything before the server asks again.
const LAST_WAIT_MS: u64 = 300_000;
/// How many lines of the console a failed wait shows.
const TAIL_LINES: usize = 30;

/// A server, on or off.
pub struct Server<'lab> {
    lab: &'lab Lab,
    machine: Machine,
    running: Option<Running>,
    powered_on: Option<Instant>,
    id: Option<ServerId>,
    /// Index of the first status that no wait has passed.
    next: usize,
}

impl<'lab> Server<'lab> {
    pub(crate) fn new(lab: &'lab Lab, spec: VmSpec) -> Result<Self> {
        let machine = Machine::new(spec)?;
        Ok(Self { lab, machine, running: None, powered_on: None, id: None, next: 0 })
    }

    /// Its name, which is also the system's serial number.
    pub fn name(&self) -> &str {
        &self.machine.spec().name
    }

    /// Its machine.
    pub const fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The first of its disks.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub fn disk(&self) -> Result<RawDisk> {
        let disk = self.machine.spec().disks.first().context("a machine without disks")?;
        RawDisk::with_blocks(disk.path(), disk.block_bytes())
    }

    /// The firmware's variables, as they are now.
    ///
    /// # Errors
    /// The variable store cannot be read.
    pub fn variables(&self) -> Result<Variables> {
        Variables::read(&self.variable_store())
    }

    /// The file that the firmware keeps its variables in.
    pub fn variable_store(&self) -> PathBuf {
        self.machine.spec().dir.join("OVMF_VARS.fd")
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn power_on(&mut self) -> Result<()> {
        self.powered_on = Some(Instant::now());
        self.running = Some(self.machine.power_on()?);
        Ok(())
    }

    /// The running machine.
    ///
    /// # Errors
    /// It is off.
    pub fn running(&self) -> Result<&Running> {
        self.running.as_ref().with_context(|| format!("{} is off", self.name()))
    }

    /// Kills the machine where it stands.
    ///
    /// # Errors
    /// It is off.
    pub fn kill(&mut self) -> Result<()> {
        let running = self.running.take();
        Ok(running.with_context(|| format!("{} is off", self.name()))?.kill()?)
    }

    /// Ends its road: says its figures, kills it, and sees that p1 is what it was.
    ///
    /// # Errors
    /// It is off, or its disk cannot be read.
    ///
    /// # Panics
    /// A byte of p1 has changed.
    pub fn end(&mut self, default_partition: Sha256) -> Result<()> {
        say(&self.figures()?.to_string());
        self.kill()?;
        assert_eq!(self.disk()?.default_partition()?, default_partition, "p1 never changes");
        Ok(())
    }

    /// Waits for a line of the console.
    ///
    /// # Errors
    /// It does not come.
    pub fn console(&self, pattern: &str) -> Result<String> {
        let console: &Console = self.running()?.console();
        console.wait_for(pattern, HANG_GUARD).with_context(|| format!("console of {}", self.name()))
    }

    /// Its id, which its first status tells.
    ///
    /// # Errors
    /// It has not reported yet.
    pub fn id(&self) -> Result<ServerId> {
        self.id.with_context(|| format!("{} has not reported yet", self.name()))
    }

    /// Approves it, and sets what it should do or be.
    ///
    /// # Errors
    /// It has not reported yet.
    pub fn order(&self, order: Order) -> Result<()> {
        let id = self.id()?;
        self.lab.stub().set_order(id, order);
        self.lab.stub().approve(id);
        Ok(())
    }

    /// Answers its next questions with `answers`, one by one, and gives the fault that it reports
    /// after each; `None` where it reports none. An order that waits stands between two answers,
    /// and a long one behind the last, so that failures do not add up to long pauses. Meanwhile
    /// the stub wishes for `wish`, which is what hostile answers carry.
    ///
    /// # Errors
    /// An answer is not asked for, or the machine ends.
    pub fn try_answers(
        &mut self,
        answers: &[Answer],
        wish: Option<Order>,
    ) -> Result<Vec<Option<Fault>>> {
        let (stub, id) = (self.lab.stub(), self.id()?);
        if let Some(wish) = wish {
            stub.set_order(id, wish);
        }
        // Not yet approved, it is wished for nothing: the first answer is a wait in any case.
        let wait = |after_ms| Answer::Order(Order::Wait { after_ms });
        let mut script = vec![wait(FIRST_WAIT_MS)];
        for (number, answer) in (0..).zip(answers) {
            // Each wait is another one, so that each has a generation of its own.
            script.extend([answer.clone(), wait(SHORT_WAIT_MS + number)]);
        }
        let last = script.pop().map(|_| wait(LAST_WAIT_MS));
        script.extend(last.clone());
        stub.set_script(id, script);
        stub.approve(id);
        let is_last = |record: &Record| {
            record.status.server == id
                && last.is_some()
                && record.answer.as_ref().map(|answered| &answered.answer) == last.as_ref()
        };
        let what = || format!("{}: its last scripted answer", self.name());
        stub.wait_for(is_last, HANG_GUARD).with_context(what)?;
        let questions: Vec<Record> = stub
            .statuses(id)
            .into_iter()
            .filter(|record| record.index >= self.next && asks(&record.status))
            .collect();
        self.next = questions.last().map_or(self.next, |record| record.index + 1);
        let is_to = |record: &Record, answer: &Answer| {
            record.answer.as_ref().is_some_and(|answered| answered.answer == *answer)
        };
        let mut pairs = questions.windows(2);
        let mut fault_after = |answer: &Answer| {
            let pair = pairs.find(|pair| is_to(&pair[0], answer));
            pair.and_then(|pair| failure(&pair[1].status).cloned())
        };
        Ok(answers.iter().map(&mut fault_after).collect())
    }

    /// Waits for the first status of a boot into default.
    ///
    /// # Errors
    /// It does not come.
    pub fn first_status(&mut self) -> Result<Record> {
        let first = |status: &Status| status.side == Side::Default && status.sequence == 0;
        self.wait_past_failures("first status of a boot into default", first)
    }

    /// Waits until its target is up as `server_type`.
    ///
    /// # Errors
    /// It does not come up, or the server fails.
    pub fn up(&mut self, server_type: &str) -> Result<Record> {
        self.wait(&format!("up as {server_type}"), |status| {
            let seal = status.seal.as_ref();
            matches!(status.standing, Standing::Up { .. })
                && seal.is_some_and(|seal| seal.server_type == server_type)
        })
    }

    /// Waits for the next status that fits.
    ///
    /// # Errors
    /// It does not come, the machine ends, or a status says that the server failed.
    pub fn wait(&mut self, what: &str, mut fits: impl FnMut(&Status) -> bool) -> Result<Record> {
        let record =
            self.wait_past_failures(what, |status| failure(status).is_some() || fits(status))?;
        match failure(&record.status) {
            Some(fault) if !fits(&record.status) => {
                bail!("{}: no {what}: {}: {}", self.name(), fault.code, fault.message)
            }
            _ => Ok(record),
        }
    }

    /// Waits until it reports a failure under this name.
    ///
    /// # Errors
    /// It does not come, or the machine ends.
    pub fn failed(&mut self, code: &str) -> Result<Fault> {
        let record = self.wait_past_failures(code, |status| {
            failure(status).is_some_and(|fault| fault.code == code)
        })?;
        failure(&record.status).cloned().context("a failure without a fault")
    }

    /// Waits until the controller has struck with a fault.
    ///
    /// # Errors
    /// Nothing asked for what the fault strikes, before the target was up.
    pub fn struck(&self) -> Result<()> {
        let deadline = Instant::now() + HANG_GUARD;
        let (stub, id) = (self.lab.stub(), self.id()?);
        let strikes = |event: &Event| matches!(event, Event::Fault { .. });
        let is_up = |record: &Record| {
            record.index >= self.next && matches!(record.status.standing, Standing::Up { .. })
        };
        loop {
            // Looked at first: what struck, struck before the target was up.
            let arrived = stub.statuses(id).iter().any(is_up);
            if stub.events().iter().any(strikes) {
                return Ok(());
            }
            if arrived || Instant::now() > deadline || !self.is_on() {
                let end = if arrived { "its target is up, and " } else { "" };
                bail!("{}: {end}no fault struck\n{}", self.name(), self.last_words());
            }
            thread::sleep(POLL);
        }
    }

    /// What this server's road took so far.
    ///
    /// # Errors
    /// It has not reported yet.
    pub fn figures(&self) -> Result<Figures> {
        let console = self.running.as_ref().map(|vm| vm.console().lines());
        let console = console.transpose()?.unwrap_or_default();
        Ok(Figures::of(self.lab.stub(), self.id()?, self.name(), &console))
    }

    /// The next status that fits, if there is one within `limit`; the next call goes on after it.
    pub fn next_within(
        &mut self,
        limit: Duration,
        mut fits: impl FnMut(&Status) -> bool,
    ) -> Option<Record> {
        let stub = self.lab.stub();
        let fits = |record: &Record| {
            record.index >= self.next && self.is_own(&record.status) && fits(&record.status)
        };
        let record = stub.wait_for(fits, limit).ok()?;
        self.next = record.index + 1;
        if self.id.is_none() {
            self.id = Some(record.status.server);
            if let Some(at) = self.powered_on {
                stub.mark_power_on(record.status.server, at);
            }
        }
        Some(record)
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.running.as_ref().is_some_and(|vm| vm.wait_for_exit(Duration::ZERO).is_err())
    }

    /// Waits for the next status that fits, whatever failures are reported meanwhile.
    ///
    /// # Errors
    /// It does not come, or the machine ends.
    pub fn wait_past_failures(
        &mut self,
        what: &str,
        mut fits: impl FnMut(&Status) -> bool,
    ) -> Result<Record> {
        let deadline = Instant::now() + HANG_GUARD;
        loop {
            match self.next_within(LOOK, &mut fits) {
                Some(record) => return Ok(record),
                None if Instant::now() < deadline && self.is_on() => {}
                None => bail!("{}: no {what}\n{}", self.name(), self.last_words()),
            }
        }
    }

    fn is_own(&self, status: &Status) -> bool {
        match (self.id, &status.inventory) {
            (Some(id), _) => status.server == id,
            (None, Some(inventory)) => inventory.dmi.serial.as_deref() == Some(self.name()),
            (None, None) => false,
        }
    }

    fn last_words(&self) -> String {
        let Some(vm) = &self.running else {
            return "it is off".into();
        };
        let lines = vm.console().lines().unwrap_or_default();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("last lines of its console:\n{}", tail.join("\n"))
    }
}

/// Whether the server waits for the answer; progress is only told.
const fn asks(status: &Status) -> bool {
    !matches!(
        status.standing,
        Standing::Purposing { .. }
            | Standing::Wiping { .. }
            | Standing::Leaving { .. }
            | Standing::Returning
    )
}

/// The fault that a status reports.
pub const fn failure(status: &Status) -> Option<&Fault> {
    match &status.standing {
        Standing::Failed { fault } => Some(fault),
        _ => None,
    }
}

/// The stage that a status reports.
pub const fn stage(status: &Status) -> Option<Stage> {
    match &status.standing {
        Standing::Purposing { stage, .. } => Some(*stage),
        _ => None,
    }
}
