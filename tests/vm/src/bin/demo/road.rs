//! The servers' roads side by side: each is given its order as soon as it asks, and is followed
//! until it is what it should be.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use repave_protocol::{Order, Stage, Standing, Status};
use repave_qemu::HANG_GUARD;
use repave_vm::{Figures, Server, failure};

use crate::screen::Screen;

/// How long one look at a server waits for news.
const LOOK: Duration = Duration::from_millis(100);

/// Somebody pressed Ctrl-C.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// One server and where it is on its road.
pub(crate) struct Road<'lab> {
    server: Server<'lab>,
    /// What it is to be ordered when it is known who it is.
    order: Option<Order>,
    goal: String,
    view: String,
}

impl<'lab> Road<'lab> {
    pub(crate) fn new(server: Server<'lab>) -> Self {
        let view = "firmware, kernel, network".into();
        Self { server, order: None, goal: String::new(), view }
    }

    /// Orders it to become something.
    pub(crate) fn order(&mut self, order: Order) {
        if let Order::Purpose(purpose) = &order {
            self.goal = purpose.server_type.clone();
        }
        self.order = Some(order);
    }

    pub(crate) fn figures(&self) -> Result<Figures> {
        self.server.figures()
    }

    /// Takes in what it reported lately; whether it arrived.
    fn follow(&mut self) -> Result<bool> {
        self.hand_over_order()?;
        while let Some(record) = self.server.next_within(LOOK, |_| true) {
            self.hand_over_order()?;
            let status = &record.status;
            if let Some(fault) = failure(status) {
                bail!("{}: {}: {}", self.server.name(), fault.code, fault.message);
            }
            self.view = words(status);
            let seal = status.seal.as_ref();
            let is_goal = seal.is_some_and(|seal| seal.server_type == self.goal);
            if is_goal && matches!(status.standing, Standing::Up { .. }) {
                return Ok(true);
            }
        }
        if !self.server.is_on() {
            bail!("{}: its machine is gone", self.server.name());
        }
        Ok(false)
    }

    fn hand_over_order(&mut self) -> Result<()> {
        if self.server.id().is_ok()
            && let Some(order) = self.order.take()
        {
            self.server.order(order)?;
        }
        Ok(())
    }

    fn line(&self) -> String {
        format!("{:6} -> {:4} {}", self.server.name(), self.goal, self.view)
    }
}

/// Follows roads until all servers have arrived.
pub(crate) fn arrive(roads: &mut [Road<'_>], screen: &mut Screen, stop: &AtomicBool) -> Result<()> {
    let deadline = Instant::now() + HANG_GUARD;
    let mut arrived = vec![false; roads.len()];
    while arrived.contains(&false) {
        if stop.load(Ordering::Relaxed) {
            return Err(Interrupted.into());
        }
        if Instant::now() > deadline {
            let lines: Vec<String> = roads.iter().map(Road::line).collect();
            bail!("not there after {} s: {}", HANG_GUARD.as_secs(), lines.join("; "));
        }
        for (road, arrived) in roads.iter_mut().zip(&mut arrived) {
            if !*arrived {
                *arrived = road.follow()?;
            }
        }
        screen.progress(roads.iter().map(Road::line).collect());
    }
    screen.end_progress();
    Ok(())
}

/// What a server is doing, for people. A status names the last stage that was reached; people ask
/// for what comes after it.
fn words(status: &Status) -> String {
    match &status.standing {
        Standing::Idle => "in default, asking for an order".into(),
        Standing::Purposing { stage, done_bytes, total_bytes, bytes_per_s } => {
            let doing = match stage {
                Stage::Accepted => "planning",
                Stage::Planned => "unsealing",
                Stage::Unsealed => "writing",
                Stage::Written => "reading back",
                Stage::Audited => "configuring",
                Stage::Configured => "sealing",
                Stage::Sealed => "arming",
                Stage::Armed => "leaving",
            };
            if !matches!(stage, Stage::Unsealed | Stage::Written) || *bytes_per_s == 0 {
                return doing.into();
            }
            let percent = done_bytes * 100 / total_bytes.max(&1);
            format!("{doing} {percent:3} %  {:6.1} MB/s", *bytes_per_s as f64 / 1e6)
        }
        Standing::Leaving { method } => format!("left by {method:?}, target boots"),
        Standing::Staying => "staying in default".into(),
        Standing::Failed { fault } => fault.message.clone(),
        Standing::Up { .. } => "up".into(),
        Standing::Returning => "going back to default".into(),
    }
}
