//! Programs that built-in skills run on their own account: found on the path, in the workspace, with the small
//! environment of every program of a run.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::code;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::text::preview;

use super::environment;
use super::process::end::{Ended, ProgramEnd, Rendering};
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
    /// Interpreters that were seen to start.
    pub(super) interpreters: Interpreters,
}

/// Which file an interpreter is, once it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Interpreters(Arc<Mutex<HashMap<&'static str, PathBuf>>>);

/// Interpreters and what has each of them do nothing.
const NOTHING: [(&str, &[&str]); 4] = [
    ("python3", &["-I", "-c", ""]),
    ("sh", &["-c", ":"]),
    ("bash", &["-c", ":"]),
    ("node", &["-e", ""]),
];
/// Longest try of one.
const TRY_MAX: Duration = Duration::from_secs(10);
/// Files of one name that are tried.
const CANDIDATES_MAX: usize = 8;

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
    /// The file of an interpreter: the first on the path that starts where programs are confined. The first of all may
    /// be a stand-in for one in somebody's home, which is closed to programs. Each is tried once in the life of the
    /// process, and only where there are several.
    pub(super) async fn interpreter(&self, order: &CallOrder, name: &'static str) -> Result<PathBuf, Stop> {
        let known = self
            .interpreters
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        if let Some(file) = known.filter(|file| file.is_file()) {
            return Ok(file);
        }
        let nothing = NOTHING.iter().find(|(known, _)| *known == name);
        let first = program::resolve(name, &self.path, &order.workspace);
        let first = first.map_err(|error| Stop::refused(error.to_string()))?;
        let candidates: Vec<PathBuf> = program::on_path(name, &self.path).take(CANDIDATES_MAX).collect();
        let (Some((_, nothing)), 2..) = (nothing, candidates.len()) else {
            return Ok(first);
        };
        let mut seen = Vec::new();
        for file in candidates {
            let words = [&[name], *nothing].concat();
            let tried = Program {
                argv: words.into_iter().map(str::to_owned).collect(),
                env: Vec::new(),
                stdin: String::new(),
                limit: TRY_MAX,
                spooled: false,
                rendering: Rendering::Stdout,
            };
            let ended = self.run_file(order, file.clone(), tried).await?;
            if ended.ended == (Ended::Exited { code: 0 }) {
                let mut known = self.interpreters.0.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(name, file.clone());
                return Ok(file);
            }
            let said = ended.outcome(Rendering::Stdout).content;
            seen.push(format!("{}: {}", file.display(), preview(said.trim(), 160)));
        }
        Err(Stop::refused(format!(
            "no {name} on the path starts where programs are confined [{}]; tried {}",
            code::INTERPRETER_UNUSABLE.id,
            seen.join("; ")
        )))
    }

    /// The order of a program, or why there is none.
    pub(super) fn order(&self, order: &CallOrder, wanted: Program) -> Result<ProgramOrder, Stop> {
        let found = program::resolve(&wanted.argv[0], &self.path, &order.workspace);
        let program = found.map_err(|error| Stop::refused(error.to_string()))?;
        self.order_of_file(order, program, wanted)
    }

    fn order_of_file(&self, order: &CallOrder, program: PathBuf, wanted: Program) -> Result<ProgramOrder, Stop> {
        let workspace = Workspace::open(&order.workspace)?;
        let home = environment::make_home(&workspace, &order.workspace)?;
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
    /// The same of a file that was found already.
    pub(super) async fn run_file(&self, order: &CallOrder, file: PathBuf, wanted: Program) -> Result<ProgramEnd, Stop> {
        let program = self.order_of_file(order, file, wanted)?;
        let ended = self.runner.run(program).await;
        ended.map_err(|error| Stop::Failed(SkillError::Process(error)))
    }
}
