//! A folder that is opened as it was named, or not at all.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

/// Opens a folder whose path was found to lead through no link. One that has been put in the place of a part of it since
/// then leads nowhere: it would lead past whatever was decided for the path.
///
/// # Errors
/// What the system says; a link is `ELOOP`.
///
/// **Source**: openat2(2).
pub fn open_without_links(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?)
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
    }
}
