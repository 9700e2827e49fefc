//! Server-sent events (HTML Living Standard, 9.2), as far as the controller uses them: the data of
//! each event; names, ids and comments are passed over.

use std::io::{self, BufRead, BufReader, Read};

/// The longest line; a controller's event has at most some thousand bytes.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// The data of each event of a stream.
pub(super) fn events(body: impl Read) -> impl Iterator<Item = io::Result<String>> {
    let mut reader = BufReader::new(body);
    std::iter::from_fn(move || next(&mut reader).transpose())
}

/// An event is over with an empty line; what the stream's end cuts off is none.
fn next(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut data: Option<String> = None;
    loop {
        let mut line = String::new();
        reader.by_ref().take(MAX_LINE_BYTES).read_line(&mut line)?;
        let Some(line) = line.strip_suffix('\n') else { return Ok(None) };
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() && data.is_some() {
            return Ok(data);
        }
        if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_events_are_events() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<String> = events(text.as_bytes()).map(Result::unwrap).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check(": keep-alive\n\n", &[]);
        check("id: 1\ndata: {}\n\n:\n\ndata:a\r\ndata: b\r\n\r\n", &["{}", "a\nb"]);
        check("data: a\n\ndata: cut", &["a"]);
        check("data: a\n\ndata: cut\n", &["a"]);
    }
}
