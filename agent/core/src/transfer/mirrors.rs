//! Which source is asked, by how each has behaved. All is asked of one, so that neighbours in a pack
//! come with one request; another takes its place when it fails. A source that served wrong bytes
//! is not asked again, as long as there is any other.

/// Failures in a row after which another source is preferred.
const STRIKES: u32 = 3;

/// What is known of a directive's sources, by their place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mirrors {
    known: Vec<Mirror>,
    preferred: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mirror {
    strikes: u32,
    is_dropped: bool,
}

impl Mirrors {
    /// The source for a chunk that `avoid` has just failed to bring.
    pub(crate) fn pick(&mut self, sources: usize, avoid: Option<usize>) -> Option<usize> {
        self.known.resize(sources, Mirror::default());
        let others = (0..sources).map(|step| (self.preferred + step) % sources);
        let is_good = |source: &usize| !self.known[*source].is_dropped && Some(*source) != avoid;
        // The only one left is asked again: it may have been the line that failed.
        { others }.find(is_good).or(avoid).or((sources > 0).then_some(self.preferred))
    }

    /// A source brought what it should.
    pub(crate) fn was_right(&mut self, source: usize) {
        if let Some(mirror) = self.known.get_mut(source) {
            mirror.strikes = 0;
        }
    }

    /// A source failed; whether another one is preferred from now on because of it.
    pub(crate) fn failed(&mut self, source: usize) -> bool {
        let Some(mirror) = self.known.get_mut(source) else {
            return false;
        };
        mirror.strikes += 1;
        mirror.strikes >= STRIKES && self.turn_from(source)
    }

    /// A source served wrong bytes; whether it is dropped because of it, which happens once.
    pub(crate) fn lied(&mut self, source: usize) -> bool {
        let left = self.known.iter().filter(|mirror| !mirror.is_dropped).count();
        let Some(mirror) = self.known.get_mut(source).filter(|mirror| !mirror.is_dropped) else {
            return false;
        };
        mirror.is_dropped = left > 1;
        let is_dropped = mirror.is_dropped;
        self.turn_from(source);
        is_dropped
    }

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
    use super::{Mirrors, STRIKES};

    fn mirrors() -> Mirrors {
        let mut mirrors = Mirrors::default();
        assert_eq!(mirrors.pick(3, None), Some(0));
        mirrors
    }

    #[test]
    fn one_source_is_preferred_until_it_fails_again_and_again() {
        let mut mirrors = mirrors();
        for _ in 1..STRIKES {
            assert!(!mirrors.failed(0));
        }
        mirrors.was_right(0);
        for _ in 1..STRIKES {
            assert!(!mirrors.failed(0));
        }
        assert_eq!(mirrors.pick(3, None), Some(0));
        assert_eq!(mirrors.pick(3, Some(0)), Some(1), "a chunk does not wait for that");
        assert!(mirrors.failed(0));
        assert_eq!(mirrors.pick(3, None), Some(1));
        assert_eq!(mirrors.pick(3, Some(1)), Some(2));
    }

    #[test]
    fn one_that_lies_is_dropped_once_and_never_asked_again() {
        let mut mirrors = mirrors();
        assert!(mirrors.lied(0));
        assert!(!mirrors.lied(0), "it was dropped already");
        assert!(mirrors.lied(1));
        assert!(!mirrors.lied(2), "there is no other");
        assert_eq!(mirrors.pick(3, None), Some(2));
        assert_eq!(mirrors.pick(3, Some(2)), Some(2));
    }

    #[test]
    fn the_least_bad_is_preferred_and_none_is_none() {
        let mut mirrors = mirrors();
        for source in [1, 1, 0, 0, 0] {
            mirrors.failed(source);
        }
        assert_eq!(mirrors.pick(3, None), Some(2));
        assert_eq!(Mirrors::default().pick(0, None), None);
    }
}
