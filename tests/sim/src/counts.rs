//! How often what happened, by name: a run's, a campaign's. They are written as they are read, so that
//! a campaign that is ended and started again still comes to one sum.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name. A name has neither blanks nor `=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Counts something.
    pub fn add(&mut self, name: &str, count: u64) {
        match self.0.get_mut(name) {
            Some(sum) => *sum += count,
            None => _ = self.0.insert(name.into(), count),
        }
    }

    /// Adds all of another's.
    pub fn join(&mut self, other: &Self) {
        other.iter().for_each(|(name, count)| self.add(name, count));
    }

    /// How often that happened.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }

    /// Reads what [`fmt::Display`] wrote; `None` if it was torn.
    pub fn parse(text: &str) -> Option<Self> {
        let pair = |word: &str| {
            let (name, count) = word.split_once('=')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        text.split_whitespace().map(pair).collect::<Option<_>>().map(Self)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, count) in self.iter() {
            write!(f, "{separator}{name}={count}")?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_added() {
        let mut counts = Counts::default();
        counts.add("steps", 3);
        counts.add("fault:PowerCut", 1);
        let mut read = Counts::parse(&counts.to_string()).expect("it was just written");
        assert_eq!(read, counts);
        read.join(&counts);
        assert_eq!((read.of("steps"), read.of("fault:PowerCut"), read.of("none")), (6, 2, 0));
        assert_eq!(Counts::parse("steps=3 fault:Pow"), None);
    }
}
