//! A machine's life: power on, watch, reset, pull a cable, kill.
//!
//! A [`Machine`] is what stays when the power is off: its folder with the firmware's variables and
//! the console log, and its disks. A [`Running`] is one power-on. Two at once are refused by QEMU,
//! which locks the variable store.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::HANG_GUARD;
use crate::accel::{Accelerator, UnknownAccelerator};
use crate::console::{Console, WaitError};
use crate::disk::Disk;
use crate::namespace::Holder;
use crate::process::{Process, mortal};
use crate::qmp::{Qmp, QmpError};
use crate::spec::{
    CONSOLE_FILE, OVMF_VARIABLES, SpecError, VARIABLES_FILE, VmSpec, nic_id, node_name, slot_id,
};
use crate::trunk::Port;

/// QEMU's program, of Debian's package `qemu-system-x86`.
const QEMU: &str = "qemu-system-x86_64";
/// Why a reset happened that [`Running::reset`] asked for (QMP's `ShutdownCause`).
const RESET_BY_US: &str = "host-qmp-system-reset";

/// Why a machine could not be built or driven.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The description makes no machine.
    #[error("this is no machine")]
    Spec(#[from] SpecError),
    /// The environment names an accelerator that does not exist.
    #[error("no accelerator")]
    Accelerator(#[from] UnknownAccelerator),
    /// A file of the machine's folder.
    #[error("cannot write {path} in the machine's folder")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The firmware is not installed.
    #[error("cannot read {path}; it is in Debian's package ovmf")]
    Firmware {
        /// The missing file.
        path: &'static str,
        /// What the file system said.
        source: io::Error,
    },
    /// QEMU could not be started or waited for.
    #[error("cannot run QEMU for {name}")]
    Process {
        /// The machine.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// QEMU exited instead of powering the machine on.
    #[error("QEMU did not start {name}: {complaint}")]
    NotStarted {
        /// The machine.
        name: String,
        /// QEMU's own words.
        complaint: String,
        /// How the monitor ended.
        source: QmpError,
    },
    /// QEMU still runs after the time in which it should have exited.
    #[error("{name} still runs after {waited_s} s")]
    StillRuns {
        /// The machine.
        name: String,
        /// The limit in seconds.
        waited_s: u64,
    },
    /// A command to the monitor failed.
    #[error("the monitor failed")]
    Monitor(#[from] QmpError),
    /// The console log failed.
    #[error("the console failed")]
    Console(#[from] WaitError),
}

/// A machine, on or off.
#[derive(Debug)]
pub struct Machine {
    spec: VmSpec,
}

impl Machine {
    /// Builds the machine's folder. A variable store and a log from before are kept.
    ///
    /// # Errors
    /// The description is refused, or the folder cannot be written.
    pub fn new(spec: VmSpec) -> Result<Self, VmError> {
        spec.qemu_args(Accelerator::Tcg)?;
        Holder::shared_by(&spec.nics)?;
        fs::create_dir_all(&spec.dir).map_err(folder_error(&spec.dir))?;
        let machine = Self { spec };
        if !machine.spec.dir.join(VARIABLES_FILE).exists() {
            machine.reset_variables()?;
        }
        Ok(machine)
    }

    /// What it is made of.
    pub fn spec(&self) -> &VmSpec {
        &self.spec
    }

    /// Changes what it is made of, from the next power-on on. The folder stays where it is.
    pub fn spec_mut(&mut self) -> &mut VmSpec {
        &mut self.spec
    }

    /// Empties the firmware's variable store, as a factory reset or a new board does.
    ///
    /// # Errors
    /// OVMF is not installed, or the folder cannot be written.
    pub fn reset_variables(&self) -> Result<(), VmError> {
        let path = self.spec.dir.join(VARIABLES_FILE);
        let empty = fs::read(OVMF_VARIABLES)
            .map_err(|source| VmError::Firmware { path: OVMF_VARIABLES, source })?;
        fs::write(&path, empty).map_err(folder_error(&path))
    }

    /// Powers the machine on, with the accelerator that [`Accelerator::detect`] names.
    ///
    /// # Errors
    /// QEMU refuses the machine or is not installed.
    pub fn power_on(&self) -> Result<Running, VmError> {
        self.power_on_with(Accelerator::detect()?)
    }

    /// Powers the machine on with a given accelerator.
    ///
    /// # Errors
    /// As [`Machine::power_on`].
    pub fn power_on_with(&self, accelerator: Accelerator) -> Result<Running, VmError> {
        let spec = &self.spec;
        let failed = |source| VmError::Process { name: spec.name.clone(), source };
        let log_path = spec.dir.join(CONSOLE_FILE);
        let (log, offset_bytes) =
            begin_log(&log_path, accelerator).map_err(folder_error(&log_path))?;
        let logs = spec.disks.iter().filter_map(|disk| disk.write_log.as_ref());
        for log in logs.chain(&spec.variables_log) {
            // QEMU writes into a file that is there, and would leave what is longer than its log.
            File::create(log).map_err(folder_error(log))?;
        }
        let (monitor, qemu_end) = UnixStream::pair().map_err(failed)?;
        let prefix = Holder::shared_by(&spec.nics)?.map(|holder| holder.enter());
        let tagged = (0..).zip(&spec.nics).filter_map(|(index, nic)| Some((index, nic.vlan?)));
        let ports = tagged.map(|(index, vlan)| Port::start(&spec.dir, &nic_id(index), vlan));
        let ports = ports.collect::<io::Result<_>>().map_err(folder_error(&spec.dir))?;

        let mut command = mortal(&prefix.unwrap_or_default(), QEMU);
        command
            .args(spec.qemu_args(accelerator)?)
            .current_dir(&spec.dir)
            .stdin(OwnedFd::from(qemu_end.try_clone().map_err(failed)?))
            .stdout(OwnedFd::from(qemu_end))
            // What QEMU complains about belongs to the story that the console tells.
            .stderr(log);
        let process = Arc::new(Process::spawn(command).map_err(failed)?);
        let writer = Arc::clone(&process);
        let console =
            Console::open(&log_path, offset_bytes, move || matches!(writer.exited(), Ok(None)))?;
        let qmp = match Qmp::handshake(monitor) {
            Ok(qmp) => qmp,
            Err(source) => {
                process.kill().map_err(failed)?;
                let (name, complaint) = (spec.name.clone(), console.lines()?.join("; "));
                return Err(VmError::NotStarted { name, complaint, source });
            }
        };
        let running = Running { name: spec.name.clone(), console, qmp, process, _ports: ports };
        for (index, _) in spec.nics.iter().enumerate().filter(|(_, nic)| !nic.link_up) {
            running.set_link(index, false)?;
        }
        running.qmp.execute("cont", &json!({}))?;
        Ok(running)
    }
}

/// A machine that is on. Dropping it is [`Running::kill`].
pub struct Running {
    name: String,
    console: Console,
    qmp: Qmp,
    process: Arc<Process>,
    /// What its tagged cables are plugged into.
    _ports: Vec<Port>,
}

impl Running {
    /// What the serial port says, and what QEMU itself complains about, since this power-on.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// QEMU's monitor, for what has no method here.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// The reset button: no guest is asked. Comes back once the machine was reset.
    ///
    /// # Errors
    /// QEMU is gone, or does not reset the machine.
    pub fn reset(&self) -> Result<(), VmError> {
        self.qmp.execute("system_reset", &json!({}))?;
        // Resets of the guest's own may stand in line before ours.
        while self.qmp.wait_event("RESET", HANG_GUARD)?["data"]["reason"] != RESET_BY_US {}
        Ok(())
    }

    /// Plugs or pulls the cable of a network card, by its place in [`VmSpec::nics`].
    ///
    /// # Errors
    /// There is no such card, or QEMU is gone.
    pub fn set_link(&self, nic: usize, up: bool) -> Result<(), VmError> {
        self.qmp.execute("set_link", &json!({"name": nic_id(nic), "up": up}))?;
        Ok(())
    }

    /// Pulls a disk out, by its place in [`VmSpec::disks`]; the guest is told and not asked. Only a
    /// [`crate::disk::Bus::Scsi`] has such a slot.
    ///
    /// # Errors
    /// There is no such disk, or QEMU is gone.
    pub fn pull_disk(&self, index: usize) -> Result<(), VmError> {
        self.qmp.execute("device_del", &json!({"id": slot_id(index)}))?;
        self.qmp.wait_event("DEVICE_DELETED", HANG_GUARD)?;
        self.qmp.execute("blockdev-del", &json!({"node-name": node_name(index)}))?;
        Ok(())
    }

    /// Puts a disk into the slot that another one was pulled out of. What is looked at of it is its
    /// file and its serial.
    ///
    /// # Errors
    /// The slot is taken, or QEMU is gone.
    pub fn plug_disk(&self, index: usize, disk: &Disk) -> Result<(), VmError> {
        let node = json!({
            "driver": "raw",
            "node-name": node_name(index),
            "discard": "unmap",
            "cache": {"no-flush": true},
            "file": {"driver": "file", "filename": disk.path()},
        });
        self.qmp.execute("blockdev-add", &node)?;
        let mut device = json!({
            "driver": "scsi-hd",
            "bus": format!("scsi{index}.0"),
            "drive": node_name(index),
            "id": slot_id(index),
        });
        if let Some(serial) = &disk.serial {
            device["serial"] = json!(serial);
        }
        self.qmp.execute("device_add", &device)?;
        Ok(())
    }

    /// Kills QEMU where it stands. What the guest wrote so far stays written: this is a crash of
    /// the machine, not a power cut of its disk.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub fn kill(self) -> Result<(), VmError> {
        self.process.kill().map_err(|source| self.process_error(source))?;
        Ok(())
    }

    /// Has QEMU end in order, with the guest's writes flushed and the guest not asked.
    ///
    /// # Errors
    /// QEMU is gone or does not end.
    pub fn quit(self) -> Result<(), VmError> {
        self.qmp.execute("quit", &json!({}))?;
        self.wait_for_exit(HANG_GUARD)?;
        Ok(())
    }

    /// Waits until the guest has powered itself off.
    ///
    /// # Errors
    /// [`VmError::StillRuns`] after `limit`.
    pub fn wait_for_exit(&self, limit: Duration) -> Result<ExitStatus, VmError> {
        let status = self.process.wait(limit).map_err(|source| self.process_error(source))?;
        status.ok_or(VmError::StillRuns { name: self.name.clone(), waited_s: limit.as_secs() })
    }

    fn process_error(&self, source: io::Error) -> VmError {
        VmError::Process { name: self.name.clone(), source }
    }
}

fn folder_error(path: &Path) -> impl FnOnce(io::Error) -> VmError {
    move |source| VmError::Folder { path: path.to_owned(), source }
}

/// Opens the log for appending, below a line that says that this power-on begins, and returns
/// with it the place from which on its lines are.
fn begin_log(path: &Path, accelerator: Accelerator) -> io::Result<(File, u64)> {
    let mut log = File::options().create(true).append(true).read(true).open(path)?;
    let mut last = [b'\n'];
    if log.metadata()?.len() > 0 {
        log.seek(SeekFrom::End(-1))?;
        log.read_exact(&mut last)?;
    }
    // A machine that was killed may have left half a line.
    let line_end = if last == [b'\n'] { "" } else { "\n" };
    writeln!(log, "{line_end}=== power on ({accelerator}) ===")?;
    let offset_bytes = log.metadata()?.len();
    Ok((log, offset_bytes))
}
