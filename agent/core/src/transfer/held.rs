//! A set of chunks, one bit for each. It is the only thing that grows with an image: 128 KiB for each
//! TiB in chunks of 1 MiB, 512 KiB in chunks of 256 KiB, and 16 MiB for the largest index there may be.

/// Chunks that the disk holds right: in this run a read past the cache has seen them so, and nobody
/// has written to them since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held(Vec<u64>);

impl Held {
    pub(crate) fn insert(&mut self, chunk: u64) {
        let word = (chunk / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (chunk % 64);
    }

    pub(crate) fn remove(&mut self, chunk: u64) {
        if let Some(word) = self.0.get_mut((chunk / 64) as usize) {
            *word &= !(1 << (chunk % 64));
        }
    }

    /// Whether a chunk is in it.
    pub fn contains(&self, chunk: u64) -> bool {
        self.0.get((chunk / 64) as usize).is_some_and(|word| word >> (chunk % 64) & 1 == 1)
    }

    /// How many are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Held;

    #[test]
    fn what_was_put_in_is_there_until_it_is_taken_out() {
        let mut held = Held::default();
        for chunk in [0, 63, 64, 1000] {
            held.insert(chunk);
            held.insert(chunk);
        }
        assert_eq!(held.count(), 4);
        held.remove(64);
        held.remove(5000);
        let there: Vec<u64> = (0..2000).filter(|&chunk| held.contains(chunk)).collect();
        assert_eq!(there, [0, 63, 1000]);
    }
}
