//! The last step before the program: ties its life to its parent's, sets its limits, confines itself, and becomes it.
//!
//! A copy of the shim or of a keeper goes through it; the self-test, whose daemon has many threads and makes no copies,
//! through `openclaw __exec <parent's pid> <limits> <policy> <program> <name> [arguments…]`. Single-threaded. Invariant:
//! either it becomes the program or it ends with `NOT_STARTED_CODE` and a line that starts with `NOT_STARTED_MARK`.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setpgid};

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

/// What a copy of the shim or of a keeper becomes.
pub(in crate::skills) struct Stage<'a> {
    /// Whose death is its own.
    pub(in crate::skills) parent: Pid,
    /// What the kernel keeps.
    pub(in crate::skills) limits: LimitsWire,
    /// What it may reach; without one only the limits hold.
    pub(in crate::skills) policy: Option<&'a PolicyWire>,
    /// The program's file.
    pub(in crate::skills) program: &'a Path,
    /// Its arguments; the first is its name for itself.
    pub(in crate::skills) argv: &'a [String],
    /// Its working folder.
    pub(in crate::skills) cwd: &'a Path,
    /// Its whole environment.
    pub(in crate::skills) env: &'a [(String, String)],
}

/// Becomes the program in a group of its own, with the streams that the closure puts in place. In a copy, which must not
/// go on as what it is a copy of: comes back never.
pub(in crate::skills) fn run(take_streams: impl FnOnce() -> std::io::Result<()>, stage: &Stage<'_>) -> ! {
    // Whoever made the copy does the same.
    let _ = setpgid(None, None);
    // A panic too would lead back into what this is a copy of.
    let reason = catch_unwind(AssertUnwindSafe(|| match take_streams() {
        Ok(()) => become_it(stage),
        Err(error) => format!("streams: {error}"),
    }));
    let reason = reason.unwrap_or_else(|_| "it panicked".to_owned());
    let _ = writeln!(std::io::stderr(), "{NOT_STARTED_MARK}{reason}");
    std::process::exit(i32::from(NOT_STARTED_CODE))
}

/// Comes back only when that is impossible.
fn become_it(stage: &Stage<'_>) -> String {
    let Stage { program, cwd, .. } = stage;
    let prepared = std::env::set_current_dir(cwd)
        .map_err(|error| format!("{} in {}: {error}", program.display(), cwd.display()))
        .and_then(|()| prepare(stage.parent, stage.limits, stage.policy, program));
    if let Err(reason) = prepared {
        return reason;
    }
    let mut command = Command::new(program);
    if let [name, arguments @ ..] = stage.argv {
        command.arg0(name).args(arguments);
    }
    let env = stage.env.iter().map(|(name, value)| (name, value));
    command.env_clear().envs(env).exec().to_string()
}

/// Becomes the program of the self-test; comes back only when that is impossible.
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
        let parent = parent
            .to_str()
            .and_then(|text| text.parse().ok())
            .and_then(Pid::from_raw);
        let parent = parent.ok_or("the parent's pid is no pid")?;
        let policy: Option<PolicyWire> = read("policy", &policy)?;
        prepare(parent, read("limits", &limits)?, policy.as_ref(), Path::new(&program))?;
        Ok((program, name))
    })();
    let (program, name) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => return reason,
    };
    Command::new(program).arg0(name).args(arguments).exec().to_string()
}

fn prepare(parent: Pid, limits: LimitsWire, policy: Option<&PolicyWire>, program: &Path) -> Result<(), String> {
    tie_to(parent)?;
    enter_limits(limits)?;
    if let Some(policy) = policy {
        confine(policy, limits, program)?;
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
