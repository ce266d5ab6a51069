//! `git.status`, `git.diff`, `git.log` and `git.commit`: the repository of the workspace, by the git program.
//!
//! Invariants: no hook, pager, external diff or configuration of the machine is run or read, and no remote is asked.
//! A commit carries its effect key in a trailer, by which its probe finds it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::skill::{CallOutcome, SkillManifest};
use crate::skills::declare::{Declaration, arguments};
use crate::skills::preview::Preview;
use crate::skills::process::end::{Ended, ProgramEnd, Rendering};
use crate::skills::program_call::{Program, Programs};
use crate::skills::skill::{CallEnd, CallOrder, ProbeAnswer, Skill, SkillError};
use crate::skills::stop::Stop;

const LIMIT: Duration = Duration::from_secs(60);
/// The trailer of a commit that names its effect.
const TRAILER: &str = "Openclaw-Effect-Key";
/// What may not be decided by files of the repository or the machine.
const SAFE: [&str; 10] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "protocol.allow=never",
    "-c",
    "commit.gpgSign=false",
    "-c",
    "core.pager=cat",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Status,
    Diff,
    Log,
    Commit,
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    staged: bool,
    limit: Option<u32>,
    message: Option<String>,
}

/// One of the skills.
pub struct Git {
    manifest: SkillManifest,
    action: Action,
    programs: Programs,
}

impl Git {
    /// All four.
    pub(in crate::skills) fn all(programs: &Programs) -> Vec<Self> {
        let paths = json!({
            "type": "array", "maxItems": 200, "items": {"type": "string", "minLength": 1},
            "description": "relative to the workspace; default all",
        });
        let make = |action, name, description, properties: Value, required, examples| {
            let declaration = Declaration {
                name,
                description,
                class: if action == Action::Commit {
                    EffectClass::Probe
                } else {
                    EffectClass::Read
                },
                timeout_ms: LIMIT.as_millis() as u64,
                // Two commits at once would find each other's lock.
                concurrency: if action == Action::Commit { 1 } else { 8 },
                properties,
                required,
                examples,
            };
            Self {
                manifest: declaration.manifest(),
                action,
                programs: programs.clone(),
            }
        };
        vec![
            make(
                Action::Status,
                "git.status",
                "Shows branch and changed files of the workspace's git repository, in git's short form.",
                json!({ "paths": paths }),
                &[],
                json!([{}]),
            ),
            make(
                Action::Diff,
                "git.diff",
                "Shows what has changed in the workspace since the last commit, or what is staged, as a unified diff.",
                json!({ "paths": paths, "staged": {"type": "boolean"} }),
                &[],
                json!([{}, {"paths": ["src"], "staged": true}]),
            ),
            make(
                Action::Log,
                "git.log",
                "Lists commits of the workspace's repository, the newest first: hash, date, author, subject.",
                json!({
                    "paths": paths,
                    "limit": {"type": "integer", "minimum": 1, "maximum": 500, "description": "default 20"},
                }),
                &[],
                json!([{"limit": 5}]),
            ),
            make(
                Action::Commit,
                "git.commit",
                "Commits changes of the workspace: all of them, new files included, or those of some paths. Hooks are \
                 not run and nothing is sent anywhere.",
                json!({ "message": {"type": "string", "minLength": 1, "maxLength": 10_000}, "paths": paths }),
                &["message"],
                json!([{"message": "docs: say what the limits are", "paths": ["README.md"]}]),
            ),
        ]
    }

    async fn git(
        programs: &Programs,
        order: &CallOrder,
        words: Vec<String>,
        spooled: bool,
    ) -> Result<ProgramEnd, Stop> {
        let argv = ["git"].into_iter().chain(SAFE).map(str::to_owned).chain(words);
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let program = Program {
            argv: argv.collect(),
            env: vec![
                set("GIT_CONFIG_NOSYSTEM", "1"),
                set("GIT_CONFIG_GLOBAL", "/dev/null"),
                set("GIT_TERMINAL_PROMPT", "0"),
                set("GIT_OPTIONAL_LOCKS", "0"),
                // A path is a path and no pattern or magic word.
                set("GIT_LITERAL_PATHSPECS", "1"),
                // Counts only where the repository names nobody.
                set("EMAIL", "openclaw@localhost"),
            ],
            stdin: String::new(),
            limit: LIMIT,
            spooled,
            rendering: Rendering::Stdout,
        };
        programs.run(order, program).await
    }

    async fn act(action: Action, programs: &Programs, order: &CallOrder) -> Result<CallOutcome, Stop> {
        let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
        if wanted.paths.iter().any(|path| path.contains('\0')) {
            return Err(Stop::refused("a path holds a NUL"));
        }
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
        let mut command = match action {
            Action::Status => words(&["status", "--short", "--branch"]),
            Action::Diff if wanted.staged => words(&["diff", "--no-ext-diff", "--no-textconv", "--cached"]),
            Action::Diff => words(&["diff", "--no-ext-diff", "--no-textconv", "HEAD"]),
            Action::Log => {
                let limit = format!("--max-count={}", wanted.limit.unwrap_or(20));
                words(&["log", &limit, "--date=iso-strict", "--format=%h %ad %an: %s"])
            }
            Action::Commit => {
                let mut add = words(&["add", "--all", "--"]);
                let all = [".".to_owned()];
                let paths: &[String] = if wanted.paths.is_empty() { &all } else { &wanted.paths };
                add.extend(paths.iter().cloned());
                let added = Self::git(programs, order, add, false).await?;
                if added.ended != (Ended::Exited { code: 0 }) {
                    return Ok(added.outcome(Rendering::Stdout));
                }
                let trailer = format!("{TRAILER}: {}", order.key);
                let message = wanted.message.as_deref().unwrap_or_default();
                words(&["commit", "--no-verify", "--message", message, "--trailer", &trailer])
            }
        };
        if !wanted.paths.is_empty() {
            command.push("--".to_owned());
            command.extend(wanted.paths.iter().cloned());
        }
        let end = Self::git(programs, order, command, action == Action::Commit).await?;
        Ok(end.outcome(Rendering::Stdout))
    }
}

impl Skill for Git {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn preview(&self, order: &CallOrder) -> Preview {
        match arguments::<Wanted>(order) {
            Ok(wanted) => {
                let paths = if wanted.paths.is_empty() {
                    "all changes".to_owned()
                } else {
                    wanted.paths.join(", ")
                };
                let message = wanted.message.map(|text| format!(":\n{text}")).unwrap_or_default();
                Preview::of(format!("{} of {paths}{message}", self.manifest.name))
            }
            Err(reason) => Preview::of(reason),
        }
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let (action, programs) = (self.action, self.programs.clone());
        Box::pin(async move {
            match Self::act(action, &programs, &order).await {
                Ok(outcome) => Ok(outcome.into()),
                Err(Stop::Refused(text)) => Ok(CallEnd::refused(text)),
                Err(Stop::Failed(error)) => Err(error),
                Err(Stop::Unwanted) => Err(SkillError::TimedOut { limit_ms: 0 }),
            }
        })
    }

    fn probe(&self, order: CallOrder) -> BoxFuture<'static, ProbeAnswer> {
        let programs = self.programs.clone();
        Box::pin(async move {
            let trailer = format!("--grep={TRAILER}: {}", order.key);
            let words = [
                "log",
                "--all",
                "--fixed-strings",
                &trailer,
                "--max-count=1",
                "--format=%H",
            ];
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            match Self::git(&programs, &order, words, false).await {
                Ok(end) if end.ended != (Ended::Exited { code: 0 }) => {
                    ProbeAnswer::Unknown(end.outcome(Rendering::Stdout).content.to_string())
                }
                Ok(end) if end.stdout.trim().is_empty() => ProbeAnswer::NotHappened,
                Ok(end) => ProbeAnswer::Happened(CallOutcome::ok(format!("committed as {}", end.stdout.trim()))),
                Err(stop) => ProbeAnswer::Unknown(format!("git could not be asked: {stop:?}")),
            }
        })
    }

    fn settled(&self, key: EffectKey) -> BoxFuture<'static, ()> {
        let runner = self.programs.runner.clone();
        Box::pin(async move { runner.settled(key).await })
    }
}
