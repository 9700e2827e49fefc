//! A disk's log of writes, as QEMU's driver `blklogwrites` keeps it, read. Pure: bytes in, entries
//! out; what a power cut leaves of them is decided in [`crate::power_cut`].
//!
//! The format is the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/
//! log-writes.rst): one sector with a header, then for each request one sector with its entry and,
//! for a write, as many sectors of data as it says. (`data_len` is of marks only, whose names lie
//! in the sector of their entry.) The header's count of entries is brought up to date now and then
//! only, and a QEMU that was killed leaves it stale: so the log is read up to the end of the file,
//! and an entry that is not whole was never made.

use std::ops::Range;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// Sector sizes that QEMU takes.
const SECTOR_BYTES: Range<u64> = 512..(1 << 20) + 1;
const FLUSH: u64 = 1;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;

/// What a request did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wrote these bytes of the log.
    Write {
        /// Where in the log the data is.
        data: Range<usize>,
        /// Force unit access: it was on the medium when it was answered.
        fua: bool,
    },
    /// Said that these bytes of the disk are of no more use.
    Discard,
    /// Put on the medium whatever was answered before.
    Flush,
}

/// One request that the disk answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it did.
    pub action: Action,
    /// Where on the disk.
    pub offset_bytes: u64,
    /// How many bytes of the disk.
    pub length_bytes: u64,
    /// Where in the log it ends. A log of at least this length holds it.
    pub end_bytes: u64,
}

/// Bytes that are no log of writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteLogError {
    /// Something else lies where the log should begin.
    #[error("this is no log of writes: it begins with {found:#018x}, not {MAGIC:#018x}")]
    Magic {
        /// Its first eight bytes.
        found: u64,
    },
    /// A later form of it.
    #[error("log of writes: version {found} is not known, only {VERSION} is")]
    Version {
        /// Its version.
        found: u64,
    },
    /// A sector size that nothing has.
    #[error("log of writes: sectors of {found} bytes")]
    Sector {
        /// What the header says.
        found: u64,
    },
    /// An entry that says what it cannot.
    #[error("log of writes: entry {index}, at byte {at}: {what}")]
    Entry {
        /// Which.
        index: usize,
        /// Where in the log.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The whole entries of a log, in the order in which they were answered. A log without a header, or
/// with zeroes in its place, is the log of a disk that was asked for one thing at most.
///
/// # Errors
/// [`WriteLogError`]; what is cut off at the end is none.
pub fn parse(log: &[u8]) -> Result<Vec<Entry>, WriteLogError> {
    let Some(header) = numbers::<4>(log, 0) else {
        return Ok(vec![]);
    };
    let [magic, version, _stale_count, sector] = header;
    let sector_bytes = sector & u64::from(u32::MAX);
    match () {
        () if header == [0; 4] => return Ok(vec![]),
        () if magic != MAGIC => return Err(WriteLogError::Magic { found: magic }),
        () if version != VERSION => return Err(WriteLogError::Version { found: version }),
        () if !SECTOR_BYTES.contains(&sector_bytes) || !sector_bytes.is_power_of_two() => {
            return Err(WriteLogError::Sector { found: sector_bytes });
        }
        () => {}
    }
    let mut entries = vec![];
    let mut at = sector_bytes;
    while let Some(end) = entry(log, at, sector_bytes, &mut entries)? {
        at = end;
    }
    Ok(entries)
}

/// Reads the entry at `at`, if it is whole; gives where the next one begins.
fn entry(
    log: &[u8],
    at: u64,
    sector_bytes: u64,
    entries: &mut Vec<Entry>,
) -> Result<Option<u64>, WriteLogError> {
    let index = entries.len();
    let wrong = |what| WriteLogError::Entry { index, at, what };
    let data_at = at + sector_bytes;
    let Some([sector, sectors, flags, _mark_bytes]) = numbers::<4>(log, at) else {
        return Ok(None);
    };
    if flags & !(FLUSH | FUA | DISCARD | MARK) != 0 {
        return Err(wrong("it has unknown flags"));
    }
    let bytes =
        |count: u64| count.checked_mul(sector_bytes).ok_or(wrong("it lies beyond any disk"));
    let (offset_bytes, length_bytes) = (bytes(sector)?, bytes(sectors)?);
    let data_bytes = if flags & (DISCARD | MARK) == 0 { length_bytes } else { 0 };
    let end_bytes = data_at.checked_add(data_bytes).ok_or(wrong("its data has no end"))?;
    if end_bytes > log.len() as u64 {
        return Ok(None);
    }
    let mut push = |action| {
        entries.push(Entry { action, offset_bytes, length_bytes, end_bytes });
    };
    if flags & MARK != 0 {
        return Ok(Some(end_bytes));
    }
    // A request may carry a flush before its own write (REQ_PREFLUSH).
    if flags & FLUSH != 0 {
        push(Action::Flush);
    }
    if flags & DISCARD != 0 {
        push(Action::Discard);
    } else if length_bytes > 0 {
        // Both lie below the log's length, which is a usize.
        let data = data_at as usize..(data_at + data_bytes) as usize;
        push(Action::Write { data, fua: flags & FUA != 0 });
    }
    Ok(Some(end_bytes))
}

/// Little-endian numbers at a place; none where the log ends before.
fn numbers<const N: usize>(log: &[u8], at: u64) -> Option<[u64; N]> {
    let at = usize::try_from(at).ok()?;
    let bytes = log.get(at..at.checked_add(N * 8)?)?;
    let mut numbers = [0; N];
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_le_bytes(*bytes.first_chunk()?);
    }
    Some(numbers)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A log as QEMU writes one.
    pub(crate) struct Hand(pub(crate) Vec<u8>);

    impl Hand {
        pub(crate) fn new() -> Self {
            let mut log = Self(vec![]);
            // The count of entries stays behind, as in a QEMU that was killed.
            log.sector(&[MAGIC, VERSION, 0, 512]);
            log
        }

        fn sector(&mut self, numbers: &[u64]) {
            let start = self.0.len();
            self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            self.0.resize(start + 512, 0);
        }

        pub(crate) fn write(mut self, sector: u64, sectors: u64, byte: u8) -> Self {
            self.sector(&[sector, sectors, 0, 0]);
            self.0.extend(vec![byte; (sectors * 512) as usize]);
            self
        }

        pub(crate) fn flags(mut self, flags: u64, sector: u64, sectors: u64, data: u64) -> Self {
            self.sector(&[sector, sectors, flags, data]);
            self
        }

        pub(crate) fn flush(self) -> Self {
            self.flags(FLUSH, 0, 0, 0)
        }
    }

    #[test]
    fn entries_come_in_their_order() {
        let log = Hand::new().write(8, 2, 1).flush().flags(DISCARD, 100, 50, 50 * 512);
        let entry = |action, sector: u64, sectors: u64, end_bytes| Entry {
            action,
            offset_bytes: sector * 512,
            length_bytes: sectors * 512,
            end_bytes,
        };
        let write = Action::Write { data: 1024..2048, fua: false };
        assert_eq!(
            parse(&log.0).unwrap(),
            [
                entry(write, 8, 2, 2048),
                entry(Action::Flush, 0, 0, 2560),
                entry(Action::Discard, 100, 50, 3072)
            ]
        );
    }

    #[test]
    fn a_write_with_flush_and_fua_is_both() {
        let mut log = Hand::new().flags(FLUSH | FUA, 3, 1, 512);
        log.0.extend([7; 512]);
        let actions: Vec<_> = parse(&log.0).unwrap().into_iter().map(|e| e.action).collect();
        assert_eq!(actions, [Action::Flush, Action::Write { data: 1024..1536, fua: true }]);
    }

    #[test]
    fn an_entry_that_is_not_whole_was_never_made() {
        let whole = Hand::new().write(1, 1, 1).write(2, 3, 2).0;
        for length in 0..whole.len() {
            let found = parse(&whole[..length]).unwrap();
            let expected = if length < 512 + 1024 { 0 } else { 1 };
            assert_eq!(found.len(), expected, "{length} bytes");
        }
        assert_eq!(parse(&whole).unwrap().len(), 2);
        assert_eq!(parse(&[0; 1536]).unwrap(), [], "the header was to be written next");
        assert_eq!(parse(&Hand::new().flags(MARK, 0, 0, 5).flush().0).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let check = |log: &[u8], expected: &str| {
            assert_eq!(parse(log).unwrap_err().to_string(), expected);
        };
        check(
            &[1; 512],
            "this is no log of writes: it begins with 0x0101010101010101, not 0x006a736677736872",
        );
        let header = |version: u64, sector: u64| {
            let mut log = Hand(vec![]);
            log.sector(&[MAGIC, version, 0, sector]);
            log.0
        };
        check(&header(2, 512), "log of writes: version 2 is not known, only 1 is");
        check(&header(1, 513), "log of writes: sectors of 513 bytes");
        check(&header(1, 0), "log of writes: sectors of 0 bytes");
        let entry = |flags, sector, sectors| Hand::new().flags(flags, sector, sectors, 0).0;
        let at = "log of writes: entry 0, at byte 512: ";
        check(&entry(1 << 7, 0, 0), &format!("{at}it has unknown flags"));
        check(&entry(0, u64::MAX, 1), &format!("{at}it lies beyond any disk"));
        check(&entry(0, 0, u64::MAX / 512), &format!("{at}its data has no end"));
    }
}
