//! What a power cut leaves of a disk: everything up to the last flush, and of the writes after it
//! whatever chance decides. Pure, except for [`apply`], which does to a file what was decided.
//!
//! A disk that answered a write may keep it in its cache, and may bring its cache to the medium in
//! any order. It never tears a block, which is what firmware and file systems rely on.
//! QEMU logs a request when it is answered; so a write that was under way while a flush was, and
//! was answered first, counts as flushed here although a real disk need not have it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::write_log::{Action, Entry};
use repave_chance::Chance;

/// What becomes of the writes after the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All are on the medium.
    Kept,
    /// None is.
    Lost,
    /// Each one is, or is not.
    Subset,
    /// Each block of each one is, or is not.
    Torn,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kept, Self::Lost, Self::Subset, Self::Torn];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Lost => "lost",
            Self::Subset => "subset",
            Self::Torn => "torn",
        }
    }
}

/// A part of a request that reached the medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Place of the request among the entries.
    pub entry: usize,
    /// Which of its bytes.
    pub bytes: Range<u64>,
}

/// What is on the medium after the first `cut` of `entries`, in the order in which it got there.
pub fn survivors(
    entries: &[Entry],
    cut: usize,
    block_bytes: u64,
    fate: Fate,
    chance: &mut Chance,
) -> Vec<Piece> {
    let answered = &entries[..cut.min(entries.len())];
    let flushed = answered.iter().rposition(|entry| entry.action == Action::Flush).unwrap_or(0);
    let mut pieces = vec![];
    for (index, entry) in answered.iter().enumerate() {
        let on_medium = match entry.action {
            Action::Flush => continue,
            Action::Write { fua: true, .. } => true,
            _ => index < flushed,
        };
        let fate = if on_medium { Fate::Kept } else { fate };
        match fate {
            Fate::Kept => pieces.push(Piece { entry: index, bytes: 0..entry.length_bytes }),
            Fate::Lost => {}
            Fate::Subset if chance.coin() => {
                pieces.push(Piece { entry: index, bytes: 0..entry.length_bytes });
            }
            Fate::Subset => {}
            Fate::Torn => tear(index, entry, block_bytes, chance, &mut pieces),
        }
    }
    pieces
}

/// Keeps some of a request's blocks. Disks write in runs, so a run ends by chance.
fn tear(
    index: usize,
    entry: &Entry,
    block_bytes: u64,
    chance: &mut Chance,
    pieces: &mut Vec<Piece>,
) {
    /// One in so many blocks ends a run of kept or lost ones.
    const RUN_BLOCKS: u64 = 8;
    let blocks = entry.length_bytes.div_ceil(block_bytes);
    let mut kept = chance.coin();
    let mut start = 0;
    for block in 1..=blocks {
        // A request of a few blocks is torn as well.
        if block < blocks && chance.below(RUN_BLOCKS.min(blocks)) != 0 {
            continue;
        }
        let end = (block * block_bytes).min(entry.length_bytes);
        if kept {
            pieces.push(Piece { entry: index, bytes: start..end });
        }
        (kept, start) = (!kept, end);
    }
}

/// Does to `disk` what `pieces` of a log did.
///
/// # Errors
/// The disk cannot be written.
pub fn apply(pieces: &[Piece], entries: &[Entry], log: &[u8], disk: &File) -> io::Result<()> {
    /// How many zeroes are written at once, for what was discarded.
    static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];
    for piece in pieces {
        let Some(entry) = entries.get(piece.entry) else { continue };
        let at = entry.offset_bytes + piece.bytes.start;
        match &entry.action {
            Action::Flush => {}
            Action::Write { data, .. } => {
                // Offsets into the data, which is in memory.
                let start = data.start + piece.bytes.start as usize;
                let end = data.start + piece.bytes.end as usize;
                let data = log.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
                disk.write_all_at(data, at)?;
            }
            Action::Discard => {
                let length = piece.bytes.end - piece.bytes.start;
                for done in (0..length).step_by(ZEROES.len()) {
                    let part = (length - done).min(ZEROES.len() as u64) as usize;
                    disk.write_all_at(&ZEROES[..part], at + done)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_log::parse;
    use crate::write_log::tests::Hand;

    const SEEDS: Range<u64> = 0..500;

    /// Write 0 and 2, a flush, writes 4 to 6, one of them at the place of an older one, with FUA.
    fn log() -> Vec<u8> {
        let hand = Hand::new().write(0, 4, 1).write(8, 1, 2).flush().write(0, 40, 3);
        let mut log = hand.write(50, 1, 4).flags(1 << 1, 8, 1, 512);
        log.0.extend([5; 512]);
        log.0
    }

    fn disk_after(cut: usize, fate: Fate, seed: u64) -> Vec<u8> {
        let log = log();
        let entries = parse(&log).unwrap();
        let pieces = survivors(&entries, cut, 512, fate, &mut Chance::new(seed));
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(64 * 512).unwrap();
        apply(&pieces, &entries, &log, &disk).unwrap();
        let mut bytes = vec![0; 64 * 512];
        disk.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// The first byte of some of the disk's blocks.
    fn check(cut: usize, fate: Fate, seed: u64, expected: &[(usize, u8)]) {
        let disk = disk_after(cut, fate, seed);
        let found: Vec<_> = expected.iter().map(|(block, _)| (*block, disk[block * 512])).collect();
        assert_eq!(found, expected, "{} of {cut}, seed {seed}", fate.name());
    }

    #[test]
    fn what_was_flushed_is_there_whatever_chance_says() {
        for seed in SEEDS {
            for fate in Fate::ALL {
                check(0, fate, seed, &[(0, 0), (8, 0)]);
                check(3, fate, seed, &[(0, 1), (3, 1), (8, 2)]);
                // The last write had to be on the medium before it was answered.
                check(6, fate, seed, &[(8, 5), (60, 0)]);
            }
        }
    }

    #[test]
    fn kept_is_the_whole_prefix_and_lost_ends_at_the_flush() {
        check(6, Fate::Kept, 0, &[(0, 3), (8, 5), (39, 3), (50, 4)]);
        check(6, Fate::Lost, 0, &[(0, 1), (3, 1), (4, 0), (8, 5), (50, 0)]);
        check(5, Fate::Kept, 0, &[(8, 3)]);
        check(2, Fate::Lost, 0, &[(0, 0), (8, 0)]);
    }

    #[test]
    fn a_subset_has_whole_writes_and_every_subset_comes() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in SEEDS {
            let disk = disk_after(5, Fate::Subset, seed);
            let large = disk[0];
            assert!(disk[..4 * 512].iter().all(|byte| *byte == large), "seed {seed}");
            let rest = if large == 3 { 3 } else { 0 };
            assert!(disk[10 * 512..40 * 512].iter().all(|byte| *byte == rest), "seed {seed}");
            seen.insert((large, disk[50 * 512]));
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }

    #[test]
    fn a_torn_write_is_torn_between_blocks_only() {
        let mut torn = 0;
        for seed in SEEDS {
            let disk = disk_after(5, Fate::Torn, seed);
            let blocks: Vec<u8> = disk
                .chunks_exact(512)
                .map(|block| {
                    assert!(block.iter().all(|byte| *byte == block[0]), "seed {seed}");
                    block[0]
                })
                .collect();
            let new = blocks[..40].iter().filter(|byte| **byte == 3).count();
            torn += usize::from(new > 0 && new < 40);
        }
        assert!(torn > 400, "{torn} of {SEEDS:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_disk() {
        for fate in Fate::ALL {
            assert!(disk_after(5, fate, 7) == disk_after(5, fate, 7));
        }
        assert!(disk_after(5, Fate::Torn, 7) != disk_after(5, Fate::Torn, 8));
    }
}
