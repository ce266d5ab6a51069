//! `memory.put`: keeps a text, under a key if it has one. The committer makes the effect together with the outcome.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::effect::EffectClass;
use crate::domain::memory::{EXPIRES_IN_S_MAX, KEY_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX, TEXT_BYTES_MAX};
use crate::domain::skill::{CallOutcome, SkillManifest};
use crate::domain::text_policy::is_visible;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::memory_reader::{MemoryReader, full_key, namespace_of, tags_of};
use crate::skills::skill::{CallEnd, CallOrder, LocalEffect, NewNote, Skill, SkillError};

#[derive(Deserialize)]
struct Wanted {
    scope: String,
    key: Option<String>,
    text: String,
    #[serde(default)]
    tags: Vec<String>,
    importance: Option<u8>,
    expires_in_s: Option<u64>,
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
            description: "Keeps a text. Under a `key` it takes the place of the text that is there; without one it is \
                          found by its words and meaning. Scope session ends with this step, project belongs to this \
                          workspace, global is for all.",
            class: EffectClass::Local,
            timeout_ms: 5_000,
            concurrency: 64,
            properties: json!({
                "scope": {"enum": ["session", "project", "global"]},
                "key": {"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX},
                "text": {"type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX},
                "tags": {
                    "type": "array", "maxItems": TAGS_MAX, "description": "words to filter by",
                    "items": {"type": "string", "minLength": 1, "maxLength": TAG_BYTES_MAX},
                },
                "importance": {"type": "integer", "minimum": 0, "maximum": 100, "description": "100 is never pruned"},
                "expires_in_s": {
                    "type": "integer", "minimum": 1, "maximum": EXPIRES_IN_S_MAX,
                    "description": "ends by itself after so many seconds",
                },
            }),
            required: &["scope", "text"],
            examples: json!([
                {"scope": "project", "key": "auth-pattern", "text": "Tokens are checked in the gateway."},
                {"scope": "project", "text": "The staging database is rebuilt every night.", "tags": ["staging"]},
            ]),
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
    let (shard, key) = match &wanted.key {
        Some(key) => {
            let full = full_key(order, &wanted.scope, key)?;
            (full.shard(), Some(full.key))
        }
        None => (namespace_of(order, &wanted.scope)?, None),
    };
    // Only where a name is given: an entry that has such a key already can still be read.
    if !key.as_deref().is_none_or(is_visible) {
        return Err("a key shows all its characters: none that are invisible or change the direction".to_owned());
    }
    let bytes = wanted.text.len();
    if bytes > TEXT_BYTES_MAX {
        return Err(format!("the text has {bytes} bytes, at most {TEXT_BYTES_MAX} are kept"));
    }
    let tags = tags_of(wanted.tags)?;
    reader.make_room(shard.clone(), key.clone(), bytes).await?;
    let content = json!({"scope": wanted.scope, "key": wanted.key, "bytes": bytes}).to_string();
    Ok(CallEnd {
        outcome: CallOutcome::ok(content),
        local: Some(LocalEffect::MemoryPut(Box::new(NewNote {
            shard,
            key,
            text: wanted.text.into(),
            tags,
            importance: wanted.importance.map(|importance| importance.min(100)),
            expires_in_s: wanted.expires_in_s.map(|s| s.min(EXPIRES_IN_S_MAX)),
        }))),
    })
}
