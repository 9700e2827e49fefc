//! What time changes when nobody reports: servers go silent, and orders do not come about.

use std::collections::BTreeMap;

use repave_protocol::ServerId;

use super::{Active, Control, ControlError};
use crate::fleet::{Event, Rules, Server, silence};

impl Control {
    /// The servers about which time alone has something to say.
    pub(crate) fn overdue(
        &self,
        servers: &BTreeMap<ServerId, Server>,
        now_ms: u64,
    ) -> Vec<ServerId> {
        let active = self.active();
        let rules = active.terms(0).rules;
        let is_overdue = |server: &&Server| {
            is_awaited(server, now_ms, &rules) && {
                let mut server = Server::clone(server);
                !time_passes(&mut server, now_ms, &active, &rules).is_empty()
            }
        };
        servers.values().filter(is_overdue).map(|server| server.id).collect()
    }

    /// Puts on record what time has to say about one server, if it still has.
    pub(crate) async fn sweep(&self, id: ServerId) -> Result<(), ControlError> {
        let active = self.active();
        let rules = active.terms(0).rules;
        let change = |server: &mut Server, now_ms| Ok(time_passes(server, now_ms, &active, &rules));
        self.change_server(id, None, change).await.map(drop)
    }
}

/// Whether it has been quiet, or owes what it was told to be: time says nothing of any other, and
/// most are other; those are not even copied.
fn is_awaited(server: &Server, now_ms: u64, rules: &Rules) -> bool {
    let is_quiet = now_ms.saturating_sub(server.seen.at_ms) > rules.silent_after_ms;
    let owes = server.assignment.as_ref().is_some_and(|decided| decided.wish.purpose().is_some());
    is_quiet || (owes && !server.is_fulfilled())
}

fn time_passes(server: &mut Server, now_ms: u64, active: &Active, rules: &Rules) -> Vec<Event> {
    let declared = server.server_type().and_then(|name| active.server_type(name));
    let within_ms = declared.map(|declared| declared.health.up_within_s * 1000);
    let late = within_ms.and_then(|within_ms| server.overdue(now_ms, within_ms, rules));
    late.into_iter().chain(silence(server, now_ms, rules)).collect()
}
