//! Whether guests run on KVM or are emulated. The device node alone does not tell: inside some
//! virtual machines it exists, runs a few instructions and then hangs or fails on ordinary
//! firmware. So OVMF itself is the probe, and it has to speak within a time limit.

use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fmt};

use serde_json::json;

use crate::spec::VmSpec;
use crate::vm::{Machine, VmError};

/// Names the accelerator (`kvm` or `tcg`) and spares the probe.
pub const ACCEL_VARIABLE: &str = "REPAVE_ACCEL";

/// How long OVMF may take to speak on KVM: several times what a busy machine needs. Losing a
/// working KVM to it costs speed only.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How often the probe looks whether KVM has given up already.
const PROBE_STEP: Duration = Duration::from_millis(200);

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor.
    Kvm,
    /// QEMU's emulation, one host thread for each guest processor.
    Tcg,
}

/// [`ACCEL_VARIABLE`] names none.
#[derive(Debug, thiserror::Error)]
#[error("{ACCEL_VARIABLE} is {0:?}; it may be kvm or tcg")]
pub struct UnknownAccelerator(String);

impl Accelerator {
    /// What [`ACCEL_VARIABLE`] says, else KVM if a probe shows that it works, else emulation. The
    /// probe runs once in a process.
    ///
    /// # Errors
    /// [`ACCEL_VARIABLE`] says something else.
    pub fn detect() -> Result<Self, UnknownAccelerator> {
        static PROBED: OnceLock<Accelerator> = OnceLock::new();
        match env::var(ACCEL_VARIABLE) {
            Ok(name) => name.parse(),
            Err(_) => Ok(*PROBED.get_or_init(|| match kvm_works() {
                true => Self::Kvm,
                false => Self::Tcg,
            })),
        }
    }

    /// QEMU's arguments for it. Each shows the guest all that the accelerator can do, so that the
    /// kernel finds RDRAND and trusts it for its first keys.
    pub(crate) fn qemu_args(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

impl FromStr for Accelerator {
    type Err = UnknownAccelerator;

    fn from_str(name: &str) -> Result<Self, UnknownAccelerator> {
        match name {
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(UnknownAccelerator(name.to_owned())),
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

fn kvm_works() -> bool {
    // Whatever goes wrong with KVM is a reason to do without it.
    Path::new("/dev/kvm").exists() && probe(Accelerator::Kvm).unwrap_or(false)
}

fn probe(accelerator: Accelerator) -> Result<bool, VmError> {
    let dir =
        tempfile::tempdir().map_err(|source| VmError::Folder { path: env::temp_dir(), source })?;
    let machine = Machine::new(VmSpec::new("kvm-probe", dir.path()))?;
    let vm = machine.power_on_with(accelerator)?;
    let start = Instant::now();
    while start.elapsed() < PROBE_LIMIT {
        if vm.console().wait_for("BdsDxe", PROBE_STEP).is_ok() {
            return Ok(true);
        }
        // QEMU stops the guest as soon as KVM cannot run its next instruction.
        if vm.qmp().execute("query-status", &json!({}))?["status"] != "running" {
            return Ok(false);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
            assert_eq!(accelerator.to_string().parse::<Accelerator>().unwrap(), accelerator);
        }
        let error = Accelerator::from_str("KVM").unwrap_err().to_string();
        assert_eq!(error, r#"REPAVE_ACCEL is "KVM"; it may be kvm or tcg"#);
    }
}
