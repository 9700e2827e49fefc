//! Asking a registry for its list of images, again and again. Each replica does it for itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::shelf::RemoteShelf;

/// Between two looks: how long a new image may take to be seen.
const INTERVAL: Duration = Duration::from_secs(10);

/// Until it is told to end.
pub(super) async fn run(remote: Arc<RemoteShelf>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and somebody has just looked.
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => look(Arc::clone(&remote)).await,
            () = super::told_to_end(&mut stopped) => return,
        }
    }
}

/// Looks once.
pub(super) async fn look(remote: Arc<RemoteShelf>) {
    match tokio::task::spawn_blocking(move || remote.refresh()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!("the list of images stays as it was: {error}"),
        Err(error) => warn!("looking at the registry: {error}"),
    }
}
