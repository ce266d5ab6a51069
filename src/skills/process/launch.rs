//! In the shim and in the keeper: starts a program with what its confinement needs beside it, and ends all of it.
//!
//! Refuses to know: what the program is for. Invariant: what was made for a program (its folder for temporary files,
//! its control group) is gone when this is dropped, and dropped only after everything that the program started.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::event::Event;
use super::relay;
use super::wire::StartWire;
use crate::skills::sandbox::cgroup::Cgroup;
use crate::skills::sandbox::policy::PolicyWire;
use crate::skills::sandbox::stage;
use crate::skills::sandbox::temp::TempFolder;

/// A program that was started.
pub(in crate::skills) struct Launched {
    /// Its process, and the pipes that were asked for.
    pub(in crate::skills) child: Child,
    /// Its group.
    pub(in crate::skills) group: Pid,
    cgroup: Option<Cgroup>,
    _temp: Option<TempFolder>,
}

/// Starts the program in a group of its own; it reads from a pipe and writes to what is given.
pub(in crate::skills) fn launch(start: &StartWire, output: fn() -> Stdio) -> io::Result<Launched> {
    let described = |error: io::Error| {
        let place = format!("{} in {}", start.program.display(), start.cwd.display());
        io::Error::new(error.kind(), format!("{place}: {error}"))
    };
    let temp = start.policy.as_ref().map(TempFolder::make).transpose();
    let temp = temp.map_err(described)?;
    let handover = start.policy.as_ref().and_then(|policy| policy.handover.as_deref());
    if let (Some(handover), Some(egress)) = (handover, &start.egress) {
        relay::serve(handover, egress.clone()).map_err(described)?;
    }
    let group = start.cgroup.as_ref();
    let group = group.map(|(home, name)| home.make(name, start.limits.processes, start.bounds.memory_bytes));
    let cgroup = group.transpose().map_err(described)?;
    let child = spawn(start, cgroup.as_ref().map(Cgroup::folder), output).map_err(described)?;
    Ok(Launched {
        group: Pid::from_child(&child),
        child,
        cgroup,
        _temp: temp,
    })
}

fn spawn(start: &StartWire, cgroup: Option<&Path>, output: fn() -> Stdio) -> io::Result<Child> {
    let policy = start.policy.clone().map(|policy| PolicyWire {
        cgroup: cgroup.map(Path::to_owned),
        ..policy
    });
    // The running binary itself, also when its file has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("openclaw")
        .args(stage::arguments(std::process::id(), start.limits, policy.as_ref()))
        .arg(&start.program)
        .args(&start.argv)
        .current_dir(&start.cwd)
        .env_clear()
        .envs(start.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(output())
        .stderr(output())
        .process_group(0);
    command.spawn()
}

impl Launched {
    /// Kills the program, its group and, where there is one, its control group. Before it is reaped: until then its
    /// number cannot have been given to anybody else.
    pub(in crate::skills) fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.end_all();
        }
        let _ = kill_process_group(self.group, Signal::KILL);
    }

    /// Tells of the program's end; it is still to be reaped.
    pub(in crate::skills) fn watch(&self, events: SyncSender<Event>) {
        let program = self.group;
        thread::spawn(move || {
            // Looks without reaping: the number stays taken until the group has been killed.
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(program), look), Err(Errno::INTR)) {}
            let _ = events.send(Event::ProgramEnded);
        });
    }
}
