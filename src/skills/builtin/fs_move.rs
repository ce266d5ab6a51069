//! `fs.move`: gives a file or folder of the workspace another name.
//!
//! The probe judges by the two names alone: moved means that the old one is gone and the new one is there. That is so
//! only after a move that could be made: one whose old name is missing, or whose new one is taken, is refused before its
//! intent is written.

use std::path::Path;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::effect::EffectClass;
use crate::domain::skill::{CallOutcome, SkillManifest};
use crate::skills::declare::{Declaration, arguments};
use crate::skills::preview::Preview;
use crate::skills::showing;
use crate::skills::skill::{CallEnd, CallOrder, ProbeAnswer, Skill, SkillError};
use crate::skills::stop::{Halt, Stop};
use crate::skills::thread::{on_thread, probe_on_thread};
use crate::skills::workspace::{Workspace, explain, relative, taken};

#[derive(Deserialize)]
struct Wanted {
    from: String,
    to: String,
    #[serde(default)]
    overwrite: bool,
}

/// The skill.
pub struct FsMove {
    manifest: SkillManifest,
}

impl FsMove {
    /// Makes the skill.
    #[expect(
        clippy::new_without_default,
        reason = "all skills are made by `new`, with or without parts"
    )]
    pub fn new() -> Self {
        let manifest = Declaration {
            name: "fs.move",
            description: "Moves or renames a file or folder within the workspace and makes the folders that are \
                          missing. What is at the new name stays there and the call is refused, unless overwrite is \
                          set; then a file replaces a file.",
            class: EffectClass::Probe,
            timeout_ms: 20_000,
            concurrency: 16,
            properties: json!({
                "from": {"type": "string", "minLength": 1, "description": "relative to the workspace"},
                "to": {"type": "string", "minLength": 1, "description": "the new name, relative to the workspace"},
                "overwrite": {"type": "boolean"},
            }),
            required: &["from", "to"],
            examples: json!([{"from": "notes.txt", "to": "docs/notes.txt"}]),
        }
        .manifest();
        Self { manifest }
    }
}

impl Skill for FsMove {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        let shown = match arguments::<Wanted>(&order) {
            Ok(wanted) => {
                let over = if wanted.overwrite { ", over what is there" } else { "" };
                // Another file under either name is another move.
                let identity = |path: &str| showing::identity(&order.workspace.join(path));
                Preview::of(format!("move {} to {}{over}", wanted.from, wanted.to)).resting_on(format!(
                    "{} {}",
                    identity(&wanted.from),
                    identity(&wanted.to)
                ))
            }
            Err(reason) => Preview::of(reason),
        };
        shown.at_once()
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        on_thread(&self.manifest, order, rename)
    }

    fn foreseen(&self, arguments: &Value, workspace: &Path) -> Option<String> {
        let wanted: Wanted = serde_json::from_value(arguments.clone()).ok()?;
        let workspace = Workspace::open(workspace).ok()?;
        match movable(&wanted, &workspace) {
            Err(Stop::Refused(reason)) => Some(reason),
            // The call itself says what failed.
            _ => None,
        }
    }

    fn probe(&self, order: CallOrder) -> BoxFuture<'static, ProbeAnswer> {
        probe_on_thread(&self.manifest, order, ask)
    }
}

fn rename(order: &CallOrder, workspace: &Workspace, halt: &Halt) -> Result<CallEnd, Stop> {
    let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
    workspace.rename(&wanted.from, &wanted.to, wanted.overwrite, halt)?;
    Ok(done(&wanted).into())
}

/// Refuses a move that cannot be made as things are.
fn movable(wanted: &Wanted, workspace: &Workspace) -> Result<(), Stop> {
    let seen = |path: &str| -> Result<_, Stop> { Ok(workspace.dir().symlink_metadata(relative(path)?)) };
    for path in [&wanted.from, &wanted.to] {
        workspace.refuse_settings(path, &relative(path)?)?;
    }
    let (from, to) = (seen(&wanted.from)?, seen(&wanted.to)?);
    let from = from.map_err(|error| explain(error, "move", &wanted.from))?;
    if to.is_ok() && !(wanted.overwrite && from.is_file()) {
        return Err(taken(&wanted.to));
    }
    Ok(())
}

fn ask(order: &CallOrder, workspace: &Workspace, _halt: &Halt) -> Result<ProbeAnswer, Stop> {
    let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
    let is_there = |path: &str| -> Result<bool, Stop> { Ok(workspace.dir().symlink_metadata(relative(path)?).is_ok()) };
    match (is_there(&wanted.from)?, is_there(&wanted.to)?) {
        (true, _) => Ok(ProbeAnswer::NotHappened),
        // When its intent was written `from` was there, and `to` was free or to be replaced: see `foreseen`.
        (false, true) => Ok(ProbeAnswer::Happened(done(&wanted))),
        (false, false) => Err(Stop::refused(format!(
            "neither `{}` nor `{}` is there",
            wanted.from, wanted.to
        ))),
    }
}

fn done(wanted: &Wanted) -> CallOutcome {
    CallOutcome::ok(json!({"from": wanted.from, "to": wanted.to}).to_string())
}
