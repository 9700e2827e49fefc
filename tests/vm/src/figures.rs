//! What a road took, for people: printed, never asserted.

use std::fmt;
use std::io::{self, Write};

use repave_controller_stub::{Stub, TimelineEvent};
use repave_protocol::{ServerId, Side};

/// What the agent says of its memory when it leaves, before the number of KiB.
const PEAK_MEMORY: &str = "peak memory of the agent was ";
/// DESIGN's bar for it.
const PEAK_MEMORY_BAR_KIB: u64 = 64 * 1024;

/// Figures of one server.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Whose.
    pub server: ServerId,
    /// Its name.
    pub name: String,
    /// Guest uptime at the first status of each boot into default, in milliseconds.
    pub first_status_uptimes_ms: Vec<u64>,
    /// The most memory that the agent had resident, if its console tells.
    pub peak_memory_kib: Option<u64>,
    /// What it reached when.
    pub timeline: Vec<TimelineEvent>,
}

impl Figures {
    /// The figures of a server so far.
    pub(crate) fn of(stub: &Stub, server: ServerId, name: &str, console: &[String]) -> Self {
        let statuses = stub.statuses(server).into_iter().map(|record| record.status);
        let firsts = statuses.filter(|status| status.side == Side::Default && status.sequence == 0);
        Self {
            server,
            name: name.into(),
            first_status_uptimes_ms: firsts.map(|status| status.uptime_ms).collect(),
            peak_memory_kib: console.iter().filter_map(|line| peak_memory_kib(line)).max(),
            timeline: stub.timeline(server),
        }
    }
}

/// The peak memory of an agent against its bar, in words; none if it is not known.
pub fn memory_words(peak_memory_kib: Option<u64>) -> String {
    let Some(kib) = peak_memory_kib else {
        return String::new();
    };
    let verdict = if kib <= PEAK_MEMORY_BAR_KIB { "met" } else { "MISSED" };
    format!(", peak memory {:.1} MiB (at most 64: {verdict})", kib as f64 / 1024.0)
}

/// What a line of a console says of the agent's memory.
pub fn peak_memory_kib(line: &str) -> Option<u64> {
    line.split_once(PEAK_MEMORY)?.1.split_whitespace().next()?.parse().ok()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: guest uptime at first status", self.name)?;
        for uptime_ms in &self.first_status_uptimes_ms {
            write!(f, " {:.1} s", *uptime_ms as f64 / 1e3)?;
        }
        write!(f, "{}; road", memory_words(self.peak_memory_kib))?;
        let mut last_s = self.timeline.first().map_or(0.0, |event| event.at_s);
        for event in &self.timeline {
            write!(f, " {} +{:.1}", event.event, event.at_s - last_s)?;
            last_s = event.at_s;
        }
        write!(f, " s")
    }
}

/// Says a line even where the test harness keeps what tests print.
pub fn say(line: &str) {
    // Nobody is told when nobody listens.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
