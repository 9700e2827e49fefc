//! Every limit of the wire, in one place. A peer that exceeds one is refused by name; nobody
//! truncates silently.

use std::ops::RangeInclusive;

/// Largest envelope accepted, in bytes, before a byte of it is parsed.
pub const ENVELOPE_BYTES: usize = 1024 * 1024;
/// Deepest nesting of arrays and objects in any message.
pub const JSON_DEPTH: usize = 16;
/// Most signatures in one envelope; rotation needs two, four leaves room.
pub const SIGNATURES: usize = 4;
/// Longest pool or server-type name, in bytes.
pub const NAME_BYTES: usize = 64;
/// Longest text that explains a fault to people, in bytes.
pub const FAULT_MESSAGE_BYTES: usize = 1024;
/// Most lines of a log that a failed status carries, of the agent's and of the kernel's each.
pub const LOG_LINES: usize = 48;
/// Longest of these lines, in bytes.
pub const LOG_LINE_BYTES: usize = 240;
/// Most bytes of such a log's lines together: some fifty of the usual length.
pub const LOG_BYTES: usize = 4 * 1024;
/// Longest string taken from firmware or a device for the inventory, in bytes.
pub const INVENTORY_TEXT_BYTES: usize = 128;
/// Most entries in each list of the inventory.
pub const INVENTORY_ENTRIES: usize = 256;
/// Most ranges of disks that one wipe covers.
pub const WIPED_RANGES: usize = 16;
/// Most sources (mirrors) a directive may name.
pub const SOURCES: usize = 16;
/// Longest source URL, in bytes.
pub const URL_BYTES: usize = 2048;
/// Longest text of a report on a source that failed or lied: its URL, and what it did, in bytes.
pub const SOURCE_REPORT_TEXT_BYTES: usize = 240;
/// Most files in the settings of one server.
pub const SETTINGS_FILES: usize = 256;
/// Most bytes in the files of one server's settings, together, decoded.
pub const SETTINGS_BYTES: usize = 512 * 1024;
/// Time-outs that a target may be guarded with, in seconds. Less is not enough for a kernel that
/// boots on slow hardware; a TCO timer counts no further than 613 s.
pub const WATCHDOG_S: RangeInclusive<u32> = 30..=600;
/// Longest wait that a controller may ask for, in milliseconds.
pub const WAIT_MS: u64 = 10 * 60 * 1000;
/// Most bytes of CA certificates in a trust document, which must fit a journal's slot.
pub const CA_BYTES: usize = 12 * 1024;
/// Most images whose least version a trust document names.
pub const LEAST_VERSIONS: usize = 128;
/// Most keys of one kind in a trust document.
pub const TRUST_KEYS: usize = 16;
