//! The logs that come with failures: of each server the last one is kept, beside its record and not
//! in it, since a pool's records are all held in memory and most servers have not failed. What is
//! in a log, and how much, is for the wire to say.

use repave_protocol::{Fault, Generation, LogTail, Nonce, Side, Standing as Said, Status};
use serde::{Deserialize, Serialize};

use super::server::Server;

/// How long a log is kept, if the server does not fail again: beyond a success, since who asks why a
/// server was away last night asks when it is back.
pub const LOG_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// While the same failure is told again, its log is written anew so often. A server in trouble
/// reports every few seconds, and its log is larger than its record.
const LOG_EVERY_MS: u64 = 60_000;

/// A failure with its log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureLog {
    /// When it was told, in milliseconds since 1970.
    pub at_ms: u64,
    /// The side that told it.
    pub side: Side,
    /// Generation of the last order that was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// What failed.
    pub fault: Fault,
    /// The last lines.
    pub log: LogTail,
}

/// Which log was kept last: what the record knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    boot: Nonce,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<Generation>,
    code: String,
}

impl Server {
    /// The log of a status that was just taken in, if it is to be kept. What somebody tells who was
    /// not let in is not: a stranger fills no store.
    pub fn take_log(&mut self, status: &Status, now_ms: u64) -> Option<FailureLog> {
        let (Said::Failed { fault }, Some(log)) = (&status.standing, &status.log) else {
            return None;
        };
        let is_newest = (self.seen.boot, self.seen.sequence) == (status.boot, status.sequence);
        if !is_newest || !self.enrolment.is_approved() {
            return None;
        }
        let now = Logged {
            at_ms: now_ms,
            boot: status.boot,
            generation: status.generation,
            code: fault.code.clone(),
        };
        let is_told_again = self.logged.as_ref().is_some_and(|last| {
            let recent = now_ms.saturating_sub(last.at_ms) < LOG_EVERY_MS;
            recent && Logged { at_ms: last.at_ms, ..now.clone() } == **last
        });
        if is_told_again {
            return None;
        }
        self.logged = Some(Box::new(now));
        let (fault, log) = (fault.clone(), log.clone());
        let (side, generation) = (status.side, status.generation);
        Some(FailureLog { at_ms: now_ms, side, generation, fault, log })
    }
}
