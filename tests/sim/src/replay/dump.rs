//! A dump: the lines of a field log, taken out of whatever else a console said, each with its number.

use std::rc::Rc;

use repave_core::event::{BadLine, Event, Line, MARK};

use super::Trouble;

/// Largest dump that is read: a console of a day.
const DUMP_BYTES: usize = 64 << 20;

/// An event of a dump.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The line's number in the dump, from 1.
    pub(super) line: usize,
    /// What it says.
    pub(super) event: Rc<Event>,
}

/// The events of a dump. Lines without a mark are somebody else's.
pub(super) fn parse(dump: &str) -> Result<Vec<Told>, Trouble> {
    let limit = DUMP_BYTES;
    if dump.len() > limit {
        return Err(Trouble::Unfit { line: 0, why: format!("a dump has at most {limit} bytes") });
    }
    let marked = dump.lines().enumerate().filter(|(_, text)| text.contains(MARK));
    let told = marked.map(|(number, text)| {
        let line = number + 1;
        let found: Result<Line, BadLine> = text.parse();
        match found {
            Ok(found) => Ok(Told { line, event: Rc::new(found.event) }),
            Err(error) => Err(Trouble::Unfit { line, why: error.to_string() }),
        }
    });
    let told: Vec<Told> = told.collect::<Result<_, _>>()?;
    match told.first().map(|first| &*first.event) {
        Some(Event::Home { life: 1 }) => Ok(told),
        Some(_) => Err(Trouble::Unfit {
            line: told[0].line,
            why: "a dump begins with a boot: cut it before a line \"home 1\"".into(),
        }),
        None => Err(Trouble::Unfit {
            line: 0,
            why: "there is no event in it; is \"events\": true in the server's agent.json?".into(),
        }),
    }
}
