//! What tests look at in a world, and what they change behind the back of both sides.

use repave_core::efi::numbers_to_bytes;
use repave_core::gpt::Table;
use repave_core::journal::{Journal, Place as JournalPlace, Record};

use super::{Place, World};
use crate::bench::{BURNED_BYTES, Bench, DEFAULT};
use crate::check::{self, Violation};
use crate::configurator::file_in;
use crate::disk::Medium;
use crate::image::{Image, SETTINGS_BYTES};
use crate::stable::find;

impl World {
    /// The bytes of a file in the target whose image this is.
    pub fn target_file(&self, image: &Image, path: &str) -> Option<Vec<u8>> {
        let machine = self.machine.borrow();
        let root = &image.manifest.partitions[1];
        let (disk, at, _) = find(&machine, root.guid)?;
        let end = at + root.size_bytes;
        file_in(&machine.media[disk].durable_bytes(end - SETTINGS_BYTES..end), path)
    }

    /// The durable bytes of every disk and all variables: what must not change when nothing may.
    pub fn fingerprint(&self) -> Vec<Vec<u8>> {
        let machine = self.machine.borrow();
        let disks = machine.media.iter().map(|m| m.durable_bytes(0..m.facts().size_bytes));
        disks.chain(machine.nvram.variables.values().cloned()).collect()
    }

    /// The bytes of the default partition.
    pub fn default_partition(&self) -> Vec<u8> {
        let machine = self.machine.borrow();
        machine.media[0].durable_bytes(machine.watch.default.clone())
    }

    /// Writes of the default side to a target so far.
    pub fn target_writes(&self) -> u64 {
        self.machine.borrow().watch.target_writes
    }

    /// Whether a target runs, whatever it says.
    pub const fn is_running_target(&self) -> bool {
        matches!(self.place, Place::Target(_) | Place::Dark)
    }

    /// How many chunks were fetched.
    pub fn fetches(&self) -> usize {
        let machine = self.machine.borrow();
        machine.events.lines().iter().filter(|line| line.contains(" fetch ")).count()
    }

    /// How many events say this.
    pub fn count_events(&self, words: &str) -> usize {
        let machine = self.machine.borrow();
        machine.events.lines().iter().filter(|line| line.ends_with(words)).count()
    }

    /// Nobody believes the controller any more.
    pub fn cut_off(&self) {
        self.machine.borrow_mut().controller.ca = "CA nobody knows".into();
    }

    /// The controller is believed again.
    pub fn reconnect(&self) {
        let machine = &mut *self.machine.borrow_mut();
        machine.controller.ca = machine.trusted_ca.clone();
    }

    /// Somebody other than the default side sets BootOrder.
    pub fn order_boot(&self, order: &[u16]) {
        let machine = &mut *self.machine.borrow_mut();
        machine.nvram.variables.insert("BootOrder".into(), numbers_to_bytes(order));
        machine.watch.forget_order();
    }

    /// Somebody copies the default disk to the second one, block by block.
    pub fn clone_default_disk(&self) {
        let machine = &mut *self.machine.borrow_mut();
        let bytes = machine.media[0].durable_bytes(0..BURNED_BYTES);
        machine.watch.leave_old_targets();
        machine.media[1].write(0, &bytes);
        machine.media[1].flush();
    }

    /// A target's root changes the journal.
    pub fn rewrite_journal(&self, change: impl FnOnce(&mut Record)) {
        let machine = &mut *self.machine.borrow_mut();
        let place = JournalPlace { disk: 0, offset_bytes: machine.watch.state.start };
        let mut bench = Bench(machine.media[0].clone());
        let journal = Journal::open(place, &mut bench).expect("the bench does not fail");
        let mut journal = journal.expect("a server that was up has a journal");
        journal.update(&mut bench, change).expect("the bench does not fail");
        machine.media[0] = bench.0;
    }

    /// Whether a target runs that says nothing.
    pub const fn is_dark(&self) -> bool {
        matches!(self.place, Place::Dark)
    }

    /// The number of the disk whose table, as the device answers now, has a partition of this image.
    pub fn disk_of(&self, image: &Image) -> Option<usize> {
        let machine = self.machine.borrow();
        let has_one = |medium: &Medium| {
            let table = Table::read(&mut medium.now()).ok();
            let mut parts = image.manifest.partitions.iter();
            table.is_some_and(|table| parts.any(|part| table.find(part.guid).is_some()))
        };
        machine.media.iter().position(has_one)
    }

    /// From now on nothing goes wrong, and what is on its way arrives or is lost.
    pub fn calm(&self) {
        let machine = &mut *self.machine.borrow_mut();
        machine.events.note("from here on nothing goes wrong");
        machine.dice.stop();
        machine.controller.lies.clear();
        machine.late.clear();
        machine.outage = None;
    }

    /// Whether the default partition is as it was burned.
    pub fn is_default_as_burned(&self) -> bool {
        let machine = self.machine.borrow();
        machine.media[0].durably_differs(machine.watch.default.start, &DEFAULT).is_none()
    }

    /// Something did not hold; the first that did not is returned.
    pub fn violation(&self, invariant: &'static str, found: &str) -> Result<(), Violation> {
        let machine = &mut *self.machine.borrow_mut();
        machine.watch.violated(invariant, found);
        check::violation(machine).map_or(Ok(()), Err)
    }
}
