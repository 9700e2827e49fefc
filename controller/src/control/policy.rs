//! The policy in force, kept in the store and, parsed, in memory.

use std::sync::Arc;

use repave_protocol::PoolId;
use serde::{Deserialize, Serialize};

use super::{Control, ControlError, operator};
use crate::clock;
use crate::engine::Terms;
use crate::fleet::{Rules, Server};
use crate::policy::{Data, Policy, ServerType};
use crate::records::{self, kind};
use crate::store::changes::{Changes, Expected};

/// The one policy of a pool.
const KEY: &str = "pool";
/// The balancer's switch.
const BALANCER: &str = "balancer";
/// Between two sides a server may take so long where no type says otherwise.
const BOOT_WITHIN_MS: u64 = 600_000;

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// The policy; before there is one, a pool without types.
    pub policy: Policy,
    /// Its revision; `None` before there is one.
    pub revision: Option<i64>,
    /// Whether the balancer is stopped.
    pub paused: bool,
}

/// The balancer's switch, as stored.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Switch {
    paused: bool,
}

impl Active {
    /// Before anybody declared anything.
    pub(super) fn none(pool: &PoolId) -> Self {
        Self { policy: Policy::empty(pool.clone()), revision: None, paused: false }
    }

    /// What the engine keeps of it.
    pub(super) fn terms(&self, wait_ms: u64) -> Terms {
        let slowest = self.policy.types.iter().map(|one| one.health.up_within_s * 1000).max();
        Terms {
            rules: Rules {
                retries: self.policy.pool.retries,
                silent_after_ms: self.policy.pool.silent_after_s * 1000,
                boot_within_ms: slowest.unwrap_or(BOOT_WITHIN_MS),
            },
            wait_ms,
        }
    }

    /// How long servers of a type are left alone before they are taken.
    pub(super) fn drain_ms(&self, server_type: Option<&str>) -> u64 {
        let declared = server_type.and_then(|name| self.server_type(name));
        declared.map_or(0, |declared| declared.drain_s * 1000)
    }

    /// A declared type.
    pub fn server_type(&self, name: &str) -> Option<&ServerType> {
        self.policy.types.iter().find(|declared| declared.name == name)
    }

    /// Whether what is on a server must not be lost: by what it is to be, and by what was last sealed
    /// there. A type that is no longer declared may have been guarded.
    pub(super) fn is_guarded(&self, server: &Server) -> bool {
        let sealed = server.seen.seal.as_ref().map(|seal| seal.server_type.as_str());
        let guards = |name: &str| {
            self.server_type(name).is_none_or(|declared| declared.data == Data::Guarded)
        };
        server.server_type().into_iter().chain(sealed).any(guards)
    }
}

impl Control {
    /// The policy in force.
    pub fn active(&self) -> Arc<Active> {
        self.active.borrow().clone()
    }

    pub(super) fn declared(&self, name: &str) -> Result<ServerType, ControlError> {
        let what = || format!("server type {name:?} in the policy");
        let found = self.active().server_type(name).cloned();
        found.ok_or_else(|| ControlError::NotFound { what: what() })
    }

    pub(super) async fn refresh_policy(&self) -> Result<(), ControlError> {
        let mut active = Active::none(&self.setup.pool);
        if let Some((policy, revision)) = self.document(kind::POLICY, KEY).await? {
            (active.policy, active.revision) = (policy, Some(revision));
        }
        let switch = self.document::<Switch>(kind::SWITCH, BALANCER).await?;
        active.paused = switch.is_some_and(|(switch, _)| switch.paused);
        let terms = Arc::new(active.terms(self.setup.wait_ms));
        self.active.send_replace(Arc::new(active));
        self.terms.send_replace(terms);
        Ok(())
    }

    /// Declares the pool anew. `expected` is the revision that the operator has seen; without one
    /// it replaces whatever there is.
    pub async fn set_policy(
        &self,
        policy: &Policy,
        expected: Option<i64>,
        actor: &str,
    ) -> Result<Arc<Active>, ControlError> {
        let faults = policy.check();
        if !faults.is_empty() {
            return Err(ControlError::Policy(faults));
        }
        if policy.pool.name != self.setup.pool {
            return Err(ControlError::Refused(format!(
                "the policy is for pool {}, this controller's is {}",
                policy.pool.name, self.setup.pool
            )));
        }
        let expected = expected.map_or(Expected::Any, Expected::Exactly);
        let put = records::document(kind::POLICY, KEY, expected, policy);
        let event = operator(actor, clock::now_ms(), "policy.set", "", None);
        let changes = Changes { documents: vec![put], ..Changes::default() };
        self.commit(changes, &[event]).await?;
        self.refresh_policy().await?;
        Ok(self.active())
    }

    /// Stops the balancer, or lets it go on.
    pub async fn set_paused(&self, paused: bool, actor: &str) -> Result<Arc<Active>, ControlError> {
        let put = records::document(kind::SWITCH, BALANCER, Expected::Any, &Switch { paused });
        let action = if paused { "balancer.pause" } else { "balancer.resume" };
        let event = operator(actor, clock::now_ms(), action, "", None);
        let changes = Changes { documents: vec![put], ..Changes::default() };
        self.commit(changes, &[event]).await?;
        self.refresh_policy().await?;
        Ok(self.active())
    }
}
