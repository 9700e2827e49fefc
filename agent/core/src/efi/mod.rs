//! UEFI boot variables as values: load options, BootOrder, and what must be changed so that the
//! default side stays first and the target can be booted. Deciding only; `boot` does the writing.

mod load_option;
mod order;

pub use load_option::{BadLoadOption, LoadOption};
pub use order::{
    entry_name, entry_number, numbers_from_bytes, numbers_to_bytes, with_default_first,
};
