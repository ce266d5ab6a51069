//! The environment that programs of a run get: small, named, nothing of the daemon's own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::sandbox::temp::give_to_owner;
use super::skill::{CallOrder, SkillError};
use super::stop::Stop;
use super::workspace::{OWN_FOLDER, Workspace, explain, is_folder, make_all};

/// The home of programs, within the workspace.
pub(super) const HOME: &str = ".openclaw/home";
/// The rule that keeps the folder out of version control.
const IGNORE_ALL: &str = "*\n";

/// Makes the home that programs see, and says where it is. When it cannot be made, nothing has been started.
pub(super) fn make_home(workspace: &Workspace, root: &Path) -> Result<PathBuf, Stop> {
    made_home(workspace, root).map_err(|stop| match stop {
        Stop::Failed(error) => Stop::Failed(SkillError::Prepare(Box::new(error))),
        other => other,
    })
}

fn made_home(workspace: &Workspace, root: &Path) -> Result<PathBuf, Stop> {
    let dir = workspace.dir();
    let is_there = is_folder(dir, Path::new(HOME)).map_err(|error| explain(error, "look for", HOME))?;
    if !is_there {
        make_all(dir, Path::new(HOME)).map_err(|error| explain(error, "make", HOME))?;
        let rule = ".openclaw/.gitignore";
        dir.write(rule, IGNORE_ALL)
            .map_err(|error| explain(error, "write", rule))?;
        for made in [OWN_FOLDER, HOME, rule] {
            give_to_owner(&root.join(made), root).map_err(|error| explain(error, "give away", made))?;
        }
    }
    Ok(root.join(HOME))
}

/// The variables of one call.
pub(super) fn base(
    order: &CallOrder,
    path: &OsStr,
    home: &Path,
    passed: &[(String, String)],
) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = passed.iter().cloned().collect();
    // One language and one zone, so that output does not depend on the machine.
    variables.extend(
        [
            ("PATH", path.to_string_lossy().into_owned()),
            ("HOME", home.display().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
            ("TZ", "UTC".to_owned()),
            ("OPENCLAW_RUN", order.run.to_string()),
            ("OPENCLAW_STEP", order.step.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    variables
}
