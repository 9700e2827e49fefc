//! Pauses after failures: they double from a first to a longest one, with up to half as much again
//! by chance, so that a rack that lost its controller does not come back in step.

const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 60_000;

/// How long to pause next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pause_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause_ms: FIRST_MS }
    }
}

impl Backoff {
    /// The next pause; `chance` spreads it.
    pub(crate) fn next_ms(&mut self, chance: &[u8; 32]) -> u64 {
        let pause_ms = self.pause_ms;
        self.pause_ms = (pause_ms * 2).min(LONGEST_MS);
        let spread = u64::from(chance[0]) << 8 | u64::from(chance[1]);
        pause_ms + pause_ms / 2 * spread / u64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_its_limit_and_spreads_by_half() {
        let pauses = |chance: u8| {
            let mut backoff = Backoff::default();
            (0..8).map(|_| backoff.next_ms(&[chance; 32])).collect::<Vec<_>>()
        };
        assert_eq!(pauses(0), [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        assert_eq!(pauses(255), [1500, 3000, 6000, 12000, 24000, 48000, 90000, 90000]);
    }
}
