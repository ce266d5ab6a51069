//! `fs.write`: puts a whole file into the workspace. Idempotent: the same content has the same effect once.

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::effect::EffectClass;
use crate::domain::skill::SkillManifest;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::preview::Preview;
use crate::skills::showing;
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use crate::skills::stop::{Halt, Stop};
use crate::skills::thread::on_thread;
use crate::skills::workspace::Workspace;

#[derive(Deserialize)]
struct Wanted {
    path: String,
    content: String,
}

/// The skill.
pub struct FsWrite {
    manifest: SkillManifest,
}

impl FsWrite {
    /// Makes the skill.
    #[expect(
        clippy::new_without_default,
        reason = "all skills are made by `new`, with or without parts"
    )]
    pub fn new() -> Self {
        let manifest = Declaration {
            name: "fs.write",
            description: "Writes a whole text file into the workspace; replaces it when it is there and makes the \
                          folders that are missing. To change a part of a file use fs.patch.",
            class: EffectClass::Idempotent,
            timeout_ms: 20_000,
            concurrency: 16,
            properties: json!({
                "path": {"type": "string", "minLength": 1, "description": "relative to the workspace"},
                "content": {"type": "string"},
            }),
            required: &["path", "content"],
            examples: json!([{"path": "notes/today.md", "content": "# Today\n"}]),
        }
        .manifest();
        Self { manifest }
    }
}

impl Skill for FsWrite {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        let content = showing::text(&order, "content").to_owned();
        let path = showing::text(&order, "path").to_owned();
        showing::change_on_thread(order, path, |_| Ok(content))
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        on_thread(&self.manifest, order, write)
    }
}

fn write(order: &CallOrder, workspace: &Workspace, halt: &Halt) -> Result<CallEnd, Stop> {
    let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
    let written = workspace.write(&wanted.path, wanted.content.as_bytes(), order.key, halt)?;
    let content = json!({"path": wanted.path, "bytes": wanted.content.len(), "created": written.created});
    Ok(CallEnd::ok(content.to_string()))
}
