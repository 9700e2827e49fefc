//! What a server says of a source (mirror) that did not serve its image as it should. It is text of
//! strangers, as a log's line is (see `log`): printable ASCII or refused, and without the names and
//! passwords of URLs. Which source is asked, and when one is dropped, is the agent's.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::log::{is_printable, without_credentials, written};
use crate::refusal::{Refusal, within};

/// A source that is not asked any more, or only for want of a better one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Its base URL.
    pub source: String,
    /// It answered with something else than was asked for. Otherwise it failed again and again.
    pub lied: bool,
    /// What it did last, for people.
    pub reason: String,
}

impl SourceReport {
    /// A report whose texts are cut and written as the wire wants them.
    pub fn new(source: &str, lied: bool, reason: &str) -> Self {
        let text = |text: &str| {
            written(&without_credentials(text.as_bytes()), limits::SOURCE_REPORT_TEXT_BYTES)
        };
        Self { source: text(source), lied, reason: text(reason) }
    }

    /// Refuses what is more than the limits allow, and what could steer a terminal.
    pub(crate) fn check_all(reports: &[Self]) -> Result<(), Refusal> {
        within("bad sources", reports.len() as u64, limits::SOURCES as u64)?;
        for text in reports.iter().flat_map(|report| [&report.source, &report.reason]) {
            let limit = limits::SOURCE_REPORT_TEXT_BYTES as u64;
            within("text on a bad source", text.len() as u64, limit)?;
            if !text.bytes().all(is_printable) {
                let reason = "a bad source is told with what is not printable ASCII".into();
                return Err(Refusal::Malformed { reason });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{SourceReport, limits};

    #[test]
    fn whatever_a_source_is_called_and_did_its_report_is_within_the_limits() {
        let long = format!("http://ann:{}@mirror/", "p".repeat(4_000));
        let wide = "\u{1b}[2J\u{202e}\u{fc}".repeat(400);
        for (source, reason) in [(&long, &wide), (&wide, &long)] {
            let report = SourceReport::new(source, true, reason);
            assert_eq!(SourceReport::check_all(&vec![report; limits::SOURCES]), Ok(()));
        }
        let report = SourceReport::new(&long, false, "https://ann:s3cret@other/ is where it is\n");
        assert_eq!(report.source, "http://***@mirror/");
        assert_eq!(report.reason, "https://***@other/ is where it is\\x0a");
    }
}
