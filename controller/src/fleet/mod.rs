//! The servers of a pool, as the controller remembers them: what each said last, what it was told
//! to be, and where it stands. All of it is pure: a status and the time go in, a changed record and
//! the events that tell of the change come out. Nothing here stores, signs or sends.

mod answer;
mod enrolment;
mod event;
mod guard;
mod hardware;
mod log;
mod observe;
mod operate;
mod orders;
mod server;
mod sources;
mod standing;
#[cfg(test)]
mod tests;

pub use answer::{Answer, answer, listens};
pub use enrolment::{Credentials, Enrolment, Invitation, NotAdmitted, admit};
pub use event::{Event, EventKind};
pub use hardware::{Facts, Print};
pub use log::{FailureLog, LOG_KEPT_MS, Logged};
pub use observe::{Rules, silence};
pub use orders::{Assignment, Wish};
pub use server::{Failures, Issued, Seen, Server};
pub use standing::Standing;
