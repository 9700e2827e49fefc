//! How much one address may ask for. Each address has a bucket that refills at a steady rate; a
//! bucket is one number, the time at which it is full again (GCRA). Time is an argument, and the
//! number of addresses remembered is bounded: the least recently seen are forgotten first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Addresses in one generation; two generations are remembered.
const CLIENTS: usize = 16 * 1024;

/// Buckets of addresses.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Microseconds in which one token comes back; 0: there is no limit.
    interval_us: u64,
    /// Microseconds in which an empty bucket is full.
    window_us: u64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    /// When each is full again, in microseconds.
    recent: HashMap<IpAddr, u64>,
    older: HashMap<IpAddr, u64>,
}

impl Limiter {
    /// Buckets of `burst` tokens that refill with `rate_per_s`; a rate of 0 is no limit.
    pub(super) fn new(rate_per_s: u32, burst: u32) -> Self {
        let interval_us = 1_000_000_u64.checked_div(u64::from(rate_per_s)).unwrap_or_default();
        let window_us = interval_us * u64::from(burst.max(1));
        Self { interval_us, window_us, buckets: Mutex::default() }
    }

    /// Whether a token is left; if not, after how many milliseconds there is one.
    pub(super) fn has(&self, client: IpAddr, now_ms: u64) -> Result<(), u64> {
        self.look(client, now_ms, false)
    }

    /// Takes a token, or says after how many milliseconds there is one.
    pub(super) fn take(&self, client: IpAddr, now_ms: u64) -> Result<(), u64> {
        self.look(client, now_ms, true)
    }

    fn look(&self, client: IpAddr, now_ms: u64, takes: bool) -> Result<(), u64> {
        if self.interval_us == 0 {
            return Ok(());
        }
        let client = network(client);
        let now_us = now_ms.saturating_mul(1000);
        // A map of numbers cannot be left half changed.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let limit_us = now_us.saturating_add(self.window_us);
        let full_us = buckets.get(client).max(now_us);
        if full_us > limit_us {
            // A clock that was set back must not shut an address out for longer than the window.
            buckets.set(client, limit_us);
        }
        let next_us = full_us.min(limit_us).saturating_add(self.interval_us);
        if next_us > limit_us {
            return Err((next_us - limit_us).div_ceil(1000));
        }
        if takes {
            buckets.set(client, next_us);
        }
        Ok(())
    }
}

impl Buckets {
    fn get(&self, client: IpAddr) -> u64 {
        let found = self.recent.get(&client).or_else(|| self.older.get(&client));
        found.copied().unwrap_or_default()
    }

    fn set(&mut self, client: IpAddr, full_us: u64) {
        if self.recent.len() >= CLIENTS && !self.recent.contains_key(&client) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(client, full_us);
    }
}

/// Whoever has one IPv6 address has the 2^64 beside it, too.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let limiter = Limiter::new(2, 3);
        let taken = |now_ms| limiter.take(client("192.0.2.1"), now_ms);
        assert_eq!([taken(9_000), taken(9_000), taken(9_000)], [Ok(()); 3]);
        assert_eq!(taken(9_000), Err(500));
        assert_eq!(taken(9_400), Err(100));
        assert_eq!(limiter.has(client("192.0.2.1"), 9_500), Ok(()));
        assert_eq!((taken(9_500), taken(9_500)), (Ok(()), Err(500)));
        assert_eq!(limiter.take(client("192.0.2.2"), 9_500), Ok(()));
    }

    #[test]
    fn a_clock_set_back_shuts_nobody_out() {
        let limiter = Limiter::new(1, 2);
        limiter.take(client("192.0.2.1"), 1_000_000).unwrap();
        assert_eq!(limiter.take(client("192.0.2.1"), 5_000), Err(1_000));
        assert_eq!(limiter.take(client("192.0.2.1"), 6_000), Ok(()));
        assert_eq!(Limiter::new(0, 0).take(client("192.0.2.1"), 0), Ok(()));
    }

    #[test]
    fn a_network_of_one_owner_is_one_client_and_memory_is_bounded() {
        let limiter = Limiter::new(1, 1);
        limiter.take(client("2001:db8::1"), 0).unwrap();
        assert_eq!(limiter.take(client("2001:db8::2"), 0), Err(1_000));
        for number in 0..u32::try_from(CLIENTS).unwrap() * 3 {
            limiter.take(IpAddr::from(number.to_be_bytes()), 0).unwrap();
        }
        let buckets = limiter.buckets.lock().unwrap();
        assert!(buckets.recent.len() + buckets.older.len() <= 2 * CLIENTS);
    }
}
