//! What statuses say besides where the server stands: the digest of the default partition before it
//! leaves, and the last lines of its logs when it fails. That no status is without them is checked
//! in every world (`check/words.rs`).

use repave_protocol::{Order, Side, Standing};
use repave_sim::controller::Lie;
use repave_sim::host::SAMPLE_BYTES;
use repave_sim::{World, sound};

/// The digests of the default partition in the statuses of the default side from `heard` on.
fn digests(world: &World, heard: usize) -> Vec<Option<repave_protocol::Sha256>> {
    let machine = world.machine.borrow();
    let statuses = machine.controller.statuses[heard..].iter();
    statuses.filter(|status| status.side == Side::Default).map(|s| s.default_partition).collect()
}

#[test]
fn a_server_that_is_only_booted_tells_that_its_default_partition_has_changed() {
    let (mut world, generation) = World::running_web(71);
    let before = digests(&world, 0).into_iter().flatten().next();
    // The target's root writes where only the default side's own installation ever does.
    {
        let machine = &mut *world.machine.borrow_mut();
        let start = machine.watch.default.start;
        machine.media[0].write(start + SAMPLE_BYTES, &[0x5a; 512]);
        machine.media[0].flush();
    }
    let heard = world.machine.borrow().controller.statuses.len();
    world.order(Order::Boot { sealed: generation });
    world.pull_plug();
    sound(world.run_until("up again", |world| {
        world.machine.borrow().controller.statuses.len() > heard + 2 && world.is_up(generation)
    }));
    let told = digests(&world, heard);
    assert_eq!(told.first(), Some(&None), "the first status does not wait for it");
    let last = told.last().copied().flatten();
    assert!(last.is_some() && last != before, "{told:?}, before {before:?}");
}

#[test]
fn a_target_tells_the_log_with_its_refusal_as_well() {
    let (mut world, generation) = World::running_web(72);
    world.machine.borrow_mut().controller.lies.push_back(Lie::Forged);
    let failed = |world: &World| {
        let machine = world.machine.borrow();
        machine.controller.statuses.iter().any(|status| {
            status.side == Side::Target
                && matches!(status.standing, Standing::Failed { .. })
                && status.log.is_some()
        })
    };
    sound(world.run_until("the refusal is told", failed));
    sound(world.run_until("up", |world| world.is_up(generation)));
}
