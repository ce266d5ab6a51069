//! `exec.run`: runs a program in the workspace, without a shell, at most once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::skill::SkillManifest;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::environment;
use crate::skills::preview::Preview;
use crate::skills::process::end::Rendering;
use crate::skills::process::program;
use crate::skills::process::runner::{ProcessRunner, ProgramOrder};
use crate::skills::program_call::confinement;
use crate::skills::showing;
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use crate::skills::stop::Stop;
use crate::skills::workspace::Workspace;

const TIMEOUT_DEFAULT_MS: u64 = 120_000;
const TIMEOUT_MAX_MS: u64 = 1_800_000;

#[derive(Deserialize)]
struct Wanted {
    argv: Vec<String>,
    cwd: Option<String>,
    stdin: Option<String>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// The skill.
pub struct ExecRun {
    manifest: SkillManifest,
    runner: Arc<ProcessRunner>,
    path: OsString,
    passed: Vec<(String, String)>,
}

impl ExecRun {
    /// Makes the skill. Programs are looked for in `path`; `passed` is put into every environment (tool homes and
    /// the like, chosen by the operator).
    pub fn new(runner: Arc<ProcessRunner>, path: OsString, passed: Vec<(String, String)>) -> Self {
        let manifest = Declaration {
            name: "exec.run",
            description: "Runs a program in the workspace and waits for its end: argv is the program and its \
                          arguments, there is no shell (use [\"sh\",\"-c\",…] for one). The answer is JSON with \
                          exit_code, stdout and stderr; long output keeps its beginning and end. Whatever the \
                          program leaves running is ended with it.",
            class: EffectClass::Once,
            timeout_ms: TIMEOUT_MAX_MS,
            concurrency: 4,
            properties: json!({
                "argv": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1000},
                "cwd": {"type": "string", "description": "a folder, relative to the workspace"},
                "stdin": {"type": "string"},
                "timeout_ms": {
                    "type": "integer", "minimum": 1, "maximum": TIMEOUT_MAX_MS, "description": "default 120000"
                },
                "env": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 100},
            }),
            required: &["argv"],
            examples: json!([{"argv": ["cargo", "test", "--quiet"], "timeout_ms": 600_000}, {"argv": ["sh", "-c", "ls | wc -l"]}]),
        }
        .manifest();
        Self {
            manifest,
            runner,
            path,
            passed,
        }
    }

    fn program_order(&self, order: &CallOrder) -> Result<ProgramOrder, Stop> {
        let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
        let refuse = |text: String| Err(Stop::Refused(text));
        if wanted.argv.iter().any(|argument| argument.contains('\0')) {
            return refuse("an argument holds a NUL".to_owned());
        }
        for (name, value) in &wanted.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') || name.starts_with("OPENCLAW_") {
                return refuse(format!("the environment variable `{name}` cannot be set"));
            }
        }
        let workspace = Workspace::open(&order.workspace)?;
        let folder = workspace.check_folder(wanted.cwd.as_deref().unwrap_or("."))?;
        let cwd = order.workspace.join(folder);
        let home = environment::make_home(&workspace, &order.workspace)?;
        let program =
            program::resolve(&wanted.argv[0], &self.path, &cwd).map_err(|error| Stop::refused(error.to_string()))?;
        let mut env = environment::base(order, &self.path, &home, &self.passed);
        env.extend(wanted.env);
        let own_limit = Duration::from_millis(wanted.timeout_ms.unwrap_or(TIMEOUT_DEFAULT_MS));
        Ok(ProgramOrder {
            key: order.key,
            program,
            argv: wanted.argv,
            cwd,
            env: env.into_iter().collect(),
            stdin: wanted.stdin.unwrap_or_default(),
            limit: order.deadline.min(own_limit),
            output_bytes_max: RESULT_BYTES_MAX / 2,
            spooled: true,
            rendering: Rendering::Json,
            confinement: confinement(order),
        })
    }
}

impl Skill for ExecRun {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        showing::of_prepared(&order, self.program_order(&order)).at_once()
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let prepared = self.program_order(&order);
        let runner = Arc::clone(&self.runner);
        Box::pin(async move {
            match prepared {
                Ok(program) => Ok(runner.run(program).await?.outcome(Rendering::Json).into()),
                Err(Stop::Refused(text)) => Ok(CallEnd::refused(text)),
                Err(Stop::Failed(error)) => Err(error),
                Err(Stop::Unwanted) => Err(SkillError::TimedOut { limit_ms: 0 }),
            }
        })
    }

    fn ends_when_cancelled(&self) -> bool {
        true
    }

    fn settled(&self, key: EffectKey) -> BoxFuture<'static, ()> {
        let runner = Arc::clone(&self.runner);
        Box::pin(async move { runner.settled(key).await })
    }
}
