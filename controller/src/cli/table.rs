//! Tables for people: columns as wide as what is in them, and lines no longer than the terminal.
//! What servers and other people wrote is shown without the control characters that would steer the
//! terminal.

use std::io::{self, IsTerminal};

/// Between two columns.
const GAP: &str = "  ";

/// A table that is built line by line.
pub(super) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns. Those whose head begins with `>` are set to the right.
    pub(super) fn new(heads: &[&'static str]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a line.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| shown(&cell)).collect());
    }

    /// The table as text, its lines cut to `width` characters if that is given.
    pub(super) fn text(&self, width: Option<usize>) -> String {
        let head = self.heads.iter().map(|head| head.trim_start_matches('>').to_owned());
        let head: Vec<String> = head.collect();
        let widths: Vec<usize> = (0..head.len()).map(|column| self.widest(column)).collect();
        let lines = std::iter::once(&head).chain(&self.rows);
        lines.map(|cells| self.line(cells, &widths, width)).collect::<Vec<_>>().join("\n")
    }

    fn widest(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let head = self.heads[column].trim_start_matches('>').len();
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(head)
    }

    fn line(&self, cells: &[String], widths: &[usize], width: Option<usize>) -> String {
        let mut text = String::new();
        for ((cell, head), width) in cells.iter().zip(&self.heads).zip(widths) {
            if !text.is_empty() {
                text.push_str(GAP);
            }
            let room = " ".repeat(width.saturating_sub(cell.chars().count()));
            let parts = if head.starts_with('>') { [&room, cell] } else { [cell, &room] };
            parts.iter().for_each(|part| text.push_str(part));
        }
        cut(text.trim_end(), width)
    }
}

/// Cuts a line, and shows that it was cut.
pub(super) fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width && width > 0 => {
            let kept: String = line.chars().take(width - 1).collect();
            format!("{}…", kept.trim_end())
        }
        _ => line.into(),
    }
}

/// A text without control characters, on one line.
pub(super) fn shown(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
}

/// Columns and lines of the terminal on standard output, if it is one.
pub(super) fn terminal() -> Option<(usize, usize)> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Columns of the terminal on standard output.
pub(super) fn width() -> Option<usize> {
    terminal().map(|(columns, _)| columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", ">HAVE", "NOTE"]);
        table.row(["web".into(), "12".into(), "short of servers".into()]);
        table.row(["database".into(), "3".into(), String::new()]);
        table.row(["ü\u{1b}[2J\n".into(), "3".into(), String::new()]);
        let whole = "NAME      HAVE  NOTE\n\
                     web         12  short of servers\n\
                     database     3\n\
                     ü\u{fffd}[2J\u{fffd}       3";
        assert_eq!(table.text(None), whole);
        assert_eq!(table.text(Some(80)), whole);
        let narrow = "NAME      HAVE  NOTE\nweb         12  short…\n\
                      database     3\nü\u{fffd}[2J\u{fffd}       3";
        assert_eq!(table.text(Some(22)), narrow);
    }

    #[test]
    fn a_line_is_cut_only_where_it_is_too_long() {
        assert_eq!(cut("abc", Some(3)), "abc");
        assert_eq!(cut("abcd", Some(3)), "ab…");
        assert_eq!(cut("abcd", None), "abcd");
        assert_eq!(cut("abcd", Some(0)), "abcd");
    }
}
