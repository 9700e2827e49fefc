//! The leader's lease: held by one part of all that share a database. It has no term.

use tokio::sync::OwnedMutexGuard;

/// Proof of being the leader; dropped or [released](Lease::release), somebody else may be.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "held, not used")] OwnedMutexGuard<()>);

impl Lease {
    pub(super) fn of_process(turn: OwnedMutexGuard<()>) -> Self {
        Self(turn)
    }

    /// Whether it is still held. Once it was not, it never is again.
    pub async fn is_held(&mut self) -> bool {
        true
    }

    /// Gives it back.
    pub async fn release(self) {}
}
