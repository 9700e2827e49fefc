//! What happened, in order, one line each: the events at the core's edges, in the form of the field
//! log, and among them notes of what the world did. The same seed gives the same lines (I13). Here
//! the clock ticks, and here it is decided at which effect power is cut or a device fails.

use repave_core::event::{Event, Line};

/// What a simulated panic says.
pub const PANIC: &str = "index out of bounds, or so";

/// What becomes of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It happens.
    Happens,
    /// The device refuses it.
    Fails,
    /// Power is cut while it is under way; whether it happened is for chance to say.
    InFlight,
    /// Power is gone already.
    Gone,
}

/// The log of a world, with its clock.
#[derive(Clone, Debug, Default)]
pub struct Events {
    lines: Vec<String>,
    clock_ms: u64,
    powered_on_ms: u64,
    effects: u64,
    cut_at: Option<u64>,
    fail_at: Option<u64>,
    panic_at: Option<u64>,
    stray_at: Option<u64>,
    calls: u64,
    fail_call_at: Option<u64>,
    uptime_offset_ms: u64,
    is_cut: bool,
}

impl Events {
    /// Writes a line about something that changes nothing.
    pub fn note(&mut self, line: &str) {
        self.lines.push(format!("{:>8} {line}", self.clock_ms));
    }

    /// Writes the line of an event at the core's edges, in the form of the field log.
    pub fn event(&mut self, event: Event) {
        let uptime_ms = self.uptime_ms();
        self.lines.push(Line { uptime_ms, event }.to_string());
    }

    /// Writes a line about an effect, and says what becomes of it. Every effect takes a millisecond.
    pub fn effect(&mut self, line: &str) -> Fate {
        self.effect_of(line, true)
    }

    /// The same, with no line if it happens: an event will tell.
    pub fn effect_of_event(&mut self, line: &str) -> Fate {
        self.effect_of(line, false)
    }

    fn effect_of(&mut self, line: &str, is_told: bool) -> Fate {
        if self.is_cut {
            return Fate::Gone;
        }
        self.clock_ms += 1;
        let number = self.effects;
        self.effects += 1;
        if self.cut_at == Some(number) {
            self.is_cut = true;
            self.note(&format!("{line}: power cut"));
            return Fate::InFlight;
        }
        let refused = self.is_refused();
        if self.fail_at == Some(number) || refused {
            self.note(&format!("{line}: fails"));
            return Fate::Fails;
        }
        if is_told {
            self.note(line);
        }
        if self.panic_at == Some(number) {
            panic!("{PANIC}");
        }
        Fate::Happens
    }

    /// Counts a call that changes nothing, and says whether it fails.
    pub fn fails(&mut self, line: &str) -> bool {
        let refused = self.is_refused();
        if refused {
            self.note(&format!("{line}: fails"));
        }
        refused
    }

    fn is_refused(&mut self) -> bool {
        let number = self.calls;
        self.calls += 1;
        self.fail_call_at == Some(number)
    }

    /// Cuts power at effect number `number`, counted from the world's beginning.
    pub const fn cut_at(&mut self, number: u64) {
        self.cut_at = Some(number);
    }

    /// Lets effect number `number` fail, counted from the world's beginning.
    pub const fn fail_at(&mut self, number: u64) {
        self.fail_at = Some(number);
    }

    /// Sends the write that is effect number `number`, counted from the world's beginning, elsewhere.
    pub const fn stray_at(&mut self, number: u64) {
        self.stray_at = Some(number);
    }

    /// Whether the effect that was the last is a write that goes elsewhere.
    pub fn strays(&self) -> bool {
        self.stray_at.is_some_and(|number| number + 1 == self.effects)
    }

    /// Lets the agent panic at effect number `number`, counted from the world's beginning.
    pub const fn panic_at(&mut self, number: u64) {
        self.panic_at = Some(number);
    }

    /// Lets call number `number` fail, whether it has an effect or not.
    pub const fn fail_call_at(&mut self, number: u64) {
        self.fail_call_at = Some(number);
    }

    /// Calls of any edge so far.
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    /// Effects so far.
    pub const fn effects(&self) -> u64 {
        self.effects
    }

    /// Whether power is gone.
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Power is gone from here on.
    pub const fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Power is back.
    pub const fn power_on(&mut self) {
        self.is_cut = false;
        self.powered_on_ms = self.clock_ms;
        self.uptime_offset_ms = 0;
    }

    /// The clock of the system that starts begins elsewhere.
    pub const fn set_uptime(&mut self, uptime_ms: u64) {
        self.uptime_offset_ms = uptime_ms;
    }

    /// Time since power came on.
    pub const fn uptime_ms(&self) -> u64 {
        self.uptime_offset_ms + self.clock_ms - self.powered_on_ms
    }

    /// Time since the world began.
    pub const fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Lets time pass.
    pub const fn sleep(&mut self, duration_ms: u64) {
        self.clock_ms += duration_ms;
    }

    /// All lines, which leaves none here.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// All lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
