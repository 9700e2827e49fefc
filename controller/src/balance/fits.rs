//! Which hardware meets which type's requirements, reckoned once for each distinct hardware, and
//! in words why one does not.

use std::cell::Cell;

use super::fleet::{Hardware, HardwareId, TypeId};
use crate::policy::Requires;

/// A table of hardware against types, filled where it is looked at: a fleet may have as many kinds
/// of hardware as servers.
#[derive(Debug)]
pub(super) struct Fits<'a> {
    hardware: &'a [Hardware],
    /// A place for each type; one without is undeclared and fits nothing.
    requires: Vec<Option<&'a Requires>>,
    known: Vec<Cell<Option<bool>>>,
}

impl<'a> Fits<'a> {
    pub(super) fn new(hardware: &'a [Hardware], requires: Vec<Option<&'a Requires>>) -> Self {
        let known = vec![Cell::new(None); hardware.len() * requires.len()];
        Self { hardware, requires, known }
    }

    pub(super) fn fits(&self, id: HardwareId, server_type: TypeId) -> bool {
        let Some(hardware) = self.hardware.get(id.0 as usize) else { return false };
        let Some(requires) = self.requires.get(server_type.index()) else { return false };
        let place = &self.known[id.0 as usize * self.requires.len() + server_type.index()];
        place.get().unwrap_or_else(|| {
            let fits = requires.is_some_and(|requires| unmet(hardware, requires).is_none());
            place.set(Some(fits));
            fits
        })
    }

    /// How many types it fits: the fewer, the sooner it is used where it does.
    pub(super) fn breadth(&self, hardware: HardwareId) -> usize {
        let types = (0..).map(TypeId).take(self.requires.len());
        types.filter(|&server_type| self.fits(hardware, server_type)).count()
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
