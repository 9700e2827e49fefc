//! Whether an answer is the one that was asked for: its head, then the length of its body.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use ureq::http::HeaderMap;

use super::error::Fault;

/// Bytes of a refusal's body that are kept.
const MAX_PROBLEM_BYTES: usize = 200;
/// Characters of a server's header that an error repeats.
const MAX_HEADER_CHARS: usize = 200;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// All of it, if it is not longer than this.
    Whole {
        /// The limit.
        max_bytes: usize,
    },
    /// These bytes, both ends included.
    Range {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
}

/// Checks status and headers (RFC 9110, §14.4 and §15.3.7). A [`Fault::Status`] comes without its
/// problem, which is in the body.
pub(super) fn check_head(
    status: u16,
    headers: &HeaderMap,
    expected: Expected,
) -> Result<(), Fault> {
    match (status, expected) {
        (200, Expected::Whole { .. }) | (206, Expected::Range { .. }) => {}
        (200, Expected::Range { .. }) => return Err(Fault::RangeIgnored),
        (300..=399, _) => {
            let location = text(headers, "location").unwrap_or_default();
            return Err(Fault::Redirect { status, location });
        }
        (status, _) => {
            return Err(Fault::Status { status, problem: String::new() });
        }
    }
    let encoding = text(headers, "content-encoding");
    if let Some(found) = encoding.filter(|found| !found.eq_ignore_ascii_case("identity")) {
        return Err(Fault::ContentEncoding { found });
    }
    let length = text(headers, "content-length").and_then(|length| length.parse::<u64>().ok());
    match expected {
        Expected::Range { first, last } => {
            let found = text(headers, "content-range").unwrap_or_default();
            if !is_range(&found, first, last) {
                return Err(Fault::ContentRange { first, last, found });
            }
            check_length(length, last - first + 1)
        }
        Expected::Whole { .. }
            if length.is_none() && !headers.contains_key("transfer-encoding") =>
        {
            Err(Fault::Unframed)
        }
        Expected::Whole { max_bytes } => match length {
            Some(length) if length > max_bytes as u64 => {
                Err(Fault::Long { limit_bytes: max_bytes as u64 })
            }
            _ => Ok(()),
        },
    }
}

/// A length that contradicts the range is refused before a byte of the body is read.
fn check_length(length: Option<u64>, expected_bytes: u64) -> Result<(), Fault> {
    match length {
        Some(length) if length > expected_bytes => Err(Fault::Long { limit_bytes: expected_bytes }),
        Some(length) if length < expected_bytes => {
            Err(Fault::Short { received_bytes: length, expected_bytes: Some(expected_bytes) })
        }
        _ => Ok(()),
    }
}

/// Whether a Content-Range is `bytes first-last/length`, the length being any that fits, or `*`.
fn is_range(found: &str, first: u64, last: u64) -> bool {
    let parse = || {
        let (range, length) = found.strip_prefix("bytes ")?.split_once('/')?;
        let (found_first, found_last) = range.split_once('-')?;
        let length_fits = length == "*" || length.parse::<u64>().ok()? > last;
        let same = found_first.parse() == Ok(first) && found_last.parse() == Ok(last);
        Some(length_fits && same)
    };
    parse().unwrap_or(false)
}

/// Reads the whole body, which may have `max_bytes` at most.
pub(super) fn read_at_most(
    body: &mut impl Read,
    max_bytes: usize,
    limit: Duration,
) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    // One more than allowed tells a body that is too long from one that just fits.
    let read = body.take(max_bytes as u64 + 1).read_to_end(&mut bytes);
    if let Err(error) = read {
        return Err(of_body(error, bytes.len(), None, limit));
    }
    if bytes.len() > max_bytes {
        return Err(Fault::Long { limit_bytes: max_bytes as u64 });
    }
    Ok(bytes)
}

/// Fills `into` from a body that goes on at least so far.
pub(super) fn fill(body: &mut dyn Read, into: &mut [u8], limit: Duration) -> Result<(), Fault> {
    let expected_bytes = Some(into.len() as u64);
    let mut received = 0;
    while received < into.len() {
        match body.read(&mut into[received..]) {
            Ok(0) => {
                return Err(Fault::Short { received_bytes: received as u64, expected_bytes });
            }
            Ok(more) => received += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(of_body(error, received, expected_bytes, limit)),
        }
    }
    Ok(())
}

/// Reads the end of a body of `length_bytes`, which also gives the connection back, to be used again.
pub(super) fn expect_end(
    body: &mut dyn Read,
    length_bytes: u64,
    limit: Duration,
) -> Result<(), Fault> {
    match body.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Fault::Long { limit_bytes: length_bytes }),
        Err(error) => Err(of_body(error, length_bytes as usize, Some(length_bytes), limit)),
    }
}

/// A connection that ends in the middle of a body is a short body; anything else keeps its name.
fn of_body(
    error: std::io::Error,
    received: usize,
    expected_bytes: Option<u64>,
    limit: Duration,
) -> Fault {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
            Fault::Short { received_bytes: received as u64, expected_bytes }
        }
        _ => Fault::of_io(error, limit),
    }
}

/// The beginning of a refusal's body, or nothing if it cannot be read: the status is what counts.
pub(super) fn read_problem(body: &mut impl Read, limit: Duration) -> String {
    let mut bytes = Vec::new();
    match body.take(MAX_PROBLEM_BYTES as u64).read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => {
            let fault = Fault::of_io(error, limit);
            log::debug!("the body of a refusal: {fault}");
        }
    }
    clean(&String::from_utf8_lossy(&bytes))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    let text = clean(&String::from_utf8_lossy(value.as_bytes()));
    Some(text.chars().take(MAX_HEADER_CHARS).collect())
}

/// Spaces instead of control characters and what else a terminal or a log might act on, so that a
/// server cannot write lines of its own into ours.
fn clean(text: &str) -> String {
    let harmless = |c: char| {
        if c.is_control() || is_format(c) { ' ' } else { c }
    };
    text.chars().map(harmless).collect::<String>().trim().to_owned()
}

/// Characters that turn the writing direction, or separate lines and words invisibly.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ureq::http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Expected, check_head, clean, expect_end, fill, read_at_most, read_problem};

    const RANGE: Expected = Expected::Range { first: 10, last: 19 };
    const WHOLE: Expected = Expected::Whole { max_bytes: 100 };

    fn check(status: u16, headers: &[(&'static str, &str)], expected: Expected, refusal: &str) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let found = check_head(status, &headers, expected);
        let text = found.err().map(|fault| fault.to_string()).unwrap_or_default();
        let same = if refusal.is_empty() { text.is_empty() } else { text.contains(refusal) };
        assert!(same, "{status} {headers:?}: {text:?}, not {refusal:?}");
    }

    #[test]
    fn heads_of_ranges() {
        let good = ("content-range", "bytes 10-19/4096");
        check(206, &[good], RANGE, "");
        check(206, &[good, ("content-length", "10")], RANGE, "");
        check(206, &[("content-range", "bytes 10-19/*")], RANGE, "");
        check(206, &[good, ("content-encoding", "identity")], RANGE, "");

        check(200, &[], RANGE, "does not serve ranges");
        check(206, &[], RANGE, "answered Content-Range \"\"");
        for found in [
            "bytes 10-18/4096",
            "bytes 11-19/4096",
            "bytes 0-9/4096",
            "bytes 10-19/15",
            "bytes 10-19",
            "lines 10-19/4096",
            "bytes */4096",
            "bytes -10-19/4096",
        ] {
            check(206, &[("content-range", found)], RANGE, found);
        }
        check(206, &[good, ("content-encoding", "gzip")], RANGE, "\"gzip\"");
        check(206, &[good, ("content-length", "9")], RANGE, "after 9 bytes of 10");
        check(206, &[good, ("content-length", "11")], RANGE, "longer than 10");
        check(416, &[], RANGE, "status 416");
    }

    #[test]
    fn heads_of_whole_bodies() {
        check(200, &[("content-length", "100")], WHOLE, "");
        check(200, &[("transfer-encoding", "chunked")], WHOLE, "");
        check(200, &[("content-length", "101")], WHOLE, "longer than 100");
        check(200, &[], WHOLE, "a cut would not be seen");
        check(200, &[("content-length", "9"), ("content-encoding", "br")], WHOLE, "\"br\"");
        check(206, &[("content-length", "9")], WHOLE, "status 206");
        check(204, &[], WHOLE, "status 204");
        check(302, &[("location", "http://elsewhere/")], WHOLE, "302 to \"http://elsewhere/\"");
        check(503, &[], WHOLE, "status 503");
    }

    #[test]
    fn bodies_have_the_length_that_was_asked_for() {
        let limit = Duration::from_secs(1);
        let exactly = |mut body: &[u8]| {
            let mut into = [0; 4];
            let filled = fill(&mut body, &mut into, limit);
            let ended = filled.and_then(|()| expect_end(&mut body, 4, limit));
            ended.map(|()| into).map_err(|e| e.to_string())
        };
        assert_eq!(exactly(b"abcd"), Ok(*b"abcd"));
        assert_eq!(exactly(b"abc"), Err("the body ended after 3 bytes of 4".to_owned()));
        assert_eq!(exactly(b""), Err("the body ended after 0 bytes of 4".to_owned()));
        assert_eq!(exactly(b"abcde"), Err("the body is longer than 4 bytes".to_owned()));

        let at_most =
            |mut body: &[u8]| read_at_most(&mut body, 4, limit).map_err(|fault| fault.to_string());
        assert_eq!(at_most(b"abcd"), Ok(b"abcd".to_vec()));
        assert_eq!(at_most(b""), Ok(Vec::new()));
        assert_eq!(at_most(b"abcde"), Err("the body is longer than 4 bytes".to_owned()));
    }

    #[test]
    fn what_a_server_says_is_cut_and_cannot_act_on_a_terminal() {
        let body = format!("no\x1b[31m such\r\nserver{}", "!".repeat(500));
        let problem = read_problem(&mut body.as_bytes(), Duration::from_secs(1));
        assert!(problem.starts_with("no [31m such  server!!!"), "{problem}");
        assert_eq!(problem.len(), 200);
        assert_eq!(clean("\u{202e}evil\u{2028}\0 "), "evil");
        assert_eq!(read_problem(&mut &b"\xff\xfe"[..], Duration::ZERO), "\u{fffd}\u{fffd}");
    }
}
