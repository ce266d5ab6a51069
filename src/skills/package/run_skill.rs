//! `skill.run`: runs a script of a package that an operator added, in the run's workspace.
//!
//! Invariants: a script touches of the workspace and of the network what its package was granted and nothing else;
//! nothing of a package runs unless its folder is what the operator added and its pin carries an `exec`
//! capability for the script; a script lies beneath `scripts/`; there is no shell between arguments and script.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::capability::{Capability, CapabilityKind, CapabilitySet};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fault::in_one_line;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::name::PackageName;
use crate::domain::skill::SkillManifest;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::environment;
use crate::skills::needs;
use crate::skills::preview::Preview;
use crate::skills::process::end::{ProgramEnd, Rendering};
use crate::skills::process::program;
use crate::skills::process::runner::{ProcessRunner, ProgramOrder};
use crate::skills::program_call::{self, Interpreters, Programs};
use crate::skills::sandbox::policy::{Confinement, parts, scopes};
use crate::skills::showing;
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use crate::skills::stop::Stop;
use crate::skills::workspace::Workspace;

use super::folder::{PackageFolder, clean};
use super::library::{Library, Standing};
use super::read_skill::{find, refuse_changed};

const TIMEOUT_DEFAULT_MS: u64 = 120_000;
const TIMEOUT_MAX_MS: u64 = 1_800_000;
/// Where scripts lie in a package.
const SCRIPTS: &str = "scripts";
/// Says to the script where its package is.
const FOLDER_VARIABLE: &str = "OPENCLAW_SKILL_DIR";

#[derive(Deserialize)]
struct Wanted {
    skill: String,
    script: String,
    #[serde(default)]
    args: Vec<String>,
    stdin: Option<String>,
    timeout_ms: Option<u64>,
}

/// The skill.
pub struct RunSkill {
    manifest: SkillManifest,
    parts: Arc<Parts>,
}

struct Parts {
    library: Arc<Library>,
    programs: Programs,
}

impl RunSkill {
    /// Runs scripts of this library; interpreters are looked for in `path`.
    pub fn new(
        library: Arc<Library>,
        runner: Arc<ProcessRunner>,
        path: OsString,
        passed: Vec<(String, String)>,
    ) -> Self {
        let manifest = Declaration {
            name: "skill.run",
            description: "Runs a script of a skill package in the workspace and waits for its end: `script` is a \
                          path below the package's scripts/, `args` are its arguments, there is no shell. Only \
                          packages that the operator has added can run. The answer is JSON with exit_code, stdout \
                          and stderr.",
            class: EffectClass::Once,
            timeout_ms: TIMEOUT_MAX_MS,
            concurrency: 4,
            properties: json!({
                "skill": {"type": "string", "description": "the package's name"},
                "script": {"type": "string", "description": "such as scripts/convert.py"},
                "args": {"type": "array", "items": {"type": "string"}, "maxItems": 1000},
                "stdin": {"type": "string"},
                "timeout_ms": {
                    "type": "integer", "minimum": 1, "maximum": TIMEOUT_MAX_MS, "description": "default 120000"
                },
            }),
            required: &["skill", "script"],
            examples: json!([{"skill": "pdf-forms", "script": "scripts/fill.py", "args": ["form.pdf"]}]),
        }
        .manifest();
        let programs = Programs {
            runner,
            path,
            passed,
            interpreters: Interpreters::default(),
        };
        let parts = Parts { library, programs };
        Self {
            manifest,
            parts: Arc::new(parts),
        }
    }
}

/// A script that may run.
struct Prepared {
    program: ProgramOrder,
    interpreter: Option<&'static str>,
    /// The hash of its package as it was added.
    pinned: String,
}

impl Parts {
    fn prepare(&self, order: &CallOrder) -> Result<Prepared, Stop> {
        let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
        if wanted.args.iter().any(|argument| argument.contains('\0')) {
            return Err(Stop::refused("an argument holds a NUL"));
        }
        let package = find(&self.library, &wanted.skill, order)?;
        let name = &package.document.name;
        let script = script(&wanted.script)?;
        let (Standing::Added, Some(pin)) = (refuse_changed(&package)?, &package.pin) else {
            return Err(Stop::refused(format!(
                "scripts of the skill package `{name}` do not run: the operator has not added it (`openclaw skill add \
                 {} --capability exec`) [OC-5022]",
                package.folder.display()
            )));
        };
        let needed =
            Capability::new(CapabilityKind::Exec, &script).map_err(|error| Stop::refused(error.to_string()))?;
        if !pin.capabilities.allows(&needed) {
            return Err(Stop::refused(format!(
                "the skill package `{name}` was added without the capability {needed} [OC-5022]"
            )));
        }
        let looked = PackageFolder::open(&package.folder).and_then(|folder| Ok((folder.files()?, folder.readable()?)));
        let (files, readable) = looked.map_err(|error| Stop::refused(in_one_line(&error)))?;
        let Some(file) = files.iter().find(|file| file.path == script) else {
            let scripts = files
                .iter()
                .map(|file| file.path.as_str())
                .filter(|path| path.starts_with("scripts/"));
            let scripts: Vec<&str> = scripts.collect();
            let text = format!(
                "the skill package `{name}` has no `{script}`; it has: {}",
                scripts.join(", ")
            );
            return Err(Stop::refused(text));
        };
        let absolute = package.folder.join(&script);
        let interpreter = interpreter_of(&absolute);
        let (program, mut argv) = self.launch(&absolute, interpreter, file.is_executable)?;
        argv.extend(wanted.args);
        let workspace = Workspace::open(&order.workspace)?;
        let home = environment::make_home(&workspace, &order.workspace)?;
        let mut env = environment::base(order, &self.programs.path, &home, &self.programs.passed);
        env.insert(FOLDER_VARIABLE.to_owned(), package.folder.display().to_string());
        let own_limit = Duration::from_millis(wanted.timeout_ms.unwrap_or(TIMEOUT_DEFAULT_MS));
        let program = ProgramOrder {
            key: order.key,
            program,
            argv,
            cwd: order.workspace.to_path_buf(),
            env: env.into_iter().collect(),
            stdin: wanted.stdin.unwrap_or_default(),
            limit: order.deadline.min(own_limit),
            output_bytes_max: RESULT_BYTES_MAX / 2,
            spooled: true,
            rendering: Rendering::Json,
            confinement: Confinement {
                parts: Some(parts(&pin.capabilities).chain([program_call::home()]).collect()),
                readable,
                network: scopes(&pin.capabilities, CapabilityKind::Net)
                    .map(str::to_owned)
                    .collect(),
                granted: order.granted.clone(),
                ..Confinement::to_workspace(order.workspace.to_path_buf())
            },
        };
        Ok(Prepared {
            program,
            interpreter,
            pinned: pin.hash.clone(),
        })
    }

    async fn run(self: Arc<Self>, order: CallOrder) -> Result<ProgramEnd, Stop> {
        // Hashing a large package takes milliseconds: not on a thread that serves others.
        let (parts, asked) = (Arc::clone(&self), order.clone());
        let prepared = tokio::task::spawn_blocking(move || parts.prepare(&asked)).await;
        let prepared = prepared.map_err(|source| SkillError::Thread {
            skill: "skill.run".to_owned(),
            source,
        })?;
        let mut prepared = prepared?;
        if let Some(name) = prepared.interpreter {
            prepared.program.program = self.programs.interpreter(&order, name).await?;
        }
        let ended = self.programs.runner.run(prepared.program).await;
        ended.map_err(|error| Stop::Failed(SkillError::Process(error)))
    }

    /// The program and its first arguments: an interpreter by the script's ending, else the script itself.
    fn launch(
        &self,
        script: &Path,
        interpreter: Option<&str>,
        is_executable: bool,
    ) -> Result<(PathBuf, Vec<String>), Stop> {
        let shown = script.display().to_string();
        match interpreter {
            Some(name) => {
                let found = program::resolve(name, &self.programs.path, Path::new("/"));
                let program = found.map_err(|error| Stop::refused(error.to_string()))?;
                Ok((program, vec![name.to_owned(), shown]))
            }
            None if is_executable => Ok((script.to_owned(), vec![shown])),
            None => Err(Stop::refused(format!(
                "`{shown}` is neither executable nor of a known kind (.py, .sh, .bash, .js)"
            ))),
        }
    }
}

/// The interpreter by a script's ending.
fn interpreter_of(script: &Path) -> Option<&'static str> {
    match script.extension().and_then(|ending| ending.to_str()) {
        Some("py") => Some("python3"),
        Some("sh") => Some("sh"),
        Some("bash") => Some("bash"),
        Some("js" | "mjs") => Some("node"),
        _ => None,
    }
}

/// The path of a script from the package's folder, in its shortest form.
pub(super) fn script(wanted: &str) -> Result<String, Stop> {
    let clean = clean(wanted).map_err(|error| Stop::refused(in_one_line(&error)))?;
    let under = if clean.starts_with(SCRIPTS) {
        clean
    } else {
        PathBuf::from(SCRIPTS).join(clean)
    };
    match under.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Stop::refused("the script's name is no UTF-8")),
    }
}

impl Skill for RunSkill {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    /// Rests on the package as it was added, too: another script of the same name is another call.
    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        let shown = match self.parts.prepare(&order) {
            Ok(prepared) => {
                let shown = showing::of_program(&order.arguments, &prepared.program);
                let basis = format!("{} {}", shown.basis, prepared.pinned);
                shown.resting_on(basis)
            }
            // What cannot be prepared will be refused when it is made.
            Err(_) => Preview::of_arguments(&order.arguments),
        };
        shown.at_once()
    }

    /// The script itself, and what its package was granted: who lacks any of that cannot run it.
    fn needs(&self, arguments: &Value, workspace: &Path) -> CapabilitySet {
        let named = needs::of(&self.manifest.name, arguments, workspace);
        let skill = arguments.get("skill").and_then(Value::as_str).unwrap_or_default();
        let package = PackageName::new(skill)
            .ok()
            .and_then(|name| self.parts.library.find(&name, None));
        let granted = package.and_then(|package| package.pin).map(|pin| pin.capabilities);
        // What is run and what a script touches are two things: `exec` of the pin is about its own scripts.
        let granted = granted.iter().flat_map(CapabilitySet::iter);
        let touched = granted.filter(|one| one.kind() != CapabilityKind::Exec).cloned();
        named.iter().cloned().chain(touched).collect()
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move {
            match parts.run(order).await {
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
        let runner = Arc::clone(&self.parts.programs.runner);
        Box::pin(async move { runner.settled(key).await })
    }
}
