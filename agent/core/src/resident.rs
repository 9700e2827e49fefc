//! The agent inside a running target: it says that the target is up, and takes the server home
//! when an order makes it something else. It changes nothing but its own slot of the journal, and
//! the firmware's boot order where the target left default not first.

use repave_protocol::{
    Directive, Fault, Load, Nonce, Order, Side, Standing, TrustDocument, Verified, WatchdogReport,
};

use crate::answer::{believe, wait_ms};
use crate::backoff::Backoff;
use crate::boot::WayHome;
use crate::edges::{Disk, Host, Link, Power};
use crate::failure::Failure;
use crate::gpt::Table;
use crate::journal::{Accepted, Journal, Place, Record, UpRecord, write_up};
use crate::report::Voice;
use crate::settings::ResidentConfig;
use crate::trust;

/// Pause between two reports when the answer names none.
const REPORT_MS: u64 = 5_000;

/// What the resident works with; narrower than the agent's world.
pub struct Surroundings<'a> {
    /// The network.
    pub link: &'a mut dyn Link,
    /// The way back.
    pub power: &'a mut dyn Power,
    /// Time and chance.
    pub host: &'a mut dyn Host,
    /// How busy the target is.
    pub load: &'a mut dyn FnMut() -> Load,
    /// What guards the target.
    pub watchdog: &'a mut dyn FnMut() -> WatchdogReport,
    /// The firmware's boot order, where there is one.
    pub home: Option<WayHome<'a>>,
}

/// The resident of a target.
pub struct Resident {
    config: ResidentConfig,
    trust: TrustDocument,
    /// What the journal said, but for the last order heard: that is told, since a controller which
    /// lost its records counts on from it, and kept by the default side once it is told the same.
    record: Record,
    voice: Voice,
    /// Why the last answer was not believed or not obeyed; told until one is.
    refusal: Option<Fault>,
    /// Whether a status with the inventory has had an answer since this boot.
    surveyed: bool,
    /// Why the boot order cannot be kept, as it was last logged.
    lost: Option<String>,
}

/// Finds the journal of the state partition that the configuration names.
pub fn find_journal(
    config: &ResidentConfig,
    disks: &mut [Box<dyn Disk + '_>],
) -> Result<Option<(Place, Journal)>, Failure> {
    for (number, disk) in disks.iter_mut().enumerate() {
        let Ok(table) = Table::read(disk.as_mut()) else {
            continue;
        };
        let Some(state) = table.find(config.state_partition) else {
            continue;
        };
        let place = Place { disk: number, offset_bytes: state.first_lba * table.block_bytes };
        return Ok(Journal::open(place, disk.as_mut())?.map(|journal| (place, journal)));
    }
    Ok(None)
}

impl Resident {
    /// A resident that has recorded that its target came up.
    pub fn arrive(
        config: ResidentConfig,
        trust: Verified<TrustDocument>,
        (place, journal): (Place, &Journal),
        disk: &mut dyn Disk,
        boot: Nonce,
    ) -> Result<Self, Failure> {
        let record = journal.record().clone();
        // Only for the target that this resident was put into: an old one may still be about.
        if let Some(seal) = record.seal.as_ref().filter(|s| s.generation == config.generation) {
            let up = UpRecord { generation: seal.generation, departure: seal.departures };
            write_up(place, disk, &up)?;
        }
        let voice = Voice::new(trust.message(), journal.device_key(), boot, Side::Target, None);
        let trust = trust.into_message();
        Ok(Self { config, trust, record, voice, refusal: None, surveyed: false, lost: None })
    }

    /// Reports until an order takes the server home; for ever, with growing pauses on failure.
    pub fn stay(&mut self, around: &mut Surroundings<'_>) {
        let mut backoff = Backoff::default();
        loop {
            let pause_ms = match self.round(around) {
                Ok(None) => return,
                Ok(Some(pause_ms)) => {
                    backoff = Backoff::default();
                    pause_ms
                }
                Err(failure) => {
                    let pause_ms = backoff.next_ms(&around.host.entropy());
                    log::warn!("{} (again in {pause_ms} ms)", failure.chain());
                    pause_ms
                }
            };
            around.host.sleep(pause_ms);
        }
    }

    /// One report. `None` once the server is on its way home.
    pub fn round(&mut self, around: &mut Surroundings<'_>) -> Result<Option<u64>, Failure> {
        self.keep_way_home(around);
        let standing = match &self.refusal {
            Some(fault) => Standing::Failed { fault: fault.clone() },
            None => Standing::Up { load: (around.load)() },
        };
        self.voice.guarded_by((around.watchdog)());
        let inventory = (!self.surveyed).then(|| around.host.inventory());
        let (nonce, status) = self.voice.status(around.host, &self.record, standing, inventory);
        let answer = around.link.ask(&status)?;
        self.surveyed = true;
        let directive = match self.take(&answer, nonce, around.link) {
            Ok(directive) => directive,
            Err(failure) => {
                self.refusal = Some(failure.fault(None));
                return Err(failure);
            }
        };
        self.refusal = None;
        let message = directive.message();
        let other_purpose = match &message.order {
            Order::Wait { after_ms } => return Ok(Some(wait_ms(*after_ms))),
            Order::Purpose(_) => message.generation != self.config.generation,
            Order::Boot { sealed } => *sealed != self.config.generation,
            Order::Stay { .. } | Order::Wipe(_) => true,
        };
        if !other_purpose {
            return Ok(Some(REPORT_MS));
        }
        log::info!("generation {}: going back to the default side", message.generation);
        self.voice.tell(around.link, around.host, &self.record, Standing::Returning);
        around.link.settle();
        self.keep_way_home(around);
        around.power.reboot()?;
        Ok(None)
    }

    /// Default first in BootOrder. What keeps it from that is told once: the target serves on.
    fn keep_way_home(&mut self, around: &mut Surroundings<'_>) {
        let Some(home) = &mut around.home else {
            return;
        };
        let lost = match home.keep() {
            Ok(changed) => {
                if changed {
                    log::warn!("BootOrder did not begin with the default side; now it does");
                }
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = lost.as_ref().filter(|reason| Some(*reason) != self.lost.as_ref()) {
            log::warn!("the next reset may not lead home: {reason}");
        }
        self.lost = lost;
    }

    /// Believes an answer, and takes what it brings along. In memory only: the default side keeps it
    /// when it is told the same.
    fn take(
        &mut self,
        answer: &[u8],
        nonce: Nonce,
        link: &mut dyn Link,
    ) -> Result<Verified<Directive>, Failure> {
        let directive = believe(answer, &self.voice, nonce, &self.trust, self.record.accepted)?;
        let (message, root_key) = (directive.message(), self.config.root_key);
        let newer = trust::newer(message.trust.as_ref(), &self.trust, root_key, link)?;
        if let Some((document, _)) = newer {
            self.voice.goes_by(&document);
            self.trust = document;
        }
        self.record.accepted =
            Some(Accepted { generation: message.generation, digest: message.order_digest() });
        Ok(directive)
    }
}
