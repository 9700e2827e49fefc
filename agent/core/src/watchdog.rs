//! What is decided about hardware watchdogs: which of several guards the server, how long each
//! stretch of the agent's life may take before it is no longer fed, and whether it stays armed
//! while a target starts. Opening and feeding are the agent's ([`crate::edges::Watchdog`]).
//! Why so: docs/decisions/0018-watchdog.md.

use repave_protocol::BootMethod;

use crate::edges::{Watchdog, WatchdogError};
use crate::journal::Seal;

/// Time-out while the agent runs, in seconds. It is fed far more often; the slack is for a machine
/// whose disks or management firmware stall all of it.
pub const TIMEOUT_S: u32 = 120;
/// Watchdogs that are known to reset the machine by themselves, by the identity that their drivers
/// give (`WDIOC_GETSUPPORT`), best first. The first one is a chip of its own, which its driver stops
/// when it finds it; firmware may have had its hands in the other. A timer of the kernel's own, such
/// as softdog, dies with the kernel, so that a list of what is refused would never be complete.
pub const KNOWN: [&str; 2] = ["i6300ESB timer", "iTCO_wdt"];

/// A watchdog of the system, before it is opened: opening starts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its number, `/dev/watchdogN`.
    pub number: u32,
    /// What its driver calls it.
    pub identity: String,
    /// Whether it can never be stopped again once it runs.
    pub no_way_out: bool,
    /// Whether it says that it caused the last reset.
    pub expired: bool,
}

/// Which of them guards the server, or why none does. The same ones in another order give the same.
pub fn choose(found: &[Candidate]) -> Result<&Candidate, &'static str> {
    if found.is_empty() {
        return Err("no watchdog was found");
    }
    let rank = |candidate: &Candidate| KNOWN.iter().position(|name| *name == candidate.identity);
    let known = || found.iter().filter(|candidate| rank(candidate).is_some());
    if known().next().is_none() {
        return Err("no watchdog is of a kind that is known to be hardware");
    }
    known()
        .filter(|candidate| !candidate.no_way_out)
        .min_by_key(|candidate| (rank(candidate), candidate.number))
        .ok_or("the watchdog could not be stopped again for a target that does not feed it")
}

/// What the agent is about. Waiting is progress, as long as it is for something that has a name and
/// an end; what takes longer than its bound is a hang, and starves the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Until disks and a first address are there, or this was given up and tried again.
    ComingHome,
    /// Work between two other stretches: journal, plan, partition tables, boot variables, manifest.
    Working,
    /// A question to each controller in turn, a long poll each.
    Asking {
        /// How many controllers there are.
        controllers: usize,
    },
    /// A pause that was ordered, or that follows a failure.
    Pausing {
        /// How long.
        pause_ms: u64,
    },
    /// Up to eight pages of an index, whose sources may all be slow.
    Sampling,
    /// Until the next job of the transfer's workers ends, an index page in between.
    Transferring,
    /// Settings, written or compared.
    Configuring,
    /// The last words, and the way out.
    Leaving,
}

/// What a stretch may take beyond what was foreseen: a machine that swaps, a disk that retries.
const SLACK_MS: u64 = 60_000;
/// The wait for an address is a minute, pauses between tries are half a minute, and a disk that
/// does not answer is given up by the kernel after minutes.
const HOME_MS: u64 = 10 * 60_000;
/// Eight attempts at a blob of the library come first; then a few requests to disks and firmware.
const WORK_MS: u64 = 15 * 60_000;
/// A long poll of 90 s, and as much time for connecting.
const ASK_MS: u64 = 120_000;
/// A fetch has two minutes by its length, a page of the index eight attempts.
const TRANSFER_MS: u64 = 15 * 60_000;
/// A file system that replays its log, and a disk that writes back all of its cache.
const CONFIGURE_MS: u64 = 15 * 60_000;
/// What is told has 5 s to leave; loading a kernel reads it from the disk.
const LEAVE_MS: u64 = 2 * 60_000;

impl Stretch {
    /// How long it may take.
    pub const fn bound_ms(self) -> u64 {
        let foreseen_ms = match self {
            Self::ComingHome => HOME_MS,
            Self::Working => WORK_MS,
            Self::Asking { controllers } => ASK_MS.saturating_mul(controllers as u64),
            Self::Pausing { pause_ms } => pause_ms,
            Self::Sampling => 8 * WORK_MS,
            Self::Transferring => TRANSFER_MS,
            Self::Configuring => CONFIGURE_MS,
            Self::Leaving => LEAVE_MS,
        };
        foreseen_ms.saturating_add(SLACK_MS)
    }
}

/// Whether the watchdog is fed at a time. Nothing is fed before the first stretch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vigil {
    stretch: Option<(Stretch, u64)>,
}

impl Vigil {
    /// A stretch begins; the one before it is over.
    pub const fn begin(&mut self, stretch: Stretch, now_ms: u64) {
        self.stretch = Some((stretch, now_ms));
    }

    /// Whether the agent is still within what it began.
    pub fn feeds(&self, now_ms: u64) -> bool {
        self.stretch.is_some_and(|(stretch, began_ms)| {
            now_ms.saturating_sub(began_ms) <= stretch.bound_ms()
        })
    }

    /// What was begun last.
    pub fn stretch(&self) -> Option<Stretch> {
        self.stretch.map(|(stretch, _)| stretch)
    }
}

/// Has the watchdog run on while a target starts only if the target feeds it, and stops it if not.
/// One that does not stop would reset the target again and again, so it is an error.
pub(crate) fn hand_over(
    seal: &Seal,
    method: BootMethod,
    watchdog: &mut dyn Watchdog,
) -> Result<(), WatchdogError> {
    let armed = across(seal.watchdog_s, method).and_then(|timeout_s| {
        watchdog.arm(timeout_s).map_err(|error| {
            log::error!("{error}");
            "it could not be armed for the target"
        })
    });
    armed.or_else(|reason| watchdog.disarm(reason))
}

/// With which time-out in seconds it stays armed, or why it does not. By firmware it never does:
/// some boards reset the timer with the machine and some do not, and a long self-test must not be
/// cut.
fn across(fed_s: Option<u32>, method: BootMethod) -> Result<u32, &'static str> {
    let fed_s = fed_s.ok_or("the settings installed no feeder in the target")?;
    match method {
        BootMethod::Kexec => Ok(fed_s),
        _ => Err("the firmware starts the target, which arms it itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: u32, identity: &str) -> Candidate {
        Candidate { number, identity: identity.into(), ..Candidate::default() }
    }

    #[test]
    fn one_that_is_known_and_can_be_stopped_is_chosen_whatever_their_order() {
        let locked =
            |number, identity| Candidate { no_way_out: true, ..candidate(number, identity) };
        let (esb, tco) = ("i6300ESB timer", "iTCO_wdt");
        let unknown = Err("no watchdog is of a kind that is known to be hardware");
        let cases = [
            (vec![], Err("no watchdog was found")),
            (vec![candidate(0, "Software Watchdog")], unknown),
            (vec![candidate(0, "Software Watchdog"), candidate(1, tco)], Ok(1)),
            (vec![candidate(0, tco), candidate(1, esb)], Ok(1)),
            (vec![candidate(3, tco), candidate(2, tco)], Ok(2)),
            (vec![locked(0, esb), candidate(1, tco)], Ok(1)),
            (
                vec![locked(0, tco)],
                Err("the watchdog could not be stopped again for a target that does not feed it"),
            ),
        ];
        for (mut found, expected) in cases {
            for _ in 0..2 {
                assert_eq!(choose(&found).map(|chosen| chosen.number), expected, "{found:?}");
                found.reverse();
            }
        }
    }

    #[test]
    fn it_stays_armed_across_kexec_into_a_target_that_feeds_it_and_nowhere_else() {
        let no_feeder = Err("the settings installed no feeder in the target");
        let by_firmware = Err("the firmware starts the target, which arms it itself");
        assert_eq!(across(Some(180), BootMethod::Kexec), Ok(180));
        assert_eq!(across(None, BootMethod::Kexec), no_feeder);
        assert_eq!(across(Some(180), BootMethod::Firmware), by_firmware);
        assert_eq!(across(None, BootMethod::Firmware), no_feeder);
    }

    #[test]
    fn it_is_fed_as_long_as_what_was_begun_may_take_and_not_longer() {
        let mut vigil = Vigil::default();
        assert!(!vigil.feeds(0), "nobody has begun anything");
        for stretch in [
            Stretch::ComingHome,
            Stretch::Working,
            Stretch::Asking { controllers: 2 },
            Stretch::Pausing { pause_ms: 600_000 },
            Stretch::Sampling,
            Stretch::Transferring,
            Stretch::Configuring,
            Stretch::Leaving,
        ] {
            vigil.begin(stretch, 1_000);
            let last_ms = 1_000 + stretch.bound_ms();
            assert!(vigil.feeds(1_000) && vigil.feeds(last_ms), "{stretch:?}");
            assert!(!vigil.feeds(last_ms + 1), "{stretch:?}");
            // Whoever goes on after all is fed again.
            vigil.begin(stretch, last_ms + 1);
            assert!(vigil.feeds(last_ms + 1), "{stretch:?}");
        }
        let asking = |controllers| Stretch::Asking { controllers }.bound_ms();
        assert!(asking(usize::MAX) > asking(3) && asking(3) > 3 * 90_000);
    }
}
