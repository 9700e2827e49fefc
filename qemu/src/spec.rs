//! What a machine is made of, and QEMU's command line for it: values only, nothing runs here.

use std::path::{Path, PathBuf};

use crate::accel::Accelerator;
use crate::disk::{BlockSize, Bus, Disk, DiskFault, Refused};
use crate::net::{Backend, Nic};
use crate::trunk::{ENDS, QEMU_SUFFIX, socket_name};

/// The machine's variable store, in its folder.
pub(crate) const VARIABLES_FILE: &str = "OVMF_VARS.fd";
/// The machine's serial log, in its folder.
pub(crate) const CONSOLE_FILE: &str = "console.log";
/// OVMF's code, as Debian's package `ovmf` installs it.
pub(crate) const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// OVMF's variable store with nothing in it: a machine from the factory.
pub(crate) const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// A machine: x86-64, q35, OVMF, a serial port, virtio entropy, no display. Disks are tried in
/// their order here unless the boot variables say otherwise.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// `[A-Za-z0-9._-]`; also the system's serial number, and what its UUID and MACs come from.
    pub name: String,
    /// The folder for the variable store and the console log; made when missing.
    pub dir: PathBuf,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Number of processors.
    pub cpus: u32,
    /// The disks.
    pub disks: Vec<Disk>,
    /// The network cards.
    pub nics: Vec<Nic>,
    /// The clock at power-on in UTC, like `1970-01-01T00:00:00`; the host's if `None`.
    pub rtc_base: Option<String>,
    /// Boot from the first network card, by OVMF's own PXE. If not, PXE is off, which would wait
    /// a minute for an answer that may not come. OVMF's HTTP boot cannot be switched off: a machine
    /// with a plugged card and nothing bootable on its disks tries it for minutes.
    pub network_boot: bool,
    /// Logs every write of the firmware's variables into this file, an absolute path, from each
    /// power-on anew; see [`crate::write_log`].
    pub variables_log: Option<PathBuf>,
    /// QEMU arguments for what is not covered here.
    pub extra_args: Vec<String>,
}

/// A machine that QEMU could not build.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// A name or serial that is empty or too long, or has other characters than `[A-Za-z0-9._-]`.
    #[error("{what} {value:?} is not 1 to {max_bytes} characters of [A-Za-z0-9._-]")]
    Name {
        /// What is named.
        what: &'static str,
        /// The refused value.
        value: String,
        /// The longest that is taken.
        max_bytes: usize,
    },
    /// A block size that the bus does not have.
    #[error("disk {index}: QEMU's SATA disks have blocks of 512 bytes only")]
    SataBlockSize {
        /// The disk's place in [`VmSpec::disks`].
        index: usize,
    },
    /// A path that QEMU's command line cannot carry.
    #[error("the path {0} is not UTF-8")]
    Path(PathBuf),
    /// One QEMU lives in one namespace.
    #[error("network cards in two namespaces")]
    TwoNamespaces,
}

impl VmSpec {
    /// 512 MiB, one processor, nothing attached.
    pub fn new(name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            dir: dir.into(),
            memory_mib: 512,
            cpus: 1,
            disks: vec![],
            nics: vec![],
            rtc_base: None,
            network_boot: false,
            variables_log: None,
            extra_args: vec![],
        }
    }

    /// The command line after QEMU's name, for a QEMU that runs in [`VmSpec::dir`] with QMP on
    /// its standard input and output, and that stays paused until `cont`.
    pub(crate) fn qemu_args(&self, accelerator: Accelerator) -> Result<Vec<String>, SpecError> {
        const NAME_MAX_BYTES: usize = 64;
        check_name("machine", &self.name, NAME_MAX_BYTES)?;
        let mut args = Args(vec![]);
        args.words(&["-name", &self.name, "-S", "-no-user-config", "-nodefaults"]);
        args.words(&["-display", "none", "-machine", "q35"]);
        args.words(&accelerator.qemu_args());
        args.pair("-smp", self.cpus.to_string());
        args.pair("-m", self.memory_mib.to_string());
        args.words(&["-chardev", "stdio,id=qmp,signal=off", "-mon", "chardev=qmp,mode=control"]);
        args.pair("-chardev", format!("file,id=console,path={CONSOLE_FILE},append=on"));
        args.words(&["-serial", "chardev:console"]);
        args.pair("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={OVMF_CODE}"));
        args.variables(self.variables_log.as_deref())?;
        args.words(&["-object", "rng-random,id=rng0,filename=/dev/urandom"]);
        args.words(&["-device", "virtio-rng-pci,rng=rng0"]);
        let uuid = uuid(&self.name);
        args.pair("-smbios", format!("type=1,manufacturer=QEMU,serial={},uuid={uuid}", self.name));
        if let Some(base) = &self.rtc_base {
            args.pair("-rtc", format!("base={base}"));
        }
        if !self.network_boot {
            args.words(&["-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=no"]);
            args.words(&["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=no"]);
        }
        for (index, disk) in self.disks.iter().enumerate() {
            args.disk(index, disk)?;
        }
        for (index, nic) in self.nics.iter().enumerate() {
            args.nic(index, nic, self)?;
        }
        args.0.extend(self.extra_args.iter().cloned());
        Ok(args.0)
    }
}

/// QEMU's name of the network card at this place in [`VmSpec::nics`].
pub(crate) fn nic_id(index: usize) -> String {
    format!("nic{index}")
}

/// QEMU's name of the disk at this place in [`VmSpec::disks`].
pub(crate) fn slot_id(index: usize) -> String {
    format!("slot{index}")
}

/// QEMU's name of what is behind that disk.
pub(crate) fn node_name(index: usize) -> String {
    format!("disk{index}")
}

struct Args(Vec<String>);

impl Args {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|&word| word.to_owned()));
    }

    fn pair(&mut self, option: &str, value: String) {
        self.0.extend([option.to_owned(), value]);
    }

    fn variables(&mut self, write_log: Option<&Path>) -> Result<(), SpecError> {
        self.pair(
            "-drive",
            match write_log {
                None => format!("if=pflash,unit=1,format=raw,file={VARIABLES_FILE}"),
                Some(log) => format!(
                    "if=pflash,unit=1,{},file.driver=raw,file.file.driver=file,\
                 file.file.filename={VARIABLES_FILE}",
                    logging(log)?
                ),
            },
        );
        Ok(())
    }

    fn disk(&mut self, index: usize, disk: &Disk) -> Result<(), SpecError> {
        // A killed QEMU loses nothing that it handed to the host's page cache, so waiting for the
        // host's disk on every flush would only cost time.
        self.pair("-blockdev", node(index, disk)?);
        let mut device = match disk.bus {
            Bus::Virtio => "virtio-blk-pci".to_owned(),
            Bus::Nvme => "nvme".to_owned(),
            Bus::Scsi => {
                self.pair("-device", format!("virtio-scsi-pci,id=scsi{index}"));
                format!("scsi-hd,bus=scsi{index}.0")
            }
            // The ports of the controller that q35 brings along.
            Bus::Ahci => format!("ide-hd,bus=ide.{index}"),
        };
        device += &format!(",drive={},id={}", node_name(index), slot_id(index));
        if let Some(serial) = &disk.serial {
            check_name("disk serial", serial, Disk::SERIAL_MAX_BYTES)?;
            device += &format!(",serial={serial}");
        } else if disk.bus == Bus::Nvme {
            // An NVMe controller without a serial does not exist, not even in QEMU.
            device += &format!(",serial=nvme{index}");
        }
        match (disk.block_size, disk.bus) {
            (BlockSize::B512, _) => {}
            (BlockSize::B512On4096, _) => device += ",physical_block_size=4096",
            (BlockSize::B4096, Bus::Ahci) => return Err(SpecError::SataBlockSize { index }),
            (BlockSize::B4096, _) => device += ",logical_block_size=4096,physical_block_size=4096",
        }
        if !disk.faults.is_empty() {
            // The guest is told, in place of being stopped until somebody makes room.
            device += ",werror=report";
        }
        if let Some(boot_index) = disk.boot_index {
            device += &format!(",bootindex={boot_index}");
        }
        self.pair("-device", device);
        Ok(())
    }

    fn nic(&mut self, index: usize, nic: &Nic, spec: &VmSpec) -> Result<(), SpecError> {
        let id = format!("net{index}");
        let network = if nic.vlan.is_some() { self.port(index, &id) } else { id };
        let mut netdev = match &nic.backend {
            Backend::Slirp { .. } => format!("user,id={network}"),
            Backend::Tap { name, .. } => {
                format!("tap,id={network},ifname={name},script=no,downscript=no")
            }
        };
        if let Backend::Slirp { forwards, boot_file } = &nic.backend {
            for (host_port, guest_port) in forwards {
                netdev += &format!(",hostfwd=tcp:127.0.0.1:{host_port}-:{guest_port}");
            }
            if let Some(file) = boot_file {
                let folder = file.parent().unwrap_or(Path::new("/"));
                let name = file.file_name().map(Path::new).unwrap_or(file);
                netdev += &format!(",tftp={},bootfile={}", escaped(folder)?, escaped(name)?);
            }
        }
        self.pair("-netdev", netdev);
        if nic.vlan.is_some() {
            // Only a hub joins two networks of QEMU; each is plugged into it by a port of its own.
            for plugged in [ENDS[1], "beyond"].map(|name| socket_name(&nic_id(index), name)) {
                let hub = format!("hubport,id={plugged}.hub,hubid={index},netdev={plugged}");
                self.pair("-netdev", hub);
            }
        }
        let mac = nic.mac.clone().unwrap_or_else(|| mac(&spec.name, index));
        // No option ROM: OVMF has a driver for virtio and a PXE of its own.
        let mut device = format!("virtio-net-pci,netdev=net{index},mac={mac},romfile=");
        device += &format!(",id={}", nic_id(index));
        if spec.network_boot && index == 0 {
            device += ",bootindex=0";
        }
        self.pair("-device", device);
        Ok(())
    }

    /// The two ends of the [`crate::trunk::Port`] between a card, whose own network is called
    /// `id`, and the network that it leads to, whose name is returned.
    fn port(&mut self, index: usize, id: &str) -> String {
        let nic = nic_id(index);
        let [trunk, access] = ENDS.map(|end| socket_name(&nic, end));
        for (id, path) in [(id, &trunk), (&access, &access)] {
            self.pair(
                "-netdev",
                format!(
                    "dgram,id={id},local.type=unix,local.path={path}{QEMU_SUFFIX},\
                     remote.type=unix,remote.path={path}"
                ),
            );
        }
        socket_name(&nic, "beyond")
    }
}

/// The block device behind a disk.
fn node(index: usize, disk: &Disk) -> Result<String, SpecError> {
    let path = escaped(&disk.path)?;
    if !disk.faults.is_empty() {
        let faults: String = disk.faults.iter().enumerate().map(fault).collect();
        return Ok(format!(
            "driver=blkdebug,node-name=disk{index},discard=unmap,image.driver=raw,\
             image.discard=unmap,image.cache.no-flush=on,image.file.driver=file,\
             image.file.filename={path}{faults}"
        ));
    }
    // A killed QEMU loses nothing that it handed to the host's page cache, so waiting for the
    // host's disk on every flush would only cost time.
    Ok(match &disk.write_log {
        None => format!(
            "driver=raw,node-name=disk{index},discard=unmap,cache.no-flush=on,\
             file.driver=file,file.filename={path}"
        ),
        // The log has to see the flushes and discards; only what is below it may drop them.
        Some(log) => format!(
            "{},node-name=disk{index},discard=unmap,file.driver=raw,file.discard=unmap,\
             file.cache.no-flush=on,file.file.driver=file,file.file.filename={path}",
            logging(log)?
        ),
    })
}

/// The options of blkdebug that make it fail.
fn fault((number, fault): (usize, &DiskFault)) -> String {
    let DiskFault { refused, errno, once } = *fault;
    let (operation, sector) = match refused {
        Refused::Read(sector) => ("read", Some(sector)),
        Refused::Write(sector) => ("write", Some(sector)),
        Refused::Flush => ("flush", None),
    };
    let once = if once { "on" } else { "off" };
    let option = |name: &str, value: &str| format!(",inject-error.{number}.{name}={value}");
    option("event", "none")
        + &option("iotype", operation)
        + &option("errno", &errno.to_string())
        + &option("once", once)
        + &sector.map_or(String::new(), |sector| option("sector", &sector.to_string()))
}

/// The options of a driver that logs what passes through it.
fn logging(log: &Path) -> Result<String, SpecError> {
    let path = escaped(log)?;
    // Without a header there is no log; by default it is written with a flush, which flash never sees.
    Ok(format!(
        "driver=blklogwrites,log-sector-size=512,log-super-update-interval=1,log.driver=file,\
         log.filename={path}"
    ))
}

fn check_name(what: &'static str, value: &str, max_bytes: usize) -> Result<(), SpecError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=max_bytes).contains(&value.len()) && value.bytes().all(plain) {
        return Ok(());
    }
    Err(SpecError::Name { what, value: value.to_owned(), max_bytes })
}

/// QEMU's option lists end a value at a comma, unless it is doubled.
fn escaped(path: &Path) -> Result<String, SpecError> {
    let text = path.to_str().ok_or_else(|| SpecError::Path(path.to_owned()))?;
    Ok(text.replace(',', ",,"))
}

/// A MAC in QEMU's range that is the same for each power-on.
fn mac(name: &str, index: usize) -> String {
    let [a, b, c, ..] = hash(&format!("{index}/mac/{name}"));
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

/// A version 8 UUID (RFC 9562 §5.8: the bits are the maker's).
fn uuid(name: &str) -> String {
    let [a, b, c, d, e, f, g, h] = hash(&format!("0/uuid/{name}"));
    let [i, j, k, l, m, n, o, p] = hash(&format!("1/uuid/{name}"));
    let (g, i) = (g & 0x0f | 0x80, i & 0x3f | 0x80);
    format!(
        "{a:02x}{b:02x}{c:02x}{d:02x}-{e:02x}{f:02x}-{g:02x}{h:02x}-{i:02x}{j:02x}-\
         {k:02x}{l:02x}{m:02x}{n:02x}{o:02x}{p:02x}"
    )
}

/// FNV-1a. Names only have to differ, not to resist anyone.
fn hash(text: &str) -> [u8; 8] {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
        .to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        Disk::existing("/dev/null").unwrap()
    }

    /// The arguments of a machine, checked against a file with one option a line.
    fn check(spec: &VmSpec, golden: &str) {
        let args = spec.qemu_args(Accelerator::Tcg).unwrap().join(" ").replace(" -", "\n-");
        assert_eq!(args.trim(), golden.trim(), "\n{args}");
    }

    #[test]
    fn golden_arguments_of_a_plain_machine() {
        let mut spec = VmSpec::new("web-1", "/vms/web-1");
        spec.disks.push(disk().serial("WEB1"));
        spec.nics.push(Nic::slirp().forward(8080, 80).forward(5432, 5432));
        check(&spec, include_str!("../tests/golden/plain.args"));
    }

    #[test]
    fn golden_arguments_of_everything() {
        let mut spec = VmSpec::new("all", "/vms/all");
        (spec.memory_mib, spec.cpus) = (192, 2);
        spec.rtc_base = Some("2099-01-01T00:00:00".to_owned());
        spec.network_boot = true;
        spec.disks = vec![
            disk().bus(Bus::Nvme).block_size(BlockSize::B4096),
            disk().bus(Bus::Scsi).serial("SCSI").boot_index(3),
            disk().bus(Bus::Ahci).serial("SATA"),
        ];
        spec.nics = vec![
            Nic::slirp().boot_file("/srv/a,b/boot.efi"),
            Nic::slirp().mac("52:54:00:00:00:01").unplugged(),
            Nic::slirp().tagged(7),
        ];
        spec.extra_args = vec!["-device".to_owned(), "VGA".to_owned()];
        check(&spec, include_str!("../tests/golden/everything.args"));
    }

    #[test]
    fn golden_arguments_of_a_logged_machine() {
        let mut spec = VmSpec::new("logged", "/vms/logged");
        spec.disks.push(disk().serial("LOGGED").logged("/logs/disk,1"));
        spec.variables_log = Some("/logs/variables".into());
        check(&spec, include_str!("../tests/golden/logged.args"));
    }

    #[test]
    fn golden_arguments_of_a_failing_machine() {
        let mut spec = VmSpec::new("failing", "/vms/failing");
        let fault = |refused, once| DiskFault { refused, errno: 5, once };
        spec.disks = vec![
            disk(),
            disk().failing(fault(Refused::Flush, true)).failing(fault(Refused::Write(8), false)),
        ];
        check(&spec, include_str!("../tests/golden/failing.args"));
    }

    #[test]
    fn what_qemu_cannot_build_is_refused() {
        let check = |change: fn(&mut VmSpec), expected: &str| {
            let mut spec = VmSpec::new("vm", "/vms/vm");
            change(&mut spec);
            let error = spec.qemu_args(Accelerator::Tcg).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            |spec| spec.name = "a,b".to_owned(),
            r#"machine "a,b" is not 1 to 64 characters of [A-Za-z0-9._-]"#,
        );
        check(
            |spec| spec.disks.push(disk().serial("S".repeat(21))),
            r#"disk serial "SSSSSSSSSSSSSSSSSSSSS" is not 1 to 20 characters of [A-Za-z0-9._-]"#,
        );
        check(
            |spec| spec.disks.push(disk().bus(Bus::Ahci).block_size(BlockSize::B4096)),
            "disk 0: QEMU's SATA disks have blocks of 512 bytes only",
        );
    }
}
