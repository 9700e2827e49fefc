//! How an image is started, found out by looking: the program that firmware starts by itself, and
//! the kernel that Linux distributions link to. Whoever knows better writes a `boot.json`.

use std::sync::Arc;

use repave_image::{Boot, FileSystemKind, Kexec, Reports};

use crate::descriptor::BootDescriptor;
use crate::error::ImportError;
use crate::examine::{source_layout, unreadable, window};
use crate::file_system;
use crate::import::ImportOptions;
use crate::inside::Inside;
use crate::layout::SourcePartition;
use crate::source::Source;

/// The default boot file on x86-64 (UEFI 2.10, table 3.2).
const EFI_PATH: &str = "\\EFI\\BOOT\\BOOTX64.EFI";
/// Where Debian and its relatives link the newest kernel, and its initrd beside it.
const KERNELS: [(&str, &str); 2] =
    [("/vmlinuz", "/initrd.img"), ("/boot/vmlinuz", "/boot/initrd.img")];
/// Name of the partition of a source that is a bare file system.
const BARE_NAME: &str = "root";

/// Looks for what can be started in a source. Nothing may be configured in such an image, and
/// nobody reports that it is up.
pub fn find_boot(
    source: &Arc<dyn Source>,
    server_type: &str,
    options: &ImportOptions,
) -> Result<BootDescriptor, ImportError> {
    let layout = source_layout(source, BARE_NAME, options)?;
    let mut efi = None;
    let mut kexec = None;
    for partition in &layout.partitions {
        let window = window(source, partition);
        let found = file_system::detect(&window)
            .map_err(|error| unreadable(partition.start_bytes, partition.size_bytes, error))?;
        let Some(kind) = found.map(|found| found.file_system.kind) else {
            continue;
        };
        let inside = Inside { window: &window, name: &partition.name, kind: Some(kind) };
        match kind {
            FileSystemKind::Vfat if efi.is_none() => {
                let is_there = inside.check_efi_program(EFI_PATH).is_ok();
                efi = is_there.then(|| partition.name.clone());
            }
            FileSystemKind::Ext4 if kexec.is_none() => kexec = kernel_on(&inside, partition),
            _ => {}
        }
    }
    let partition = efi.clone().or_else(|| kexec.as_ref().map(|kexec| kexec.partition.clone()));
    Ok(BootDescriptor {
        server_type: server_type.into(),
        reports: Reports::None,
        boot: Boot {
            partition: partition.ok_or(ImportError::NothingToBoot)?,
            efi_path: efi.map(|_| EFI_PATH.into()),
            options: String::new(),
            kexec,
        },
        settings: None,
    })
}

fn kernel_on(inside: &Inside<'_>, partition: &SourcePartition) -> Option<Kexec> {
    let has = |what, path| inside.check_file(what, path).is_ok();
    let (kernel, initrd) = KERNELS.into_iter().find(|(kernel, _)| has("kernel", kernel))?;
    Some(Kexec {
        partition: partition.name.clone(),
        kernel: kernel.into(),
        initrd: has("initrd", initrd).then(|| initrd.into()),
        options: format!("root=PARTUUID={} ro", partition.guid),
    })
}
