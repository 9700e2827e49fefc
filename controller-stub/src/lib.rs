//! A controller for the agent's tests and the demo: HTTPS, signed answers, an image library.
//!
//! It decides for one server at a time and knows nothing of minimums, quarantine or storage; that
//! is the controller's. What it has instead: answers to order and forge by script ([`Scenario`]),
//! faults as data ([`Fault`]), a record of everything that servers said ([`Event`]), and its own
//! oracle of what an honest agent can never say ([`oracle`]).

mod authority;
mod http;
mod library;
mod logic;
pub mod oracle;
mod pool;
mod record;
mod reply;
mod scenario;
mod shared;
mod stub;
mod timeline;

pub use authority::{Authority, AuthorityError, AuthoritySpec};
pub use oracle::{Breach, Violation};
pub use record::{Answered, Event, Record};
pub use scenario::{Action, Answer, Enrolment, Fault, Scenario, ScenarioError, Select, Target};
pub use stub::{Stub, StubError, StubSpec, WaitError};
pub use timeline::TimelineEvent;
