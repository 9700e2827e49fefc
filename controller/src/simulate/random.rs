//! A small generator of chance for simulations: the same seed gives the same world everywhere. It
//! is SplitMix64 (Steele, Lea and Flood, 2014): one addition and a mix, and nothing for secrets.

/// The generator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `least` up to, not including, `most`.
    pub(super) const fn within(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least)
    }

    /// True `times` in a million.
    pub(super) const fn happens(&mut self, times: u64) -> bool {
        self.within(0, 1_000_000) < times
    }
}
