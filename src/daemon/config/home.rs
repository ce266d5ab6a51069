//! Where everything lives: the operator's files in one folder, the program's state in another.
//!
//! **Shape**: `--home DIR` (or `OPENCLAW_HOME`) puts both under one folder: `DIR/openclaw.toml`, `DIR/agents/`, …
//! and `DIR/state/`. Without it the XDG folders are used, or those that systemd gives to a service.
//! **Invariant**: a folder that another program of the same name made is recognised and never touched.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::code::{self, Code};

/// The unit of the service, when it is installed.
const UNIT: &str = "/etc/systemd/system/openclaw.service";

/// The folders of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    state: PathBuf,
}

/// What [`Home::create`] made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// Folders that were not there before.
    pub folders: Vec<PathBuf>,
}

/// Says why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// No folder is named and none can be derived.
    #[error("find a home: neither --home, OPENCLAW_HOME, XDG_CONFIG_HOME nor HOME is set")]
    Nowhere,
    /// The folder belongs to another program.
    #[error("use {} as a home: it holds the openclaw.json of another program", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// There is no home yet.
    #[error("find a home at {}", path.display())]
    Missing {
        /// The folder of the configuration.
        path: PathBuf,
    },
    /// A file or folder cannot be made or read.
    #[error("{verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the home has another form than this program writes.
    #[error("read {}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl HomeError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Nowhere | Self::Missing { .. } => code::HOME_MISSING,
            Self::Foreign { .. } | Self::File { .. } | Self::Malformed { .. } => code::HOME_FILE,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Nowhere => Some("name a folder with --home DIR"),
            Self::Missing { .. } => {
                Some("`openclaw init` makes one; `openclaw quickstart` makes one and does a first task")
            }
            Self::Foreign { .. } => {
                Some("name another folder with --home DIR; the files of the other program stay as they are")
            }
            Self::File { .. } | Self::Malformed { .. } => None,
        }
    }
}

impl Home {
    /// Both halves under one folder.
    pub fn under(folder: &Path) -> Self {
        Self {
            config: folder.to_owned(),
            state: folder.join("state"),
        }
    }

    /// The folders of the service on the machine whose files are below this folder.
    pub fn of_service(root: &Path) -> Self {
        Self {
            config: root.join("etc/openclaw"),
            state: root.join("var/lib/openclaw"),
        }
    }

    /// The home of this process: the flag, then `OPENCLAW_HOME`, then the folders of a systemd unit, then XDG; and
    /// where a person has none of their own, that of the service when there is one on this machine and they may see it.
    pub fn find(flag: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Self, HomeError> {
        Self::find_beside(flag, environment, Self::of_service(Path::new("/")), Path::new(UNIT))
    }

    /// Whether this home of a service is in use, and whoever asks may see it: one that runs has its file there; one that
    /// is stopped, which is when a store is restored or migrated, has its unit.
    fn is_there(&self, unit: &Path) -> bool {
        self.daemon_file().exists() || (unit.exists() && fs::read_dir(&self.state).is_ok())
    }

    fn find_beside(
        flag: Option<&Path>,
        environment: &BTreeMap<String, String>,
        service: Self,
        unit: &Path,
    ) -> Result<Self, HomeError> {
        let variable = |name: &str| {
            environment
                .get(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        if let Some(folder) = flag.map(Path::to_owned).or_else(|| variable("OPENCLAW_HOME")) {
            return Self::under(&absolute(folder)).checked();
        }
        if let (Some(config), Some(state)) = (variable("CONFIGURATION_DIRECTORY"), variable("STATE_DIRECTORY")) {
            return Self { config, state }.checked();
        }
        let user = variable("HOME");
        // XDG says that a relative path is to be ignored.
        let base = |name: &str, below: &str| {
            let given = variable(name).filter(|path| path.is_absolute());
            given.or_else(|| user.as_ref().map(|user| user.join(below)))
        };
        let config = base("XDG_CONFIG_HOME", ".config").ok_or(HomeError::Nowhere)?;
        let state = base("XDG_STATE_HOME", ".local/state").ok_or(HomeError::Nowhere)?;
        let own = Self {
            config: config.join("openclaw"),
            state: state.join("openclaw"),
        };
        if !own.config.exists() && !own.state.exists() && service.is_there(unit) {
            return service.checked();
        }
        own.checked()
    }

    fn checked(self) -> Result<Self, HomeError> {
        for folder in [&self.config, &self.state] {
            if folder.join("openclaw.json").exists() && !folder.join("openclaw.toml").exists() {
                return Err(HomeError::Foreign { path: folder.clone() });
            }
        }
        Ok(self)
    }

    /// The folder of the operator's files.
    pub fn config_dir(&self) -> &Path {
        &self.config
    }

    /// The folder of the program's state.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// The main configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("openclaw.toml")
    }

    /// The folder of agents.
    pub fn agents_dir(&self) -> PathBuf {
        self.config.join("agents")
    }

    /// The folder of prompts.
    pub fn prompts_dir(&self) -> PathBuf {
        self.config.join("prompts")
    }

    /// The folder of pipelines.
    pub fn pipelines_dir(&self) -> PathBuf {
        self.config.join("pipelines")
    }

    /// The folder of schedules.
    pub fn schedules_dir(&self) -> PathBuf {
        self.config.join("schedules")
    }

    /// The folder of skills.
    pub fn skills_dir(&self) -> PathBuf {
        self.config.join("skills")
    }

    /// Everything that is the daemon's own; not the folder of the operator's files itself, beside which people work.
    pub fn closed(&self) -> Vec<PathBuf> {
        vec![
            self.config_file(),
            self.agents_dir(),
            self.prompts_dir(),
            self.pipelines_dir(),
            self.schedules_dir(),
            self.skills_dir(),
            self.state.clone(),
        ]
    }

    /// The folder of runs that name none, where the folder that the daemon was started in will not do.
    pub fn workspace_dir(&self) -> PathBuf {
        self.state.join("workspace")
    }

    /// The main store.
    pub fn store_file(&self) -> PathBuf {
        self.state.join("openclaw.redb")
    }

    /// The folder of backups.
    pub fn backups_dir(&self) -> PathBuf {
        self.state.join("backups")
    }

    /// The folder of what servers of the Model Context Protocol keep.
    pub fn mcp_dir(&self) -> PathBuf {
        self.state.join("mcp")
    }

    /// The folder of the internal authority.
    pub fn tls_dir(&self) -> PathBuf {
        self.state.join("tls")
    }

    /// The folder into which shims write outcomes.
    pub fn spool_dir(&self) -> PathBuf {
        self.state.join("spool")
    }

    /// The folder of large payloads.
    pub fn blobs_dir(&self) -> PathBuf {
        self.state.join("blobs")
    }

    /// What a running daemon says of itself.
    pub fn daemon_file(&self) -> PathBuf {
        self.state.join("daemon.json")
    }

    /// The operator's own API key, readable by its owner alone.
    pub fn operator_key_file(&self) -> PathBuf {
        self.state.join("operator.key")
    }

    /// Whether the home has been set up.
    pub fn exists(&self) -> bool {
        self.config_file().is_file()
    }

    /// Makes the folders that are missing; those of the state are for their owner alone.
    pub fn create(&self) -> Result<Made, HomeError> {
        let mut made = Made::default();
        let folders = [
            self.config.clone(),
            self.agents_dir(),
            self.prompts_dir(),
            self.pipelines_dir(),
            self.schedules_dir(),
            self.skills_dir(),
        ];
        for folder in folders {
            make_folder(folder, 0o755, &mut made)?;
        }
        made.folders.extend(self.create_state()?.folders);
        Ok(made)
    }

    /// Makes the folders of the state alone: a service may run with a configuration folder that it cannot write.
    pub fn create_state(&self) -> Result<Made, HomeError> {
        let mut made = Made::default();
        for folder in [self.state.clone(), self.spool_dir(), self.blobs_dir(), self.tls_dir()] {
            make_folder(folder, 0o700, &mut made)?;
        }
        Ok(made)
    }

    /// Reads the operator's key; none when there is none. A file that others can read is refused, because then
    /// the key is no secret any more.
    pub fn read_operator_key(&self) -> Result<Option<String>, HomeError> {
        let path = self.operator_key_file();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(HomeError::File {
                    verb: "read",
                    path,
                    source,
                });
            }
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(HomeError::Malformed {
                reason: "other users can read it; make it private with `chmod 600` and rotate the key".into(),
                path,
            });
        }
        match fs::read_to_string(&path) {
            Ok(text) if text.len() <= 4096 && !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
            Ok(_) => Err(HomeError::Malformed {
                path,
                reason: "it does not hold a key".into(),
            }),
            Err(source) => Err(HomeError::File {
                verb: "read",
                path,
                source,
            }),
        }
    }
}

fn make_folder(folder: PathBuf, mode: u32, made: &mut Made) -> Result<(), HomeError> {
    if folder.is_dir() {
        return Ok(());
    }
    let result = fs::DirBuilder::new().recursive(true).mode(mode).create(&folder);
    if let Err(source) = result {
        return Err(HomeError::File {
            verb: "make the folder",
            path: folder,
            source,
        });
    }
    made.folders.push(folder);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_home_is_found_in_the_documented_order() {
        let check = |flag: Option<&str>, pairs: &[(&str, &str)], config: &str, state: &str| {
            let home = Home::find(flag.map(Path::new), &environment(pairs)).expect("found");
            assert_eq!(
                (home.config_dir(), home.state_dir()),
                (Path::new(config), Path::new(state))
            );
        };
        let user = [("HOME", "/nobody")];
        check(None, &user, "/nobody/.config/openclaw", "/nobody/.local/state/openclaw");
        let xdg = [
            ("HOME", "/nobody"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_STATE_HOME", "relative"),
        ];
        check(None, &xdg, "/c/openclaw", "/nobody/.local/state/openclaw");
        let unit = [
            ("CONFIGURATION_DIRECTORY", "/etc/openclaw"),
            ("STATE_DIRECTORY", "/var/lib/openclaw"),
        ];
        check(None, &unit, "/etc/openclaw", "/var/lib/openclaw");
        let own = [("HOME", "/nobody"), ("OPENCLAW_HOME", "/o")];
        check(None, &own, "/o", "/o/state");
        check(Some("/f"), &own, "/f", "/f/state");
        assert!(matches!(Home::find(None, &environment(&[])), Err(HomeError::Nowhere)));
    }

    #[test]
    fn the_home_of_a_service_is_for_those_who_have_none_of_their_own() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let service = Home::under(&folder.path().join("service"));
        let unit = folder.path().join("openclaw.service");
        let check = |name: &str, has_own: bool, expected: &str| {
            let own = folder.path().join(format!("{name}-{has_own}"));
            if has_own {
                fs::create_dir_all(own.join(".config/openclaw")).expect("made");
            }
            let own = own.display().to_string();
            let home = Home::find_beside(None, &environment(&[("HOME", &own)]), service.clone(), &unit);
            let home = home.expect("found");
            assert!(home.config_dir().ends_with(expected), "{name}: {home:?}");
        };
        check("no service", false, ".config/openclaw");
        fs::create_dir_all(service.state_dir()).expect("made");
        check("without a unit", false, ".config/openclaw");
        fs::write(service.daemon_file(), "{}").expect("written");
        check("running", false, "service");
        fs::remove_file(service.daemon_file()).expect("removed");
        fs::write(&unit, "").expect("written");
        check("stopped", false, "service");
        check("stopped", true, ".config/openclaw");
    }

    #[test]
    fn a_folder_of_another_program_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::write(folder.path().join("openclaw.json"), "{}").expect("written");
        let refused = Home::find(Some(folder.path()), &environment(&[]));
        assert!(matches!(refused, Err(HomeError::Foreign { .. })), "{refused:?}");
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
    }

    #[test]
    fn making_a_home_twice_makes_nothing_the_second_time() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let home = Home::under(folder.path());
        assert!(!home.create().expect("made").folders.is_empty());
        assert_eq!(home.create().expect("made"), Made::default());
        let mode = fs::metadata(home.state_dir()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "the state is private");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let home = Home::under(folder.path());
        home.create().expect("made");
        assert_eq!(home.read_operator_key().expect("none"), None);
        super::super::file::replace(&home.operator_key_file(), b"ocl_1_2\n", 0o600).expect("written");
        assert_eq!(home.read_operator_key().expect("read").as_deref(), Some("ocl_1_2"));
        fs::set_permissions(home.operator_key_file(), fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(matches!(home.read_operator_key(), Err(HomeError::Malformed { .. })));
    }
}
