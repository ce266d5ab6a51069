//! Whose the files are that are written into a state by hand.
//!
//! The state of a service belongs to the service's user, and root cares for it while the service is stopped: restores,
//! migrates, backs up. What root makes there is root's, and the service could not open its own store.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;

/// Gives a file or folder to whom `like` belongs, where it is somebody else's and this process may give it away, which
/// root may. A link is given and not followed.
pub(super) fn give(path: &Path, like: &Path) -> io::Result<()> {
    give_to(path, owner(like)?)
}

/// The same for a folder and everything in it. It must be one that only this process's user enters, so that nobody puts
/// something else in the place of what is found.
pub(super) fn give_all(folder: &Path, like: &Path) -> io::Result<()> {
    all_to(folder, owner(like)?)
}

fn all_to(path: &Path, owner: (u32, u32)) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            all_to(&entry?.path(), owner)?;
        }
    }
    // From the innermost on: once it is given away its owner may enter.
    give_to(path, owner)
}

fn owner(path: &Path) -> io::Result<(u32, u32)> {
    let found = fs::metadata(path)?;
    Ok((found.uid(), found.gid()))
}

fn give_to(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if (found.uid(), found.gid()) == (user, group) {
        return Ok(());
    }
    match lchown(path, Some(user), Some(group)) {
        // Whoever is not root makes files that are their own, and nothing is amiss with that.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_makes_belongs_to_whom_the_state_belongs() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let made = folder.path().join("made");
        fs::create_dir(&state).expect("made");
        fs::create_dir_all(made.join("within")).expect("made");
        fs::write(made.join("within/file"), "").expect("written");
        std::os::unix::fs::symlink("/etc/hostname", made.join("link")).expect("linked");
        let is_root = lchown(&state, Some(65_534), Some(65_534)).is_ok();
        give_all(&made, &state).expect("given");
        let user = |path: &Path| fs::symlink_metadata(path).expect("there").uid();
        let expected = user(&state);
        assert!(!is_root || expected == 65_534);
        for path in ["", "within", "within/file", "link"] {
            assert_eq!(user(&made.join(path)), expected, "{path}");
        }
        assert_eq!(user(Path::new("/etc")), 0, "what a link leads to stays");
    }
}
