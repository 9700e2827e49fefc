//! What templates may say of a server. Much of it was said by the server itself, so it is checked
//! before it enters a file.

use std::collections::BTreeMap;

use repave_protocol::{PoolId, ServerId};
use serde::Serialize;

use super::RenderError;

/// What templates may say of a server: `{{ server.name }}`, `{{ server.labels.rack }}`,
/// `{{ server.macs[0] }}`, `{{ type }}`, `{{ pool }}`. The generation is not among them, so that
/// the same server purposed again gets the same files.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The server's pool.
    pub pool: PoolId,
    /// The server.
    pub server: ServerFacts,
}

/// The server's part of the facts. What is absent is undefined in templates, and so an error.
#[derive(Clone, Debug, Serialize)]
pub struct ServerFacts {
    /// Its id.
    pub id: ServerId,
    /// The name people gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its serial number, as its firmware says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Hardware addresses of its interfaces, in the order of the inventory.
    pub macs: Vec<String>,
}

impl ServerFacts {
    /// No control characters, which could end a line of a file and begin another.
    pub(super) fn check(&self) -> Result<(), RenderError> {
        let named =
            |fact: &str, text: &Option<String>| text.clone().map(|text| (fact.into(), text));
        let labels = self.labels.iter().map(|(label, value)| {
            (format!("label {:?}", label.escape_default().to_string()), format!("{label}{value}"))
        });
        let macs = self.macs.iter().map(|mac| ("hardware address".to_string(), mac.clone()));
        let texts = named("name", &self.name)
            .into_iter()
            .chain(named("serial number", &self.serial))
            .chain(labels)
            .chain(macs);
        for (fact, text) in texts {
            if text.contains(char::is_control) {
                return Err(RenderError::Fact { server: self.id, fact });
            }
        }
        Ok(())
    }
}
