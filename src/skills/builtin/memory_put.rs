//! `memory.put`: keeps a text under a key. The committer makes the effect together with the outcome.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::effect::EffectClass;
use crate::domain::skill::{CallOutcome, SkillManifest};
use crate::domain::text_policy::is_visible;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::memory_reader::{MemoryReader, full_key};
use crate::skills::skill::{CallEnd, CallOrder, LocalEffect, Skill, SkillError};

const TEXT_BYTES_MAX: usize = 64 * 1024;

#[derive(Deserialize)]
struct Wanted {
    scope: String,
    key: String,
    text: String,
}

/// The skill.
pub struct MemoryPut {
    manifest: SkillManifest,
    reader: Arc<dyn MemoryReader>,
}

impl MemoryPut {
    /// Makes the skill.
    pub fn new(reader: Arc<dyn MemoryReader>) -> Self {
        let manifest = Declaration {
            name: "memory.put",
            description: "Keeps a text under a key; a text that is there is replaced. Scope session ends with this \
                          step, project belongs to this workspace, global is for all.",
            class: EffectClass::Local,
            timeout_ms: 5_000,
            concurrency: 64,
            properties: json!({
                "scope": {"enum": ["session", "project", "global"]},
                "key": {"type": "string", "minLength": 1, "maxLength": 256},
                "text": {"type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX},
            }),
            required: &["scope", "key", "text"],
            examples: json!([{"scope": "project", "key": "auth-pattern", "text": "Tokens are checked in the gateway."}]),
        }
        .manifest();
        Self { manifest, reader }
    }
}

impl Skill for MemoryPut {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let reader = self.reader.clone();
        Box::pin(async move { Ok(put(&order, &*reader).await.unwrap_or_else(CallEnd::refused)) })
    }
}

async fn put(order: &CallOrder, reader: &dyn MemoryReader) -> Result<CallEnd, String> {
    let wanted: Wanted = arguments(order)?;
    let key = full_key(order, &wanted.scope, &wanted.key)?;
    // Only where a name is given: an entry that has such a key already can still be read.
    if !is_visible(&wanted.key) {
        return Err("a key shows all its characters: none that are invisible or change the direction".to_owned());
    }
    let bytes = wanted.text.len();
    if bytes > TEXT_BYTES_MAX {
        return Err(format!("the text has {bytes} bytes, at most {TEXT_BYTES_MAX} are kept"));
    }
    reader.make_room(key.clone(), bytes).await?;
    let content = json!({"scope": wanted.scope, "key": wanted.key, "bytes": bytes}).to_string();
    Ok(CallEnd {
        outcome: CallOutcome::ok(content),
        local: Some(LocalEffect::MemoryPut {
            key,
            text: wanted.text.into(),
        }),
    })
}
