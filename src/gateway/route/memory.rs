//! Memory: entries by key, and questions by meaning.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::fault::{Fault, in_one_line};
use crate::domain::memory::{
    IMPORTANCE_DEFAULT, MemoryEdit, MemoryEntry, MemoryKey, MemoryScope, MemorySource, MemoryState, ShardName,
    TEXT_BYTES_MAX,
};
use crate::domain::text::preview;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::wire::run::time;
use crate::memory::handle::MemoryError;
use crate::memory::keep::Wish;
use crate::memory::question::{FOUND_DEFAULT, FOUND_MAX, FoundEntry, Question};

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 256;
/// Bytes of a question.
const QUESTION_BYTES_MAX: usize = 8 * 1024;
/// Tags of one entry or question.
const TAGS_MAX: usize = 16;
/// Bytes of one tag.
const TAG_BYTES_MAX: usize = 64;
/// Entries of one list.
const LIST_MAX: usize = 500;

/// Which part of a scope, as query parameters.
#[derive(Debug, Deserialize)]
pub struct Part {
    /// The project's folder, for scope `project`.
    project: Option<String>,
    /// The session, for scope `session`.
    session: Option<String>,
    /// The number of the last entry of the page before.
    after: Option<u64>,
    /// Entries at most.
    limit: Option<usize>,
}

/// What is put.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    text: String,
    #[serde(default)]
    tags: Vec<String>,
    importance: Option<u8>,
    expires_in_s: Option<u64>,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    scope: String,
    project: Option<String>,
    session: Option<String>,
    query: String,
    #[serde(default)]
    tags: Vec<String>,
    source: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    limit: Option<usize>,
    tokens_max: Option<u64>,
    #[serde(default)]
    explain: bool,
}

fn shard(scope: &str, project: Option<&str>, session: Option<&str>) -> Result<ShardName, ApiError> {
    let known = MemoryScope::from_word(scope);
    let scope = known.ok_or_else(|| ApiError::invalid("scope is `session`, `project` or `global`"))?;
    let namespace = match (scope, project, session) {
        (MemoryScope::Global, None, None) => "",
        (MemoryScope::Project, Some(project), None) if project.starts_with('/') => project.trim_end_matches('/'),
        (MemoryScope::Session, None, Some(session)) if !session.is_empty() => session,
        (MemoryScope::Global, _, _) => return Err(ApiError::invalid("scope global has no parts")),
        (MemoryScope::Project, _, _) => {
            return Err(ApiError::invalid(
                "scope project needs `project`: the absolute path of its folder",
            ));
        }
        (MemoryScope::Session, _, _) => {
            return Err(ApiError::invalid(
                "scope session needs `session`: run and step, as in run_…/step",
            ));
        }
    };
    if namespace.len() > 4096 || namespace.contains(char::is_control) {
        return Err(ApiError::invalid("this name of a project or session cannot be used"));
    }
    Ok(ShardName {
        scope,
        namespace: namespace.into(),
    })
}

fn key_of(shard: ShardName, key: &str) -> Result<MemoryKey, ApiError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains(char::is_control) {
        return Err(ApiError::invalid(format!(
            "a key has 1 to {KEY_BYTES_MAX} bytes and no control characters"
        )));
    }
    Ok(MemoryKey {
        scope: shard.scope,
        namespace: shard.namespace,
        key: key.into(),
    })
}

fn tags_of(tags: Vec<String>) -> Result<Vec<Arc<str>>, ApiError> {
    if tags.len() > TAGS_MAX || tags.iter().any(|tag| tag.is_empty() || tag.len() > TAG_BYTES_MAX) {
        return Err(ApiError::invalid(format!(
            "there are at most {TAGS_MAX} tags of 1 to {TAG_BYTES_MAX} bytes"
        )));
    }
    Ok(tags.into_iter().map(Into::into).collect())
}

fn read<T: DeserializeOwned>(body: &Body) -> Result<T, ApiError> {
    let value = body.json()?;
    serde_json::from_value(value).map_err(|error| ApiError::invalid(format!("the body cannot be read: {error}")))
}

fn refused(error: &MemoryError) -> ApiError {
    let code = match error.fault() {
        Fault::Overloaded => code::MEMORY_BUSY,
        Fault::Corrupt => code::STORE_CORRUPT,
        _ => code::STORE_FAILED,
    };
    ApiError::new(code, in_one_line(error))
}

fn missing(key: &str) -> ApiError {
    let message = format!("nothing is kept under `{}`", preview(key, 80));
    ApiError::new(code::MEMORY_NOT_FOUND, message).hint("POST /v1/memory/query finds by meaning")
}

/// `GET /v1/memory/{scope}/{key}`.
pub async fn get(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path((scope, key)): Path<(String, String)>,
    Query(part): Query<Part>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:read")?;
    let shard = shard(&scope, part.project.as_deref(), part.session.as_deref())?;
    let full = key_of(shard.clone(), &key)?;
    let found = parts.memory.get(&full).await.map_err(|error| refused(&error))?;
    let entry = found.ok_or_else(|| missing(&key))?;
    Ok(Json(view(&shard, &entry)))
}

/// `PUT /v1/memory/{scope}/{key}`.
pub async fn put(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path((scope, key)): Path<(String, String)>,
    Query(part): Query<Part>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:write")?;
    let shard = shard(&scope, part.project.as_deref(), part.session.as_deref())?;
    let full = key_of(shard.clone(), &key)?;
    keep(&parts, &caller, shard.clone(), Some(full.key.clone()), read(&body)?).await?;
    let found = parts.memory.get(&full).await.map_err(|error| refused(&error))?;
    let entry = found.ok_or_else(|| missing(&key))?;
    Ok(Json(view(&shard, &entry)))
}

/// `POST /v1/memory/{scope}`: keeps a text without a key.
pub async fn add(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(scope): Path<String>,
    Query(part): Query<Part>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    caller.needs("memory:write")?;
    let shard = shard(&scope, part.project.as_deref(), part.session.as_deref())?;
    keep(&parts, &caller, shard, None, read(&body)?).await?;
    Ok((StatusCode::CREATED, Json(json!({ "kept": true }))))
}

async fn keep(
    parts: &GatewayParts,
    caller: &Authenticated,
    shard: ShardName,
    key: Option<Arc<str>>,
    put: Put,
) -> Result<(), ApiError> {
    if put.text.is_empty() || put.text.len() > TEXT_BYTES_MAX {
        return Err(ApiError::invalid(format!("a text has 1 to {TEXT_BYTES_MAX} bytes")));
    }
    let importance = put.importance.unwrap_or(IMPORTANCE_DEFAULT);
    if importance > 100 {
        return Err(ApiError::invalid("importance is 0 to 100"));
    }
    let now = parts.clock.now();
    let wish = Wish {
        shard,
        key,
        text: put.text.into(),
        tags: tags_of(put.tags)?,
        source: MemorySource {
            by: format!("person:{}", caller.0.name).into(),
            run: None,
        },
        importance,
        expires_at: put.expires_in_s.map(|s| now.plus_ms(s.saturating_mul(1_000))),
    };
    let kept = parts.memory.put(wish.prepare(now)).await;
    kept.map_err(|error| refused(&error))
}

/// `DELETE /v1/memory/{scope}/{key}`.
pub async fn forget(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path((scope, key)): Path<(String, String)>,
    Query(part): Query<Part>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:write")?;
    let shard = shard(&scope, part.project.as_deref(), part.session.as_deref())?;
    let full = key_of(shard.clone(), &key)?;
    let found = parts.memory.get(&full).await.map_err(|error| refused(&error))?;
    let entry = found.ok_or_else(|| missing(&key))?;
    let forgotten = parts.memory.edit(shard, entry.id, MemoryEdit::Forget).await;
    forgotten.map_err(|error| refused(&error))?;
    Ok(Json(json!({ "forgotten": true, "id": entry.id })))
}

/// `GET /v1/memory/{scope}`: live entries, oldest first.
pub async fn list(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(scope): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:read")?;
    let shard = shard(&scope, part.project.as_deref(), part.session.as_deref())?;
    let limit = part.limit.unwrap_or(100).clamp(1, LIST_MAX);
    let page = parts.store.memory_list(&shard, part.after.unwrap_or(0), limit);
    let page = page.map_err(|error| refused(&MemoryError::Store(Arc::new(error))))?;
    let next = (page.len() == limit)
        .then(|| page.last().map(|entry| entry.id))
        .flatten();
    let live = page.iter().filter(|entry| entry.state == MemoryState::Live);
    let entries: Vec<Value> = live.map(|entry| view(&shard, entry)).collect();
    Ok(Json(json!({ "entries": entries, "next": next })))
}

/// `POST /v1/memory/query`.
pub async fn query(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:read")?;
    let asked: Asked = read(&body)?;
    if asked.query.trim().is_empty() || asked.query.len() > QUESTION_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "a query has 1 to {QUESTION_BYTES_MAX} bytes"
        )));
    }
    let shard = shard(&asked.scope, asked.project.as_deref(), asked.session.as_deref())?;
    let question = Question {
        text: asked.query.into(),
        tags: tags_of(asked.tags)?,
        source: asked.source.map(Into::into),
        since: asked.since_ms.map(crate::domain::time::UtcMillis),
        until: asked.until_ms.map(crate::domain::time::UtcMillis),
        limit: asked.limit.unwrap_or(FOUND_DEFAULT).clamp(1, FOUND_MAX),
        tokens_max: asked.tokens_max,
    };
    let found = parts.memory.query(&shard, question, ANSWER_MAX).await;
    let found = found.map_err(|error| refused(&error))?;
    let entries: Vec<Value> = found.iter().map(|found| hit(found, asked.explain)).collect();
    Ok(Json(json!({ "entries": entries })))
}

fn hit(found: &FoundEntry, explain: bool) -> Value {
    let mut view = view(&found.shard, &found.entry);
    view["score"] = rounded(found.score);
    if explain {
        let parts = &found.parts;
        view["score_parts"] = json!({
            "words": rounded(parts.words),
            "words_around": rounded(parts.words_around),
            "meaning": rounded(parts.meaning),
            "meaning_with_previous": rounded(parts.meaning_pair),
            "neighbour": rounded(parts.neighbour),
            "fit": rounded(parts.fit),
            "second": rounded(parts.second),
            "prior": rounded(parts.prior),
            "cosine": rounded(parts.cosine),
            "covered": rounded(parts.covered),
        });
    }
    view
}

fn rounded(value: f32) -> Value {
    ((f64::from(value) * 10_000.0).round() / 10_000.0).into()
}

fn view(shard: &ShardName, entry: &MemoryEntry) -> Value {
    let sources = entry.sources.iter();
    let sources: Vec<Value> = sources
        .map(|source| json!({ "by": &*source.by, "run": source.run.map(|run| run.to_string()) }))
        .collect();
    json!({
        "id": entry.id,
        "scope": shard.scope.as_str(),
        "namespace": &*shard.namespace,
        "key": entry.key.as_deref(),
        "text": &*entry.text,
        "tags": entry.tags.iter().map(|tag| &**tag).collect::<Vec<_>>(),
        "sources": sources,
        "importance": entry.importance,
        "created_at": time(entry.created_at),
        "updated_at": time(entry.updated_at),
        "used_at": time(entry.used_at),
        "uses": entry.uses,
        "expires_at": entry.expires_at.map(time),
        "version": entry.version,
        "previous": entry.previous,
    })
}
