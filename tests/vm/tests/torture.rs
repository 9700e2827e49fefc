//! Six power cuts, one in each stretch of a road where something can be torn, on three roads that
//! are recorded first; `make torture` makes any number of others. A program of its own, since it
//! runs two machines at a time.

use std::thread;

use anyhow::{Context, Result, ensure};
use repave_chance::Chance;
use repave_qemu::power_cut::Fate;
use repave_vm::build_folder;
use repave_vm::torture::campaign::{Campaign, within};
use repave_vm::torture::instants::Phase;
use repave_vm::torture::recording::Recording;
use repave_vm::torture::results::Line;
use repave_vm::torture::{Images, Site};

const SEED: u64 = 4;
/// Which of the roads, where, and what becomes of the writes after the last flush.
const CUTS: [(usize, Phase, Fate); 6] = [
    (0, Phase::Transfer, Fate::Torn),
    (1, Phase::Transfer, Fate::Subset),
    (2, Phase::Unseal, Fate::Torn),
    (0, Phase::Seal, Fate::Lost),
    (1, Phase::Arm, Fate::Kept),
    (2, Phase::Leave, Fate::Torn),
];

fn cut(campaign: &Campaign, site: &Site, number: usize, roads: &[Recording]) -> Result<Line> {
    let (road, phase, fate) = CUTS[number];
    let mut chance = Chance::new(SEED + number as u64);
    let place = build_folder().join("torture/test").join(format!("cut-{number}"));
    let choose = |instants: &[_], chance: &mut Chance| within(instants, phase, fate, chance);
    let numbers = (number as u64, SEED);
    let (line, _) = campaign.one(site, numbers, &roads[road], &place, &mut chance, &choose)?;
    Ok(line)
}

#[test]
fn a_server_whose_power_is_cut_arrives_by_itself() -> Result<()> {
    let folder = build_folder().join("torture/test");
    let campaign = Campaign::new(&folder, &Images::tiny(&folder.join("images"))?)?;
    let roads = campaign.record()?;
    let work = |place: usize, site: &Site| -> Result<()> {
        for number in (place..CUTS.len()).step_by(campaign.sites().len()) {
            let line = cut(&campaign, site, number, &roads)?;
            let failure = line.failure.as_deref();
            ensure!(failure.is_none(), "cut {number}: {}", failure.unwrap_or_default());
        }
        Ok(())
    };
    thread::scope(|scope| {
        let places = campaign.sites().iter().enumerate();
        let threads: Vec<_> =
            places.map(|(place, site)| scope.spawn(move || work(place, site))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().ok().context("a cut panicked")?)
    })
}
