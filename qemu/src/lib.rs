//! Virtual machines for the demo and the tests: OVMF with a variable store of its own, raw disks,
//! a serial log to wait on, QMP, and a network namespace with DHCP and names.
//!
//! Everything blocks and everything dies with us: QEMU, dnsmasq and the namespace are gone when
//! their owner is dropped, and also when this process is killed. Nothing here knows the agent, the
//! protocol or what a line on the console means; that is the business of whoever waits for it.
//! Time limits only guard against hangs, they never assert speed.
//!
//! ```no_run
//! use repave_qemu::{HANG_GUARD, disk::Disk, net::Nic, spec::VmSpec, vm::Machine};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut spec = VmSpec::new("web-1", "/tmp/vms/web-1");
//! spec.disks.push(Disk::copy("build/default-disk.img", "/tmp/vms/web-1.img")?.serial("WEB1"));
//! spec.nics.push(Nic::slirp());
//! let vm = Machine::new(spec)?.power_on()?;
//! vm.console().wait_for("BdsDxe: starting", HANG_GUARD)?;
//! vm.kill()?;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

pub mod accel;
pub mod console;
pub mod disk;
pub mod namespace;
pub mod net;
pub mod power_cut;
mod process;
pub mod qmp;
pub mod spec;
mod trunk;
pub mod vm;
pub mod write_log;

/// How long a wait lasts before it calls the machine hung. Generous, since it says nothing about
/// speed: emulation on two busy cores may take minutes for what a server does in seconds.
pub const HANG_GUARD: Duration = Duration::from_secs(600);

/// How often files and processes without a readiness event are looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
