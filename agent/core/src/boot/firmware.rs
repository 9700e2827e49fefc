//! BootNext and a reset: the firmware boots the target once, and default at every start after it.

use repave_protocol::BootMethod;

use super::entries::{TargetEntry, ensure_target, set_boot_next};
use super::{Method, Target};
use crate::edges::Edges;
use crate::failure::Failure;
use crate::journal::Seal;

pub(super) struct Firmware;

impl Method for Firmware {
    fn name(&self) -> BootMethod {
        BootMethod::Firmware
    }

    /// Also when kexec was asked for: this is what a failed kexec falls to.
    fn applies(&self, seal: &Seal, _: bool) -> bool {
        seal.boot.efi_path.is_some()
    }

    fn arm(&self, target: &Target<'_>, edges: &mut Edges<'_>) -> Result<(), Failure> {
        let boot = &target.seal.boot;
        let entry = target.table.find(boot.partition);
        let (Some(entry), Some(path)) = (entry, boot.efi_path.clone()) else {
            return Err(Failure::NotSealed {
                wanted: target.seal.generation,
                found: "without its boot partition".into(),
            });
        };
        let number = ensure_target(
            edges.firmware,
            &target.default.default,
            TargetEntry {
                number: entry.number,
                first_lba: entry.first_lba,
                blocks: entry.blocks(),
                partition: entry.guid,
                path,
                options: boot.options.clone(),
            },
        )?;
        Ok(set_boot_next(edges.firmware, number)?)
    }

    fn leave(&self, edges: &mut Edges<'_>) -> Result<(), Failure> {
        Ok(edges.power.reboot()?)
    }
}
