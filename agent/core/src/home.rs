//! Coming home: what every boot into default does before it speaks. Find the default side, open
//! the journal or, at a server's first boot, begin one; give a burned clone its own identity; put
//! default first in the firmware.

use repave_protocol::{Guid, PoolId, PublicKey, TrustDocument, Verified};

use crate::boot::ensure_default;
use crate::default_side::{DefaultSide, NoDefaultSide};
use crate::edges::{Disk, Firmware, Host};
use crate::event::Event;
use crate::failure::Failure;
use crate::journal::{Journal, Record, Secret};
use crate::trust;

/// A default side with its journal.
#[derive(Debug)]
pub struct Home {
    /// Where it is.
    pub default: DefaultSide,
    /// What it remembers.
    pub journal: Journal,
}

impl Home {
    /// Finds the default side, and changes nothing. `latest` is the GUID that an earlier entry in this
    /// boot gave the default partition, or was about to: the boot loader's word is older than that.
    pub fn find(
        disks: &mut [Box<dyn Disk + '_>],
        firmware: &mut dyn Firmware,
        host: &mut dyn Host,
        latest: Option<Guid>,
    ) -> Result<DefaultSide, Failure> {
        for (number, disk) in disks.iter().enumerate() {
            host.saw(Event::Disk(number, Box::new(disk.facts().clone())));
        }
        let found = latest.map(|guid| DefaultSide::find(disks, Some(guid), host));
        match found {
            None | Some(Err(NoDefaultSide::Missing { .. })) => {
                Ok(DefaultSide::find(disks, firmware.loader_partition(), host)?)
            }
            Some(found) => Ok(found?),
        }
    }

    /// Enters it, and finishes whatever a first boot that was cut left undone. `latest` is set before
    /// the partition's GUID changes, so that it is right however this ends.
    pub fn enter(
        mut default: DefaultSide,
        disks: &mut [Box<dyn Disk + '_>],
        firmware: &mut dyn Firmware,
        host: &mut dyn Host,
        latest: &mut Option<Guid>,
    ) -> Result<Self, Failure> {
        let disk = disks[default.disk].as_mut();
        let opened = Journal::open(default.journal(), disk)?;
        host.saw(Event::journal(opened.as_ref().map(|kept| (kept.sequence(), kept.record()))));
        let journal = match opened {
            Some(journal) => journal,
            None => first_boot(&default, disk, host)?,
        };
        *latest = Some(journal.record().identity[1]);
        // The identity is in the journal before it is on the disk, so this is the same whether it
        // is done for the first time or finished after a cut.
        match default.assume(journal.record().identity, disk) {
            Ok(false) => {}
            Ok(true) => {
                log::info!("{}: disk GUID is now {}", disk.facts().name, default.table.disk_guid)
            }
            // The next boot finishes it. To fail here would be to fail for ever: this boot's GUID
            // may be gone from the disk already, and the server would never speak.
            Err(error) => log::error!("{}: identity: {error}", disk.facts().name),
        }
        if let Err(error) = ensure_default(firmware, &default.default) {
            // Booting from \EFI\BOOT\BOOTX64.EFI needs no entry: say so, and go on.
            log::warn!("boot entry of the default side: {error}");
        }
        Ok(Self { default, journal })
    }
}

impl Home {
    /// Makes sure that the default side has the identity that the journal gave it. A target's resident
    /// finds the journal by it, so no target is written before.
    pub fn settle_identity(
        &mut self,
        disk: &mut dyn Disk,
        firmware: &mut dyn Firmware,
    ) -> Result<(), Failure> {
        if self.default.assume(self.journal.record().identity, disk)? {
            // The entry names the partition by its GUID.
            ensure_default(firmware, &self.default.default)?;
        }
        Ok(())
    }

    /// The newest trust document of the one `burned` beside the configuration and the journal's;
    /// the journal keeps it, since the resident of a target has no other.
    pub fn trust(
        &mut self,
        burned: &[u8],
        root_key: PublicKey,
        pool: &PoolId,
        disk: &mut dyn Disk,
    ) -> Result<Verified<TrustDocument>, Failure> {
        let kept = self.journal.record().trust.clone().unwrap_or_default();
        let candidates = [kept.as_bytes(), burned].into_iter().filter(|bytes| !bytes.is_empty());
        let (newest, bytes) = trust::newest(candidates, root_key, pool)?;
        if bytes != kept.as_bytes() {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.journal.update(disk, |record| record.trust = Some(text))?;
        }
        Ok(newest)
    }
}

fn first_boot(
    default: &DefaultSide,
    disk: &mut dyn Disk,
    host: &mut dyn Host,
) -> Result<Journal, Failure> {
    log::info!("first boot: making this server's key and GUIDs");
    let record = Record {
        device_seed: Secret::new(host.entropy()),
        identity: [fresh_guid(host), fresh_guid(host), fresh_guid(host)],
        trust: None,
        accepted: None,
        purposing: None,
        seal: None,
        unsealed: Vec::new(),
        written: Vec::new(),
        wiping: None,
        wiped: None,
        staying: None,
        withdrawn: false,
        failure: None,
    };
    let mut journal = Journal::create(default.journal(), 0, record);
    journal.update(disk, |_| {})?;
    Ok(journal)
}

fn fresh_guid(host: &mut dyn Host) -> Guid {
    Guid::from_random(host.draw())
}
