//! The last lines of a server's logs, as a status that tells of a failure carries them, so that
//! nobody needs a serial console. They are text of strangers: what a device or a target wrote into
//! the kernel's log comes along. So a line is printable ASCII or it is refused, and who makes one
//! writes everything else as `\xNN`, as the kernel does in /dev/kmsg. Where the logs come from is
//! the agent's.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::refusal::{Refusal, within};

/// What stands at the end of a line that was cut.
const CUT: &str = "...";
/// What stands for the name and the password of a URL.
const MASK: &[u8] = b"***";

/// The last lines, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTail {
    /// Of the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent: Vec<String>,
    /// Of the kernel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel: Vec<String>,
}

impl LogTail {
    /// The last lines of two logs, cut and written as the wire wants them.
    pub fn of(agent: &[u8], kernel: &[u8]) -> Self {
        Self { agent: last_lines(agent), kernel: last_lines(kernel) }
    }

    /// Refuses what is more than the limits allow, and what could steer a terminal.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        for lines in [&self.agent, &self.kernel] {
            within("log lines", lines.len() as u64, limits::LOG_LINES as u64)?;
            for line in lines {
                within("log line", line.len() as u64, limits::LOG_LINE_BYTES as u64)?;
                if !line.bytes().all(is_printable) {
                    let reason = "a log line holds what is not printable ASCII".into();
                    return Err(Refusal::Malformed { reason });
                }
            }
            let bytes: usize = lines.iter().map(String::len).sum();
            within("log", bytes as u64, limits::LOG_BYTES as u64)?;
        }
        Ok(())
    }
}

pub(crate) const fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn last_lines(log: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left_bytes = limits::LOG_BYTES;
    let whole = log.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for line in whole.take(limits::LOG_LINES) {
        let line = written(&without_credentials(line), limits::LOG_LINE_BYTES);
        if line.len() > left_bytes {
            break;
        }
        left_bytes -= line.len();
        lines.push(line);
    }
    lines.reverse();
    lines
}

/// A line as the wire wants it, cut to `limit_bytes`.
pub(crate) fn written(line: &[u8], limit_bytes: usize) -> String {
    let digit = |nibble| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let mut text = String::new();
    for &byte in line {
        // Room for the longest form of a byte, and for the sign that something is missing.
        if text.len() + 4 + CUT.len() > limit_bytes {
            text.push_str(CUT);
            break;
        }
        match byte {
            b'\t' => text.push(' '),
            byte if is_printable(byte) => text.push(char::from(byte)),
            byte => text.extend(['\\', 'x', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    text
}

/// A text without the names and passwords of the URLs in it (RFC 3986, 3.2.1): a mirror's
/// are nothing for a page that everybody in the pool may see.
pub(crate) fn without_credentials(text: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(3).position(|three| three == b"://") {
        let (before, authority) = rest.split_at(at + 3);
        clean.extend_from_slice(before);
        let ends = |byte: &u8| matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'') || *byte <= b' ';
        let end = authority.iter().position(ends).unwrap_or(authority.len());
        rest = authority;
        if let Some(at) = authority[..end].iter().rposition(|byte| *byte == b'@') {
            clean.extend_from_slice(MASK);
            rest = &authority[at..];
        }
    }
    clean.extend_from_slice(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::{LogTail, limits, without_credentials};

    #[test]
    fn whatever_a_log_holds_its_tail_is_within_the_limits() {
        let long = [b"begin ".as_slice(), &[0xff; 9_000]].concat();
        let many = b"x\n".repeat(50_000);
        let full = [&[b'y'; limits::LOG_LINE_BYTES - 10][..], b"\n"].concat().repeat(90);
        let all: Vec<u8> = (0..=255).collect();
        for log in [&long[..], &many, &full, &all, b"", b"\n\n"] {
            for tail in [LogTail::of(log, b""), LogTail::of(b"", log)] {
                assert_eq!(tail.check(), Ok(()));
                assert_eq!(LogTail::of(log, log).agent.is_empty(), log.iter().all(|b| *b == 10));
            }
        }
        assert_eq!(LogTail::of(&many, b"").agent.len(), limits::LOG_LINES);
        let cut = &LogTail::of(&long, b"").agent[0];
        assert!(cut.starts_with("begin \\xff") && cut.ends_with("\\xff..."), "{cut}");
    }

    #[test]
    fn the_newest_lines_stay_in_their_order_and_steer_no_terminal() {
        let kernel = b"<6>[ 1.0] one\n<4>[ 2.0] \x1b[2J\xc3\xbc\ttwo\r\n";
        let tail = LogTail::of(b"first\n\nsecond", kernel);
        assert_eq!(tail.agent, ["first", "second"]);
        assert_eq!(tail.kernel, ["<6>[ 1.0] one", "<4>[ 2.0] \\x1b[2J\\xc3\\xbc two\\x0d"]);
    }

    #[test]
    fn a_mirror_s_password_is_not_told() {
        let check = |text: &str, expected: &str| {
            let clean = without_credentials(text.as_bytes());
            assert_eq!(String::from_utf8(clean).unwrap(), expected);
        };
        check("https://ann:s3cret@mirror/a: 404", "https://***@mirror/a: 404");
        check("http://a@b@c and http://d:e@f", "http://***@c and http://***@f");
        check("http://plain/x@y mail@home", "http://plain/x@y mail@home");
        check("://@ :// http://", "://***@ :// http://");
        // Cut after it was made clean: what is cut off may be what shows that it is a password.
        let line = format!("https://{}@mirror/x", "p".repeat(2 * limits::LOG_LINE_BYTES));
        assert_eq!(LogTail::of(line.as_bytes(), b"").agent, ["https://***@mirror/x"]);
    }
}
