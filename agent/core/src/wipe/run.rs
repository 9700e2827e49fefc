//! Carrying out a wipe: the journal says that no target is left, what could boot is blanked, the
//! target's entries leave the table, every block is made zero, flushed, and read back past the page
//! cache. Cut at any instant, the same order goes through it again, and writes only what is not zero.

use repave_protocol::{Coverage, Standing, WipePass, WipedRange};

use super::sweep::{PIECE_BYTES, Sweep};
use super::{Area, Erasure};
use crate::boot::forget_target;
use crate::failure::Failure;
use crate::road::{PROGRESS_MS, Traveller, blank};
use crate::watchdog::Stretch;

/// How far a pass has come, over all ranges, and what was told of it last.
struct Progress {
    pass: WipePass,
    total_bytes: u64,
    /// Bytes of the ranges before.
    before_bytes: u64,
    told_ms: u64,
    told_bytes: u64,
}

impl Erasure {
    /// Wipes. Once this came back, the journal holds the coverage.
    pub(crate) fn carry_out(&self, on: &mut Traveller<'_, '_>) -> Result<(), Failure> {
        self.unseal(on)?;
        let mut ranges = Vec::new();
        let mut progress = Progress::begin(WipePass::Zeroing, self.total_bytes(), on);
        for area in &self.areas {
            let written_bytes = progress.sweep(area, on)?;
            let disk = on.edges.disks[area.disk].as_mut();
            disk.flush()?;
            let facts = disk.facts();
            ranges.push(WipedRange {
                disk: facts.name.clone(),
                serial: facts.serial.clone(),
                wwn: facts.wwn.clone(),
                offset_bytes: area.offset_bytes,
                length_bytes: area.length_bytes,
                written_bytes,
                read_back_bytes: 0,
            });
        }
        let mut progress = Progress::begin(WipePass::ReadingBack, self.total_bytes(), on);
        for (area, range) in self.areas.iter().zip(&mut ranges) {
            progress.sweep(area, on)?;
            range.read_back_bytes = area.length_bytes;
        }
        log::info!("wiped: {} bytes read back as zero", self.total_bytes());
        let generation = self.generation;
        let wiped = Coverage { generation, ranges, missing: self.missing.clone() };
        on.journal.update(on.edges.disks[on.journal_disk].as_mut(), |record| {
            record.wiping = None;
            record.unsealed = self.away.clone();
            record.written = self.missing.clone();
            record.failure = None;
            record.wiped = Some(wiped);
        })?;
        Ok(())
    }

    /// From here on no target can be booted, and none is known but those whose disk is away.
    fn unseal(&self, on: &mut Traveller<'_, '_>) -> Result<(), Failure> {
        forget_target(on.edges.firmware)?;
        on.journal.update(on.edges.disks[on.journal_disk].as_mut(), |record| {
            record.unsealed = record.boot_places();
            record.seal = None;
            record.purposing = None;
            record.wiped = None;
            record.wiping = Some(self.generation);
        })?;
        for head in &self.heads {
            blank(head, on.edges.disks[head.disk].as_mut())?;
        }
        for area in &self.areas {
            let disk = on.edges.disks[area.disk].as_mut();
            if let Some(rewrite) = &area.rewrite {
                rewrite.write(disk)?;
            }
            // Also when the table stays: the run that changed it may have failed right here.
            if area.guid.is_some() {
                disk.reread_partitions()?;
            }
        }
        Ok(())
    }
}

impl Progress {
    fn begin(pass: WipePass, total_bytes: u64, on: &mut Traveller<'_, '_>) -> Self {
        let told_ms = on.edges.host.uptime_ms();
        let mut progress = Self { pass, total_bytes, before_bytes: 0, told_ms, told_bytes: 0 };
        progress.tell(0, on);
        progress
    }

    /// One pass over one range; returns the bytes that were not zero.
    fn sweep(&mut self, area: &Area, on: &mut Traveller<'_, '_>) -> Result<u64, Failure> {
        let name = on.edges.disks[area.disk].facts().name.clone();
        let mut workers = on.edges.crew.start(area.disk, PIECE_BYTES)?;
        on.edges.watchdog.begin(Stretch::Transferring);
        let sweep = Sweep::new(self.pass, area, &name);
        let written_bytes = sweep.run(workers.as_mut(), &mut |done_bytes, event| {
            on.edges.host.saw(event);
            on.edges.watchdog.begin(Stretch::Transferring);
            let passed_ms = on.edges.host.uptime_ms().saturating_sub(self.told_ms);
            if passed_ms >= PROGRESS_MS {
                self.tell(done_bytes, on);
            }
        });
        on.edges.watchdog.begin(Stretch::Working);
        let written_bytes = written_bytes?;
        self.before_bytes += area.length_bytes;
        Ok(written_bytes)
    }

    fn tell(&mut self, done_bytes: u64, on: &mut Traveller<'_, '_>) {
        let now_ms = on.edges.host.uptime_ms();
        let done_bytes = self.before_bytes + done_bytes;
        let passed_ms = now_ms.saturating_sub(self.told_ms).max(1);
        let bytes_per_s = done_bytes.saturating_sub(self.told_bytes) * 1000 / passed_ms;
        (self.told_ms, self.told_bytes) = (now_ms, done_bytes);
        let (pass, total_bytes) = (self.pass, self.total_bytes);
        let standing = Standing::Wiping { pass, done_bytes, total_bytes, bytes_per_s };
        on.voice.tell(on.edges.link, on.edges.host, on.journal.record(), standing);
    }
}
