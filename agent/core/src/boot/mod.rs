//! How the default side leaves for a target: a table of methods, tried in its order. A new method
//! is one new file and one line here.

mod entries;
mod firmware;
mod kexec;
#[cfg(test)]
mod variables;
mod way_home;

use repave_protocol::BootMethod;

pub use entries::{ensure_default, forget_target};
pub use way_home::{WayHome, default_partition};

use crate::default_side::DefaultSide;
use crate::edges::{Edges, Volume};
use crate::failure::Failure;
use crate::gpt::Table;
use crate::journal::Seal;
use crate::road::Sealed;

/// One way to leave.
trait Method: Sync {
    /// Its name on the wire.
    fn name(&self) -> BootMethod;
    /// Whether this target can be left for in this way, and the directive allows it.
    fn applies(&self, seal: &Seal, last_departure_came_up: bool) -> bool;
    /// Everything up to the point of no return, read back.
    fn arm(&self, target: &Target<'_>, edges: &mut Edges<'_>) -> Result<(), Failure>;
    /// Leaves. Comes back with `Ok` only in a simulation, where the machine is gone then.
    fn leave(&self, edges: &mut Edges<'_>) -> Result<(), Failure>;
}

/// Faster first; the last one needs nothing but firmware, so every other falls to it.
static METHODS: [&dyn Method; 2] = [&kexec::Kexec, &firmware::Firmware];

/// A sealed target and where it is.
struct Target<'a> {
    seal: &'a Seal,
    default: &'a DefaultSide,
    /// The disk of the target and its table.
    disk: usize,
    table: Table,
}

impl Target<'_> {
    /// The partition with that GUID, as those who mount it need it.
    fn volume(&self, guid: repave_protocol::Guid, file_system: &str) -> Option<Volume> {
        let entry = self.table.find(guid)?;
        Some(Volume {
            disk: self.disk,
            guid,
            offset_bytes: entry.first_lba * self.table.block_bytes,
            size_bytes: entry.blocks() * self.table.block_bytes,
            file_system: file_system.into(),
        })
    }
}

/// A target that will be booted when the server leaves. Made by [`arm`] only, of a target
/// that is sealed.
pub struct Armed {
    method: &'static dyn Method,
}

impl Armed {
    /// How it will leave.
    pub fn method(&self) -> BootMethod {
        self.method.name()
    }

    /// Leaves; comes back only if that failed, or in a simulation.
    pub fn leave(self, edges: &mut Edges<'_>) -> Result<(), Failure> {
        self.method.leave(edges)
    }
}

/// Arms the first method that applies and works. `skip` leaves out those that failed already.
pub fn arm(
    sealed: &Sealed,
    came_up: bool,
    default: &DefaultSide,
    edges: &mut Edges<'_>,
    skip: &[BootMethod],
) -> Result<Armed, Failure> {
    let seal = sealed.seal();
    let (disk, table) = find_disk(seal, edges)?;
    let target = Target { seal, default, disk, table };
    let mut failure = None;
    for method in METHODS {
        if skip.contains(&method.name()) || !method.applies(seal, came_up) {
            continue;
        }
        match method.arm(&target, edges) {
            Ok(()) => return Ok(Armed { method }),
            Err(error) => {
                log::warn!("boot method {:?}: {}", method.name(), error.chain());
                failure = Some(error);
            }
        }
    }
    Err(failure.unwrap_or_else(|| Failure::NotSealed {
        wanted: seal.generation,
        found: "a target that no boot method applies to".into(),
    }))
}

/// The one disk that the seal names and that still has the boot partition. Two of them refuse: one
/// is a copy, and nobody here can tell which.
fn find_disk(seal: &Seal, edges: &mut Edges<'_>) -> Result<(usize, Table), Failure> {
    let not_sealed = |found| Failure::NotSealed { wanted: seal.generation, found };
    let mut found: Option<(usize, Table, String)> = None;
    for (number, disk) in edges.disks.iter_mut().enumerate() {
        if let Ok(table) = Table::read(disk.as_mut())
            && table.disk_guid == seal.boot.disk
            && table.find(seal.boot.partition).is_some()
        {
            let name = disk.facts().name.clone();
            if let Some((.., first)) = found {
                return Err(not_sealed(format!(
                    "on disk {}, which is both {first} and {name}; detach the copy",
                    seal.boot.disk
                )));
            }
            found = Some((number, table, name));
        }
    }
    let Some((number, table, _)) = found else {
        return Err(not_sealed(format!(
            "on disk {}, which is not attached or lost its partitions",
            seal.boot.disk
        )));
    };
    Ok((number, table))
}
