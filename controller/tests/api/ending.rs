//! What servers that wait for an answer get when the controller ends.

use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, status};

/// Far longer than the end may take, and far shorter than a hold.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn held_statuses_are_answered_at_the_end() {
    let daemon = Daemon::start_with(|run| run.poll_ms = 600_000);
    let waiting: Vec<_> = (1..5)
        .map(|seed| {
            let (id, bytes) = status(seed);
            let (agent, url) =
                (daemon.agent.clone(), daemon.url(&format!("/v1/servers/{id}/status")));
            thread::spawn(move || {
                let mut answer = agent.post(&url).send(&bytes[..]).unwrap();
                (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap())
            })
        })
        .collect();
    // On record, and so held: there is nothing to say to who is pending.
    let control = std::sync::Arc::clone(&daemon.running().control);
    while daemon.runtime.block_on(control.servers(&Default::default(), None, 9)).unwrap().len() < 4
    {
        thread::yield_now();
    }
    assert!(waiting.iter().all(|one| !one.is_finished()), "nobody is answered before the end");
    let began = Instant::now();
    daemon.stop();
    for one in waiting {
        let (code, body) = one.join().unwrap();
        assert_eq!(code, 200);
        assert!(body.starts_with(b"{"), "a signed answer: {}", String::from_utf8_lossy(&body));
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}
