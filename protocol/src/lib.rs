//! The wire between a server and its controller: messages, the envelope that signs them, and the
//! limits they keep. Everything here is frozen once released; what the two ends do with a message
//! is theirs and lives above.
//!
//! There is one door for trust: [`verify`] turns received bytes into a [`Verified`] message, and
//! nothing else in the house names the signature library.

mod digest;
mod directive;
mod envelope;
mod id;
mod image_signature;
mod inventory;
pub mod limits;
mod log;
mod refusal;
mod settings;
mod signature;
mod source;
mod status;
mod strict;
mod trust;
mod verify;
mod wipe;

pub use digest::{Digester, Sha256};
pub use directive::{
    BootMethod, Directive, DirectiveExpected, DiskSelector, ImageReference, Order, Purpose, Recency,
};
pub use envelope::{Envelope, seal, seal_by};
pub use id::{BadId, Generation, Guid, Nonce, PoolId, ServerId, to_hex};
pub use image_signature::{ImageSignature, ImageSignatureExpected};
pub use inventory::{Disk, Dmi, Firmware, Inventory, Nic, Partition, PartitionTable};
pub use log::LogTail;
pub use refusal::Refusal;
pub use settings::{InterfaceSettings, Settings, SettingsFile};
pub use signature::{PublicKey, SigningKey};
pub use source::SourceReport;
pub use status::{
    Blame, Fault, Guard, Load, SealReport, Side, Stage, Standing, Status, StatusExpected,
    WatchdogReport,
};
pub use strict::strict_json;
pub use trust::{TrustDocument, TrustExpected};
pub use verify::{Keys, Message, Verified, verify};
pub use wipe::{Coverage, Wipe, WipePass, WipedRange};
