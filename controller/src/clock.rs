//! The wall clock, read at the edge and handed to whatever decides.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since 1970; 0 on a machine whose clock is before that.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// As people write it (RFC 3339), in UTC and whole seconds.
pub fn to_text(at_ms: u64) -> String {
    let seconds = i64::try_from(at_ms / 1000).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

/// How long ago that was, in the largest unit that says enough.
pub fn age(at_ms: u64, now_ms: u64) -> String {
    match (now_ms / 1000).saturating_sub(at_ms / 1000) {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(super::to_text(1_795_532_833_999), "2026-11-24T15:07:13Z");
        assert_eq!(super::to_text(u64::MAX), "1970-01-01T00:00:00Z");
    }
}
