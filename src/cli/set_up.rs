//! Makes a home: folders, the commented configuration, the operator's key. Doing it twice changes nothing.

use std::path::PathBuf;

use super::context::Context;
use super::error::CliError;
use super::seam::{DaemonSeam, KeyMade};
use crate::daemon::config::template::template;
use crate::daemon::config::{ConfigError, edit, file};

/// What was made.
#[derive(Debug, Default)]
pub struct SetUp {
    /// Folders and files that are new.
    pub made: Vec<PathBuf>,
    /// Values that were changed in a file that was there: key, old, new.
    pub changed: Vec<(String, String, String)>,
}

/// Makes what is missing. `values` are keys that the operator asked for: they stand in a new file, and are edited
/// into one that is there when they differ.
pub fn set_up(
    context: &Context,
    daemon: &impl DaemonSeam,
    values: &[(&'static str, String)],
) -> Result<SetUp, CliError> {
    let home = &context.home;
    let mut done = SetUp {
        made: home.create()?.folders,
        changed: Vec::new(),
    };
    let path = home.config_file();
    if home.exists() {
        for (key, value) in values {
            let change = edit::set(&path, key, value.trim_matches('"'))?;
            if change.old.as_deref() != Some(change.new.as_str()) {
                let old = change.old.unwrap_or_else(|| "the default".into());
                done.changed.push((change.key, old, change.new));
            }
        }
    } else {
        let text = template(values);
        file::replace(&path, text.as_bytes(), 0o644).map_err(|source| ConfigError::Write {
            path: path.clone(),
            source,
        })?;
        done.made.push(path);
    }
    if daemon.make_operator_key(home)? == KeyMade::New {
        done.made.push(home.operator_key_file());
    }
    Ok(done)
}
