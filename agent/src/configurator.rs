//! Settings on a target's volume: mount, write, sync, unmount; and again with cold caches,
//! read-only, to compare. Which files, and whether the image allows them, was decided before;
//! how a file is written below a root that may be hostile is `tree`'s.

mod tree;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use repave_core::edges::{Configurator, SettingsError, Volume};
use repave_core::settings::Rendered;
use rustix::fs::OFlags;

use crate::mount::{Access, MountError, Mounted, Mounter, blames_image, open_in_root};

/// File systems that keep owner, mode and links.
const KEEPERS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Writes and verifies settings on mounted volumes.
#[derive(Debug)]
pub struct VolumeConfigurator {
    mounter: Mounter,
    agent_binary: PathBuf,
}

impl VolumeConfigurator {
    /// `agent_binary` is what a file that holds the agent is copied from (`/proc/self/exe`).
    pub fn new(mounter: Mounter, agent_binary: &Path) -> Self {
        Self { mounter, agent_binary: agent_binary.into() }
    }

    fn mount(&self, volume: &Volume, access: Access) -> Result<Mounted, SettingsError> {
        if !KEEPERS.contains(&&*volume.file_system) {
            return Err(SettingsError {
                operation: "mount",
                path: "/".into(),
                reason: format!("{} keeps neither owner nor mode of a file", volume.file_system),
                image_at_fault: true,
            });
        }
        self.mounter.mount(volume, access).map_err(|error| mount_fault("mount", &error))
    }
}

impl Configurator for VolumeConfigurator {
    fn write(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError> {
        let mounted = self.mount(volume, Access::ReadWrite)?;
        tree::write(mounted.as_fd(), files, &self.agent_binary)?;
        sync(&mounted)?;
        drop(mounted);
        self.mounter.drop_cache(volume).map_err(|error| mount_fault("sync", &error))
    }

    fn verify(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError> {
        // A volume that is still mounted for writing somewhere does not mount read-only, so that
        // what is read here cannot come from another mount's cache.
        let mounted = self.mount(volume, Access::ReadOnly)?;
        tree::verify(mounted.as_fd(), files, &self.agent_binary)
    }
}

/// One sync of the whole file system makes every file, name and directory durable, and reports
/// whatever could not be written back since the mount (Linux 5.8 and later).
fn sync(mounted: &Mounted) -> Result<(), SettingsError> {
    let root = open_in_root(mounted.as_fd(), "/", OFlags::RDONLY | OFlags::DIRECTORY);
    root.and_then(rustix::fs::syncfs).map_err(|error| SettingsError {
        operation: "sync",
        path: "/".into(),
        reason: error.to_string(),
        image_at_fault: blames_image(error),
    })
}

fn mount_fault(operation: &'static str, error: &MountError) -> SettingsError {
    SettingsError {
        operation,
        path: "/".into(),
        reason: error.to_string(),
        image_at_fault: error.blames_image(),
    }
}

#[cfg(test)]
mod tests {
    use repave_core::edges::{Configurator, Disk, Volume};
    use repave_core::settings::{Content, Rendered};

    use super::VolumeConfigurator;
    use crate::loop_disk::LoopDisk;
    use crate::mount::Access;

    fn settings() -> Vec<Rendered> {
        let file = |path: &str, content, mode| Rendered {
            path: path.into(),
            content,
            mode,
            uid: 7,
            gid: 8,
        };
        vec![
            file("/etc/hostname", Content::Bytes(b"web1\n".to_vec()), 0o644),
            file("/usr/lib/repave/repave-agent", Content::Agent, 0o755),
            file("/etc/systemd/a", Content::Link("/etc/b".into()), 0o777),
        ]
    }

    fn configurator(disk: &LoopDisk) -> VolumeConfigurator {
        VolumeConfigurator::new(disk.mounter(), "/bin/true".as_ref())
    }

    fn loop_disk() -> LoopDisk {
        LoopDisk::new(tempfile::tempdir().unwrap().path())
    }

    #[test]
    fn settings_are_found_on_the_medium_and_their_change_is_too() {
        let disk = loop_disk();
        let (volume, mut settings) = (disk.volume(), settings());
        let mut configurator = configurator(&disk);
        assert!(configurator.verify(&volume, &settings).is_err());
        for _ in 0..2 {
            configurator.write(&volume, &settings).unwrap();
            configurator.verify(&volume, &settings).unwrap();
        }
        // Every copy of the bytes on the medium, past whatever is cached.
        let mut raw = disk.open();
        let mut image = vec![0; raw.facts().size_bytes as usize];
        raw.read(0, &mut image).unwrap();
        let places: Vec<usize> = image
            .windows(5)
            .enumerate()
            .filter(|(_, bytes)| bytes == b"web1\n")
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty());
        for at in places {
            image[at] = b'W';
        }
        raw.write(0, &image).unwrap();
        raw.flush().unwrap();
        let error = configurator.verify(&volume, &settings).unwrap_err();
        assert_eq!(error.path, "/etc/hostname");
        assert!(error.reason.contains("differs"), "{error}");
        settings.remove(0);
        configurator.verify(&volume, &settings).unwrap();
    }

    #[test]
    fn a_volume_that_is_still_mounted_for_writing_is_not_verified() {
        let disk = loop_disk();
        let held = disk.mounter().mount(&disk.volume(), Access::ReadWrite).unwrap();
        let error = configurator(&disk).verify(&disk.volume(), &[]).unwrap_err();
        assert!(error.reason.contains("busy"), "{error}");
        assert!(!error.image_at_fault);
        drop(held);
        configurator(&disk).verify(&disk.volume(), &[]).unwrap();
    }

    fn check_refused(disk: &LoopDisk, volume: &Volume, reason: &str, image_at_fault: bool) {
        let error = configurator(disk).write(volume, &settings()).unwrap_err();
        assert!(error.reason.contains(reason), "{error}");
        assert_eq!((error.operation, error.image_at_fault), ("mount", image_at_fault));
    }

    #[test]
    fn what_does_not_mount_is_named_with_its_blame() {
        let disk = loop_disk();
        let volume = disk.volume();
        let vfat = Volume { file_system: "vfat".into(), ..volume.clone() };
        check_refused(&disk, &vfat, "vfat keeps neither owner nor mode", true);
        let elsewhere = Volume { offset_bytes: 512, ..volume.clone() };
        check_refused(
            &disk,
            &elsewhere,
            "no partition of 25165824 bytes at byte 512 of vda",
            false,
        );
        let longer = Volume { size_bytes: volume.size_bytes + 512, ..volume.clone() };
        check_refused(&disk, &longer, "no partition of 25166336 bytes", false);
        let other = Volume { disk: 1, ..volume.clone() };
        check_refused(&disk, &other, "there is no disk number 1", false);
        disk.open().write(volume.offset_bytes, &[0; 4096]).unwrap();
        check_refused(&disk, &volume, "dev/vda1: Invalid argument", true);
    }
}
