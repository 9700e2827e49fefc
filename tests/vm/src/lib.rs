//! Whole roads on virtual machines: the default side as it is burned, in real firmware, against the
//! stub controller. The demo and the tests are made of the same parts.
//!
//! Everything is watched from outside: what servers report, what their consoles say, and what is
//! on their disks. Waits are for statuses and console lines, with a guard against hanging; nothing
//! here asserts speed, figures are printed.

mod figures;
mod lab;
mod large_blocks;
mod made;
pub mod proof;
mod raw_disk;
mod server;
pub mod torture;
mod variables;

pub use figures::{Figures, memory_words, peak_memory_kib, say};
pub use lab::{Lab, LabSpec};
pub use made::{TargetImage, build_folder, burn, default_uki};
pub use raw_disk::{RawDisk, TableCopy};
pub use server::{Server, failure, stage};
pub use variables::Variables;
