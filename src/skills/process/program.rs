//! Finds the file of a program before anything is started, so that a missing one is a clear refusal.
//!
//! Refuses to know: shells. Invariant: what is returned was an executable file at the moment of the look.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Says why a program cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// The name is empty or holds a NUL.
    #[error("`{name}` is not the name of a program")]
    Name {
        /// What was given.
        name: String,
    },
    /// No folder of the search path has it.
    #[error("there is no program `{name}` in {path}")]
    NotOnPath {
        /// What was looked for.
        name: String,
        /// The folders.
        path: String,
    },
    /// The file named is not there, or is no executable file.
    #[error("`{name}` is not an executable file")]
    NotExecutable {
        /// What was given.
        name: String,
    },
}

/// The file of a program: by the search path when the name has no slash, else relative to `cwd`.
pub fn resolve(name: &str, path: &OsStr, cwd: &Path) -> Result<PathBuf, ProgramError> {
    let shown = || crate::domain::text::preview(name, 200);
    if name.is_empty() || name.contains('\0') {
        return Err(ProgramError::Name { name: shown() });
    }
    if name.contains('/') {
        let file = cwd.join(name);
        return if is_executable(&file) {
            Ok(file)
        } else {
            Err(ProgramError::NotExecutable { name: shown() })
        };
    }
    on_path(name, path).next().ok_or_else(|| ProgramError::NotOnPath {
        name: shown(),
        path: path.to_string_lossy().into_owned(),
    })
}

/// The files of this name in the folders of a search path, in its order: a shell tries the first one alone.
pub fn on_path(name: &str, path: &OsStr) -> impl Iterator<Item = PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(move |folder| folder.join(name))
        .filter(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_or_its_absence_is_said() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("plain"), "x").expect("written");
        let check = |name: &str, good: bool| {
            let found = resolve(name, OsStr::new("/usr/bin:/bin:relative"), folder.path());
            assert_eq!(found.is_ok(), good, "{name:?}: {found:?}");
        };
        check("sh", true);
        check("/bin/sh", true);
        check("./plain", false);
        check("plain", false);
        check("/bin", false);
        check("", false);
        check("sh\0x", false);
        check("no-such-program", false);
    }
}
