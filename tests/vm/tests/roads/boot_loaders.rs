//! Debian's own programs that install boot loaders, run by the root of a target: into its own ESP,
//! and into the default side's.

use anyhow::{Context, Result};
use repave_controller_stub::Scenario;
use repave_protocol::{Order, Purpose, Settings, SettingsFile, Sha256, Side};
use repave_qemu::net::Nic;
use repave_vm::{Lab, Server, TargetImage, say};

const DISK_MIB: u64 = 1024;
const DEFAULT: &str = "Repave default";
/// What systemd-boot and grub call themselves in the firmware.
const LOADERS: [&str; 2] = ["Linux Boot Manager", "debian"];

/// Into the target's own ESP, and then the order is the target's alone.
const INTO_ITS_OWN: &str = "
udevadm settle
mkdir -p /boot/efi
mount /dev/disk/by-partlabel/loaders-esp /boot/efi
grub-install --target=x86_64-efi --efi-directory=/boot/efi --bootloader-id=debian
bootctl install --esp-path=/boot/efi
umount /boot/efi
efibootmgr -o $(efibootmgr | sed -n 's/^BootCurrent: //p')
echo 'loaders: took the boot order' > /dev/console
";

/// Into p1, beside what is there.
const BESIDE_DEFAULT: &str = "
udevadm settle
mount /dev/disk/by-partlabel/repave-default /mnt
grub-install --target=x86_64-efi --efi-directory=/mnt --bootloader-id=debian
umount /mnt
echo 'loaders: wrote into p1' > /dev/console
";

/// Into p1, over `\EFI\BOOT\BOOTX64.EFI`.
const OVER_DEFAULT: &str = "
udevadm settle
mount /dev/disk/by-partlabel/repave-default /mnt
bootctl install --esp-path=/mnt
umount /mnt
echo 'loaders: wrote into p1' > /dev/console
";

/// A server that is up as a Debian whose root ran this before its resident started; gives p1's
/// digest before that, too.
fn ran<'lab>(lab: &'lab Lab, name: &str, script: &str) -> Result<(Server<'lab>, Sha256)> {
    let image = lab.import("loaders", &TargetImage::build("loaders")?)?;
    let mut spec = lab.bare(name);
    spec.disks.push(lab.burn(name, DISK_MIB)?);
    spec.nics.push(Nic::slirp());
    let mut server = lab.server(spec)?;
    server.power_on()?;
    server.first_status()?;
    let default_partition = server.disk()?.default_partition()?;
    let files = vec![SettingsFile::new("/etc/loaders/install", 0o644, script.as_bytes())];
    let settings = Settings { files, ..Settings::default() };
    server.order(Order::Purpose(Box::new(Purpose { settings, ..lab.purpose(&image) })))?;
    server.console("loaders: ")?;
    server.up("loaders")?;
    Ok((server, default_partition))
}

/// The next digest of p1 that this side tells.
fn told(server: &mut Server<'_>, side: Side) -> Result<Sha256> {
    let told = server.wait("a digest of p1", |status| {
        status.side == side && status.default_partition.is_some()
    })?;
    told.status.default_partition.context("it was waited for")
}

#[test]
fn boot_loaders_in_the_target_s_own_esp_leave_p1_alone_and_the_next_reset_leads_home() -> Result<()>
{
    let lab = Lab::new("own-esp", Scenario::default())?;
    let (mut server, default_partition) = ran(&lab, "own-esp", INTO_ITS_OWN)?;
    // A resident repairs the order before it says anything.
    let variables = server.variables()?;
    let (order, entries) = (variables.boot_order(), variables.boot_entries());
    assert_eq!(order.first().map(String::as_str), Some(DEFAULT), "{order:?}");
    assert!(LOADERS.iter().all(|loader| entries.iter().any(|e| e == loader)), "{entries:?}");
    assert_eq!(told(&mut server, Side::Target)?, default_partition);

    server.running()?.reset()?;
    server.first_status()?;
    server.end(default_partition)?;
    lab.finish()
}

/// What the target's root did to p1 is told by the target, and again from home.
fn is_told_of_and_comes_home(name: &str, script: &str) -> Result<()> {
    let lab = Lab::new(name, Scenario::default())?;
    let (mut server, before) = ran(&lab, name, script)?;
    let found = told(&mut server, Side::Target)?;
    assert_ne!(found, before, "the target itself tells of it");
    server.running()?.reset()?;
    server.order(Order::Stay { reason: "its default partition has changed".into() })?;
    server.first_status()?;
    assert_eq!(told(&mut server, Side::Default)?, found);
    say(&server.figures()?.to_string());
    server.kill()?;
    assert_eq!(server.disk()?.default_partition()?, found, "it is so");
    lab.finish()
}

#[test]
fn a_boot_loader_beside_the_default_side_is_told_of() -> Result<()> {
    is_told_of_and_comes_home("beside", BESIDE_DEFAULT)
}

#[test]
fn a_boot_loader_over_the_default_side_s_removable_path_is_told_of_and_keeps_nobody_away()
-> Result<()> {
    is_told_of_and_comes_home("over", OVER_DEFAULT)
}
