//! How fast a source is asked: each request books the time that its bytes take at the rate of the
//! limit, behind what was booked of the same source before, and is sent when that time begins. So the
//! limit holds for each source over all threads. Time is an argument; who waits, and how, is not here.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const US_PER_S: u64 = 1_000_000;

/// What is booked of each source, in microseconds.
struct Pace {
    bytes_per_s: NonZeroU64,
    /// Sources, and until when they are booked. What has passed is forgotten, so that it stays short.
    booked_us: Vec<(String, u64)>,
}

impl Pace {
    const fn new(bytes_per_s: NonZeroU64) -> Self {
        Self { bytes_per_s, booked_us: Vec::new() }
    }

    /// Books `bytes` of a source. Returns how long to wait before they are asked for.
    fn book(&mut self, source: &str, bytes: u64, now_us: u64) -> u64 {
        self.booked_us.retain(|(_, until_us)| *until_us > now_us);
        let takes_us = bytes.saturating_mul(US_PER_S).div_ceil(self.bytes_per_s.get());
        match self.booked_us.iter_mut().find(|(known, _)| known == source) {
            Some((_, until_us)) => {
                let wait_us = *until_us - now_us;
                *until_us = until_us.saturating_add(takes_us);
                wait_us
            }
            None => {
                self.booked_us.push((source.into(), now_us.saturating_add(takes_us)));
                0
            }
        }
    }
}

/// The same by the clock, for all threads.
pub(crate) struct SourceLimit {
    started: Instant,
    pace: Mutex<Pace>,
}

impl SourceLimit {
    pub(crate) fn new(bytes_per_s: NonZeroU64) -> Self {
        Self { started: Instant::now(), pace: Mutex::new(Pace::new(bytes_per_s)) }
    }

    /// Books `bytes` of a source. Returns how long to wait before they are asked for.
    pub(crate) fn book(&self, source: &str, bytes: u64) -> Duration {
        let now_us = self.started.elapsed().as_micros() as u64;
        // A panic of whoever held it left whole numbers.
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_micros(pace.book(source, bytes, now_us))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::Pace;

    fn pace(bytes_per_s: u64) -> Pace {
        Pace::new(NonZeroU64::new(bytes_per_s).unwrap())
    }

    #[test]
    fn requests_wait_for_the_bytes_of_those_before_them() {
        let mut pace = pace(1_000);
        assert_eq!(pace.book("a", 500, 7), 0, "nobody was before");
        assert_eq!(pace.book("a", 1, 7), 500_000);
        assert_eq!(pace.book("a", 2_000, 100_007), 401_000);
        assert_eq!(pace.book("b", 10, 100_007), 0, "each source has its own");
        assert_eq!(pace.book("a", 1, 2_501_006), 1_000 - 999);
        // What nobody asked for is not saved up.
        assert_eq!(pace.book("a", 100, 60_000_000), 0);
        assert_eq!(pace.book("a", 100, 60_000_000), 100_000);
    }

    #[test]
    fn no_stretch_of_time_has_more_than_its_share_and_one_request() {
        let mut pace = pace(3_000);
        let (mut sent, mut now_us) = (Vec::new(), 0);
        for step in 0..1_000_u64 {
            now_us += step * 7_919 % 50_000;
            let bytes = 1 + step * 104_729 % 400;
            sent.push((now_us + pace.book("a", bytes, now_us), bytes));
        }
        assert!(sent.is_sorted(), "in the order in which they were booked");
        for first in 0..sent.len() {
            let mut total = 0;
            for &(at_us, bytes) in &sent[first..] {
                let share = (at_us - sent[first].0) * 3_000 / 1_000_000;
                assert!(total <= share, "{total} bytes in the time of {share}");
                total += bytes;
            }
        }
    }

    #[test]
    fn what_has_passed_is_forgotten_and_nothing_overflows() {
        let mut pace = pace(1);
        (0..100).for_each(|n| assert_eq!(pace.book(&format!("{n}"), 1, n * 2_000_000), 0));
        assert_eq!(pace.booked_us.len(), 1);
        assert_eq!(pace.book("a", u64::MAX, u64::MAX - 1), 0);
        assert_eq!(pace.book("a", u64::MAX, u64::MAX - 1), 1);
    }
}
