//! Files that are opened as they were named, through no link, or not at all.
//!
//! Step by step, because a service manager that bounds what a service may open takes the one call away that could do it
//! at once (openat2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;

const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder whose path was found to lead through no link. One that has been put in the place of a part of it since
/// then leads nowhere: it would lead past whatever was decided for the path.
///
/// # Errors
/// What the system says; a link on the way is no folder.
///
/// **Source**: open(2), `O_NOFOLLOW`.
pub fn open_without_links(path: &Path) -> io::Result<OwnedFd> {
    let mut at = open(
        if path.is_absolute() { "/" } else { "." },
        STEP | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    for part in path.components() {
        if matches!(part, Component::Normal(_) | Component::ParentDir) {
            at = openat(&at, part.as_os_str(), STEP | OFlags::DIRECTORY, Mode::empty())?;
        }
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(&at, ".", flags, Mode::empty())?)
}

/// Opens what a relative path names beneath a folder, to be named and not to be read; neither a link nor `..` leads out.
///
/// # Errors
/// `ELOOP` for a link, `EXDEV` for a path that leads out, else what the system says.
pub fn open_beneath(folder: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let mut at = openat(folder, ".", STEP | OFlags::DIRECTORY, Mode::empty())?;
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => at = openat(at.as_fd(), name, STEP, Mode::empty())?,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
        }
        if FileType::from_raw_mode(fstat(&at)?.st_mode).is_symlink() {
            return Err(Errno::LOOP);
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_opened_and_a_link_on_the_way_to_it_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        std::fs::write(root.join("file"), "").expect("written");
        std::os::unix::fs::symlink(root.join("a"), root.join("link")).expect("linked");
        let check = |name: &str, is_good: bool| {
            let opened = open_without_links(&root.join(name));
            assert_eq!(opened.is_ok(), is_good, "{name}: {opened:?}");
        };
        check("a/b", true);
        check("a/../a/b", true);
        check("link", false);
        check("link/b", false);
        check("file", false);
        check("nowhere", false);

        let opened = open_without_links(&root).expect("opened");
        let beneath = |name: &str, expected: Result<(), Errno>| {
            let found = open_beneath(opened.as_fd(), Path::new(name)).map(drop);
            assert_eq!(found, expected, "{name}");
        };
        beneath(".", Ok(()));
        beneath("a/b", Ok(()));
        beneath("file", Ok(()));
        beneath("link", Err(Errno::LOOP));
        beneath("link/b", Err(Errno::LOOP));
        beneath("a/../file", Err(Errno::XDEV));
        beneath("/etc", Err(Errno::XDEV));
        beneath("nowhere", Err(Errno::NOENT));
        beneath("file/x", Err(Errno::NOTDIR));
    }
}
