//! A small sysfs for tests: a folder of its own, made from a table and removed with it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// What stands at a path.
#[derive(Clone, Copy)]
pub(super) enum Entry<'a> {
    File(&'a [u8]),
    /// A symbolic link; what it points at need not be there.
    Link(&'a str),
}

pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(super) fn new(entries: &[(&str, Entry<'_>)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("repave-tree-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&root).unwrap();
        for (path, entry) in entries {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match entry {
                Entry::File(bytes) => std::fs::write(&path, bytes).unwrap(),
                Entry::Link(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
            }
        }
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}
