//! Spans of time as operators write them, and times as tables show them.

use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock;

/// A span such as `30m`, `12h` or `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    ms: u64,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "a span is a number and s, m, h or d, such as 90d".to_owned();
        let unit_ms = match text.chars().last() {
            Some('s') => 1_000,
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            _ => return Err(bad()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
        let ms = number.checked_mul(unit_ms).filter(|&ms| ms > 0).ok_or_else(bad)?;
        Ok(Self { ms })
    }
}

impl Span {
    /// The end of it if it begins now, in milliseconds since 1970.
    pub(super) fn end_ms(self) -> u64 {
        clock::now_ms().saturating_add(self.ms)
    }
}

/// How long ago `at` (RFC 3339) was, in the largest unit that says enough.
pub(super) fn age(at: &str, now_ms: u64) -> String {
    let Ok(at) = OffsetDateTime::parse(at, &Rfc3339) else { return at.into() };
    let at_s = u64::try_from(at.unix_timestamp()).unwrap_or_default();
    clock::age(at_s.saturating_mul(1000), now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(text.parse::<Span>().ok().map(|span| span.ms), expected, "{text}");
        };
        check("30m", Some(1_800_000));
        check("90d", Some(7_776_000_000));
        check("0d", None);
        check("d", None);
        check("9", None);
        check("9ü", None);
        check("-1d", None);
        check("999999999999999999d", None);
    }

    #[test]
    fn ages() {
        let check = |at: &str, expected: &str| assert_eq!(age(at, 1_795_532_833_999), expected);
        check("2026-11-24T15:07:10Z", "3 s");
        check("2026-11-24T14:07:10Z", "60 min");
        check("2026-11-23T14:07:10Z", "25 h");
        check("2026-11-01T14:07:10Z", "23 d");
        check("2026-12-24T15:07:10Z", "0 s");
        check("soon", "soon");
    }
}
