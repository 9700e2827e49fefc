//! Trees as images may leave them, honest and hostile, and what becomes of a write in each.

use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use repave_core::edges::SettingsError;
use repave_core::settings::{Content, Rendered};
use rustix::fs::{CWD, FileType, Mode};

use super::{verify, write};

/// A root in a directory, and beside it what nobody may touch.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for path in ["root/etc", "outside/etc"] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        fs::write(directory.path().join("outside/canary"), "alive").unwrap();
        fs::write(directory.path().join("agent"), vec![3; 200_000]).unwrap();
        Self { directory }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    fn write(&self, file: &Rendered) -> Result<(), SettingsError> {
        let root = fs::File::open(self.root()).unwrap();
        let files = std::slice::from_ref(file);
        write(root.as_fd(), files, &self.directory.path().join("agent"))
    }

    fn verify(&self, file: &Rendered) -> Result<(), SettingsError> {
        let root = fs::File::open(self.root()).unwrap();
        let files = std::slice::from_ref(file);
        verify(root.as_fd(), files, &self.directory.path().join("agent"))
    }

    /// Names and contents of everything outside.
    fn check_outside(&self) {
        let mut names: Vec<_> = fs::read_dir(self.outside())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["canary", "etc"]);
        assert_eq!(fs::read(self.outside().join("canary")).unwrap(), b"alive");
        assert_eq!(fs::read_dir(self.outside().join("etc")).unwrap().count(), 0);
    }
}

fn file(path: &str, content: Content) -> Rendered {
    Rendered { path: path.into(), content, mode: 0o640, uid: 12, gid: 34 }
}

fn text(path: &str) -> Rendered {
    file(path, Content::Bytes(b"web1\n".to_vec()))
}

#[test]
fn files_links_and_the_agent_stand_as_rendered_after_one_write_or_two() {
    let world = World::new();
    for rendered in [
        text("/etc/hostname"),
        text("/hostname"),
        file("/etc/empty", Content::Bytes(Vec::new())),
        file("/usr/lib/repave/repave-agent", Content::Agent),
        file("/etc/systemd/system/a.wants/b", Content::Link("/etc/systemd/b".into())),
        Rendered { mode: 0o4755, ..file("/usr/bin/setuid", Content::Agent) },
    ] {
        assert!(world.verify(&rendered).is_err());
        for _ in 0..2 {
            world.write(&rendered).unwrap();
            world.verify(&rendered).unwrap();
        }
    }
    let made = fs::metadata(world.root().join("usr/lib/repave")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (0o755, 0, 0));
    let names = fs::read_dir(world.root().join("etc")).unwrap();
    assert!(names.into_iter().all(|name| name.unwrap().file_name() != ".repave-new"));
}

#[test]
fn whatever_differs_is_found() {
    let world = World::new();
    let path = world.root().join("etc/hostname");
    let rendered = text("/etc/hostname");
    let tamper: [(&str, &dyn Fn()); 6] = [
        ("differs in", &|| fs::write(&path, "web2\n").unwrap()),
        ("size is 6 instead of 5", &|| fs::write(&path, "web1\n\n").unwrap()),
        ("mode is \"644\" instead of \"640\"", &|| {
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }),
        ("owner is (0, 34) instead of (12, 34)", &|| {
            std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        }),
        ("No such file", &|| fs::remove_file(&path).unwrap()),
        ("type is \"symbolic link\"", &|| {
            fs::remove_file(&path).unwrap();
            symlink("hosts", &path).unwrap();
        }),
    ];
    for (reason, tamper) in tamper {
        world.write(&rendered).unwrap();
        tamper();
        let error = world.verify(&rendered).unwrap_err();
        assert!(error.reason.contains(reason), "{error}");
        assert_eq!((error.operation, &*error.path), ("verify", "/etc/hostname"));
    }
    let link = file("/etc/link", Content::Link("one".into()));
    world.write(&link).unwrap();
    fs::remove_file(world.root().join("etc/link")).unwrap();
    symlink("two", world.root().join("etc/link")).unwrap();
    std::os::unix::fs::lchown(world.root().join("etc/link"), Some(12), Some(34)).unwrap();
    let error = world.verify(&link).unwrap_err();
    assert!(error.reason.contains("target is \"two\" instead of \"one\""), "{error}");
}

#[test]
fn a_difference_in_the_last_byte_of_a_large_file_is_found() {
    let world = World::new();
    let rendered = file("/agent", Content::Agent);
    world.write(&rendered).unwrap();
    let path = world.root().join("agent");
    let mut bytes = fs::read(&path).unwrap();
    bytes[199_999] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = world.verify(&rendered).unwrap_err();
    assert!(error.reason.ends_with("at byte 196608"), "{error}");
}

/// A tree that `prepare` made hostile: the write fails as `reason` says, for the image's
/// fault, and nothing outside was touched.
fn check_refused(path: &str, reason: &str, prepare: impl Fn(&Path, &Path)) {
    let world = World::new();
    prepare(&world.root(), &world.outside());
    let error = world.write(&text(path)).unwrap_err();
    assert!(error.reason.contains(reason), "{error}");
    assert!(error.image_at_fault, "{error}");
    assert_eq!((error.operation, &*error.path), ("write", path));
    world.check_outside();
}

/// A tree with links in it: the write ends in `lands` below the root, and nowhere else.
fn check_lands(path: &str, lands: &str, prepare: impl Fn(&Path, &Path)) {
    let world = World::new();
    prepare(&world.root(), &world.outside());
    world.write(&text(path)).unwrap();
    world.verify(&text(path)).unwrap();
    let landed = world.root().join(lands);
    assert!(fs::symlink_metadata(&landed).unwrap().is_file());
    assert_eq!(fs::read(landed).unwrap(), b"web1\n");
    world.check_outside();
}

#[test]
fn links_between_directories_lead_inside_the_root_only() {
    check_lands("/lib/x/file", "usr/lib/x/file", |root, _| {
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
    });
    check_lands("/a/b/file", "etc/b/file", |root, _| {
        symlink("/etc", root.join("a")).unwrap();
    });
    check_lands("/etc/b/file", "file", |root, _| {
        symlink("/", root.join("etc/b")).unwrap();
    });
    check_lands("/a/file", "outside/file", |root, _| {
        fs::create_dir(root.join("outside")).unwrap();
        symlink("../../outside", root.join("a")).unwrap();
    });
}

#[test]
fn links_out_of_the_root_lead_to_nothing() {
    for path in ["/a/file", "/a/b/file"] {
        check_refused(path, "/a is a link to nothing", |root, outside| {
            symlink(outside, root.join("a")).unwrap();
        });
        check_refused(path, "/a is a link to nothing", |root, _| {
            symlink("../outside", root.join("a")).unwrap();
        });
        check_refused(path, "/a is a link to nothing", |root, _| {
            symlink("etc/../../outside/etc", root.join("a")).unwrap();
        });
    }
    check_refused("/etc/b/file", "/etc/b is a link to nothing", |root, outside| {
        symlink(outside.join("etc"), root.join("etc/b")).unwrap();
    });
}

#[test]
fn loops_are_refused() {
    check_refused("/a/file", "Too many levels", |root, _| {
        symlink("a", root.join("a")).unwrap();
    });
    check_refused("/a/x/file", "Too many levels", |root, _| {
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
    });
}

#[test]
fn what_stands_in_place_of_a_directory_is_refused() {
    check_refused("/etc/a/file", "/etc/a: Not a directory", |root, _| {
        fs::write(root.join("etc/a"), "").unwrap();
    });
    check_refused("/etc/a/file", "/etc/a: Not a directory", |root, _| {
        node(&root.join("etc/a"), FileType::Fifo);
    });
}

#[test]
fn what_may_not_be_replaced_is_refused() {
    for (file_type, reason) in [
        (FileType::Fifo, "a FIFO is in its place"),
        (FileType::CharacterDevice, "a character device is in its place"),
        (FileType::BlockDevice, "a block device is in its place"),
        (FileType::Socket, "a socket is in its place"),
    ] {
        check_refused("/etc/x", reason, |root, _| node(&root.join("etc/x"), file_type));
    }
    check_refused("/etc/x", "a directory is in its place", |root, _| {
        fs::create_dir(root.join("etc/x")).unwrap();
    });
    check_refused("/etc/x", ".repave-new: Is a directory", |root, _| {
        fs::create_dir(root.join("etc/.repave-new")).unwrap();
    });
}

fn node(path: &Path, file_type: FileType) {
    // The numbers of /dev/null, so that a write that gets through harms nobody.
    let device = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, path, file_type, Mode::RUSR | Mode::WUSR, device).unwrap();
}

#[test]
fn the_last_component_is_replaced_and_never_followed() {
    for name in ["etc/x", "etc/.repave-new"] {
        check_lands("/etc/x", "etc/x", |root, outside| {
            symlink(outside.join("canary"), root.join(name)).unwrap();
        });
        check_lands("/etc/x", "etc/x", |root, _| {
            symlink("nowhere", root.join(name)).unwrap();
        });
        check_lands("/etc/x", "etc/x", |root, _| {
            symlink("x", root.join(name)).unwrap();
        });
        check_lands("/etc/x", "etc/x", |root, outside| {
            fs::hard_link(outside.join("canary"), root.join(name)).unwrap();
        });
    }
}

#[test]
fn paths_that_are_not_plain_are_our_own_fault() {
    let world = World::new();
    for path in ["", "/", "etc/x", "/etc/../x", "/etc//x", "/./x", "/etc/x/", "/a\0b"] {
        let error = world.write(&text(path)).unwrap_err();
        assert_eq!(error.reason, "not an absolute path of plain names", "{path:?}");
        assert!(!error.image_at_fault);
    }
}
