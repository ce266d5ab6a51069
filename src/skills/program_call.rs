//! Programs that built-in skills run on their own account: found on the path, in the workspace, with the small
//! environment of every program of a run.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::limits::RESULT_BYTES_MAX;

use super::environment;
use super::process::end::{ProgramEnd, Rendering};
use super::process::program;
use super::process::runner::{ProcessRunner, ProgramOrder};
use super::sandbox::policy::{Confinement, WorkspacePart, parts};
use super::skill::{CallOrder, SkillError};
use super::stop::Stop;
use super::workspace::Workspace;

/// What a program of this call may reach: the workspace, as far as whoever makes the call may touch it.
///
/// A folder that may be written and is not there yet cannot be opened for the program, so it is not there for it.
pub(super) fn confinement(order: &CallOrder) -> Confinement {
    let is_there = |part: &WorkspacePart| !part.written || order.workspace.join(&part.path).exists();
    let granted = order.granted.as_deref();
    Confinement {
        parts: granted.map(|granted| parts(granted).filter(is_there).chain([home()]).collect()),
        granted: order.granted.clone(),
        ..Confinement::to_workspace(order.workspace.to_path_buf())
    }
}

/// The part of a workspace that every program has: its home.
pub(super) fn home() -> WorkspacePart {
    WorkspacePart {
        path: environment::HOME.into(),
        written: true,
    }
}

/// Where such programs run.
#[derive(Clone)]
pub(super) struct Programs {
    pub(super) runner: Arc<ProcessRunner>,
    /// Folders that programs are looked for in.
    pub(super) path: OsString,
    /// Variables that every program gets.
    pub(super) passed: Vec<(String, String)>,
}

/// What is run.
pub(super) struct Program {
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// Variables of its own.
    pub(super) env: Vec<(String, String)>,
    /// What it reads.
    pub(super) stdin: String,
    /// Its own limit.
    pub(super) limit: Duration,
    /// Whether its end is kept in the spool: for what changes the world.
    pub(super) spooled: bool,
    /// How its end reads.
    pub(super) rendering: Rendering,
}

impl Programs {
    /// The order of a program, or why there is none.
    pub(super) fn order(&self, order: &CallOrder, wanted: Program) -> Result<ProgramOrder, Stop> {
        let workspace = Workspace::open(&order.workspace)?;
        let home = environment::make_home(&workspace, &order.workspace)?;
        let found = program::resolve(&wanted.argv[0], &self.path, &order.workspace);
        let program = found.map_err(|error| Stop::refused(error.to_string()))?;
        let mut env = environment::base(order, &self.path, &home, &self.passed);
        env.extend(wanted.env);
        Ok(ProgramOrder {
            key: order.key,
            program,
            argv: wanted.argv,
            cwd: order.workspace.to_path_buf(),
            env: env.into_iter().collect(),
            stdin: wanted.stdin,
            limit: order.deadline.min(wanted.limit),
            output_bytes_max: RESULT_BYTES_MAX / 2,
            spooled: wanted.spooled,
            rendering: wanted.rendering,
            confinement: confinement(order),
        })
    }

    /// Runs a program to its end.
    pub(super) async fn run(&self, order: &CallOrder, wanted: Program) -> Result<ProgramEnd, Stop> {
        let program = self.order(order, wanted)?;
        let ended = self.runner.run(program).await;
        ended.map_err(|error| Stop::Failed(SkillError::Process(error)))
    }
}
