//! Networks that fail for longer than anybody waits, and sources that lie.

use std::fs;

use anyhow::{Context, Result, ensure};
use repave_controller_stub::{Action, Event, Fault, Scenario, Target};
use repave_image_codec::Images;
use repave_protocol::{Order, Purpose};
use repave_vm::torture::fetched::compare;
use repave_vm::{Lab, RawDisk, TargetImage, failure, say};

use crate::faults::halfway;

/// What the agent says once no attempt at a chunk has succeeded.
const GIVEN_UP: &str = "could not be had in 8 attempts";
/// What it says of a round that failed, a question that had no answer among them.
const AGAIN: &str = "(again in ";
/// Farther than the header of a chunk's frame, and within every chunk that is not all but empty.
const CORRUPT_AT: u64 = 4096;

#[test]
fn a_network_that_is_away_for_minutes_costs_nothing_that_is_on_the_disk() -> Result<()> {
    let lab = Lab::new("away", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let image = lab.library().read(&tiny).context("the library has what was imported")?;
    let mut server = lab.server(lab.spec("away")?)?;
    let default_partition = server.disk()?.default_partition()?;
    halfway(&lab, &mut server, lab.order(&tiny))?;
    server.running()?.set_link(0, false)?;
    lab.stub().set_faults(vec![]);
    // It lasts until every attempt has failed, and then a question to the controller as well.
    server.console(GIVEN_UP)?;
    server.console(AGAIN)?;
    let before = lab.dir().join("before.img");
    fs::copy(server.machine().spec().disks[0].path(), &before)?;
    let seen = lab.stub().events().len();
    server.running()?.set_link(0, true)?;
    let told =
        server.wait_past_failures("why it was not up", |status| failure(status).is_some())?;
    let fault = failure(&told.status).context("it was waited for")?;
    assert_eq!(fault.code, "chunk-unavailable", "{}", fault.message);
    server.up("tiny")?;

    let disks = (&RawDisk::open(&before)?, &server.disk()?);
    let fetched = compare(lab.library(), &image, disks, &lab.stub().events()[seen..])?;
    assert_eq!(fetched.needless, 0, "{fetched:?}");
    ensure!(fetched.missing < fetched.chunks, "nothing was there before: {fetched:?}");
    say(&format!("{}; {fetched:?}", server.figures()?));
    server.kill()?;
    assert_eq!(server.disk()?.default_partition()?, default_partition, "p1 never changes");
    lab.finish()
}

#[test]
fn a_mirror_that_serves_wrong_bytes_is_dropped_by_name_and_none_is_on_the_disk() -> Result<()> {
    let lab = Lab::new("mirror", Scenario::default())?;
    let target = TargetImage::build("tiny")?;
    let tiny = lab.import("tiny", &target)?;
    let mirror = lab.mirror(vec![Fault::new(Target::Blobs, Action::CorruptAt(CORRUPT_AT))])?;
    let purpose = lab.purpose(&tiny);
    let sources = [vec![mirror.library_url()], purpose.sources.clone()].concat();
    let mut server = lab.server(lab.spec("mirror")?)?;
    let default_partition = server.disk()?.default_partition()?;
    server.power_on()?;
    server.first_status()?;
    server.order(Order::Purpose(Box::new(Purpose { sources, ..purpose })))?;
    let dropped = server.console("a source is dropped")?;
    assert!(dropped.contains(&mirror.library_url()), "{dropped}");
    server.up("tiny")?;
    say(&server.figures()?.to_string());
    server.kill()?;

    // The target's system writes to its root and never to its ESP.
    let [theirs, ours] = [&RawDisk::open(&target.disk)?, &server.disk()?];
    let esp = theirs.guids()?[1];
    let digest = |disk: &RawDisk| -> Result<_> {
        disk.digest(disk.place_of(esp)?.context("the image has an ESP")?)
    };
    assert_eq!(digest(ours)?, digest(theirs)?, "every byte is the image's");
    let asked = |events: Vec<Event>| {
        events.iter().filter(|event| matches!(event, Event::Blob { .. })).count()
    };
    let (lied, honest) = (asked(mirror.events()), asked(lab.stub().events()));
    say(&format!("mirror: asked {lied} times, the honest library {honest}"));
    ensure!(lied > 0 && honest > 0);
    assert_eq!(server.disk()?.default_partition()?, default_partition, "p1 never changes");
    lab.finish()
}
