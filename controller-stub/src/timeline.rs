//! When a server reached what, for people and reports.

use repave_protocol::{Nonce, Order, ServerId, Side, Stage, Standing};
use serde::Serialize;

use crate::record::Record;

/// One line of a server's timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimelineEvent {
    /// `power-on`, `first-status`, `directive-accepted`, `written`, `audited`, `configured`,
    /// `sealed`, `armed`, `left` or `target-up`.
    pub event: &'static str,
    /// Seconds since the stub started.
    pub at_s: f64,
    /// The server type it is on the way to, once an order for one was accepted.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub server_type: Option<String>,
}

/// The stages that a timeline shows, by their names there.
const STAGES: [(Stage, &str); 5] = [
    (Stage::Written, "written"),
    (Stage::Audited, "audited"),
    (Stage::Configured, "configured"),
    (Stage::Sealed, "sealed"),
    (Stage::Armed, "armed"),
];

/// The timeline of `server` out of a history and the times at which it was powered on.
pub(crate) fn timeline(
    records: &[Record],
    power_ons: &[(ServerId, u64)],
    server: ServerId,
) -> Vec<TimelineEvent> {
    let mut line = Line::default();
    for (_, at_ms) in power_ons.iter().filter(|(id, _)| *id == server) {
        line.add("power-on", *at_ms);
    }
    for record in records.iter().filter(|record| record.status.server == server) {
        line.follow(record);
    }
    line.events.sort_by_key(|(at_ms, _)| *at_ms);
    line.events.into_iter().map(|(_, event)| event).collect()
}

#[derive(Default)]
struct Line {
    events: Vec<(u64, TimelineEvent)>,
    /// Purposes ordered so far, by generation.
    ordered: Vec<(u64, String)>,
    server_type: Option<String>,
    generation: Option<u64>,
    boot: Option<Nonce>,
    stage: Option<Stage>,
    left: bool,
    up: bool,
}

impl Line {
    fn add(&mut self, event: &'static str, at_ms: u64) {
        let event = TimelineEvent {
            event,
            at_s: at_ms as f64 / 1e3,
            server_type: self.server_type.clone(),
        };
        self.events.push((at_ms, event));
    }

    fn follow(&mut self, record: &Record) {
        let (status, at_ms) = (&record.status, record.at_ms);
        if self.boot.replace(status.boot) != Some(status.boot) {
            (self.stage, self.left, self.up) = (None, false, false);
            if status.side == Side::Default {
                self.add("first-status", at_ms);
            }
        }
        let generation = status.generation.map(|generation| generation.0);
        if generation != self.generation {
            self.generation = generation;
            let purpose = self.ordered.iter().find(|(g, _)| Some(*g) == generation);
            if let Some((_, server_type)) = purpose {
                self.server_type = Some(server_type.clone());
                self.add("directive-accepted", at_ms);
            }
        }
        match &status.standing {
            Standing::Purposing { stage, .. } => {
                // A target that was sealed in an earlier run is only armed again.
                let departs = self.stage.is_none() && *stage == Stage::Armed;
                let before = self.stage.or(departs.then_some(Stage::Sealed));
                // A stage that was passed unreported was reached by now at the latest.
                for (reached, event) in STAGES {
                    if Some(reached) > before && reached <= *stage {
                        self.add(event, at_ms);
                    }
                }
                self.stage = Some(*stage);
            }
            Standing::Leaving { .. } if !self.left => {
                self.left = true;
                self.add("left", at_ms);
            }
            Standing::Up { .. } if !self.up => {
                self.up = true;
                self.add("target-up", at_ms);
            }
            _ => {}
        }
        let answer = record.answer.as_ref().filter(|answer| answer.is_sound());
        if let Some(directive) = answer.and_then(|answer| answer.directive.as_ref())
            && let Order::Purpose(purpose) = &directive.order
        {
            let generation = directive.generation.0;
            self.ordered.push((generation, purpose.server_type.clone()));
        }
    }
}
