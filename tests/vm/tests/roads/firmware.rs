//! Firmware that forgets: all of its variables, or the entries that its order lacks; and variables
//! that must not become more.

use anyhow::Result;
use repave_controller_stub::{Event, Scenario};
use repave_protocol::{BootMethod, Order, Purpose};
use repave_vm::{Lab, Server, TargetImage};

const DEFAULT: &str = "Repave default";
const TARGET: &str = "Repave target";

/// A server that is up as tiny, which it leaves for by this method.
fn running<'lab>(lab: &'lab Lab, name: &str, boot: BootMethod) -> Result<Server<'lab>> {
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut server = lab.server(lab.spec(name)?)?;
    server.power_on()?;
    server.first_status()?;
    let purpose = Purpose { boot, ..lab.purpose(&tiny) };
    server.order(Order::Purpose(Box::new(purpose)))?;
    server.up("tiny")?;
    Ok(server)
}

/// The power goes, and everything that the firmware knew; then the power comes back. The server is
/// up again, and nothing was fetched for that.
fn forget_everything(lab: &Lab, server: &mut Server<'_>) -> Result<()> {
    let seen = lab.stub().events().len();
    server.kill()?;
    let default_partition = server.disk()?.default_partition()?;
    server.machine().reset_variables()?;
    assert!(!server.variables()?.boot_entries().contains(&DEFAULT.to_owned()));
    server.power_on()?;
    server.first_status()?;
    server.up("tiny")?;
    let order = server.variables()?.boot_order();
    assert_eq!(order.first().map(String::as_str), Some(DEFAULT), "{order:?}");
    let fetches = |event: &&Event| matches!(event, Event::Blob { .. });
    assert_eq!(lab.stub().events()[seen..].iter().filter(fetches).count(), 0);
    server.end(default_partition)?;
    Ok(())
}

#[test]
fn a_factory_reset_of_the_firmware_leads_home_also_where_all_left_by_kexec() -> Result<()> {
    let lab = Lab::new("forgot", Scenario::default())?;
    let mut server = running(&lab, "forgot", BootMethod::Kexec)?;
    forget_everything(&lab, &mut server)?;
    let order = server.variables()?.boot_order();
    assert!(!order.contains(&TARGET.to_owned()), "kexec asks no firmware: {order:?}");
    lab.finish()
}

#[cfg(feature = "full")]
#[test]
fn variables_stay_as_many_and_as_long_and_come_back_after_a_factory_reset() -> Result<()> {
    const CYCLES: usize = 4;
    let lab = Lab::new("cycles", Scenario::default())?;
    let mut server = running(&lab, "cycles", BootMethod::Firmware)?;
    let at_first = server.variables()?;
    for cycle in 1..=CYCLES {
        server.running()?.reset()?;
        server.first_status()?;
        server.up("tiny")?;
        let [count, bytes] = server.variables()?.size();
        repave_vm::say(&format!("cycles: after {cycle}, {count} variables of {bytes} bytes"));
        assert_eq!([count, bytes], at_first.size());
    }
    forget_everything(&lab, &mut server)?;
    let variables = server.variables()?;
    assert_eq!(variables.boot_entries(), at_first.boot_entries());
    assert_eq!(variables.boot_order().last().map(String::as_str), Some(TARGET));
    lab.finish()
}

#[cfg(feature = "full")]
#[test]
fn entries_dropped_between_arming_and_the_reset_are_none_of_ours() -> Result<()> {
    use repave_protocol::{Standing, Status};
    use repave_qemu::HANG_GUARD;
    let lab = Lab::new("dropped", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut spec = lab.spec("dropped")?;
    // The reset by which it leaves turns the machine off.
    spec.extra_args = vec!["-no-reboot".into()];
    let mut server = lab.server(spec)?;
    let default_partition = server.disk()?.default_partition()?;
    server.power_on()?;
    server.first_status()?;
    server.order(lab.order(&tiny))?;
    let leaves = |status: &Status| matches!(status.standing, Standing::Leaving { .. });
    server.wait("leaving", leaves)?;
    server.running()?.wait_for_exit(HANG_GUARD)?;
    assert!(server.variables()?.boot_next().is_some(), "it is armed");
    let dropped = repave_vm::Variables::delete_unordered(&server.variable_store())?;
    repave_vm::say(&format!("dropped: the firmware forgets {dropped:?}"));
    server.machine().spec_mut().extra_args.clear();
    server.power_on()?;
    // Straight into the target, by BootNext and its entry.
    let up = server.up("tiny")?;
    assert_eq!(up.status.seal.map(|seal| seal.attempts), Some(1));
    let order = server.variables()?.boot_order();
    let ends = [order.first(), order.last()].map(|end| end.map(String::as_str));
    assert_eq!(ends, [Some(DEFAULT), Some(TARGET)], "{order:?}");
    server.end(default_partition)?;
    lab.finish()
}
