//! `memory.get`: the text under a key.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::effect::EffectClass;
use crate::domain::skill::SkillManifest;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::memory_reader::{MemoryReader, full_key};
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};

#[derive(Deserialize)]
struct Wanted {
    scope: String,
    key: String,
}

/// The skill.
pub struct MemoryGet {
    manifest: SkillManifest,
    reader: Arc<dyn MemoryReader>,
}

impl MemoryGet {
    /// Makes the skill over this memory.
    pub fn new(reader: Arc<dyn MemoryReader>) -> Self {
        let manifest = Declaration {
            name: "memory.get",
            description: "The text that was kept under a key with memory.put, as JSON with its version.",
            class: EffectClass::Read,
            timeout_ms: 5_000,
            concurrency: 64,
            properties: json!({
                "scope": {"enum": ["session", "project", "global"]},
                "key": {"type": "string", "minLength": 1, "maxLength": 256},
            }),
            required: &["scope", "key"],
            examples: json!([{"scope": "project", "key": "auth-pattern"}]),
        }
        .manifest();
        Self { manifest, reader }
    }
}

impl Skill for MemoryGet {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let reader = Arc::clone(&self.reader);
        Box::pin(async move {
            let key = arguments(&order).and_then(|Wanted { scope, key }| full_key(&order, &scope, &key));
            let key = match key {
                Ok(key) => key,
                Err(reason) => return Ok(CallEnd::refused(reason)),
            };
            let found = reader.get(key.clone()).await;
            match found.map_err(|reason| SkillError::Memory { reason })? {
                Some(entry) => Ok(CallEnd::ok(
                    json!({
                        "scope": key.scope.as_str(), "key": &*key.key, "text": &*entry.text,
                        "version": entry.version, "updated_at_ms": entry.updated_at.0,
                    })
                    .to_string(),
                )),
                None => Ok(CallEnd::refused(format!(
                    "there is nothing under `{}` in scope {}",
                    key.key,
                    key.scope.as_str()
                ))),
            }
        })
    }
}
