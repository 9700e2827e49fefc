//! Power cuts: a whole road of a server is recorded once, with every write of its disk and of its
//! firmware's variables, and then cut at many instants. From what each cut leaves, the server is
//! powered on again and has to arrive by itself.
//!
//! [`recording`] is what a road leaves behind, [`instants`] (pure) which instants it can be cut at,
//! [`trial`] powers on, watches and checks, [`fetched`] says whether more was fetched than was
//! missing, [`campaign`] spreads cuts over roads and phases and goes on where it was interrupted.

pub mod campaign;
pub mod fetched;
mod images;
pub mod instants;
pub mod recording;
pub mod results;
mod site;
pub mod trial;
mod watch;

pub use images::Images;
pub use site::Site;
