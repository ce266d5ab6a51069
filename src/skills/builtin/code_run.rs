//! `code.run`: a short program in Python or shell, at most once.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::skill::SkillManifest;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::preview::Preview;
use crate::skills::process::end::Rendering;
use crate::skills::program_call::{Program, Programs};
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use crate::skills::stop::Stop;

const TIMEOUT_DEFAULT_MS: u64 = 60_000;
const TIMEOUT_MAX_MS: u64 = 600_000;
/// Bytes of a program; one argument of the system may have 128 KiB.
const CODE_BYTES_MAX: usize = 100_000;

#[derive(Deserialize)]
struct Wanted {
    language: String,
    code: String,
    stdin: Option<String>,
    timeout_ms: Option<u64>,
}

/// The skill.
pub struct CodeRun {
    manifest: SkillManifest,
    programs: Programs,
}

impl CodeRun {
    /// Makes the skill.
    pub(in crate::skills) fn new(programs: Programs) -> Self {
        let manifest = Declaration {
            name: "code.run",
            description: "Runs a short program in the workspace: language python (python3, without packages of the \
                          user) or sh. The answer is JSON with exit_code, stdout and stderr. Use it to compute or to \
                          transform data; for a program that is there use exec.run.",
            class: EffectClass::Once,
            timeout_ms: TIMEOUT_MAX_MS,
            concurrency: 4,
            properties: json!({
                "language": {"enum": ["python", "sh"]},
                "code": {"type": "string", "minLength": 1, "maxLength": CODE_BYTES_MAX},
                "stdin": {"type": "string"},
                "timeout_ms": {
                    "type": "integer", "minimum": 1, "maximum": TIMEOUT_MAX_MS, "description": "default 60000"
                },
            }),
            required: &["language", "code"],
            examples: json!([{"language": "python", "code": "print(sum(range(10)))"}]),
        }
        .manifest();
        Self { manifest, programs }
    }
}

impl Skill for CodeRun {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        let shown = match arguments::<Wanted>(&order) {
            Ok(wanted) => format!("{}:\n{}", wanted.language, wanted.code),
            Err(reason) => reason,
        };
        Preview::of(shown).at_once()
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let programs = self.programs.clone();
        Box::pin(async move {
            let wanted: Wanted = match arguments(&order) {
                Ok(wanted) => wanted,
                Err(reason) => return Ok(CallEnd::refused(reason)),
            };
            if wanted.code.contains('\0') || wanted.code.len() > CODE_BYTES_MAX {
                let reason = format!("the code holds a NUL or has more than {CODE_BYTES_MAX} bytes");
                return Ok(CallEnd::refused(reason));
            }
            let (name, words): (_, &[&str]) = match wanted.language.as_str() {
                "python" => ("python3", &["python3", "-I", "-c"]),
                _ => ("sh", &["sh", "-c"]),
            };
            let argv = words.iter().map(|word| (*word).to_owned()).chain([wanted.code]);
            let program = Program {
                argv: argv.collect(),
                env: Vec::new(),
                stdin: wanted.stdin.unwrap_or_default(),
                limit: Duration::from_millis(wanted.timeout_ms.unwrap_or(TIMEOUT_DEFAULT_MS)),
                spooled: true,
                rendering: Rendering::Json,
            };
            let ran = async {
                let file = programs.interpreter(&order, name).await?;
                programs.run_file(&order, file, program).await
            };
            match ran.await {
                Ok(end) => Ok(end.outcome(Rendering::Json).into()),
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
        let runner = self.programs.runner.clone();
        Box::pin(async move { runner.settled(key).await })
    }
}
