//! What may go wrong in a world, as data: a name and a rate for each fault, and dice that say when
//! it strikes. What a fault does is with the part that has it; nothing here knows.

use std::collections::BTreeMap;
use std::fmt;

use repave_chance::Chance;

/// Rates count in this many occasions.
const OCCASIONS: u64 = 10_000;

/// One thing that goes wrong, by the part that it goes wrong in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "their names say it; what they do is told where they strike")]
pub enum Fault {
    DiskReadFails,
    DiskWriteFails,
    DiskFlushFails,
    DiskWriteMisdirected,
    DiskReadRots,
    DiskRereadFails,
    PowerCut,
    AgentPanics,
    BootNextIgnored,
    EntriesNotInOrderDropped,
    EntriesUnresolvedDropped,
    EntriesDuplicated,
    VariablesReset,
    VariableReadFails,
    VariableWriteFails,
    NvramFull,
    NvramReadOnly,
    VariableNotPersisted,
    StatusLost,
    StatusTruncated,
    StatusCorrupt,
    StatusRepeated,
    StatusLate,
    AnswerLost,
    AnswerDelayed,
    AnswerLies,
    ClockJumps,
    SettingsFail,
    SettingsOther,
    ControllerRestarts,
    ControllerForgets,
    ControllerSecond,
    ControllerAway,
    SourceMissing,
    SourceCorrupt,
    SourceShort,
    SourceLong,
    SourceElsewhere,
    KexecFails,
    RebootFails,
    TargetPanics,
    TargetHangs,
    TargetReorders,
    TargetReordersItselfFirst,
}

/// Faults that come together, each with the highest rate that a mix may give it, in ten thousandths
/// of its occasions.
type Family = (&'static str, &'static [(Fault, u32)]);

const FAMILIES: [Family; 12] = [
    (
        "disk",
        &[
            (Fault::DiskReadFails, 100),
            (Fault::DiskWriteFails, 200),
            (Fault::DiskFlushFails, 300),
            (Fault::DiskWriteMisdirected, 200),
            (Fault::DiskReadRots, 100),
            (Fault::DiskRereadFails, 2_000),
        ],
    ),
    ("power", &[(Fault::PowerCut, 300)]),
    ("agent", &[(Fault::AgentPanics, 100)]),
    (
        "boot",
        &[
            (Fault::BootNextIgnored, 3_000),
            (Fault::EntriesNotInOrderDropped, 5_000),
            (Fault::EntriesUnresolvedDropped, 5_000),
            (Fault::EntriesDuplicated, 1_000),
            (Fault::VariablesReset, 1_000),
        ],
    ),
    (
        "variables",
        &[
            (Fault::VariableReadFails, 500),
            (Fault::VariableWriteFails, 1_000),
            (Fault::NvramFull, 3_000),
            (Fault::NvramReadOnly, 1_000),
            (Fault::VariableNotPersisted, 2_000),
        ],
    ),
    (
        "link",
        &[
            (Fault::StatusLost, 2_000),
            (Fault::StatusTruncated, 500),
            (Fault::StatusCorrupt, 500),
            (Fault::StatusRepeated, 2_000),
            (Fault::StatusLate, 2_000),
            (Fault::AnswerLost, 2_000),
            (Fault::AnswerDelayed, 2_000),
            (Fault::AnswerLies, 3_000),
        ],
    ),
    ("clock", &[(Fault::ClockJumps, 1_000)]),
    ("settings", &[(Fault::SettingsFail, 3_000), (Fault::SettingsOther, 3_000)]),
    (
        "controller",
        &[
            (Fault::ControllerRestarts, 1_000),
            (Fault::ControllerForgets, 500),
            (Fault::ControllerSecond, 2_000),
        ],
    ),
    ("absence", &[(Fault::ControllerAway, 3_000)]),
    (
        "sources",
        &[
            (Fault::SourceMissing, 2_000),
            (Fault::SourceCorrupt, 2_000),
            (Fault::SourceShort, 1_000),
            (Fault::SourceLong, 1_000),
            (Fault::SourceElsewhere, 1_000),
        ],
    ),
    (
        "leaving",
        &[
            (Fault::KexecFails, 3_000),
            (Fault::RebootFails, 2_000),
            (Fault::TargetPanics, 2_000),
            (Fault::TargetHangs, 2_000),
            (Fault::TargetReorders, 2_000),
            (Fault::TargetReordersItselfFirst, 3_000),
        ],
    ),
];

/// How often each fault strikes, in ten thousandths of its occasions. What is not in it never does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mix(BTreeMap<Fault, u32>);

impl Mix {
    /// Nothing but this.
    pub fn only(fault: Fault, rate: u32) -> Self {
        Self(BTreeMap::from([(fault, rate)]))
    }

    /// A mix as chance has it. Whole families are left out, so that what remains gets far, and so
    /// are single faults of the others: a fault that always strikes hides what comes behind it.
    pub fn draw(chance: &mut Chance) -> Self {
        let mut rates = BTreeMap::new();
        for (_, faults) in FAMILIES {
            if chance.below(5) < 3 {
                continue;
            }
            for &(fault, highest) in faults {
                let rate = [0, 0, highest / 20, highest / 4, highest][chance.below(5) as usize];
                if rate > 0 {
                    rates.insert(fault, rate);
                }
            }
        }
        Self(rates)
    }
}

/// Every fault that a mix may hold.
pub fn all() -> impl Iterator<Item = Fault> {
    FAMILIES.into_iter().flat_map(|(_, faults)| faults).map(|(fault, _)| *fault)
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing goes wrong");
        }
        let mut separator = "";
        for (fault, rate) in &self.0 {
            write!(f, "{separator}{fault:?} {rate}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// A mix with its own stream of chance, so that a fault that never strikes draws nothing.
#[derive(Clone, Debug)]
pub struct Dice {
    chance: Chance,
    mix: Mix,
    struck: BTreeMap<Fault, u64>,
}

impl Dice {
    /// Of this mix, by this seed.
    pub const fn new(mix: Mix, seed: u64) -> Self {
        Self { chance: Chance::new(seed), mix, struck: BTreeMap::new() }
    }

    /// Whether a fault strikes on this occasion.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let Some(&rate) = self.mix.0.get(&fault) else {
            return false;
        };
        let strikes = self.chance.below(OCCASIONS) < u64::from(rate);
        if strikes {
            *self.struck.entry(fault).or_default() += 1;
        }
        strikes
    }

    /// The chance by which a fault that struck takes its shape.
    pub const fn shape(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// From now on nothing goes wrong.
    pub fn stop(&mut self) {
        self.mix = Mix::default();
    }

    /// How often each fault has struck.
    pub const fn struck(&self) -> &BTreeMap<Fault, u64> {
        &self.struck
    }
}
