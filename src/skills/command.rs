//! Skills that an operator declares as commands: arguments as JSON on the standard input, result on the output.
//!
//! Invariants: the executable was found when the skill was loaded; a probe answers by its exit code alone (0 it
//! happened, 1 it did not, anything else is not known).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::approval::Approval;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::domain::capability::{Capability, CapabilityKind, CapabilitySet};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::handoff::Finding;
use crate::domain::json;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::name::SkillName;
use crate::domain::skill::SkillManifest;

use super::environment;
use super::needs;
use super::preview::Preview;
use super::process::end::{Ended, Rendering};
use super::process::program;
use super::process::runner::{ProcessRunner, ProgramOrder};
use super::program_call::confinement;
use super::sandbox::policy::Confinement;
use super::showing;
use super::skill::{CallEnd, CallOrder, ProbeAnswer, Skill, SkillError};
use super::stop::Stop;
use super::workspace::Workspace;

/// Longest time of one call that may be declared (6 hours).
const TIMEOUT_MAX_MS: u64 = 6 * 3600 * 1000;
const CONCURRENCY: u32 = 8;

/// What the operator declares.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandDeclaration {
    /// The name that agents call it by.
    pub name: SkillName,
    /// What it does and when to use it.
    pub description: String,
    /// Program and first arguments.
    pub argv: Vec<String>,
    /// What it does to the world.
    pub class: EffectClass,
    /// Program and arguments that say whether the effect of a key happened.
    pub probe_argv: Option<Vec<String>>,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
    /// Time of one call.
    pub timeout_ms: u64,
    /// Arguments that name what a call works on.
    pub resources: Vec<String>,
    /// The skill that undoes a call, with the same arguments.
    pub undo: Option<SkillName>,
    /// The hosts that it may reach, as `host:port`; none means no network.
    pub network: Vec<String>,
}

/// Where declared commands run.
#[derive(Debug, Clone)]
pub struct CommandSurroundings {
    /// Runs the programs.
    pub runner: Arc<ProcessRunner>,
    /// Folders that programs are looked for in.
    pub path: OsString,
    /// The folder that relative programs of declarations start from.
    pub folder: PathBuf,
    /// Variables that every command gets.
    pub passed: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Command {
    program: PathBuf,
    argv: Vec<String>,
}

/// A declared command as a skill.
pub struct CommandSkill {
    manifest: SkillManifest,
    command: Command,
    probe: Option<Command>,
    network: Vec<String>,
    surroundings: CommandSurroundings,
}

impl CommandSkill {
    /// Judges the declaration and finds its programs.
    pub fn load(declaration: CommandDeclaration, surroundings: CommandSurroundings) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        if declaration.class == EffectClass::Local {
            let message = "a command cannot be `local`: it has no part in the store's transaction";
            findings.push(Finding::new("/class", message));
        }
        if (declaration.class == EffectClass::Probe) != declaration.probe_argv.is_some() {
            let message = "class `probe` and `probe_argv` belong together: declare both or neither";
            findings.push(Finding::new("/probe_argv", message));
        }
        if !(1..=TIMEOUT_MAX_MS).contains(&declaration.timeout_ms) {
            let message = format!("the time is 1 to {TIMEOUT_MAX_MS} ms");
            findings.push(Finding::new("/timeout_ms", message));
        }
        let mut find = |pointer: &str, argv: Vec<String>| match find(&argv, &surroundings) {
            Ok(program) => Some(Command { program, argv }),
            Err(message) => {
                findings.push(Finding::new(pointer, message));
                None
            }
        };
        let command = find("/argv", declaration.argv);
        let probe = declaration.probe_argv.and_then(|argv| find("/probe_argv", argv));
        match command {
            Some(command) if findings.is_empty() => Ok(Self {
                manifest: SkillManifest {
                    name: declaration.name,
                    description: declaration.description.into(),
                    input_schema: Arc::new(declaration.input_schema),
                    class: declaration.class,
                    timeout_ms: declaration.timeout_ms,
                    output_bytes_max: RESULT_BYTES_MAX,
                    concurrency: CONCURRENCY,
                    approval: Approval::Auto,
                    resources: declaration.resources.iter().map(|name| name.as_str().into()).collect(),
                    undo: declaration.undo,
                    examples: Arc::new([]),
                },
                command,
                probe,
                network: declaration.network,
                surroundings,
            }),
            _ => Err(findings),
        }
    }

    fn program_order(&self, command: &Command, order: &CallOrder, spooled: bool) -> Result<ProgramOrder, Stop> {
        let workspace = Workspace::open(&order.workspace)?;
        let home = environment::make_home(&workspace, &order.workspace)?;
        let env = environment::base(order, &self.surroundings.path, &home, &self.surroundings.passed);
        Ok(ProgramOrder {
            key: order.key,
            program: command.program.clone(),
            argv: command.argv.clone(),
            cwd: order.workspace.to_path_buf(),
            env: env.into_iter().collect(),
            stdin: json::canonical(&order.arguments),
            limit: order.deadline.min(Duration::from_millis(self.manifest.timeout_ms)),
            output_bytes_max: RESULT_BYTES_MAX,
            spooled,
            rendering: Rendering::Stdout,
            confinement: Confinement {
                network: self.network.clone(),
                ..confinement(order)
            },
        })
    }
}

fn find(argv: &[String], surroundings: &CommandSurroundings) -> Result<PathBuf, String> {
    let Some(name) = argv.first() else {
        return Err("a command has at least a program".to_owned());
    };
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err("an argument holds a NUL".to_owned());
    }
    let folder: &Path = &surroundings.folder;
    program::resolve(name, &surroundings.path, folder).map_err(|error| error.to_string())
}

impl Skill for CommandSkill {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        showing::of_prepared(&order, self.program_order(&self.command, &order, true)).at_once()
    }

    /// Its name stands for its program, and the hosts are those that the operator gave it.
    fn needs(&self, arguments: &Value, workspace: &Path) -> CapabilitySet {
        let named = needs::of(&self.manifest.name, arguments, workspace);
        let hosts = self.network.iter();
        let hosts = hosts.filter_map(|host| Capability::new(CapabilityKind::Net, host).ok());
        named.iter().cloned().chain(hosts).collect()
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let prepared = self.program_order(&self.command, &order, self.manifest.class != EffectClass::Read);
        let runner = Arc::clone(&self.surroundings.runner);
        Box::pin(async move {
            match prepared {
                Ok(program) => Ok(runner.run(program).await?.outcome(Rendering::Stdout).into()),
                Err(Stop::Refused(text)) => Ok(CallEnd::refused(text)),
                Err(Stop::Failed(error)) => Err(error),
                Err(Stop::Unwanted) => Err(SkillError::TimedOut { limit_ms: 0 }),
            }
        })
    }

    fn probe(&self, order: CallOrder) -> BoxFuture<'static, ProbeAnswer> {
        let prepared = match &self.probe {
            Some(probe) => self
                .program_order(probe, &order, false)
                .map_err(|stop| format!("{stop:?}")),
            None => Err("this skill has no probe".to_owned()),
        };
        let runner = Arc::clone(&self.surroundings.runner);
        Box::pin(async move {
            let program = match prepared {
                Ok(program) => program,
                Err(reason) => return ProbeAnswer::Unknown(reason),
            };
            match runner.run(program).await {
                Ok(end) if end.ended == (Ended::Exited { code: 0 }) => {
                    ProbeAnswer::Happened(end.outcome(Rendering::Stdout))
                }
                Ok(end) if end.ended == (Ended::Exited { code: 1 }) => ProbeAnswer::NotHappened,
                Ok(end) => ProbeAnswer::Unknown(end.outcome(Rendering::Stdout).content.to_string()),
                Err(error) => ProbeAnswer::Unknown(error.to_string()),
            }
        })
    }

    fn ends_when_cancelled(&self) -> bool {
        true
    }

    fn settled(&self, key: EffectKey) -> BoxFuture<'static, ()> {
        let runner = Arc::clone(&self.surroundings.runner);
        Box::pin(async move { runner.settled(key).await })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_declaration_that_cannot_work_is_refused_with_the_place() {
        let surroundings = CommandSurroundings {
            runner: ProcessRunner::with_launcher("/bin/false", None),
            path: "/usr/bin:/bin".into(),
            folder: "/".into(),
            passed: Vec::new(),
        };
        let check = |argv: &[&str], class: EffectClass, probe: Option<&[&str]>, timeout_ms: u64, pointers: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
            let declaration = CommandDeclaration {
                name: SkillName::new("deploy").expect("name"),
                description: "Deploys.".to_owned(),
                argv: words(argv),
                class,
                probe_argv: probe.map(words),
                input_schema: json!({"type": "object"}),
                timeout_ms,
                resources: Vec::new(),
                undo: None,
                network: Vec::new(),
            };
            let loaded = CommandSkill::load(declaration, surroundings.clone());
            let found: Vec<String> = loaded
                .err()
                .into_iter()
                .flatten()
                .map(|finding| finding.pointer)
                .collect();
            assert_eq!(found, pointers, "{argv:?} {class:?} {probe:?}");
        };
        check(&["sh", "-c", "x"], EffectClass::Once, None, 1, &[]);
        check(&["sh"], EffectClass::Probe, Some(&["sh"]), 1, &[]);
        check(&["no-such-program"], EffectClass::Once, None, 1, &["/argv"]);
        check(&["./no-such-file"], EffectClass::Once, None, 1, &["/argv"]);
        check(&[], EffectClass::Once, None, 1, &["/argv"]);
        check(&["sh"], EffectClass::Probe, None, 1, &["/probe_argv"]);
        check(&["sh"], EffectClass::Probe, Some(&["no-such"]), 1, &["/probe_argv"]);
        check(&["sh"], EffectClass::Once, Some(&["sh"]), 1, &["/probe_argv"]);
        check(&["sh"], EffectClass::Local, None, 0, &["/class", "/timeout_ms"]);
    }
}
