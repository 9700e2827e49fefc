//! What the types of a simulated pool have to do: a day that swells and ebbs, its height and its
//! hour of noon by chance for each type, in thousandths of what one server can carry.

use super::random::Random;
use crate::policy::ServerType;

const DAY_S: u64 = 24 * 3600;

/// The curve of one type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// At the lowest, in thousandths of a fully loaded server.
    low_milli: u64,
    /// At the highest.
    high_milli: u64,
    /// Shift of the day.
    shift_s: u64,
}

impl Demand {
    /// A curve that needs between a few of its servers and a little more than its max.
    pub(super) fn new(declared: &ServerType, servers: u32, random: &mut Random) -> Self {
        let target = declared.load.map_or(0, |load| u64::from(load.target.0));
        let most = u64::from(declared.max.min(servers));
        let high_milli = most * target * random.within(600, 1100) / 1000;
        let low_milli = high_milli * random.within(200, 500) / 1000;
        Self { low_milli, high_milli, shift_s: random.within(0, DAY_S) }
    }

    /// At `now_s`. A parabola for each half of the day is as good as a sine, and exact.
    pub(super) fn at(self, now_s: u64) -> u64 {
        let half = DAY_S as i128 / 2;
        let place = i128::from((now_s + self.shift_s) % DAY_S);
        let (bow, sign) = if place < half { (place, 1) } else { (place - half, -1) };
        // From -1 to 1 in millionths.
        let wave = sign * 4_000_000 * bow * (half - bow) / (half * half);
        let span = i128::from(self.high_milli - self.low_milli);
        let at = i128::from(self.low_milli) + span * (1_000_000 + wave) / 2_000_000;
        u64::try_from(at).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swells_and_ebbs_within_its_bounds() {
        let demand = Demand { low_milli: 1000, high_milli: 3000, shift_s: 0 };
        let check = |hour: u64, expected| assert_eq!(demand.at(hour * 3600), expected, "{hour} h");
        check(0, 2000);
        check(6, 3000);
        check(12, 2000);
        check(18, 1000);
        check(24, 2000);
    }
}
