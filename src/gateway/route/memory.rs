//! Memory: entries by key, and questions by meaning.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::memory::{MemoryEdit, MemoryEntry, MemorySource, MemoryState, ShardName};
use crate::domain::time::UtcMillis;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::{Path, Query};
use crate::gateway::wire::memory::{
    end_of, importance_of, key_of, missing, missing_number, new_key, refused, shard, source_of, tags_of, text_of, view,
};
use crate::memory::collect::round::session_has_ended;
use crate::memory::handle::MemoryError;
use crate::memory::keep::Wish;
use crate::memory::question::{FOUND_DEFAULT, FOUND_MAX, FoundEntry, Question};

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of a question.
const QUESTION_BYTES_MAX: usize = 8 * 1024;
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
    /// Which entries of a list: `live`, `archived` or `all`.
    state: Option<String>,
    /// Whether the earlier texts of a key come with it.
    #[serde(default)]
    history: bool,
    /// The number of an entry, for forgetting one without a key.
    id: Option<u64>,
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
    source: Option<String>,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    scope: String,
    project: Option<String>,
    session: Option<String>,
    /// The words of a question …
    query: Option<String>,
    /// … or the key of one entry.
    key: Option<String>,
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
    let mut answer = view(&shard, &entry);
    if part.history {
        let history = parts.store.memory_history(&shard, &entry);
        let history = history.map_err(|error| refused(&MemoryError::Store(Arc::new(error))))?;
        answer["history"] = history.iter().map(|entry| view(&shard, entry)).collect();
    }
    Ok(Json(answer))
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
    let kept = keep(&parts, &caller, shard.clone(), Some(new_key(&key)?), body.read()?).await?;
    let entry = kept.ok_or_else(|| missing(&key))?;
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
    let kept = keep(&parts, &caller, shard, None, body.read()?).await?;
    // Without a key its number is all that names it.
    let id = kept.map(|entry| entry.id);
    Ok((StatusCode::CREATED, Json(json!({ "kept": true, "id": id }))))
}

async fn keep(
    parts: &GatewayParts,
    caller: &Authenticated,
    shard: ShardName,
    key: Option<Arc<str>>,
    put: Put,
) -> Result<Option<MemoryEntry>, ApiError> {
    parts.demand_room()?;
    let now = parts.clock.now();
    let by = match &put.source {
        Some(source) => source_of(source)?,
        None => format!("person:{}", caller.0.name).into(),
    };
    let wish = Wish {
        shard,
        key,
        text: text_of(put.text)?,
        tags: tags_of(put.tags)?,
        source: MemorySource { by, run: None },
        importance: importance_of(put.importance)?,
        expires_at: end_of(put.expires_in_s, now)?,
    };
    let kept = parts.memory.put(wish.prepare(now)).await;
    kept.map_err(|error| refused(&error))
}

/// `DELETE /v1/memory/{scope}/{key}`: forgets all that was kept under the key, archived or not.
pub async fn forget(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path((scope, key)): Path<(String, String)>,
    Query(part): Query<Part>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:write")?;
    let shard = shard(&scope, part.project.as_deref(), part.session.as_deref())?;
    let forgotten = parts.memory.forget(&key_of(shard, &key)?).await;
    let id = forgotten.map_err(|error| refused(&error))?;
    let id = id.ok_or_else(|| missing(&key))?;
    Ok(Json(json!({ "forgotten": true, "id": id })))
}

/// `DELETE /v1/memory/{scope}?id=`: forgets an entry by its number, live or archived.
pub async fn forget_number(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(scope): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:write")?;
    let shard = shard(&scope, part.project.as_deref(), part.session.as_deref())?;
    let id = part.id.ok_or_else(|| ApiError::invalid("say which by `id`"))?;
    let found = parts.memory.entry(&shard, id).await.map_err(|error| refused(&error))?;
    let found = found.filter(|entry| !matches!(entry.state, MemoryState::Superseded { .. }));
    found.ok_or_else(|| missing_number(id))?;
    let forgotten = parts.memory.edit(shard, id, MemoryEdit::Forget).await;
    forgotten.map_err(|error| refused(&error))?;
    Ok(Json(json!({ "forgotten": true, "id": id })))
}

/// `GET /v1/memory/{scope}`: entries, oldest first.
pub async fn list(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(scope): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:read")?;
    let shard = shard(&scope, part.project.as_deref(), part.session.as_deref())?;
    let limit = part.limit.unwrap_or(100).clamp(1, LIST_MAX);
    let (live, archived) = match part.state.as_deref() {
        None | Some("live") => (true, false),
        Some("archived") => (false, true),
        Some("all") => (true, true),
        Some(_) => return Err(ApiError::invalid("state is `live`, `archived` or `all`")),
    };
    let store = |error| refused(&MemoryError::Store(Arc::new(error)));
    // What is left of a session is its archive.
    let live = live && !session_has_ended(&parts.store, &shard).map_err(store)?;
    let page = parts
        .store
        .memory_page(&shard, part.after.unwrap_or(0), limit)
        .map_err(store)?;
    let now = parts.clock.now();
    let shown = page.entries.iter().filter(|entry| match entry.state {
        MemoryState::Live => live && entry.expires_at.is_none_or(|at| at > now),
        MemoryState::Archived { .. } => archived,
        MemoryState::Superseded { .. } => false,
    });
    let entries: Vec<Value> = shown.map(|entry| view(&shard, entry)).collect();
    Ok(Json(
        json!({ "entries": entries, "next": page.next, "damaged": page.damaged }),
    ))
}

/// `POST /v1/memory/query`.
pub async fn query(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:read")?;
    let asked: Asked = body.read()?;
    let shard = shard(&asked.scope, asked.project.as_deref(), asked.session.as_deref())?;
    let query = match (asked.query, asked.key) {
        (Some(query), None) => query,
        (None, Some(key)) => {
            let narrows = asked.source.is_some() || asked.since_ms.is_some() || asked.until_ms.is_some();
            if narrows || !asked.tags.is_empty() {
                let what = "tags, source and times narrow a `query`, not a `key`";
                return Err(ApiError::invalid(what));
            }
            let found = parts.memory.get(&key_of(shard.clone(), &key)?).await;
            let found = found.map_err(|error| refused(&error))?;
            let entries: Vec<Value> = found.iter().map(|entry| view(&shard, entry)).collect();
            return Ok(Json(json!({ "entries": entries, "words_alone": null })));
        }
        _ => return Err(ApiError::invalid("give either `query` or `key`")),
    };
    if query.trim().is_empty() || query.len() > QUESTION_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "a query has 1 to {QUESTION_BYTES_MAX} bytes"
        )));
    }
    let question = Question {
        text: query.into(),
        tags: tags_of(asked.tags)?,
        source: asked.source.map(Into::into),
        since: asked.since_ms.map(UtcMillis),
        until: asked.until_ms.map(UtcMillis),
        limit: asked.limit.unwrap_or(FOUND_DEFAULT).clamp(1, FOUND_MAX),
        tokens_max: asked.tokens_max,
    };
    let found = parts.memory.answer(&shard, question, ANSWER_MAX).await;
    let found = found.map_err(|error| refused(&error))?;
    parts.memory.note_used(&found.entries);
    let entries: Vec<Value> = found.entries.iter().map(|found| hit(found, asked.explain)).collect();
    let words_alone = found
        .words_alone
        .map(|why| json!({ "code": code::MEMORY_WORDS_ALONE.id, "kind": code::MEMORY_WORDS_ALONE.kind, "why": &*why }));
    Ok(Json(json!({ "entries": entries, "words_alone": words_alone })))
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
            "answers": rounded(parts.answers),
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
