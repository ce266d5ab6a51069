//! Memory as an operator keeps it: figures, prune, restore, promote, verify, import.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::memory::{MemoryEntry, MemoryScope, MemoryState, ShardName};
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::wire::memory::{EntryWire, missing_number, refused, shard, view};
use crate::gateway::wire::run::time;
use crate::memory::embed::table::EMBEDDER;

/// Entries of one import.
const IMPORT_MAX: usize = 1_000;

/// Which part, or none for all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartWire {
    scope: Option<String>,
    project: Option<String>,
    session: Option<String>,
}

impl PartWire {
    fn one(&self) -> Result<ShardName, ApiError> {
        let scope = self.scope.as_deref().unwrap_or_default();
        shard(scope, self.project.as_deref(), self.session.as_deref())
    }

    fn one_or_all(&self) -> Result<Option<ShardName>, ApiError> {
        match &self.scope {
            None if self.project.is_none() && self.session.is_none() => Ok(None),
            _ => self.one().map(Some),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PruneWire {
    part: Option<PartWire>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryPlace {
    part: PartWire,
    id: u64,
    to: Option<PartWire>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyWire {
    part: Option<PartWire>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportWire {
    part: PartWire,
    entries: Vec<Value>,
    /// The line of the first entry in its file, for messages.
    first_line: Option<u64>,
    /// Only looks whether all could be taken.
    #[serde(default)]
    check: bool,
}

fn name(shard: &ShardName) -> Value {
    json!({ "scope": shard.scope.as_str(), "namespace": &*shard.namespace })
}

/// `GET /v1/memory/stats`: figures of every part.
pub async fn stats(State(parts): State<GatewayParts>, caller: Authenticated) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:read")?;
    let counts = parts.memory.figures().await.map_err(|error| refused(&error))?;
    let tier = |scope: MemoryScope| {
        let own = counts.iter().filter(|count| count.name.scope == scope);
        let sums = own.fold((0, 0, 0, 0), |(parts, live, bytes, archived), count| {
            (
                parts + 1,
                live + count.live,
                bytes + count.bytes,
                archived + count.archived,
            )
        });
        json!({ "parts": sums.0, "entries": sums.1, "bytes": sums.2, "archived": sums.3 })
    };
    let tiers: serde_json::Map<String, Value> = MemoryScope::ALL
        .iter()
        .map(|scope| (scope.as_str().to_owned(), tier(*scope)))
        .collect();
    let listed: Vec<Value> = counts
        .iter()
        .map(|count| {
            let mut part = name(&count.name);
            part["entries"] = count.live.into();
            part["bytes"] = count.bytes.into();
            part["archived"] = count.archived.into();
            part
        })
        .collect();
    let pruned = parts.store.memory_last_prune().ok().flatten();
    Ok(Json(json!({
        "tiers": tiers,
        "parts": listed,
        "open_parts": parts.memory.open_count(),
        "store_bytes": parts.store.file_bytes(),
        "last_prune": pruned.map(time),
        "embedder": embedder(&parts)?,
    })))
}

/// What makes vectors, and how far it is.
fn embedder(parts: &GatewayParts) -> Result<Value, ApiError> {
    let Some((name, figures)) = parts.memory.embedder().map_err(|error| refused(&error))? else {
        return Ok(json!({ "name": EMBEDDER, "built_in": true }));
    };
    let failure = parts.memory.embedder_failure();
    Ok(json!({
        "name": &*name,
        "built_in": false,
        "parts": figures.shards,
        "parts_complete": figures.complete,
        "parts_earlier": figures.earlier,
        "due": figures.due,
        "refused": figures.refused,
        "failure": failure.as_deref(),
    }))
}

/// `POST /v1/memory/prune`.
pub async fn prune(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:write")?;
    let wanted: PruneWire = body.read_or_empty()?;
    let only = wanted.part.unwrap_or_default().one_or_all()?;
    let report = parts.memory.prune(only, !wanted.dry_run).await;
    let report = report.map_err(|error| refused(&error))?;
    let entries: Vec<Value> = report
        .going
        .iter()
        .map(|going| {
            let mut entry = view(&going.shard, &going.entry);
            entry["why"] = going.why.as_ref().into();
            entry
        })
        .collect();
    Ok(Json(json!({
        "dry_run": wanted.dry_run,
        "archived": report.archived,
        "damaged": report.damaged,
        "entries": entries,
        "more": report.archived.saturating_sub(entries.len() as u64),
    })))
}

/// `POST /v1/memory/restore`.
pub async fn restore(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:write")?;
    let wanted: EntryPlace = body.read_or_empty()?;
    let shard = wanted.part.one()?;
    parts.demand_room()?;
    let restored = parts.memory.restore(&shard, wanted.id).await;
    let entry = restored.map_err(|error| refused(&error))?;
    let entry = entry.ok_or_else(|| missing_number(wanted.id))?;
    if entry.state != MemoryState::Live {
        let message = format!("entry {} was not restored", wanted.id);
        return Err(ApiError::new(code::MEMORY_NOT_RESTORED, message)
            .hint("a newer entry has its key or its text; forget that one first, or leave it so"));
    }
    Ok(Json(view(&shard, &entry)))
}

/// `POST /v1/memory/promote`: copies an entry into another part.
pub async fn promote(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:write")?;
    let wanted: EntryPlace = body.read_or_empty()?;
    let from = wanted.part.one()?;
    let to = wanted
        .to
        .ok_or_else(|| ApiError::invalid("say where to by `to`"))?
        .one()?;
    if from == to {
        return Err(ApiError::invalid("it is there already"));
    }
    parts.demand_room()?;
    let promoted = parts.memory.promote(&from, wanted.id, &to).await;
    let promoted = promoted.map_err(|error| refused(&error))?;
    promoted.ok_or_else(|| missing_number(wanted.id))?;
    Ok(Json(json!({ "promoted": true, "id": wanted.id, "to": name(&to) })))
}

/// `POST /v1/memory/verify`: compares store and indexes.
pub async fn verify(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:write")?;
    let wanted: VerifyWire = body.read_or_empty()?;
    let only = wanted.part.unwrap_or_default().one_or_all()?;
    let verified = parts.memory.verify(only.as_ref()).await;
    let verified = verified.map_err(|error| refused(&error))?;
    let clean = verified.iter().all(crate::memory::upkeep::Verified::is_clean);
    let listed: Vec<Value> = verified
        .iter()
        .map(|verified| {
            let review = &verified.review;
            let mut part = name(&verified.shard);
            part["entries"] = review.entries.into();
            part["live"] = review.live.len().into();
            part["damaged"] = review.damaged.clone().into();
            part["quarantined"] = review.quarantined.into();
            part["findings"] = review.findings.clone().into();
            part["findings_more"] = review.findings_more.into();
            part["index_compared"] = verified.index_compared.into();
            part
        })
        .collect();
    Ok(Json(json!({ "clean": clean, "parts": listed })))
}

/// `POST /v1/memory/import`: all entries or none; the same again changes nothing.
pub async fn import(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.needs("memory:write")?;
    let wanted: ImportWire = body.read_or_empty()?;
    let shard = wanted.part.one()?;
    if wanted.entries.len() > IMPORT_MAX {
        return Err(ApiError::invalid(format!("an import has at most {IMPORT_MAX} entries")));
    }
    let now = parts.clock.now();
    let first = wanted.first_line.unwrap_or(1);
    let mut entries: Vec<MemoryEntry> = Vec::with_capacity(wanted.entries.len());
    for (line, value) in (first..).zip(wanted.entries) {
        let wire: Result<EntryWire, _> = serde_json::from_value(value);
        let entry = wire.map_err(|error| error.to_string()).and_then(|wire| {
            wire.into_entry(&caller.0.name, now)
                .map_err(|error| error.message().to_owned())
        });
        entries.push(entry.map_err(|reason| {
            ApiError::new(code::MEMORY_IMPORT, format!("line {line} cannot be taken: {reason}"))
                .hint("nothing of this import was taken; `openclaw memory export` shows how a line looks")
        })?);
    }
    let count = entries.len();
    if !wanted.check {
        parts.demand_room()?;
        parts
            .memory
            .take(&shard, entries)
            .await
            .map_err(|error| refused(&error))?;
    }
    Ok(Json(json!({ "entries": count, "taken": !wanted.check })))
}
