//! Where runs may work: a folder of the machine, never one through which they would reach the daemon's own files.
//!
//! Whoever may submit a run names its folder, and what a run may touch begins there. A folder that is, holds or lies in
//! the daemon's configuration or state would make an operator of anybody with a key for runs.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Says why a run may not work in a folder.
#[derive(Debug, thiserror::Error)]
pub enum GroundsError {
    /// It cannot be used at all.
    #[error("{} is not an absolute path of a folder", path.display())]
    NotAFolder {
        /// What was named.
        path: PathBuf,
        /// What the system said, when it was asked.
        #[source]
        source: Option<io::Error>,
    },
    /// It leads to the daemon's own files.
    #[error("{} leads to files of the daemon itself, in {}", path.display(), closed.display())]
    Closed {
        /// What was named, without links.
        path: PathBuf,
        /// Where those files are.
        closed: PathBuf,
    },
    /// It is in none of the folders that the operator named.
    #[error("{} is in none of the folders of agent.workspaces", path.display())]
    Outside {
        /// What was named, without links.
        path: PathBuf,
    },
    /// None was named, and the one for that case cannot be made.
    #[error("failed to make {}", path.display())]
    Make {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The folders that runs may work in; cheap to clone.
#[derive(Debug, Clone)]
pub struct Grounds {
    closed: Arc<[PathBuf]>,
    within: Arc<[PathBuf]>,
    first: Option<PathBuf>,
    own: PathBuf,
}

impl Grounds {
    /// `closed` are the daemon's own files and folders; `own` is one among them that is for runs that name none, where
    /// `first`, the folder that the daemon was started in, will not do. `within` are the only folders in which runs may
    /// work; anywhere when it is empty. Paths that are not there are taken as they are written.
    pub fn new(
        closed: impl IntoIterator<Item = PathBuf>,
        own: PathBuf,
        first: Option<PathBuf>,
        within: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
        let parent = own.parent().map(|parent| real(parent.to_owned()));
        Self {
            closed: closed.into_iter().map(real).collect(),
            within: within.into_iter().map(real).collect(),
            first,
            own: match (parent, own.file_name()) {
                (Some(parent), Some(name)) => parent.join(name),
                _ => own,
            },
        }
    }

    /// The folder without links and dots, when runs may work in it.
    ///
    /// # Errors
    /// [`GroundsError`] says which rule is against it.
    pub fn admit(&self, wanted: &Path) -> Result<PathBuf, GroundsError> {
        let not_a_folder = |source| GroundsError::NotAFolder {
            path: wanted.to_owned(),
            source,
        };
        if !wanted.is_absolute() {
            return Err(not_a_folder(None));
        }
        let real = wanted.canonicalize().map_err(|error| not_a_folder(Some(error)))?;
        if !real.is_dir() {
            return Err(not_a_folder(None));
        }
        self.judge(&real)?;
        Ok(real)
    }

    /// The folder of a run that names none; made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or the operator's rules are against it.
    pub fn for_nobody_in_particular(&self) -> Result<PathBuf, GroundsError> {
        if let Some(first) = self.first.as_deref().and_then(|first| self.admit(first).ok()) {
            return Ok(first);
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.own);
        made.map_err(|source| GroundsError::Make {
            path: self.own.clone(),
            source,
        })?;
        self.admit(&self.own)
    }

    /// The rules, for a path without links and dots.
    fn judge(&self, real: &Path) -> Result<(), GroundsError> {
        let is_own = real.starts_with(&self.own);
        let leads_to = |closed: &&PathBuf| closed.starts_with(real) || (real.starts_with(closed) && !is_own);
        if let Some(closed) = self.closed.iter().find(leads_to) {
            return Err(GroundsError::Closed {
                path: real.to_owned(),
                closed: closed.clone(),
            });
        }
        let is_within = self.within.is_empty() || self.within.iter().any(|folder| real.starts_with(folder));
        if is_within {
            Ok(())
        } else {
            Err(GroundsError::Outside { path: real.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_folder_that_leads_to_the_daemons_own_files_is_for_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        for name in [
            "home/state/spool",
            "home/agents",
            "home/workspace/deep",
            "elsewhere",
            "homestead",
        ] {
            std::fs::create_dir_all(root.join(name)).expect("made");
        }
        std::fs::write(root.join("home/openclaw.toml"), "").expect("written");
        std::os::unix::fs::symlink(root.join("home/state"), root.join("elsewhere/link")).expect("linked");
        let closed = ["home/state", "home/agents", "home/openclaw.toml"].map(|name| root.join(name));
        let grounds = |first: Option<&str>, within: &[&str]| {
            Grounds::new(
                closed.clone(),
                root.join("home/state/workspace"),
                first.map(|name| root.join(name)),
                within.iter().map(|name| root.join(name)),
            )
        };
        let check = |within: &[&str], wanted: &str, expected: &str| {
            let said = match grounds(None, within).admit(&root.join(wanted)) {
                Ok(real) => format!("{}", real.strip_prefix(&root).expect("beneath").display()),
                Err(GroundsError::Closed { .. }) => "closed".to_owned(),
                Err(GroundsError::Outside { .. }) => "outside".to_owned(),
                Err(GroundsError::NotAFolder { .. }) => "no folder".to_owned(),
                Err(error @ GroundsError::Make { .. }) => error.to_string(),
            };
            assert_eq!(said, expected, "{wanted} within {within:?}");
        };
        check(&[], "elsewhere", "elsewhere");
        check(&[], "homestead", "homestead");
        check(&[], "home/workspace/deep", "home/workspace/deep");
        check(&[], "elsewhere/../home/workspace", "home/workspace");
        for inside in [
            "home/state",
            "home/state/spool",
            "home/agents",
            "home",
            "",
            "elsewhere/link",
            "elsewhere/../home",
        ] {
            check(&[], inside, "closed");
        }
        check(&[], "/", "closed");
        check(&[], "elsewhere/link/spool", "closed");
        check(&[], "home/openclaw.toml", "no folder");
        check(&[], "nowhere", "no folder");
        check(&["elsewhere"], "elsewhere", "elsewhere");
        check(&["elsewhere"], "homestead", "outside");
        check(&["home"], "home/state", "closed");

        // Without a name: where the daemon was started, unless that leads to its files.
        let default = |first: &str| grounds(Some(first), &[]).for_nobody_in_particular().expect("one");
        assert_eq!(default("elsewhere"), root.join("elsewhere"));
        assert_eq!(default("home"), root.join("home/state/workspace"));
        assert!(grounds(None, &["elsewhere"]).for_nobody_in_particular().is_err());
    }
}
