//! The trust document in force: the newest that the root key signed.

use std::sync::Arc;

use repave_protocol::Envelope;

use super::{Control, ControlError, operator};
use crate::authority::Trusted;
use crate::clock;
use crate::records::{self, kind};
use crate::store::changes::{Changes, Expected};

const KEY: &str = "document";

impl Control {
    /// The trust document in force, if there is one yet.
    pub fn trusted(&self) -> Option<Arc<Trusted>> {
        self.trusted.borrow().clone()
    }

    pub(super) async fn refresh_trust(&self) -> Result<(), ControlError> {
        let Some((envelope, _)) = self.document::<Envelope>(kind::TRUST, KEY).await? else {
            return Ok(());
        };
        self.trusted.send_replace(Some(Arc::new(self.parse_trust(&envelope, 0)?)));
        Ok(())
    }

    /// Takes a trust document that is newer than the one in force, and of use: servers that believe
    /// it must go on believing this controller.
    pub async fn set_trust(&self, bytes: &[u8], actor: &str) -> Result<Arc<Trusted>, ControlError> {
        // Another controller may have taken a newer one.
        self.refresh_trust().await?;
        let least = self.trusted().map_or(0, |trusted| trusted.document.version);
        let (root_key, pool) = (self.setup.root_key, &self.setup.pool);
        let trusted = Trusted::parse(bytes, root_key, pool, least)?;
        trusted.check_ours(&self.authority.directive_keys(), self.authority.ca_pem())?;
        let put = records::document(kind::TRUST, KEY, Expected::Any, &trusted.envelope);
        let detail = Some(format!("version {}", trusted.document.version));
        let event = operator(actor, clock::now_ms(), "trust.set", "", detail);
        let changes = Changes { documents: vec![put], ..Changes::default() };
        self.commit(changes, &[event]).await?;
        let trusted = Arc::new(trusted);
        self.trusted.send_replace(Some(Arc::clone(&trusted)));
        Ok(trusted)
    }

    fn parse_trust(&self, envelope: &Envelope, least: u64) -> Result<Trusted, ControlError> {
        let bytes = serde_json::to_vec(envelope).expect("an envelope is always JSON");
        Ok(Trusted::parse(&bytes, self.setup.root_key, &self.setup.pool, least)?)
    }
}
