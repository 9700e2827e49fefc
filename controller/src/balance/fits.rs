//! Which hardware meets which type's requirements, reckoned once for each distinct hardware, and
//! in words why one does not.

use super::fleet::{Hardware, HardwareId, TypeId};
use crate::policy::Requires;

/// A table of hardware against types.
#[derive(Debug)]
pub(super) struct Fits {
    fits: Vec<bool>,
    types: usize,
    /// For each hardware, how many types it fits.
    breadth: Vec<u16>,
}

impl Fits {
    /// `requires` has a place for each type; one without is undeclared and fits nothing.
    pub(super) fn new(hardware: &[Hardware], requires: &[Option<&Requires>]) -> Self {
        let fit = |hardware: &Hardware, requires: &Option<&Requires>| {
            requires.is_some_and(|requires| unmet(hardware, requires).is_none())
        };
        let mut fits = Vec::with_capacity(hardware.len() * requires.len());
        let mut breadth = Vec::with_capacity(hardware.len());
        for hardware in hardware {
            let before = fits.len();
            fits.extend(requires.iter().map(|requires| fit(hardware, requires)));
            breadth.push(fits[before..].iter().map(|&fits| u16::from(fits)).sum());
        }
        Self { fits, types: requires.len(), breadth }
    }

    pub(super) fn fits(&self, hardware: HardwareId, server_type: TypeId) -> bool {
        let place = hardware.0 as usize * self.types + server_type.index();
        self.fits.get(place).copied().unwrap_or(false)
    }

    /// How many types it fits: the fewer, the sooner it is used where it does.
    pub(super) fn breadth(&self, hardware: HardwareId) -> u16 {
        self.breadth.get(hardware.0 as usize).copied().unwrap_or(0)
    }
}

/// The first requirement that `hardware` does not meet.
pub(super) fn unmet<'a>(hardware: &Hardware, requires: &'a Requires) -> Option<Unmet<'a>> {
    if let Some(architecture) = &requires.architecture
        && *architecture != hardware.architecture
    {
        return Some(Unmet::Architecture(architecture));
    }
    if hardware.ram_mib < requires.ram_mib {
        return Some(Unmet::RamMib(requires.ram_mib));
    }
    if hardware.disk_mib < requires.disk_mib {
        return Some(Unmet::DiskMib(requires.disk_mib));
    }
    let other = |(label, value): &(&'a String, &'a String)| {
        hardware.labels.get(label.as_str()) != Some(*value)
    };
    requires.labels.iter().find(other).map(|(label, value)| Unmet::Label(label, value))
}

/// A requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unmet<'a> {
    Architecture(&'a str),
    RamMib(u64),
    DiskMib(u64),
    Label(&'a str, &'a str),
}

impl Unmet<'_> {
    pub(super) fn words(self) -> String {
        match self {
            Self::Architecture(name) => format!("architecture {name}"),
            Self::RamMib(least) => format!("ram of {least} MiB"),
            Self::DiskMib(least) => format!("disk of {least} MiB"),
            Self::Label(label, value) => format!("label {label}={value}"),
        }
    }
}
