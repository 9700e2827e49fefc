//! A panic of the agent at every effect of a first purposing: the life after it tells of it, and
//! takes the order to its end. Alone in its program, since it keeps the reports of simulated panics quiet.

use repave_protocol::Standing;
use repave_sim::events::PANIC;
use repave_sim::{ImageSpec, Spec, World};

#[test]
fn a_panic_at_every_effect_is_told_and_got_over() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.to_string().ends_with(PANIC) {
            report(panic);
        }
    }));
    let world = World::new(Spec::new(51));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    let effects = {
        let mut world = world.fork();
        let left = |world: &World| world.count_events("reboot") == 1;
        assert_eq!(world.run_until("it leaves", left), Ok(()));
        world.machine.borrow().events.effects()
    };
    let mut told = 0;
    for number in 0..effects {
        let mut world = world.fork();
        world.machine.borrow_mut().events.panic_at(number);
        let outcome = world.run_until_up(generation);
        if let Err(violation) = outcome {
            panic!("panic at effect {number}: {violation}");
        }
        let machine = world.machine.borrow();
        told += u64::from(machine.controller.statuses.iter().any(|status| {
            matches!(&status.standing, Standing::Failed { fault } if fault.code == "agent-panic")
        }));
    }
    println!("{told} of {effects} panics told");
    assert_eq!(told, effects);
}
