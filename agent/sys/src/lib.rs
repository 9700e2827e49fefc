//! The agent's only unsafe code, each behind a safe function, and the aligned buffer that the
//! disk's edge shares with them.
//!
//! What rustix or nix already offer as a safe call (mounts, reboot, openat2, the logical block
//! size) is not wrapped here: callers use it directly. Nothing here decides, retries or logs;
//! every call returns the kernel's own error.

mod aligned_buffer;
mod block_device;
mod kernel_log;
mod kexec;
mod packet_socket;
mod watchdog;

pub use aligned_buffer::AlignedBuffer;
pub use block_device::{
    flush_buffers, logical_block_bytes, optimal_bytes, reread_partitions, size_bytes, zero_out,
};
pub use kernel_log::kernel_log;
pub use kexec::kexec_file_load;
pub use packet_socket::{FilterInstruction, PacketSocket};
pub use watchdog::set_watchdog_timeout;
