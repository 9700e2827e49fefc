//! A deterministic world for the agent's core: disks, firmware, controller, workers, time and chance
//! from one seed, without threads, clocks or files. A whole purposing takes milliseconds, so power
//! can be cut at every one of its effects.
//!
//! [`World`] is the way in; the parts are public so that other tests may build worlds of their own.
//! What must hold after every step is in [`check`], one function for each invariant.

mod bench;
pub mod campaign;
pub mod check;
pub mod configurator;
pub mod controller;
pub mod counts;
pub mod crew;
pub mod disk;
pub mod events;
pub mod exhaustive;
pub mod faults;
pub mod firmware;
pub mod host;
pub mod image;
mod image_like;
pub mod link;
pub mod machine;
mod pen;
pub mod power;
pub mod replay;
pub mod stable;
pub mod swarm;
pub mod watchdog;
pub mod wiped;
pub mod world;

pub use check::{Violation, sound};
pub use controller::{Lie, SourceFault};
pub use counts::Counts;
pub use disk::{DiskSpec, Unflushed};
pub use faults::{Fault, Mix};
pub use firmware::Quirks;
pub use image::{Image, ImageSpec};
pub use world::{Spec, TargetConduct, World};
