//! The operator's files, written by a command itself where the daemon may not: a service runs as a user of its own, and
//! its configuration belongs to root.
//!
//! **Invariants**: the daemon has checked what is written and has refused it for its file alone; only the daemon of this
//! home is stood in for; which file it is and what is in it never comes from an answer.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::context::Context;
use super::error::CliError;
use crate::daemon::config::{ConfigError, DaemonFile, file};
use crate::domain::code::Code;

/// Whether the daemon of this home did everything but write a file, which this command may be able to write. `code` is
/// how it says so, `variable` the one of the environment by which another daemon would be asked.
pub fn is_ours_to_write(context: &Context, refused: &CliError, code: Code, variable: &str) -> Result<bool, CliError> {
    let is_named = |text: Option<&String>| text.is_some_and(|text| !text.is_empty());
    let is_another = is_named(context.global.url.as_ref()) || is_named(context.overrides.environment.get(variable));
    let is_refused = matches!(refused, CliError::Api { .. }) && refused.code() == code.id;
    Ok(is_refused && !is_another && DaemonFile::read(&context.home)?.is_some_and(|daemon| daemon.is_alive()))
}

/// Writes a file whole or not at all, and makes its folder when there is none. Everybody who may look into the
/// configuration's folder can read both: the daemon is one of them.
pub fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |source| ConfigError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        let made = fs::create_dir_all(folder);
        // Whatever the umask of the shell is.
        made.and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o755)))
            .map_err(failed)?;
    }
    file::replace(path, text.as_bytes(), 0o644).map_err(failed)?;
    Ok(())
}

/// Removes a file; one that is not there is what was wanted.
pub fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(ConfigError::Write {
            path: path.to_owned(),
            source,
        }
        .into()),
        _ => Ok(()),
    }
}
