//! In the shim and in the keeper: starts a program with what its confinement needs beside it, and ends all of it.
//!
//! A copy of this process becomes the program, by way of [`stage`]. Refuses to know: what the program is for.
//! Invariants: nothing is started from a process of several threads; what was made for a program (its folder for
//! temporary files, its control group) is gone when this is dropped, and dropped only after everything that the
//! program started.

use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::thread;

use fork::{Fork, fork};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid, kill_process_group, setpgid, waitid, waitpid,
};

use super::event::Event;
use super::relay::Relay;
use super::wire::StartWire;
use crate::skills::sandbox::cgroup::Cgroup;
use crate::skills::sandbox::policy::PolicyWire;
use crate::skills::sandbox::stage::{self, Stage};
use crate::skills::sandbox::temp::TempFolder;

/// Where a program writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::skills) enum Streams {
    /// Into pipes that are read here.
    Pipes,
    /// To where this process writes.
    Inherited,
}

/// A program that was started.
pub(in crate::skills) struct Launched {
    /// Its group, whose number is that of its process.
    pub(in crate::skills) group: Pid,
    /// What it reads from, and its two outputs where they are read here.
    pub(in crate::skills) streams: Option<(PipeWriter, [PipeReader; 2])>,
    /// What it reads from where its outputs are not read here.
    pub(in crate::skills) stdin: Option<PipeWriter>,
    cgroup: Option<Cgroup>,
    _temp: Option<TempFolder>,
}

/// Starts the program in a group of its own; it reads from a pipe and writes to what is given.
pub(in crate::skills) fn launch(start: &StartWire, streams: Streams) -> io::Result<Launched> {
    let described = |error: io::Error| {
        let place = format!("{} in {}", start.program.display(), start.cwd.display());
        io::Error::new(error.kind(), format!("{place}: {error}"))
    };
    let temp = start.policy.as_ref().map(TempFolder::make).transpose();
    let temp = temp.map_err(described)?;
    let handover = start.policy.as_ref().and_then(|policy| policy.handover.as_deref());
    let relay = match (handover, &start.egress) {
        (Some(handover), Some(egress)) => Some(Relay::bind(handover, egress.clone()).map_err(described)?),
        _ => None,
    };
    let group = start.cgroup.as_ref();
    let group = group.map(|(home, name)| home.make(name, start.limits.processes, start.bounds.memory_bytes));
    let cgroup = group.transpose().map_err(described)?;
    let (group, streams, stdin) = spawn(start, cgroup.as_ref().map(Cgroup::folder), streams).map_err(described)?;
    // Only now: before it, this process must have one thread.
    if let Some(relay) = relay {
        relay.serve();
    }
    Ok(Launched {
        group,
        streams,
        stdin,
        cgroup,
        _temp: temp,
    })
}

/// The ends of the program's pipes that it gets itself.
struct Ends {
    stdin: PipeReader,
    outputs: Option<[PipeWriter; 2]>,
}

/// The program's process, and this end of its pipes: of all three, or of its input alone.
type Spawned = (Pid, Option<(PipeWriter, [PipeReader; 2])>, Option<PipeWriter>);

fn spawn(start: &StartWire, cgroup: Option<&Path>, streams: Streams) -> io::Result<Spawned> {
    demand_one_thread()?;
    let policy = start.policy.clone().map(|policy| PolicyWire {
        cgroup: cgroup.map(Path::to_owned),
        ..policy
    });
    let (stdin, input) = pipe()?;
    let (own, ends) = match streams {
        Streams::Inherited => (None, None),
        Streams::Pipes => {
            let (stdout, to_stdout) = pipe()?;
            let (stderr, to_stderr) = pipe()?;
            (Some([stdout, stderr]), Some([to_stdout, to_stderr]))
        }
    };
    let ends = Ends { stdin, outputs: ends };
    let parent = getpid();
    match fork()? {
        Fork::Child => {
            let stage = Stage {
                parent,
                limits: start.limits,
                policy: policy.as_ref(),
                program: &start.program,
                argv: &start.argv,
                cwd: &start.cwd,
                env: &start.env,
            };
            // The copies of the pipes' other ends are closed by the stage or by becoming the program.
            stage::run(|| take_streams(&ends), &stage)
        }
        Fork::Parent(pid) => {
            drop(ends);
            let group = Pid::from_raw(pid).ok_or_else(|| io::Error::other("a process without a number"))?;
            // The copy does the same: whoever comes first, neither has to wait for the other.
            let _ = setpgid(Some(group), Some(group));
            Ok(match own {
                Some(outputs) => (group, Some((input, outputs)), None),
                None => (group, None, Some(input)),
            })
        }
    }
}

fn take_streams(ends: &Ends) -> io::Result<()> {
    nix::unistd::dup2_stdin(ends.stdin.as_fd())?;
    if let Some([stdout, stderr]) = &ends.outputs {
        // The error stream first: what goes wrong from here on is said there.
        nix::unistd::dup2_stderr(stderr.as_fd())?;
        nix::unistd::dup2_stdout(stdout.as_fd())?;
    }
    Ok(())
}

/// A copy has only the thread that forked: what another one held at that moment would be held in it for ever.
pub(super) fn demand_one_thread() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        count => Err(io::Error::other(format!(
            "this process has {count} threads where it may have one"
        ))),
    }
}

/// Waits for the program's end and gives its number free.
pub(in crate::skills) fn reap(program: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Some(program), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(found) => return found.map(|(_, status)| status),
            Err(_) => return None,
        }
    }
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
