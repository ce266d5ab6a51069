//! `memory.query`: what was kept, by key or by meaning.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::effect::EffectClass;
use crate::domain::memory::{KEY_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX};
use crate::domain::skill::SkillManifest;
use crate::domain::time::UtcMillis;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::memory_reader::{MemoryQuestion, MemoryReader, full_key, namespace_of, tags_of};
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};

const FOUND_DEFAULT: usize = 5;
const FOUND_MAX: usize = 20;
/// Tokens of all texts of one answer.
const TOKENS_MAX: u64 = 4_000;

#[derive(Deserialize)]
struct Wanted {
    scope: String,
    key: Option<String>,
    query: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    source: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    limit: Option<usize>,
}

impl Wanted {
    /// Whether it has what only a query can have.
    fn narrows(&self) -> bool {
        !self.tags.is_empty() || self.source.is_some() || self.since_ms.is_some() || self.until_ms.is_some()
    }
}

/// The skill.
pub struct MemoryQuery {
    manifest: SkillManifest,
    reader: Arc<dyn MemoryReader>,
}

impl MemoryQuery {
    /// Makes the skill over this memory.
    pub fn new(reader: Arc<dyn MemoryReader>) -> Self {
        let manifest = Declaration {
            name: "memory.query",
            description: "Finds what was kept: by `key` exactly, or by `query` in words and meaning. Gives the best \
                          entries with where they come from; tags, source and times narrow a query.",
            class: EffectClass::Read,
            timeout_ms: 10_000,
            concurrency: 64,
            properties: json!({
                "scope": {"enum": ["session", "project", "global"]},
                "key": {"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX},
                "query": {"type": "string", "minLength": 1, "maxLength": 4096},
                "tags": {
                    "type": "array", "maxItems": TAGS_MAX, "description": "only entries that have all of these",
                    "items": {"type": "string", "minLength": 1, "maxLength": TAG_BYTES_MAX},
                },
                "source": {
                    "type": "string", "minLength": 1, "maxLength": 256,
                    "description": "only what comes from whom begins so: `agent:`, `person:anna`, `file:notes.md`",
                },
                "since_ms": {
                    "type": "integer", "minimum": 0,
                    "description": "only entries put at or after this time, in ms since 1970",
                },
                "until_ms": {"type": "integer", "minimum": 0, "description": "only entries put before this time"},
                "limit": {"type": "integer", "minimum": 1, "maximum": FOUND_MAX},
            }),
            required: &["scope"],
            examples: json!([
                {"scope": "project", "query": "how are tokens checked", "limit": 5},
                {"scope": "global", "key": "style"},
                {"scope": "project", "query": "nightly jobs", "tags": ["staging"], "source": "agent:"},
            ]),
        }
        .manifest();
        Self { manifest, reader }
    }
}

impl Skill for MemoryQuery {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let reader = Arc::clone(&self.reader);
        Box::pin(async move {
            let wanted: Wanted = match arguments(&order) {
                Ok(wanted) => wanted,
                Err(reason) => return Ok(CallEnd::refused(reason)),
            };
            match (&wanted.key, &wanted.query) {
                (Some(_), None) if wanted.narrows() => Ok(CallEnd::refused(
                    "`tags`, `source` and times narrow a `query`, not a `key`",
                )),
                (Some(key), None) => by_key(&*reader, &order, &wanted.scope, key).await,
                (None, Some(query)) => {
                    let query = query.as_str().into();
                    by_meaning(&*reader, &order, wanted, query).await
                }
                _ => Ok(CallEnd::refused("give either `key` or `query`")),
            }
        })
    }
}

async fn by_key(reader: &dyn MemoryReader, order: &CallOrder, scope: &str, key: &str) -> Result<CallEnd, SkillError> {
    let key = match full_key(order, scope, key) {
        Ok(key) => key,
        Err(reason) => return Ok(CallEnd::refused(reason)),
    };
    let found = reader.get(key).await.map_err(|reason| SkillError::Memory { reason })?;
    let entries: Vec<Value> = found.iter().map(shown).collect();
    Ok(CallEnd::ok(json!({ "entries": entries }).to_string()))
}

async fn by_meaning(
    reader: &dyn MemoryReader,
    order: &CallOrder,
    wanted: Wanted,
    text: Arc<str>,
) -> Result<CallEnd, SkillError> {
    let (shard, tags) = match namespace_of(order, &wanted.scope).and_then(|shard| Ok((shard, tags_of(wanted.tags)?))) {
        Ok(narrowed) => narrowed,
        Err(reason) => return Ok(CallEnd::refused(reason)),
    };
    let question = MemoryQuestion {
        text,
        tags,
        source: wanted.source.map(Into::into),
        since: wanted.since_ms.map(UtcMillis),
        until: wanted.until_ms.map(UtcMillis),
        limit: wanted.limit.unwrap_or(FOUND_DEFAULT).min(FOUND_MAX),
        tokens_max: TOKENS_MAX,
    };
    let found = reader.query(shard, question).await;
    let found = found.map_err(|reason| SkillError::Memory { reason })?;
    let entries: Vec<Value> = found.iter().map(shown).collect();
    Ok(CallEnd::ok(json!({ "entries": entries }).to_string()))
}

fn shown(entry: &crate::domain::memory::MemoryEntry) -> Value {
    let from: Vec<&str> = entry.sources.iter().map(|source| &*source.by).collect();
    json!({
        "key": entry.key.as_deref(), "text": &*entry.text, "tags": entry.tags.iter().map(|tag| &**tag).collect::<Vec<_>>(),
        "from": from, "version": entry.version, "updated_at_ms": entry.updated_at.0,
    })
}
