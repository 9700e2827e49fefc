//! Everything that can go wrong on the road, as one type: whose fault it is, under which stable
//! name it is reported, and the whole chain of causes in one line.

use std::error::Error as _;

use repave_protocol::{Blame, Fault, Generation, Refusal, Stage};
use thiserror::Error;

use crate::default_side::NoDefaultSide;
use crate::edges::{
    BadCa, DeviceError, FirmwareError, LinkError, PowerError, SettingsError, WatchdogError,
};
use crate::gpt::GptError;
use crate::image::ImageError;
use crate::journal::JournalError;
use crate::plan::PlanError;
use crate::transfer::TransferError;
use crate::wipe::WipeError;

/// Why a round ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The controller could not be reached.
    #[error("controller not reached")]
    Link(#[from] LinkError),
    /// Its answer was not believed.
    #[error("answer refused")]
    Refused(#[from] Refusal),
    /// Its trust document was not taken.
    #[error("trust document not taken")]
    Trust(#[from] BadCa),
    /// There is no default side to work from.
    #[error("default side not found")]
    NoDefaultSide(#[from] NoDefaultSide),
    /// The journal failed.
    #[error("journal failed")]
    Journal(#[from] JournalError),
    /// A disk failed.
    #[error("disk failed")]
    Device(#[from] DeviceError),
    /// A partition table could not be used or changed.
    #[error("partition table failed")]
    Gpt(#[from] GptError),
    /// The image was not trusted, or not to be had.
    #[error("image refused")]
    Image(#[from] ImageError),
    /// The purpose does not fit this server.
    #[error("purpose does not fit this server")]
    Plan(#[from] PlanError),
    /// Chunks could not be fetched, written or read back.
    #[error("transfer failed")]
    Transfer(#[from] TransferError),
    /// A wipe did not come to its end.
    #[error("wipe failed")]
    Wipe(#[from] WipeError),
    /// Settings could not be written or verified.
    #[error("settings failed")]
    Settings(#[from] SettingsError),
    /// Boot variables could not be set.
    #[error("firmware failed")]
    Firmware(#[from] FirmwareError),
    /// The server could not leave.
    #[error("leaving failed")]
    Power(#[from] PowerError),
    /// A watchdog that would reset a target which does not feed it.
    #[error("watchdog failed")]
    Watchdog(#[from] WatchdogError),
    /// `boot` names a target that is not there.
    #[error("no target is sealed under generation {wanted}; sealed is {found}")]
    NotSealed {
        /// The generation that the directive named.
        wanted: Generation,
        /// What is sealed, in words.
        found: String,
    },
    /// The target was booted and never reported.
    #[error(
        "target {image} was booted {attempts} times and did not report up; it takes a new purpose"
    )]
    NotUp {
        /// Its image.
        image: String,
        /// How often.
        attempts: u32,
    },
}

impl Failure {
    /// Whose it is to mend.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Link(_) => Blame::Network,
            Self::Refused(_)
            | Self::Trust(_)
            | Self::Wipe(WipeError::Disk(_))
            | Self::Plan(PlanError::Settings(_))
            | Self::NotSealed { .. } => Blame::Controller,
            Self::Plan(
                PlanError::NoSuchDisk { .. }
                | PlanError::AmbiguousDisk { .. }
                | PlanError::KexecOnly { .. }
                | PlanError::NoKexec,
            ) => Blame::Controller,
            Self::Plan(PlanError::Gpt(_) | PlanError::Device(_)) => Blame::Device,
            Self::Image(ImageError::Unavailable { .. } | ImageError::NoSource { .. }) => {
                Blame::Network
            }
            Self::Transfer(TransferError::Unavailable { .. }) => Blame::Network,
            Self::Transfer(TransferError::Index(_)) => Blame::Image,
            Self::Transfer(TransferError::OutOfTurn { .. } | TransferError::NoPlace { .. }) => {
                Blame::Agent
            }
            Self::Settings(error) if error.image_at_fault => Blame::Image,
            Self::Plan(_) | Self::Image(_) | Self::NotUp { .. } => Blame::Image,
            Self::NoDefaultSide(_)
            | Self::Journal(_)
            | Self::Device(_)
            | Self::Gpt(_)
            | Self::Transfer(_)
            | Self::Wipe(_)
            | Self::Settings(_)
            | Self::Firmware(_)
            | Self::Power(_)
            | Self::Watchdog(_) => Blame::Device,
        }
    }

    /// Stable name, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Link(_) => "controller-unreachable",
            Self::Refused(refusal) => refusal.code(),
            Self::Trust(_) => "bad-ca",
            Self::NoDefaultSide(NoDefaultSide::Ambiguous { .. }) => "ambiguous-default",
            Self::NoDefaultSide(_) => "no-default",
            Self::Journal(_) => "journal",
            Self::Device(_) => "disk",
            Self::Gpt(_) => "partition-table",
            Self::Image(error) => image_code(error),
            Self::Plan(error) => plan_code(error),
            Self::Transfer(error) => match error {
                TransferError::Unavailable { .. } => "chunk-unavailable",
                TransferError::Device(_) => "disk",
                TransferError::ReadBack { .. } => "read-back",
                TransferError::Index(error) => image_code(error),
                TransferError::OutOfTurn { .. } | TransferError::NoPlace { .. } => "agent",
            },
            Self::Wipe(error) => match error {
                WipeError::Disk(error) => plan_code(error),
                WipeError::Gpt(_) => "partition-table",
                WipeError::Device { .. } => "disk",
                WipeError::NotZero { .. } => "not-zero",
            },
            Self::Settings(_) => "settings",
            Self::Firmware(_) => "firmware",
            Self::Power(_) => "power",
            Self::Watchdog(_) => "watchdog",
            Self::NotSealed { .. } => "not-sealed",
            Self::NotUp { .. } => "target-not-up",
        }
    }

    /// As it goes into a status: one line, every cause once.
    pub fn fault(&self, stage: Option<Stage>) -> Fault {
        Fault::new(self.blame(), self.code(), &self.chain(), stage)
    }

    /// The failure and all that caused it, in one line.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}

const fn image_code(error: &ImageError) -> &'static str {
    match error {
        ImageError::Unavailable { .. } => "image-unavailable",
        ImageError::NoSource { .. } => "no-source",
        ImageError::Oci(error) => error.code(),
        ImageError::Manifest(error) => error.code(),
        ImageError::Index(error) => error.code(),
        ImageError::Signature(refusal) => refusal.code(),
        ImageError::OtherName { .. } => "other-image",
    }
}

const fn plan_code(error: &PlanError) -> &'static str {
    match error {
        PlanError::NoSuchDisk { .. } => "no-such-disk",
        PlanError::AmbiguousDisk { .. } => "ambiguous-disk",
        PlanError::OtherArchitecture { .. } => "other-architecture",
        PlanError::OtherBlockSize { .. } => "other-block-size",
        PlanError::TooSmall { .. } => "target-too-small",
        PlanError::DuplicateGuid { .. } => "duplicate-guid",
        PlanError::DuplicateFileSystem { .. } => "duplicate-file-system",
        PlanError::Device(_) => "disk",
        PlanError::Gpt(_) => "partition-table",
        PlanError::Settings(_) => "settings-refused",
        PlanError::KexecOnly { .. } => "kexec-only",
        PlanError::NoKexec => "no-kexec",
    }
}
