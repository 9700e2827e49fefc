//! Which source is asked, by how each has behaved. All is asked of one, so that neighbours in a pack
//! come with one request; another takes its place when it fails. A source that lies is not asked
//! again, as long as there is any other. Those that were turned from are remembered with what they
//! did last, to be told (docs/decisions/0016-transfer-engine.md).

use repave_protocol::SourceReport;

use crate::edges::{LinkError, LinkErrorKind};

/// Failures in a row after which another source is preferred.
const STRIKES: u32 = 3;

/// What is known of a directive's sources, by their place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    known: Vec<Mirror>,
    preferred: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    url: String,
    strikes: u32,
    is_dropped: bool,
    report: Option<SourceReport>,
}

impl Mirrors {
    /// Sources of which nothing is known yet; the first one is preferred.
    pub fn new(sources: &[String]) -> Self {
        let mirror =
            |url: &String| Mirror { url: url.clone(), strikes: 0, is_dropped: false, report: None };
        Self { known: sources.iter().map(mirror).collect(), preferred: 0 }
    }

    /// Those that lied, or failed again and again, with what they did last.
    pub fn reports(&self) -> Vec<SourceReport> {
        self.known.iter().filter_map(|mirror| mirror.report.clone()).collect()
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.known.len()
    }

    /// The base URL of one.
    pub(crate) fn url(&self, source: usize) -> Option<&String> {
        Some(&self.known.get(source)?.url)
    }

    /// The source for what `avoid` has just failed to bring: the one behind it, unless another has
    /// failed less.
    pub(crate) fn pick(&self, avoid: Option<usize>) -> Option<usize> {
        let count = self.known.len();
        let is_good = |source: &usize| !self.known[*source].is_dropped && Some(*source) != avoid;
        let from = |first: usize| (first..first + count).map(|source| source % count);
        let other = match avoid {
            None => from(self.preferred).find(is_good),
            Some(avoid) => {
                from(avoid + 1).filter(is_good).min_by_key(|&source| self.known[source].strikes)
            }
        };
        // The only one left is asked again: it may have been the line that failed.
        other.or(avoid).or((count > 0).then_some(self.preferred))
    }

    /// A source brought what it should.
    pub(crate) fn was_right(&mut self, source: usize) {
        if let Some(mirror) = self.known.get_mut(source) {
            mirror.strikes = 0;
        }
    }

    /// A source did not bring what it should.
    pub(crate) fn blame(&mut self, source: usize, error: &LinkError) {
        let left = self.known.iter().filter(|mirror| !mirror.is_dropped).count();
        let Some(mirror) = self.known.get_mut(source) else { return };
        let lied = error.kind == LinkErrorKind::Lie;
        mirror.strikes = mirror.strikes.saturating_add(1);
        let has_lied = mirror.report.as_ref().is_some_and(|report| report.lied);
        // What was asked before a lie was seen may fail after it: the lie is what counts.
        if lied || !has_lied && mirror.strikes >= STRIKES {
            mirror.report = Some(SourceReport::new(&mirror.url, lied, &error.reason));
        }
        if lied && !mirror.is_dropped && left > 1 {
            mirror.is_dropped = true;
            self.turn_from(source);
            log::warn!("a source is dropped: {error}");
        } else if (lied || mirror.strikes >= STRIKES) && self.turn_from(source) {
            log::warn!("another source is asked from now on: {error}");
        }
    }

    /// Whether another one is preferred from now on.
    fn turn_from(&mut self, source: usize) -> bool {
        if self.preferred != source {
            return false;
        }
        let count = self.known.len();
        let next = (1..count).map(|step| (source + step) % count);
        let next = next.filter(|&next| !self.known[next].is_dropped);
        let Some(next) = next.min_by_key(|&next| self.known[next].strikes) else {
            return false;
        };
        self.preferred = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{LinkError, Mirrors, STRIKES};

    /// `a`, `b` and `c`.
    fn mirrors() -> Mirrors {
        let mirrors = Mirrors::new(&["a", "b", "c"].map(String::from));
        assert_eq!(mirrors.pick(None), Some(0));
        mirrors
    }

    fn fail(mirrors: &mut Mirrors, source: usize, reason: &str) {
        mirrors.blame(source, &LinkError::trouble("", reason.into()));
    }

    fn lie(mirrors: &mut Mirrors, source: usize, reason: &str) {
        mirrors.blame(source, &LinkError::lie("", reason.into()));
    }

    /// Names, whether they lied, and why.
    fn check_named(mirrors: &Mirrors, expected: &[(&str, bool, &str)]) {
        let reports = mirrors.reports();
        let named = reports.iter().map(|it| (it.source.as_str(), it.lied, it.reason.as_str()));
        assert_eq!(named.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn one_source_is_preferred_until_it_fails_again_and_again() {
        let mut mirrors = mirrors();
        (1..STRIKES).for_each(|_| fail(&mut mirrors, 0, "reset"));
        mirrors.was_right(0);
        (1..STRIKES).for_each(|_| fail(&mut mirrors, 0, "reset"));
        assert_eq!(mirrors.pick(None), Some(0));
        assert_eq!(mirrors.pick(Some(0)), Some(1), "a chunk does not wait for that");
        check_named(&mirrors, &[]);
        fail(&mut mirrors, 0, "refused");
        assert_eq!(mirrors.pick(None), Some(1));
        assert_eq!(mirrors.pick(Some(1)), Some(2));
        check_named(&mirrors, &[("a", false, "refused")]);
        fail(&mut mirrors, 0, "timed out");
        check_named(&mirrors, &[("a", false, "timed out")]);
        mirrors.was_right(0);
        check_named(&mirrors, &[("a", false, "timed out")]);
    }

    #[test]
    fn one_that_lies_is_dropped_and_never_asked_again() {
        let mut mirrors = mirrors();
        lie(&mut mirrors, 0, "elsewhere");
        assert_eq!(mirrors.pick(None), Some(1));
        check_named(&mirrors, &[("a", true, "elsewhere")]);
        (0..2 * STRIKES).for_each(|_| fail(&mut mirrors, 0, "reset"));
        check_named(&mirrors, &[("a", true, "elsewhere")]);
        // Not the preferred one.
        lie(&mut mirrors, 2, "other bytes");
        assert_eq!(mirrors.pick(Some(1)), Some(1), "there is no other");
        lie(&mut mirrors, 1, "gzip");
        assert_eq!(mirrors.pick(None), Some(1), "the last one is asked all the same");
        assert_eq!(mirrors.pick(Some(1)), Some(1));
        let named = [("a", true, "elsewhere"), ("b", true, "gzip"), ("c", true, "other bytes")];
        check_named(&mirrors, &named);
    }

    #[test]
    fn the_least_bad_is_preferred_and_none_is_none() {
        let mut mirrors = mirrors();
        for source in [1, 1, 0, 0] {
            fail(&mut mirrors, source, "reset");
        }
        assert_eq!(mirrors.pick(Some(0)), Some(2), "not the one that has failed already");
        fail(&mut mirrors, 0, "reset");
        assert_eq!(mirrors.pick(None), Some(2));
        assert_eq!(mirrors.pick(Some(2)), Some(1), "two strikes are less than three");
        assert_eq!(Mirrors::default().pick(None), None);
        assert_eq!(Mirrors::default().pick(Some(0)), Some(0));
    }
}
