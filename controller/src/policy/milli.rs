//! A share or a ratio in whole thousandths. People write 0.7; the balancer reckons in integers, so
//! that the same fleet gives the same decision on every machine.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Thousandths: `Milli(700)` is 0.7, or 70 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Milli(pub u32);

/// A number that is no share or ratio.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{value} is not a number from 0 to 1000000")]
pub struct BadMilli {
    /// What was given.
    pub value: f64,
}

impl Milli {
    /// One whole.
    pub const ONE: Self = Self(1000);
    /// Largest that is accepted: a million, beyond any load average.
    const MOST: f64 = 1_000_000.0;

    /// This share of `count`, rounded up.
    pub fn of_up(self, count: u32) -> u32 {
        u32::try_from((u64::from(count) * u64::from(self.0)).div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

impl TryFrom<f64> for Milli {
    type Error = BadMilli;

    fn try_from(value: f64) -> Result<Self, BadMilli> {
        // The comparison is false for NaN, too.
        if (0.0..=Self::MOST).contains(&value) {
            Ok(Self((value * 1000.0).round() as u32))
        } else {
            Err(BadMilli { value })
        }
    }
}

impl From<Milli> for f64 {
    fn from(milli: Milli) -> Self {
        Self::from(milli.0) / 1000.0
    }
}

/// As a percentage, with a decimal only where there is one.
impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole, 0) => write!(f, "{whole} %"),
            (whole, tenth) => write!(f, "{whole}.{tenth} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_thousandths_and_shows_percent() {
        let check = |value: f64, expected: Option<(u32, &str)>| {
            let found = Milli::try_from(value).ok();
            let shown = found.map(|milli| (milli.0, milli.to_string()));
            assert_eq!(shown, expected.map(|(milli, text)| (milli, text.into())), "{value}");
        };
        check(0.7, Some((700, "70 %")));
        check(0.0125, Some((13, "1.3 %")));
        check(1.0, Some((1000, "100 %")));
        check(-0.1, None);
        check(f64::NAN, None);
        check(1e7, None);
        assert_eq!(Milli(100).of_up(11), 2);
    }
}
