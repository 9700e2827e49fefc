//! Operators' tokens: drawn here, shown once, kept as digests. A token is `rpv_NAME_SECRET`; the
//! secret has 256 bits, so one round of SHA-256 is all the hashing it needs.

use repave_protocol::Sha256;
use serde::{Deserialize, Serialize};

use super::{Control, ControlError, operator};
use crate::chance;
use crate::clock;
use crate::records::{self, kind};
use crate::store::changes::{Changes, DocumentDelete, Expected};

/// What every token begins with, so that scanners for leaked secrets can know it.
const PREFIX: &str = "rpv";

/// What an operator may do; each role may also do what those before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Run the pool: policy, channels, servers.
    Operator,
    /// Say who may: tokens, trust, enrolment by token.
    Admin,
}

impl Role {
    /// Its name, as the API has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    role: Role,
    secret_sha256: Sha256,
    created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
}

/// A token as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenInfo {
    /// Its name, which is the actor's in events.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// A new token, shown this once.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewToken {
    /// The token itself.
    pub token: String,
    /// What it is.
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's name.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

impl Token {
    fn info(&self, name: &str) -> TokenInfo {
        TokenInfo {
            name: name.into(),
            role: self.role,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
        }
    }
}

impl Control {
    /// Whose token this is; `None` if it is nobody's, or no longer.
    pub async fn identify(&self, token: &str) -> Result<Option<Identity>, ControlError> {
        let Some((name, secret)) = token
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .and_then(|rest| rest.rsplit_once('_'))
        else {
            return Ok(None);
        };
        let Some((kept, _)) = self.document::<Token>(kind::TOKEN, name).await? else {
            return Ok(None);
        };
        // Digests of a secret that cannot be guessed: how many of their bytes agree tells nothing.
        let fits = Sha256::of(secret.as_bytes()) == kept.secret_sha256;
        let lives = kept.expires_ms.is_none_or(|at_ms| at_ms > clock::now_ms());
        Ok((fits && lives).then(|| Identity { name: name.into(), role: kept.role }))
    }

    /// Every token, without its secret.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, ControlError> {
        let tokens = self.documents::<Token>(kind::TOKEN).await?;
        Ok(tokens.iter().map(|(name, token)| token.info(name)).collect())
    }

    /// Draws a token.
    pub async fn create_token(
        &self,
        name: &str,
        role: Role,
        expires_ms: Option<u64>,
        actor: &str,
    ) -> Result<NewToken, ControlError> {
        check_name(name)?;
        let now_ms = clock::now_ms();
        let secret = chance::hex();
        let token = Token {
            role,
            secret_sha256: Sha256::of(secret.as_bytes()),
            created_ms: now_ms,
            expires_ms,
        };
        let put = records::document(kind::TOKEN, name, Expected::MustNotExist, &token);
        let event = operator(actor, now_ms, "token.create", name, Some(format!("{role:?}")));
        let changes = Changes { documents: vec![put], ..Changes::default() };
        self.commit(changes, &[event]).await.map_err(|error| match error {
            ControlError::Changed { .. } => {
                ControlError::Refused(format!("there is a token called {name:?} already"))
            }
            error => error,
        })?;
        Ok(NewToken { token: format!("{PREFIX}_{name}_{secret}"), info: token.info(name) })
    }

    /// Draws a first admin token where there is no token at all, so that somebody can begin.
    pub async fn first_token(&self) -> Result<Option<NewToken>, ControlError> {
        if !self.tokens().await?.is_empty() {
            return Ok(None);
        }
        self.create_token("admin", Role::Admin, None, "first start").await.map(Some)
    }

    /// Ends a token, unless it is the last one that can draw others.
    pub async fn remove_token(&self, name: &str, actor: &str) -> Result<(), ControlError> {
        let what = || format!("token {name:?}");
        let (token, revision) = self
            .document::<Token>(kind::TOKEN, name)
            .await?
            .ok_or_else(|| ControlError::NotFound { what: what() })?;
        let stays = |other: &TokenInfo| {
            other.role == Role::Admin && other.expires_ms.is_none() && other.name != name
        };
        if token.role == Role::Admin && !self.tokens().await?.iter().any(stays) {
            return Err(ControlError::Refused(format!(
                "{name:?} is the last admin token without an end; draw another one first"
            )));
        }
        let delete = DocumentDelete {
            kind: kind::TOKEN.into(),
            key: name.into(),
            expected: Expected::Exactly(revision),
        };
        let event = operator(actor, clock::now_ms(), "token.remove", name, None);
        let changes = Changes { document_deletes: vec![delete], ..Changes::default() };
        self.commit(changes, &[event]).await
    }
}

/// Names of tokens stand in events and in the tokens themselves.
pub(super) fn check_name(name: &str) -> Result<(), ControlError> {
    let inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(inside) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(ControlError::Refused(format!("{shown:?} is not a name: 1 to 64 of a-z, 0-9 and '-'")))
}
