//! The three ways in which servers call: spread over a period, one report after the other, and held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant as TokioInstant, sleep_until};

use crate::daemon::{Daemon, cpu_s, load_average};
use crate::server::{Server, Wire};

/// One answer.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    at: Instant,
    took: Duration,
    /// How late the generator itself was with it.
    late: Duration,
}

/// What was seen in one window.
pub(crate) struct Window {
    pub(crate) seconds: f64,
    /// Answer times in microseconds, fastest first.
    pub(crate) took_us: Vec<u64>,
    /// By how much the generator was late, in microseconds, best first.
    pub(crate) late_us: Vec<u64>,
    pub(crate) rss_bytes: u64,
    pub(crate) daemon_cpu_s: f64,
    pub(crate) bench_cpu_s: f64,
    pub(crate) load_average: f64,
}

/// What the kernel said at the end of a window.
struct Mark {
    at: Instant,
    rss_bytes: u64,
    daemon_cpu_s: f64,
    bench_cpu_s: f64,
    load_average: f64,
}

impl Mark {
    fn now(daemon: &Daemon) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            rss_bytes: daemon.rss_bytes()?,
            daemon_cpu_s: daemon.cpu_s()?,
            bench_cpu_s: cpu_s("self")?,
            load_average: load_average()?,
        })
    }
}

/// How long is measured.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) windows: usize,
    pub(crate) window: Duration,
}

/// Every server reports once a `period`, each at its own time in it; those that are not connected
/// connect in a first period, which is not measured, and neither is a second one.
pub(crate) async fn spread(
    servers: Vec<Server>,
    wire: &Arc<Wire>,
    daemon: &Daemon,
    period: Duration,
    plan: Plan,
) -> Result<(Vec<Server>, Vec<Window>)> {
    let began = Instant::now() + Duration::from_millis(100);
    let measured_from = began + 2 * period;
    let until = measured_from + plan.window * u32::try_from(plan.windows)?;
    let count = u32::try_from(servers.len())?;
    let mut running = JoinSet::new();
    for (server, number) in servers.into_iter().zip(0..) {
        let first = began + period * number / count;
        running.spawn(paced(server, Arc::clone(wire), first, period, until));
    }
    let windows = watch(daemon, measured_from, plan);
    let (marks, ended) = tokio::join!(windows, gather(running));
    let (servers, samples) = ended?;
    Ok((servers, cut(&marks?, &samples)))
}

async fn paced(
    mut server: Server,
    wire: Arc<Wire>,
    first: Instant,
    period: Duration,
    until: Instant,
) -> Result<(Server, Vec<Sample>)> {
    let mut samples = Vec::new();
    sleep_until(TokioInstant::from_std(first)).await;
    server.connect(&wire).await?;
    let mut due = first;
    while due < until {
        sleep_until(TokioInstant::from_std(due)).await;
        let late = due.elapsed();
        let took = server.report(&wire).await?;
        samples.push(Sample { at: Instant::now(), took, late });
        due += period;
    }
    Ok((server, samples))
}

/// `busy` of the servers report again as soon as they are answered; the others stay connected.
pub(crate) async fn closed_loop(
    mut servers: Vec<Server>,
    busy: usize,
    wire: &Arc<Wire>,
    daemon: &Daemon,
    plan: Plan,
) -> Result<(Vec<Server>, Vec<Window>)> {
    let measured_from = Instant::now() + plan.window / 2;
    let until = measured_from + plan.window * u32::try_from(plan.windows)?;
    let mut running = JoinSet::new();
    for mut server in servers.drain(..busy.min(servers.len())) {
        let wire = Arc::clone(wire);
        running.spawn(async move {
            let mut samples = Vec::new();
            while Instant::now() < until {
                let took = server.report(&wire).await?;
                samples.push(Sample { at: Instant::now(), took, late: Duration::ZERO });
            }
            Ok((server, samples))
        });
    }
    let windows = watch(daemon, measured_from, plan);
    let (marks, ended) = tokio::join!(windows, gather(running));
    let (worked, samples) = ended?;
    servers.extend(worked);
    Ok((servers, cut(&marks?, &samples)))
}

/// All servers connect within `spread` and have a status held; what is resident `settle` later.
pub(crate) async fn held(
    servers: Vec<Server>,
    wire: &Arc<Wire>,
    daemon: &Daemon,
    spread: Duration,
    settle: Duration,
) -> Result<u64> {
    let began = Instant::now();
    let count = u32::try_from(servers.len())?;
    let mut running: JoinSet<Result<()>> = JoinSet::new();
    for (mut server, number) in servers.into_iter().zip(0..) {
        let wire = Arc::clone(wire);
        running.spawn(async move {
            server.cut();
            sleep_until(TokioInstant::from_std(began + spread * number / count)).await;
            server.connect(&wire).await?;
            server.report(&wire).await?;
            anyhow::bail!("a status was answered that was to be held")
        });
    }
    let over = sleep_until(TokioInstant::from_std(began + spread + settle));
    tokio::select! {
        () = over => daemon.rss_bytes(),
        Some(ended) = running.join_next() => ended?.map(|()| 0),
    }
}

async fn gather(
    mut running: JoinSet<Result<(Server, Vec<Sample>)>>,
) -> Result<(Vec<Server>, Vec<Sample>)> {
    let (mut servers, mut all) = (Vec::new(), Vec::new());
    while let Some(ended) = running.join_next().await {
        let (server, samples) = ended?.context("a server's run")?;
        servers.push(server);
        all.extend(samples);
    }
    Ok((servers, all))
}

async fn watch(daemon: &Daemon, from: Instant, plan: Plan) -> Result<Vec<Mark>> {
    let mut marks = Vec::new();
    for window in 0..=u32::try_from(plan.windows)? {
        sleep_until(TokioInstant::from_std(from + plan.window * window)).await;
        marks.push(Mark::now(daemon)?);
    }
    Ok(marks)
}

fn cut(marks: &[Mark], samples: &[Sample]) -> Vec<Window> {
    let windows = marks.windows(2).map(|pair| {
        let [begin, end] = pair else { unreachable!("windows(2) gives pairs") };
        let inside = samples.iter().filter(|s| s.at >= begin.at && s.at < end.at);
        let sorted = |of: fn(&Sample) -> Duration| {
            let mut all: Vec<u64> =
                inside.clone().map(|sample| of(sample).as_micros() as u64).collect();
            all.sort_unstable();
            all
        };
        Window {
            seconds: (end.at - begin.at).as_secs_f64(),
            took_us: sorted(|sample| sample.took),
            late_us: sorted(|sample| sample.late),
            rss_bytes: end.rss_bytes,
            daemon_cpu_s: end.daemon_cpu_s - begin.daemon_cpu_s,
            bench_cpu_s: end.bench_cpu_s - begin.bench_cpu_s,
            load_average: end.load_average,
        }
    });
    windows.collect()
}
