//! Join tokens and invitations, and what an unknown server's status shows of them.

use repave_protocol::{Sha256, Status};
use serde::{Deserialize, Serialize};

use super::access::check_name;
use super::{Control, ControlError, naming, operator};
use crate::chance;
use crate::clock;
use crate::engine::Gate;
use crate::fleet::{Credentials, Invitation};
use crate::records::{self, kind};
use crate::store::StoreError;
use crate::store::changes::{Changes, DocumentDelete, Expected};

/// A join token, kept under the digest of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JoinToken {
    /// What people call it.
    pub name: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// A new join token, shown this once.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewJoinToken {
    /// For `join_token` of `agent.json`.
    pub token: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
}

impl Control {
    /// Every join token, without its secret.
    pub async fn join_tokens(&self) -> Result<Vec<JoinToken>, ControlError> {
        let tokens = self.documents::<JoinToken>(kind::JOIN_TOKEN).await?;
        Ok(tokens.into_iter().map(|(_, token)| token).collect())
    }

    /// Draws a join token: it makes servers pending, and gives them nothing.
    pub async fn create_join_token(
        &self,
        name: &str,
        expires_ms: u64,
        actor: &str,
    ) -> Result<NewJoinToken, ControlError> {
        check_name(name)?;
        let token = chance::hex();
        let kept = JoinToken { name: name.into(), expires_ms };
        let key = Sha256::of(token.as_bytes()).to_string();
        let mut put = records::document(kind::JOIN_TOKEN, &key, Expected::MustNotExist, &kept);
        put.expires_at_ms = i64::try_from(expires_ms).ok();
        let event = operator(actor, clock::now_ms(), "join-token.create", name, None);
        let changes = Changes { documents: vec![put], ..Changes::default() };
        self.commit(changes, &[event]).await?;
        Ok(NewJoinToken { token, expires_ms })
    }

    /// Ends every join token of that name.
    pub async fn remove_join_tokens(&self, name: &str, actor: &str) -> Result<(), ControlError> {
        let all = self.documents::<JoinToken>(kind::JOIN_TOKEN).await?;
        let named = all.into_iter().filter(|(_, token)| token.name == name);
        let kind = kind::JOIN_TOKEN;
        let delete = |(key, _)| DocumentDelete { kind: kind.into(), key, expected: Expected::Any };
        let document_deletes: Vec<_> = named.map(delete).collect();
        if document_deletes.is_empty() {
            return Err(ControlError::NotFound { what: format!("join token {name:?}") });
        }
        let event = operator(actor, clock::now_ms(), "join-token.remove", name, None);
        self.commit(Changes { document_deletes, ..Changes::default() }, &[event]).await
    }

    /// Every invitation.
    pub async fn invitations(&self) -> Result<Vec<Invitation>, ControlError> {
        let all = self.documents::<Invitation>(kind::INVITATION).await?;
        Ok(all.into_iter().map(|(_, invitation)| invitation).collect())
    }

    /// Expects a machine: its server is approved at its first status.
    pub async fn invite(&self, invitation: &Invitation, actor: &str) -> Result<(), ControlError> {
        let machine = &invitation.machine;
        if machine.is_empty() || machine.len() > repave_protocol::limits::INVENTORY_TEXT_BYTES {
            return Err(ControlError::Refused(
                "an invitation names a serial number or a hardware address".into(),
            ));
        }
        naming::check(invitation.name.as_deref(), &invitation.labels)?;
        let mut put = records::document(kind::INVITATION, machine, Expected::Any, invitation);
        put.expires_at_ms = i64::try_from(invitation.expires_ms).ok();
        let event = operator(actor, clock::now_ms(), "server.invite", machine, None);
        self.commit(Changes { documents: vec![put], ..Changes::default() }, &[event]).await
    }

    /// The invitation of a machine.
    pub async fn invitation(&self, machine: &str) -> Result<Invitation, ControlError> {
        let found = self.document(kind::INVITATION, machine).await?;
        let what = || format!("invitation of machine {machine:?}");
        found.map(|(found, _)| found).ok_or_else(|| ControlError::NotFound { what: what() })
    }

    /// Expects a machine no longer.
    pub async fn uninvite(&self, machine: &str, actor: &str) -> Result<(), ControlError> {
        self.invitation(machine).await?;
        let (kind, key) = (kind::INVITATION.into(), machine.into());
        let delete = DocumentDelete { kind, key, expected: Expected::Any };
        let event = operator(actor, clock::now_ms(), "server.uninvite", machine, None);
        let changes = Changes { document_deletes: vec![delete], ..Changes::default() };
        self.commit(changes, &[event]).await
    }
}

#[async_trait::async_trait]
impl Gate for Control {
    async fn credentials(&self, status: &Status) -> Result<Credentials, StoreError> {
        let mut credentials =
            Credentials { open: self.setup.open_enrolment, ..Credentials::default() };
        if let Some(token) = &status.join_token {
            let key = Sha256::of(token.as_bytes()).to_string();
            let row = self.store.document(kind::JOIN_TOKEN, &key).await?;
            let token = row.and_then(|row| serde_json::from_str::<JoinToken>(&row.doc).ok());
            let lives = |token: &JoinToken| token.expires_ms > clock::now_ms();
            credentials.join_token = token.filter(lives).map(|token| token.name);
        }
        let Some(inventory) = &status.inventory else {
            return Ok(credentials);
        };
        let macs = inventory.nics.iter().map(|nic| nic.mac.as_str());
        for machine in inventory.dmi.serial.as_deref().into_iter().chain(macs) {
            if let Some(row) = self.store.document(kind::INVITATION, machine).await?
                && let Ok(invitation) = serde_json::from_str(&row.doc)
            {
                credentials.invitation = Some((invitation, row.revision));
                break;
            }
        }
        Ok(credentials)
    }
}
