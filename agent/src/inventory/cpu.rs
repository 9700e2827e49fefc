//! Processors and memory.

use std::path::Path;

use super::text::{bytes, cut};

/// The first processor's model name; absent on architectures whose kernels print none.
pub(super) fn model(proc_root: &Path) -> Option<String> {
    value(proc_root, "cpuinfo", "model name").map(cut)
}

/// How many logical CPUs are online.
pub(super) fn online(sys_root: &Path) -> u32 {
    let list = bytes(&sys_root.join("devices/system/cpu/online"));
    let list = list.and_then(|list| String::from_utf8(list).ok()).unwrap_or_default();
    list.trim().split(',').filter_map(range_len).fold(0, u32::saturating_add)
}

/// `MemTotal`, which the kernel gives in units of 1024 bytes; 0 if it does not.
pub(super) fn memory_bytes(proc_root: &Path) -> u64 {
    let text = value(proc_root, "meminfo", "MemTotal").unwrap_or_default();
    let kibibytes = text.strip_suffix(" kB").and_then(|number| number.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

/// The value of the first line `key: value`.
fn value(proc_root: &Path, file: &str, key: &str) -> Option<String> {
    let text = bytes(&proc_root.join(file))?;
    let text = String::from_utf8_lossy(&text);
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(found, _)| found.trim() == key)?;
    Some(value.trim().to_owned())
}

/// The length of one range of a CPU list, `3` or `0-3` (cputopology.rst).
fn range_len(range: &str) -> Option<u32> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
    last.checked_sub(first)?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Entry::File, Tree};
    use super::{memory_bytes, model, online};

    #[test]
    fn processors_and_memory() {
        let tree = Tree::new(&[
            ("devices/system/cpu/online", File(b"0-3,6,8-9\n")),
            ("cpuinfo", File(b"processor\t: 0\nmodel name\t: AMD EPYC: 7B13\n\nprocessor\t: 1\n")),
            ("meminfo", File(b"MemTotal:         166912 kB\nMemFree:  1 kB\n")),
        ]);
        assert_eq!(online(tree.root()), 7);
        assert_eq!(model(tree.root()).as_deref(), Some("AMD EPYC: 7B13"));
        assert_eq!(memory_bytes(tree.root()), 166_912 * 1024);
    }

    #[test]
    fn nonsense_counts_for_nothing() {
        let tree = Tree::new(&[
            ("devices/system/cpu/online", File(b"3-0,x,0-4294967295,-1\n")),
            ("cpuinfo", File(b"model name\n")),
            ("meminfo", File(b"MemTotal: 99999999999999999999 kB\n")),
        ]);
        assert_eq!(online(tree.root()), 0);
        assert_eq!(model(tree.root()), None);
        assert_eq!(memory_bytes(tree.root()), 0);
    }
}
