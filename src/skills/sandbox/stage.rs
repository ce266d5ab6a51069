//! The last step before the program: ties its life to its parent's, sets its limits, confines itself, and becomes it.
//!
//! Runs as `openclaw __exec <parent's pid> <limits> <policy> <program> <name> [arguments…]`, single-threaded, in the
//! program's environment. Invariant: either it becomes the program or it ends with `NOT_STARTED_CODE` and a line
//! that starts with `NOT_STARTED_MARK`.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::confine::{confine, enter_limits};
use super::policy::{LimitsWire, PolicyWire};

/// The exit code of a program that could not be started, as shells have it.
pub(in crate::skills) const NOT_STARTED_CODE: u8 = 127;
/// How the line begins that says why.
pub(in crate::skills) const NOT_STARTED_MARK: &str = "openclaw-not-started: ";

/// The arguments that [`exec_main`] gets before the program's own; without a policy only the limits hold.
pub(in crate::skills) fn arguments(parent: u32, limits: LimitsWire, policy: Option<&PolicyWire>) -> [String; 4] {
    let json = |value: serde_json::Result<String>| value.expect("numbers, flags and paths of valid text are JSON");
    [
        "__exec".to_owned(),
        parent.to_string(),
        json(serde_json::to_string(&limits)),
        json(serde_json::to_string(&policy)),
    ]
}

/// Becomes the program; comes back only when that is impossible.
pub fn exec_main() -> ExitCode {
    let reason = become_program();
    let _ = writeln!(std::io::stderr(), "{NOT_STARTED_MARK}{reason}");
    ExitCode::from(NOT_STARTED_CODE)
}

fn become_program() -> String {
    let mut arguments = std::env::args_os().skip(2);
    let mut next = |what: &str| arguments.next().ok_or_else(|| format!("{what} is missing"));
    let prepared = (|| -> Result<(OsString, OsString), String> {
        let parent = next("the parent's pid")?;
        let limits = next("the limits")?;
        let policy = next("the policy")?;
        let program = next("the program")?;
        let name = next("the program's name")?;
        prepare(&parent, &limits, &policy, &program)?;
        Ok((program, name))
    })();
    let (program, name) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => return reason,
    };
    Command::new(program).arg0(name).args(arguments).exec().to_string()
}

fn prepare(parent: &OsStr, limits: &OsStr, policy: &OsStr, program: &OsStr) -> Result<(), String> {
    let parent = parent
        .to_str()
        .and_then(|text| text.parse().ok())
        .and_then(Pid::from_raw);
    let parent = parent.ok_or("the parent's pid is no pid")?;
    let limits: LimitsWire = read("limits", limits)?;
    let policy: Option<PolicyWire> = read("policy", policy)?;
    tie_to(parent)?;
    enter_limits(limits)?;
    if let Some(policy) = policy {
        confine(&policy, limits, Path::new(program))?;
        // A change of user, of capabilities or of the user namespace unties it.
        tie_to(parent)?;
    }
    Ok(())
}

fn tie_to(parent: Pid) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("death signal: {error}"))?;
    // The parent may have died before the line above: then no signal will ever come.
    if getppid() != Some(parent) {
        return Err("its parent has gone".to_owned());
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(what: &str, text: &OsStr) -> Result<T, String> {
    serde_json::from_slice(text.as_encoded_bytes()).map_err(|error| format!("the {what}: {error}"))
}
