//! How long to wait before the next try: doubling up to a limit, with jitter, so that a rack that
//! was switched on at once does not ask at once for ever. Pure; the seed is an argument.

use std::time::Duration;

/// A schedule of waits. It never ends: what uses it tries for ever, since a server without its
/// network can be helped by nobody.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    limit: Duration,
    attempt: u32,
    random: u64,
}

impl Backoff {
    /// Waits about `first`, then about twice as long each time up to about `limit`.
    pub(super) fn new(first: Duration, limit: Duration, seed: u64) -> Self {
        Self { first, limit, attempt: 0, random: seed }
    }

    /// The next wait: between three and five quarters of its nominal length.
    pub(super) fn next(&mut self) -> Duration {
        // Past 2^16 the limit is long reached; the bound keeps the shift in range.
        let nominal = self.first.saturating_mul(1 << self.attempt.min(16)).min(self.limit);
        self.attempt = self.attempt.saturating_add(1);
        let quarter = nominal / 4;
        let jitter = (quarter * 2).mul_f64(self.random_fraction());
        nominal - quarter + jitter
    }

    /// How many waits were taken since the last reset.
    pub(super) fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Whether this attempt deserves a line on the console: the first, second, fourth, eighth….
    pub(super) fn worth_a_line(&self) -> bool {
        self.attempt.is_power_of_two()
    }

    /// Starts over with short waits.
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// A number in 0..1 from splitmix64, which is enough to keep servers apart.
    fn random_fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as f64 / (u64::MAX as f64 + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn waits_double_up_to_the_limit_with_a_quarter_of_jitter() {
        for seed in 0..50 {
            let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(16), seed);
            for nominal_s in [2.0, 4.0, 8.0, 16.0, 16.0, 16.0] {
                let wait_s = backoff.next().as_secs_f64();
                assert!((nominal_s * 0.75..=nominal_s * 1.25).contains(&wait_s), "{wait_s}");
            }
            backoff.reset();
            assert!(backoff.next() <= Duration::from_millis(2500));
        }
    }

    #[test]
    fn never_overflows_and_speaks_ever_less_often() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(16), 7);
        let lines = (0..1000).filter(|_| {
            backoff.next();
            backoff.worth_a_line()
        });
        assert_eq!(lines.count(), 10);
        assert_eq!(backoff.attempts(), 1000);
    }

    #[test]
    fn two_servers_do_not_wait_alike() {
        let schedule = |seed| {
            let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(16), seed);
            [backoff.next(), backoff.next(), backoff.next()]
        };
        assert_ne!(schedule(1), schedule(2));
        assert_eq!(schedule(1), schedule(1));
    }
}
