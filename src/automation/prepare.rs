//! From a schedule to what is accepted as a run, and whether that can be at all: looked at when a schedule is saved, and
//! again before each slot.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::agents::handoff::compile;
use crate::domain::check::Check;
use crate::domain::handoff::Finding;
use crate::domain::name::{SkillName, StepId};
use crate::domain::plan::{Input, Plan, Step, Work};
use crate::domain::run::RunSpec;
use crate::domain::schedule::definition::{Command, Schedule, Target};
use crate::domain::text::preview;
use crate::domain::time::UtcMillis;
use crate::skills::process::program;

use super::outputs;
use super::parts::AutomationParts;

/// The skill that runs programs.
const RUN_PROGRAM: &str = "exec.run";
/// Sources a file, then becomes the program.
const WITH_PROFILE: &str = ". \"$1\" || exit 126; shift; exec \"$@\"";
/// Bytes of a command in its run's task.
const SHOWN_BYTES: usize = 200;

/// The environment of a command as it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandView {
    /// The file of the program; what is wrong when it cannot be found.
    pub program: Result<PathBuf, String>,
    /// Where it was looked for.
    pub path: String,
}

impl AutomationParts {
    /// The folder of a schedule's runs.
    pub(super) fn workspace(&self, schedule: &Schedule) -> PathBuf {
        match &schedule.workspace {
            Some(folder) => Path::new(&**folder).to_owned(),
            None => self.folder.to_path_buf(),
        }
    }

    /// Where a command's program is now.
    pub fn look_at_command(&self, schedule: &Schedule, command: &Command) -> CommandView {
        let path = command.path.as_deref().map_or_else(|| self.path.clone(), Into::into);
        let folder = self.workspace(schedule).join(command.cwd.as_deref().unwrap_or("."));
        CommandView {
            program: program::resolve(&command.argv[0], OsStr::new(&path), &folder).map_err(|error| error.to_string()),
            path: path.to_string_lossy().into_owned(),
        }
    }

    /// What is wrong with a schedule here and now: things that it names and that are not there.
    pub fn check(&self, schedule: &Schedule) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut wrong = |pointer: &str, message: String| findings.push(Finding::new(pointer, message));
        let workspace = self.workspace(schedule);
        if !workspace.is_dir() {
            wrong("/workspace", format!("{} is not a folder", workspace.display()));
        }
        match &schedule.target {
            Target::Agent { agent: Some(agent), .. } if !self.agents.definitions().contains_key(agent) => {
                wrong("/agent", format!("there is no agent `{agent}`"));
            }
            Target::Skill { skill, .. } if self.skills.catalogue().get(skill).is_none() => {
                wrong("/skill", format!("there is no skill `{skill}`"));
            }
            Target::Pipeline { pipeline, .. } if self.pipeline(pipeline).is_none() => {
                let known: Vec<&str> = self.pipelines.iter().map(|(name, _)| &**name).collect();
                let known = if known.is_empty() {
                    "there are none".to_owned()
                } else {
                    known.join(", ")
                };
                wrong(
                    "/pipeline",
                    format!("there is no pipeline `{pipeline}`; known: {known}"),
                );
            }
            Target::Command(command) => {
                if let Err(reason) = self.look_at_command(schedule, command).program {
                    wrong("/command/0", reason);
                }
                if let Some(Err(reason)) = command
                    .profile
                    .as_deref()
                    .map(|file| self.check_profile(file, &workspace))
                {
                    wrong("/profile", reason);
                }
            }
            _ => {}
        }
        for (index, output) in schedule.outputs.iter().enumerate() {
            if let Err(reason) = outputs::pattern(&output.path) {
                wrong(&format!("/outputs/{index}/path"), reason);
            }
            if let Some(Err(error)) = output.matches.as_deref().map(outputs::expression) {
                wrong(&format!("/outputs/{index}/matches"), error);
            }
            if let Some(Err(error)) = output.schema.as_ref().map(compile) {
                wrong(&format!("/outputs/{index}/schema"), error);
            }
        }
        findings
    }

    /// Whether the command will be able to read its profile: it is confined as every program is.
    fn check_profile(&self, profile: &str, workspace: &Path) -> Result<(), String> {
        let file = Path::new(profile).canonicalize().ok().filter(|file| file.is_file());
        let Some(file) = file else {
            return Err(format!("{profile} is not a file"));
        };
        let Some(readable) = &self.readable else { return Ok(()) };
        let folders = readable.iter().map(PathBuf::as_path).chain([workspace]);
        let mut folders = folders.filter_map(|folder| folder.canonicalize().ok());
        if folders.any(|folder| file.starts_with(folder)) {
            Ok(())
        } else {
            Err(format!(
                "{profile} is outside the workspace: programs read it only when skills.readPaths names it"
            ))
        }
    }

    fn pipeline(&self, name: &str) -> Option<&Arc<Plan>> {
        self.pipelines
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, plan)| plan)
    }

    /// What a slot's run is. What is missing now is the reason why the slot fails.
    pub(super) fn spec(&self, schedule: &Schedule, now: UtcMillis) -> Result<RunSpec, String> {
        let (task, agent, plan): (Arc<str>, _, _) = match &schedule.target {
            Target::Agent { agent, task } => (task.clone(), agent.clone(), None),
            Target::Skill { skill, arguments } => {
                let step = skill_step(skill.clone(), arguments);
                (step.task.clone(), None, Some(alone(step)))
            }
            Target::Pipeline { pipeline, task } => {
                let plan = self
                    .pipeline(pipeline)
                    .ok_or_else(|| format!("there is no pipeline `{pipeline}`"))?;
                let task = task.clone().unwrap_or_else(|| plan.goal.clone());
                (task, None, Some(plan.clone()))
            }
            Target::Command(command) => {
                let step = self.command_step(schedule, command)?;
                (step.task.clone(), None, Some(alone(step)))
            }
        };
        let task = if task.trim().is_empty() {
            format!("schedule {}", schedule.name).into()
        } else {
            task
        };
        Ok(RunSpec {
            task,
            agent,
            plan,
            workspace: self.workspace(schedule).display().to_string().into(),
            checks: Vec::new(),
            output_schema: None,
            deadline: now.plus_ms(schedule.deadline_ms),
            tokens_max: None,
            cost_max: None,
            model: None,
            origin: "schedule".into(),
            retry_of: None,
            // Schedules are the operator's own.
            grant: None,
        })
    }

    fn command_step(&self, schedule: &Schedule, command: &Command) -> Result<Step, String> {
        let view = self.look_at_command(schedule, command);
        let program = view.program?.display().to_string();
        let mut argv = Vec::new();
        if let Some(profile) = &command.profile {
            self.check_profile(profile, &self.workspace(schedule))?;
            argv.extend(["/bin/sh", "-c", WITH_PROFILE, "sh", profile].map(str::to_owned));
        }
        argv.push(program);
        argv.extend(command.argv[1..].iter().map(ToString::to_string));
        let mut env: BTreeMap<&str, &str> = command.env.iter().map(|(name, value)| (&**name, &**value)).collect();
        env.insert("PATH", &view.path);
        let mut arguments = json!({ "argv": argv, "env": env, "timeout_ms": command.timeout_ms });
        if let Some(cwd) = &command.cwd {
            arguments["cwd"] = (&**cwd).into();
        }
        let name = SkillName::new(RUN_PROGRAM).expect("a valid name");
        let shown: Vec<&str> = command.argv.iter().map(|part| &**part).collect();
        Ok(Step {
            task: preview(&shown.join(" "), SHOWN_BYTES).into(),
            timeout_ms: Some(command.timeout_ms),
            checks: vec![Check::ExitCode { equals: 0 }],
            ..skill_step(name, &arguments)
        })
    }
}

fn skill_step(skill: SkillName, arguments: &Value) -> Step {
    let id = StepId::new("work").expect("a valid id");
    let task = format!("call {skill}");
    let inputs = arguments.as_object().into_iter().flatten();
    Step {
        inputs: inputs
            .map(|(name, value)| (name.as_str().into(), Input::Literal(value.clone())))
            .collect(),
        // What failed once is tried again at the next slot: a schedule does not repeat effects by itself.
        retries: Some(0),
        ..Step::new(id, Work::Skill(skill), task)
    }
}

fn alone(step: Step) -> Arc<Plan> {
    Arc::new(Plan {
        goal: step.task.clone(),
        steps: vec![step],
        result: None,
    })
}
