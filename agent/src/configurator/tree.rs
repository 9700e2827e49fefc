//! Files below a root that an image filled, and that may be hostile: every lookup begins at the
//! root with openat2 and cannot leave it, whatever links it meets (openat2(2), RESOLVE_IN_ROOT).
//! Links between directories are followed, since distributions need them; the last component is
//! replaced and never followed. Whether the bytes last is the caller's sync.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use repave_core::edges::SettingsError;
use repave_core::settings::{Content, Rendered};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::mount::{blames_image, open_in_root};

/// A file's name until it is whole and takes the place of what was there.
const TEMPORARY_NAME: &str = ".repave-new";
/// Mode of directories that have to be made, all of them root's.
const DIRECTORY_MODE: u32 = 0o755;
/// Piece in which files are compared.
const PIECE_BYTES: usize = 64 * 1024;

/// Writes every file below `root`, with what `agent_binary` holds for the agent's.
pub(super) fn write(
    root: BorrowedFd<'_>,
    files: &[Rendered],
    agent_binary: &Path,
) -> Result<(), SettingsError> {
    for file in files {
        write_one(root, file, agent_binary).map_err(|fault| fault.at("write", &file.path))?;
    }
    Ok(())
}

/// Compares every file's type, owner, mode and content, or its link's.
pub(super) fn verify(
    root: BorrowedFd<'_>,
    files: &[Rendered],
    agent_binary: &Path,
) -> Result<(), SettingsError> {
    for file in files {
        verify_one(root, file, agent_binary).map_err(|fault| fault.at("verify", &file.path))?;
    }
    Ok(())
}

/// What went wrong with one file, before its path is added.
#[derive(Debug)]
struct Fault {
    reason: String,
    image_at_fault: bool,
}

impl Fault {
    fn image(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), image_at_fault: true }
    }

    fn ours(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), image_at_fault: false }
    }

    /// A system call on `name` failed.
    fn system(name: &str) -> impl Fn(Errno) -> Self {
        move |error| Self {
            reason: format!("{name}: {error}"),
            image_at_fault: blames_image(error),
        }
    }

    fn io(name: &str) -> impl Fn(io::Error) -> Self {
        move |error| Self::system(name)(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn at(self, operation: &'static str, path: &str) -> SettingsError {
        let Self { reason, image_at_fault } = self;
        SettingsError { operation, path: path.into(), reason, image_at_fault }
    }
}

fn write_one(root: BorrowedFd<'_>, file: &Rendered, agent_binary: &Path) -> Result<(), Fault> {
    let (parents, name) = split(&file.path)?;
    let parent = make_directories(root, &parents)?;
    check_replaceable(&parent, name)?;
    remove_leftover(&parent)?;
    make_temporary(&parent, file, agent_binary)?;
    rustix::fs::renameat(&parent, TEMPORARY_NAME, &parent, name).map_err(Fault::system(name))
}

/// Directories and name of an absolute path that says what it means.
fn split(path: &str) -> Result<(Vec<&str>, &str), Fault> {
    let mut parts: Vec<&str> = path.strip_prefix('/').unwrap_or_default().split('/').collect();
    let odd = |part: &&str| matches!(*part, "" | "." | "..") || part.contains('\0');
    match parts.iter().any(odd) {
        true => Err(Fault::ours("not an absolute path of plain names")),
        false => {
            let name = parts.pop().unwrap_or_default();
            Ok((parts, name))
        }
    }
}

/// Opens the directory that `names` lead to, and makes those that are missing.
fn make_directories(root: BorrowedFd<'_>, names: &[&str]) -> Result<OwnedFd, Fault> {
    let mut path = String::from("/");
    let mut directory = open_directory(root, &path).map_err(Fault::system(&path))?;
    for name in names {
        path.push_str(name);
        directory = match open_directory(root, &path) {
            Err(Errno::NOENT) => make_directory(root, &directory, name, &path)?,
            opened => opened.map_err(Fault::system(&path))?,
        };
        path.push('/');
    }
    Ok(directory)
}

/// Looked up from the root each time: a link is absolute from there, not from where it stands.
fn open_directory(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    open_in_root(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn make_directory(
    root: BorrowedFd<'_>,
    parent: &OwnedFd,
    name: &str,
    path: &str,
) -> Result<OwnedFd, Fault> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
        Err(Errno::EXIST) => return Err(Fault::image(format!("{path} is a link to nothing"))),
        result => result.map_err(Fault::system(path))?,
    }
    let directory = open_directory(root, path).map_err(Fault::system(path))?;
    set_owner_and_mode(&directory, 0, 0, DIRECTORY_MODE).map_err(Fault::system(path))?;
    Ok(directory)
}

/// Only a regular file or a link may give way, or nothing at all.
fn check_replaceable(parent: &OwnedFd, name: &str) -> Result<(), Fault> {
    let found = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        found => found.map_err(Fault::system(name))?,
    };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile | FileType::Symlink => Ok(()),
        other => Err(Fault::image(format!("a {} is in its place", noun(other)))),
    }
}

/// An earlier attempt may have been cut off, and an image may have put something there: it is
/// unlinked, not opened.
fn remove_leftover(parent: &OwnedFd) -> Result<(), Fault> {
    match rustix::fs::unlinkat(parent, TEMPORARY_NAME, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        result => result.map_err(Fault::system(TEMPORARY_NAME)),
    }
}

fn make_temporary(parent: &OwnedFd, file: &Rendered, agent_binary: &Path) -> Result<(), Fault> {
    match &file.content {
        Content::Link(target) => make_link(parent, file, target),
        Content::Bytes(bytes) => make_file(parent, file, &mut &**bytes),
        Content::Agent => make_file(parent, file, &mut open_agent(agent_binary)?.0),
    }
}

fn make_link(parent: &OwnedFd, file: &Rendered, target: &str) -> Result<(), Fault> {
    let owner = (Some(Uid::from_raw(file.uid)), Some(Gid::from_raw(file.gid)));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::symlinkat(target, parent, TEMPORARY_NAME)
        .and_then(|()| rustix::fs::chownat(parent, TEMPORARY_NAME, owner.0, owner.1, flags))
        .map_err(Fault::system(TEMPORARY_NAME))
}

fn make_file(parent: &OwnedFd, file: &Rendered, content: &mut impl Read) -> Result<(), Fault> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    // Nobody else may read it before its owner and mode are right.
    let open = rustix::fs::openat(parent, TEMPORARY_NAME, flags, Mode::RUSR | Mode::WUSR);
    let mut open = File::from(open.map_err(Fault::system(TEMPORARY_NAME))?);
    io::copy(content, &mut open).map_err(Fault::io(TEMPORARY_NAME))?;
    set_owner_and_mode(&open, file.uid, file.gid, file.mode).map_err(Fault::system(TEMPORARY_NAME))
}

/// The agent's own binary and its size.
fn open_agent(binary: &Path) -> Result<(File, u64), Fault> {
    let fault = |error| Fault::ours(format!("{}: {error}", binary.display()));
    let file = File::open(binary).map_err(fault)?;
    let size_bytes = file.metadata().map_err(fault)?.len();
    Ok((file, size_bytes))
}

/// Owner first: a change of owner takes set-user-ID away.
fn set_owner_and_mode(file: impl AsFd, uid: u32, gid: u32, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
}

fn verify_one(root: BorrowedFd<'_>, file: &Rendered, agent_binary: &Path) -> Result<(), Fault> {
    let (parents, name) = split(&file.path)?;
    let path = format!("/{}", parents.join("/"));
    let parent = open_directory(root, &path).map_err(Fault::system(&path))?;
    let found = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Fault::system(name))?;
    let wanted_type = match file.content {
        Content::Link(_) => FileType::Symlink,
        Content::Bytes(_) | Content::Agent => FileType::RegularFile,
    };
    same("type", noun(FileType::from_raw_mode(found.st_mode)), noun(wanted_type))?;
    same("owner", (found.st_uid, found.st_gid), (file.uid, file.gid))?;
    if wanted_type == FileType::RegularFile {
        let permissions = Mode::from_raw_mode(found.st_mode).as_raw_mode();
        same("mode", format!("{permissions:o}"), format!("{:o}", file.mode))?;
    }
    match &file.content {
        Content::Link(target) => {
            let found = rustix::fs::readlinkat(&parent, name, Vec::new());
            let found = found.map_err(Fault::system(name))?;
            same("target", &*found.to_string_lossy(), target)
        }
        Content::Bytes(bytes) => same_content(&parent, name, &mut &**bytes, bytes.len() as u64),
        Content::Agent => {
            let (mut binary, size_bytes) = open_agent(agent_binary)?;
            same_content(&parent, name, &mut binary, size_bytes)
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), Fault> {
    match found == wanted {
        true => Ok(()),
        false => Err(Fault::ours(format!("{what} is {found:?} instead of {wanted:?}"))),
    }
}

/// Sizes first, so that a file of any size costs no more than the one that is wanted.
fn same_content(
    parent: &OwnedFd,
    name: &str,
    wanted: &mut dyn Read,
    size_bytes: u64,
) -> Result<(), Fault> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(parent, name, flags, Mode::empty());
    let mut found = File::from(found.map_err(Fault::system(name))?);
    same("size", found.metadata().map_err(Fault::io(name))?.len(), size_bytes)?;
    let (mut found_piece, mut wanted_piece) = (Vec::new(), Vec::new());
    for offset_bytes in (0..size_bytes).step_by(PIECE_BYTES) {
        read_piece(&mut found, &mut found_piece).map_err(Fault::io(name))?;
        read_piece(wanted, &mut wanted_piece).map_err(Fault::io(name))?;
        if found_piece != wanted_piece {
            let reason = format!("differs in the {PIECE_BYTES} bytes at byte {offset_bytes}");
            return Err(Fault::ours(reason));
        }
    }
    Ok(())
}

fn read_piece(reader: &mut dyn Read, piece: &mut Vec<u8>) -> io::Result<()> {
    piece.clear();
    reader.take(PIECE_BYTES as u64).read_to_end(piece).map(drop)
}

fn noun(file_type: FileType) -> &'static str {
    match file_type {
        FileType::RegularFile => "regular file",
        FileType::Directory => "directory",
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Unknown => "file of unknown type",
    }
}

#[cfg(test)]
mod tests;
