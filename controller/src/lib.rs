//! The management controller and its command line. So far the command line only: keys and the
//! image library.

pub mod cli;
pub mod key_file;
