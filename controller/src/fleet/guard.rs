//! What servers say of their hardware watchdogs, and when that is news: one has reset a server, or
//! one that guarded a server does so no longer. What guards a server on its way to a target is said
//! with every departure, and is no news.

use repave_protocol::{Guard, Side, Standing as Said, Status};

use super::event::EventKind;
use super::server::Seen;

/// Whether the default side is guarded, as far as it is known after a status.
pub(super) fn default_armed(status: &Status, before: Option<&Seen>) -> bool {
    match guard(status).filter(|_| status.side == Side::Default) {
        Some(guard) => is_armed(guard),
        None => before.is_some_and(|seen| seen.default_armed),
    }
}

/// What a status says that is news, after `before`.
pub(super) fn news(before: &Seen, status: &Status) -> Vec<EventKind> {
    expired(before, status).into_iter().chain(lost(before, status)).collect()
}

/// Every status of a boot says that it began with such a reset, and a target that kexec started may
/// say it after the default side.
fn expired(before: &Seen, status: &Status) -> Option<EventKind> {
    let said_before = before.watchdog.as_ref().is_some_and(|report| report.expired);
    let is_another = before.boot != status.boot && status.side == Side::Default;
    let is_news = status.watchdog.as_ref()?.expired && (is_another || !said_before);
    let note = "a hardware watchdog reset it: its system had hung".into();
    is_news.then_some(EventKind::Watchdog { expired: true, note })
}

/// A default side is compared with the one before, whatever ran in between; a target only with
/// itself, since the next one may be of an image that feeds none.
fn lost(before: &Seen, status: &Status) -> Option<EventKind> {
    let Guard::NotArmed { reason } = guard(status)? else { return None };
    let (side, was_armed) = match status.side {
        Side::Default => ("default side", before.default_armed),
        Side::Target => {
            let is_same = before.boot == status.boot;
            let guard = before.watchdog.as_ref().map(|report| &report.guard);
            ("target", is_same && guard.is_some_and(is_armed))
        }
    };
    let note = format!("no watchdog guards its {side} any more: {reason}");
    was_armed.then_some(EventKind::Watchdog { expired: false, note })
}

/// What guards the side that speaks, unless it speaks of the way to the other one.
fn guard(status: &Status) -> Option<&Guard> {
    let report = status.watchdog.as_ref()?;
    (!matches!(status.standing, Said::Leaving { .. })).then_some(&report.guard)
}

const fn is_armed(guard: &Guard) -> bool {
    matches!(guard, Guard::Armed { .. })
}
