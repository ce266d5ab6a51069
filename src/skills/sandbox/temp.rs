//! The folder for temporary files that a program has to itself, gone with it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid, chown};

use super::policy::PolicyWire;
use super::privileges::owner_instead_of_root;

/// The folder; removed when this is dropped.
#[derive(Debug)]
pub(in crate::skills) struct TempFolder(PathBuf);

impl TempFolder {
    /// Makes the folder of a policy for the user that its program gets. Fails when it is there: then somebody else
    /// made it, who could read what is put into it.
    pub(in crate::skills) fn make(policy: &PolicyWire) -> io::Result<Self> {
        let described = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", policy.temp.display()));
        DirBuilder::new().mode(0o700).create(&policy.temp).map_err(described)?;
        let made = Self(policy.temp.clone());
        give_to_owner(&policy.temp, &policy.workspace).map_err(described)?;
        Ok(made)
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the folder of all temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Gives a file or folder to the user that programs of this workspace run as, when that is another one.
pub(in crate::skills) fn give_to_owner(path: &Path, workspace: &Path) -> io::Result<()> {
    if let Some((uid, gid)) = owner_instead_of_root(workspace) {
        chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(())
}
