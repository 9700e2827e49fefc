//! What servers tell besides where they stand: the logs of failures, and what guards them.

use repave_protocol::{Guard, LogTail, SourceReport, WatchdogReport};

use super::{
    Blame, BootMethod, EventKind, Life, Said, SealReport, Status, failed, order_for, seal, up,
};
use crate::fleet::FailureLog;

const MINUTE_MS: u64 = 60_000;

impl Life {
    /// Reports a failure with a log of one line; what is to be kept of it.
    fn fail(&mut self, line: &str) -> Option<FailureLog> {
        let log = Some(LogTail::of(line.as_bytes(), b""));
        let status = Status { log, ..self.status(failed(Blame::Image), None) };
        self.take_in(&status)
    }

    fn take_in(&mut self, status: &Status) -> Option<FailureLog> {
        self.report(status);
        self.server.take_log(status, self.now_ms)
    }

    /// Reports what guards it; what is told of that.
    fn guarded(&mut self, said: Said, seal: Option<SealReport>, guard: Guard) -> Vec<String> {
        self.watched(said, seal, WatchdogReport { guard, expired: false })
    }

    /// Reports bad sources; what is told of them.
    fn names(&mut self, said: Said, bad_sources: &[SourceReport]) -> Vec<String> {
        let before = self.events.len();
        let status = Status { bad_sources: bad_sources.to_vec(), ..self.status(said, None) };
        self.report(&status);
        let told = self.events[before..].iter().filter_map(|kind| match kind {
            EventKind::Source { note, .. } => Some(note.clone()),
            _ => None,
        });
        told.collect()
    }

    fn watched(
        &mut self,
        said: Said,
        seal: Option<SealReport>,
        report: WatchdogReport,
    ) -> Vec<String> {
        let before = self.events.len();
        let status = Status { watchdog: Some(report), ..self.status(said, seal) };
        self.report(&status);
        let notes = self.events[before..].iter().filter_map(|kind| match kind {
            EventKind::Watchdog { note, .. } => Some(note.clone()),
            _ => None,
        });
        notes.collect()
    }
}

fn kept(log: &Option<FailureLog>) -> Option<&str> {
    log.as_ref().map(|log| log.log.agent[0].as_str())
}

fn armed() -> Guard {
    Guard::Armed { device: "i6300ESB timer".into(), timeout_s: 120 }
}

fn not_armed(reason: &str) -> Guard {
    Guard::NotArmed { reason: reason.into() }
}

#[test]
fn the_log_of_a_failure_is_kept_and_one_that_is_told_again_only_now_and_then() {
    let mut life = Life::approved();
    life.be("web");
    life.check(Said::Idle, None, (1, order_for("web")));
    let first = life.fail("first");
    assert_eq!(kept(&first), Some("first"));
    assert_eq!(first.map(|log| (log.at_ms, log.fault.code)), Some((life.now_ms, "chunk".into())));
    assert_eq!(kept(&life.fail("again")), None, "a second later");
    // Another fault, another boot, another order: each is another failure.
    let mut other = life.status(failed(Blame::Image), None);
    if let Said::Failed { fault } = &mut other.standing {
        fault.code = "other".into();
    }
    other.log = Some(LogTail::of(b"another fault", b""));
    assert_eq!(kept(&life.take_in(&other)), Some("another fault"));
    assert_eq!(kept(&life.fail("back")), Some("back"));
    life.boot = 1;
    assert_eq!(kept(&life.fail("another boot")), Some("another boot"));
    life.be("db");
    assert_eq!(kept(&life.fail("told before it heard")), None);
    assert_eq!(kept(&life.fail("under the new order")), Some("under the new order"));
    life.now_ms += MINUTE_MS;
    assert_eq!(kept(&life.fail("a minute later")), Some("a minute later"));
    // A success takes nothing away.
    let logged = life.server.logged.clone();
    let status = life.status(up(), seal("db", 3));
    assert_eq!(life.take_in(&status), None);
    assert!(life.server.logged.is_some() && life.server.logged == logged);
}

#[test]
fn what_was_overtaken_and_what_strangers_tell_is_not_kept() {
    let mut stranger = Life::new();
    assert_eq!(stranger.fail("a stranger's"), None);
    assert_eq!(stranger.server.logged, None);
    let mut life = Life::approved();
    let late =
        Status { log: Some(LogTail::of(b"late", b"")), ..life.status(failed(Blame::Image), None) };
    let status = life.status(Said::Idle, None);
    life.report(&status);
    assert_eq!(life.take_in(&late), None);
}

#[test]
fn a_server_that_never_failed_has_a_record_that_says_nothing_of_logs() {
    let mut life = Life::approved();
    let status = life.status(up(), seal("web", 1));
    assert_eq!(life.take_in(&status), None);
    let record = serde_json::to_string(&life.server).unwrap();
    assert!(!record.contains("logged") && !record.contains("watchdog"), "{record}");
}

#[test]
fn a_guard_that_is_lost_is_told_once_and_one_that_is_handed_over_is_not() {
    let nothing: [String; 0] = [];
    let mut life = Life::approved();
    life.be("web");
    assert_eq!(life.guarded(Said::Idle, None, armed()), nothing);
    // On the way to a target that feeds none, and in it.
    let leaving = Said::Leaving { method: BootMethod::Kexec };
    assert_eq!(life.guarded(leaving.clone(), seal("web", 1), not_armed("no feeder")), nothing);
    life.boot = 1;
    assert_eq!(life.guarded(up(), seal("web", 1), not_armed("none open")), nothing);
    // Home again, and the watchdog is gone.
    life.boot = 2;
    let lost = "no watchdog guards its default side any more: no watchdog was found";
    let gone = not_armed("no watchdog was found");
    assert_eq!(life.guarded(Said::Idle, seal("web", 1), gone.clone()), [lost]);
    assert_eq!(life.guarded(Said::Idle, seal("web", 1), gone), nothing, "told already");
    // A target that opened it, and closed it.
    assert_eq!(life.guarded(leaving, seal("web", 1), armed()), nothing);
    life.boot = 3;
    assert_eq!(life.guarded(up(), seal("web", 1), armed()), nothing);
    let lost = "no watchdog guards its target any more: none open";
    assert_eq!(life.guarded(up(), seal("web", 1), not_armed("none open")), [lost]);
    // What an old agent does not say is not taken for a loss.
    let mut life = Life::approved();
    assert_eq!(life.guarded(Said::Idle, None, armed()), nothing);
    life.check(Said::Idle, None, (1, super::WAIT));
    assert_eq!(life.guarded(Said::Idle, None, armed()), nothing);
}

#[test]
fn a_bad_source_is_told_once_for_each_purposing_and_kept_to_be_read() {
    let nothing: [String; 0] = [];
    let at = || super::at(super::Stage::Unsealed);
    let liar = SourceReport::new("http://a/", true, "gzip");
    let busy = |reason| SourceReport::new("http://b/", false, reason);
    let mut life = Life::approved();
    life.be("web");
    life.check(Said::Idle, None, (1, order_for("web")));
    assert_eq!(life.names(at(), &[]), nothing);
    let told = life.names(at(), std::slice::from_ref(&liar));
    assert_eq!(told, ["source http://a/ is not asked any more, since it lied: gzip"]);
    let both = [busy("status 503"), liar.clone()];
    let told = life.names(at(), &both);
    assert_eq!(told, ["source http://b/ failed repeatedly: status 503"]);
    // Told again, with another reason, by a failure, and while it waits under another generation.
    let both = [busy("timed out"), liar.clone()];
    assert_eq!(life.names(at(), &both), nothing);
    assert_eq!(life.names(failed(Blame::Network), &both), nothing);
    assert_eq!(life.names(failed(Blame::Network), &both), nothing);
    // The agent has begun anew, and has found one of them out again.
    life.boot = 1;
    assert_eq!(life.names(Said::Idle, &[]), nothing);
    let known = |life: &Life| life.server.seen.bad_sources.clone().map(|known| known.reports);
    assert_eq!(known(&life), Some(vec![liar.clone(), busy("timed out")]));
    // Another purposing.
    life.be("db");
    life.check(up(), None, (life.accepted.map_or(0, |it| it.0) + 1, order_for("db")));
    assert_eq!(life.names(at(), &[]), nothing);
    assert_eq!(known(&life), None);
    assert_eq!(life.names(at(), &[liar]).len(), 1);
}

#[test]
fn what_a_server_calls_bad_sources_fills_neither_its_record_nor_the_events_of_others() {
    let liar = |number: usize| SourceReport::new(&format!("http://{number}/"), true, "gzip");
    let mut stranger = Life::new();
    assert_eq!(stranger.names(failed(Blame::Network), &[liar(0)]).len(), 0);
    let mut life = Life::approved();
    let told = (0..100).map(|number| life.names(failed(Blame::Network), &[liar(number)]).len());
    assert_eq!(told.sum::<usize>(), repave_protocol::limits::SOURCES);
}

#[test]
fn a_reset_by_a_watchdog_is_told_once_for_each() {
    let report = |expired| WatchdogReport { guard: armed(), expired };
    let mut life = Life::approved();
    let mut told = |boot, said, expired| {
        life.boot = boot;
        life.watched(said, None, report(expired)).len()
    };
    assert_eq!(told(0, Said::Idle, false), 0);
    assert_eq!(told(1, Said::Idle, true), 1);
    assert_eq!(told(1, Said::Idle, true), 0);
    assert_eq!(told(2, up(), true), 0, "the target that kexec started says it as well");
    assert_eq!(told(3, Said::Idle, true), 1, "and the next one is another");
    assert_eq!(told(4, Said::Idle, false), 0);
    assert_eq!(told(5, up(), true), 1, "a target that a hang led to without the default side");
}
