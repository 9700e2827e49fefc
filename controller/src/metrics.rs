//! What is counted while the controller runs, in OpenMetrics' terms. No label holds a server's id
//! or name: metrics need no token. What is about the pool as a whole is told by the controller that
//! leads, and by no other, so that sums over all controllers are right.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::balance::Wanted;

type Labels = Vec<(&'static str, String)>;

/// Upper ends of the buckets of answer times, in seconds: around the store's commit, a millisecond
/// to some ten, and up to its time limit.
const ANSWER_S: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0];

/// Counters and gauges.
pub struct Metrics {
    registry: Registry,
    servers: Family<Labels, Gauge>,
    by_type: Family<Labels, Gauge>,
    statuses: Family<Labels, Counter>,
    status_seconds: Histogram,
    directives: Family<Labels, Counter>,
    rounds: Counter,
    moves: Counter,
    leader: Gauge,
    leads: AtomicBool,
    held: Gauge,
    resident_bytes: Gauge<i64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            servers: Family::default(),
            by_type: Family::default(),
            statuses: Family::default(),
            status_seconds: Histogram::new(ANSWER_S),
            directives: Family::default(),
            rounds: Counter::default(),
            moves: Counter::default(),
            leader: Gauge::default(),
            leads: AtomicBool::new(false),
            held: Gauge::default(),
            resident_bytes: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let all = &mut self.registry;
        all.register("repave_servers", "Servers by standing; of the leader", self.servers.clone());
        let help = "Servers by type: wanted, have (up, becoming or silent for a short time) and \
                    up; of the leader";
        all.register("repave_servers_by_type", help, self.by_type.clone());
        let help = "Statuses of servers, by what became of them";
        all.register("repave_statuses", help, self.statuses.clone());
        let help = "Time to an answer that is on record, without the time that it was held";
        let seconds = self.status_seconds.clone();
        all.register_with_unit("repave_status", help, Unit::Seconds, seconds);
        all.register("repave_directives", "Directives by order", self.directives.clone());
        all.register("repave_balancer_rounds", "Rounds of the balancer", self.rounds.clone());
        all.register("repave_balancer_moves", "Moves of the balancer", self.moves.clone());
        all.register("repave_leader", "Whether this controller leads", self.leader.clone());
        all.register("repave_held_statuses", "Servers whose status is held", self.held.clone());
        let (help, bytes) = ("Resident memory size in bytes", self.resident_bytes.clone());
        all.register("process_resident_memory_bytes", help, bytes);
    }

    /// A status came to this end.
    pub fn status(&self, outcome: &'static str) {
        self.statuses.get_or_create(&vec![("outcome", outcome.into())]).inc();
    }

    /// An answer is on record after so long.
    pub fn answered(&self, seconds: f64, order: &'static str) {
        self.status_seconds.observe(seconds);
        self.directives.get_or_create(&vec![("order", order.into())]).inc();
    }

    /// This controller leads now, or no longer does.
    pub fn lead(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
        self.leader.set(i64::from(leads));
        if !leads {
            self.servers.clear();
            self.by_type.clear();
        }
    }

    /// Whether this controller leads.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// A round of the balancer is over.
    pub fn round(&self, moves: usize) {
        self.rounds.inc();
        self.moves.inc_by(u64::try_from(moves).unwrap_or(u64::MAX));
    }

    /// The pool, as the leader sees it.
    pub fn pool(&self, by_standing: &BTreeMap<&'static str, i64>, wanted: &[Wanted]) {
        for name in crate::fleet::Standing::NAMES {
            let count = by_standing.get(name).copied().unwrap_or_default();
            self.servers.get_or_create(&vec![("standing", name.into())]).set(count);
        }
        // A type that is no longer declared is gone from here, too.
        self.by_type.clear();
        for one in wanted {
            for (state, count) in [("wanted", one.wanted), ("have", one.have), ("up", one.up)] {
                let labels = vec![("type", one.server_type.clone()), ("state", state.into())];
                self.by_type.get_or_create(&labels).set(i64::from(count));
            }
        }
    }

    /// Everything, as Prometheus and its kin read it. `held` is how many servers wait for news.
    pub fn text(&self, held: usize) -> String {
        self.held.set(i64::try_from(held).unwrap_or(i64::MAX));
        self.resident_bytes.set(resident_bytes());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// From /proc/self/statm (proc(5)): the second number is the pages that are resident.
fn resident_bytes() -> i64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
    i64::try_from(pages.saturating_mul(rustix::param::page_size() as u64)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_that_dashboards_use() {
        let metrics = Metrics::default();
        metrics.status("answered");
        metrics.answered(0.003, "wait");
        metrics.lead(true);
        metrics.round(2);
        let wanted = Wanted { server_type: "web".into(), wanted: 3, have: 2, up: 1, load: None };
        metrics.pool(&BTreeMap::from([("idle", 4)]), &[wanted]);
        let text = metrics.text(5);
        for line in [
            "repave_statuses_total{outcome=\"answered\"} 1",
            "repave_status_seconds_bucket{le=\"0.005\"} 1",
            "repave_directives_total{order=\"wait\"} 1",
            "repave_balancer_rounds_total 1",
            "repave_balancer_moves_total 2",
            "repave_leader 1",
            "repave_servers{standing=\"idle\"} 4",
            "repave_servers_by_type{type=\"web\",state=\"wanted\"} 3",
            "repave_held_statuses 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("process_resident_memory_bytes 0\n"), "{text}");
        metrics.lead(false);
        assert!(!metrics.text(0).contains("repave_servers{"));
    }
}
