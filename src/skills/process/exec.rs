//! The last step before the program: sets its limits, ties its life to the shim's, and becomes it.
//!
//! Runs as `openclaw __exec <shim's pid> <limits> <program> <name> [arguments…]`, single-threaded. Invariant: either
//! it becomes the program or it ends with [`NOT_STARTED_CODE`] and a line that starts with [`NOT_STARTED_MARK`].

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};

use super::wire::LimitsWire;

/// The exit code of a program that could not be started, as shells have it.
pub const NOT_STARTED_CODE: u8 = 127;
/// How the line begins that says why.
pub const NOT_STARTED_MARK: &str = "openclaw-not-started: ";

/// The arguments that [`exec_main`] gets after `__exec`.
pub(super) fn arguments(shim: u32, limits: LimitsWire) -> [String; 2] {
    let LimitsWire {
        open_files,
        file_bytes,
        data_bytes,
        cpu_seconds,
    } = limits;
    [
        shim.to_string(),
        format!("{open_files},{file_bytes},{data_bytes},{cpu_seconds}"),
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
        let shim = next("the shim's pid")?;
        let limits = next("the limits")?;
        prepare(&shim.to_string_lossy(), &limits.to_string_lossy())?;
        Ok((next("the program")?, next("the program's name")?))
    })();
    let (program, name) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => return reason,
    };
    Command::new(program).arg0(name).args(arguments).exec().to_string()
}

fn prepare(shim: &str, limits: &str) -> Result<(), String> {
    let shim = shim
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .ok_or("the shim's pid is no pid")?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("death signal: {error}"))?;
    // The shim may have died before the line above: then no signal will ever come.
    if getppid() != Some(shim) {
        return Err("the shim has gone".to_owned());
    }
    let limits: Vec<u64> = limits.split(',').filter_map(|limit| limit.parse().ok()).collect();
    let &[open_files, file_bytes, data_bytes, cpu_seconds] = limits.as_slice() else {
        return Err("the limits are not four numbers".to_owned());
    };
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, open_files)?;
    lower(Resource::Fsize, file_bytes)?;
    if data_bytes > 0 {
        // Data rather than address space: runtimes reserve far more addresses than they use.
        lower(Resource::Data, data_bytes)?;
    }
    if cpu_seconds > 0 {
        lower(Resource::Cpu, cpu_seconds)?;
    }
    Ok(())
}

fn lower(resource: Resource, limit: u64) -> Result<(), String> {
    let present = getrlimit(resource);
    let limit = present.maximum.map_or(limit, |maximum| maximum.min(limit));
    let wanted = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    setrlimit(resource, wanted).map_err(|error| format!("limit {resource:?}: {error}"))
}
