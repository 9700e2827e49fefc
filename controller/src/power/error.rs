//! What can be wrong with a power order. Whose fault it is follows from the variant: the operator's
//! settings, the way to the other side, or the other side itself; all methods share the names, so
//! that a caller need not know the method.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::owner_only::SecretError;

/// Characters of a foreign text that an error repeats.
const MAX_FOREIGN_CHARS: usize = 200;

/// A power order that failed. `place` is the URL, the program or the socket. Texts of the other
/// side are cut and cleaned.
#[derive(Debug, Error)]
pub enum PowerError {
    /// A setting cannot be used.
    #[error("power setting {setting}: {reason}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// Why, and what would do.
        reason: String,
    },
    /// The password cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There is no such order here.
    #[error("{place} offers no way to {order}; it offers: {offered}")]
    NotOffered {
        /// Where.
        place: String,
        /// What was wanted.
        order: String,
        /// What there is.
        offered: String,
    },
    /// The other side was not reached, or was lost.
    #[error("cannot {what} {place}")]
    Unreachable {
        /// What was tried.
        what: &'static str,
        /// Whom.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// The other side is not who it should be, or TLS failed otherwise.
    #[error("{place}: TLS: {reason}; if it has a certificate of its own, give that one in trust")]
    Tls {
        /// Whom.
        place: String,
        /// What rustls says.
        reason: String,
    },
    /// It took too long.
    #[error("{place} was not done within {limit_ms} ms")]
    TimedOut {
        /// Whom.
        place: String,
        /// The limit.
        limit_ms: u128,
    },
    /// Our name and password are not good enough.
    #[error("{place} denied us access (status {status}): check username, password_file and role")]
    Denied {
        /// Whom.
        place: String,
        /// 401 or 403.
        status: u16,
    },
    /// The other side understood and refused.
    #[error("{place} refused: {answer}")]
    Refused {
        /// Whom.
        place: String,
        /// Status or exit code, and the beginning of what it says.
        answer: String,
    },
    /// The other side sent us elsewhere. Credentials go where the settings say and nowhere else.
    #[error("{place} sends us to {location:?}: not followed; set address to where it really is")]
    Elsewhere {
        /// Whom.
        place: String,
        /// Where to.
        location: String,
    },
    /// The answer is longer than any that makes sense.
    #[error("{place} answered more than {limit_bytes} bytes")]
    Long {
        /// Whom.
        place: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// The answer makes no sense.
    #[error("{place} answered no {expected}: {found}")]
    Malformed {
        /// Whom.
        place: String,
        /// What it should have been.
        expected: &'static str,
        /// What it was.
        found: String,
    },
    /// The program could not be run.
    #[error("cannot run {program:?}")]
    Program {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl PowerError {
    pub(super) fn setting(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { setting, reason: reason.into() }
    }

    pub(super) fn timed_out(place: &str, limit: Duration) -> Self {
        Self::TimedOut { place: place.to_owned(), limit_ms: limit.as_millis() }
    }

    pub(super) fn malformed(place: &str, expected: &'static str, found: &str) -> Self {
        Self::Malformed { place: place.to_owned(), expected, found: clean(found) }
    }

    pub(super) fn refused(place: &str, answer: &str) -> Self {
        Self::Refused { place: place.to_owned(), answer: clean(answer) }
    }
}

/// Checks a limit that the operator set.
pub(super) fn limit_of(timeout_ms: u64, most: Duration) -> Result<Duration, PowerError> {
    let limit = Duration::from_millis(timeout_ms);
    if limit.is_zero() || limit > most {
        let reason = format!("{timeout_ms} is not within 1 and {}", most.as_millis());
        return Err(PowerError::setting("timeout_ms", reason));
    }
    Ok(limit)
}

/// The beginning of a foreign text, with spaces for what a terminal or a log might act on, so that
/// nobody writes lines of his own into ours.
pub(super) fn clean(text: &str) -> String {
    let harmless = |c: char| if c.is_control() || is_format(c) { ' ' } else { c };
    text.trim().chars().take(MAX_FOREIGN_CHARS).map(harmless).collect::<String>().trim().to_owned()
}

/// Characters that turn the writing direction, or separate lines and words invisibly.
fn is_format(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_are_cut_and_cannot_act_on_a_terminal() {
        assert_eq!(clean(" no\x1b[31m such\r\nserver\u{202e} "), "no [31m such  server");
        assert_eq!(clean(&"!".repeat(500)).len(), MAX_FOREIGN_CHARS);
    }

    #[test]
    fn limits_have_limits() {
        let most = Duration::from_secs(1);
        assert_eq!(limit_of(1000, most).unwrap(), most);
        for refused in [0, 1001, u64::MAX] {
            let text = limit_of(refused, most).unwrap_err().to_string();
            assert!(text.contains(&refused.to_string()), "{text}");
        }
    }
}
