//! kexec of the target's own kernel: no firmware in between, seconds instead of minutes on real
//! boards. There is no BootNext, so that the reset after it leads home.

use repave_protocol::BootMethod;

use super::entries::clear_boot_next;
use super::{Method, Target};
use crate::edges::{Edges, KexecImage};
use crate::failure::Failure;
use crate::journal::Seal;

pub(super) struct Kexec;

impl Method for Kexec {
    fn name(&self) -> BootMethod {
        BootMethod::Kexec
    }

    /// `auto` uses it once the firmware path of this target is known to work: months of kexec hide
    /// a firmware entry that broke.
    fn applies(&self, seal: &Seal, last_departure_came_up: bool) -> bool {
        let allowed = match seal.boot.method {
            BootMethod::Kexec => true,
            BootMethod::Auto => last_departure_came_up,
            BootMethod::Firmware => false,
        };
        allowed && seal.boot.kexec.is_some()
    }

    fn arm(&self, target: &Target<'_>, edges: &mut Edges<'_>) -> Result<(), Failure> {
        let missing = || Failure::NotSealed {
            wanted: target.seal.generation,
            found: "without the partition of its kernel".into(),
        };
        let kexec = target.seal.boot.kexec.as_ref().ok_or_else(missing)?;
        let volume = target.volume(kexec.partition, &kexec.file_system).ok_or_else(missing)?;
        let image = KexecImage {
            volume,
            kernel: kexec.kernel.clone(),
            initrd: kexec.initrd.clone(),
            options: kexec.options.clone(),
        };
        edges.power.load(&image)?;
        // One may stand there since an earlier attempt by firmware, or from the target's own system.
        Ok(clear_boot_next(edges.firmware)?)
    }

    fn leave(&self, edges: &mut Edges<'_>) -> Result<(), Failure> {
        Ok(edges.power.kexec()?)
    }
}
