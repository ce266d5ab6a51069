//! Memory on the wire: the names of its parts, entries, errors.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::fault::{Fault, in_one_line};
use crate::domain::memory::{
    EXPIRES_IN_S_MAX, IMPORTANCE_DEFAULT, KEY_BYTES_MAX, MemoryEntry, MemoryKey, MemoryScope, MemorySource,
    MemoryState, ShardName, TAG_BYTES_MAX, TAGS_MAX, TEXT_BYTES_MAX, is_source,
};
use crate::domain::text::preview;
use crate::domain::text_policy::is_visible;
use crate::domain::time::UtcMillis;
use crate::gateway::error::ApiError;
use crate::gateway::wire::run::time;
use crate::memory::handle::MemoryError;

/// Sources of one entry.
const SOURCES_MAX: usize = 8;

/// Which part of the memory: scope, and project or session.
pub fn shard(scope: &str, project: Option<&str>, session: Option<&str>) -> Result<ShardName, ApiError> {
    let known = MemoryScope::from_word(scope);
    let scope = known.ok_or_else(|| ApiError::invalid("scope is `session`, `project` or `global`"))?;
    let namespace = match (scope, project, session) {
        (MemoryScope::Global, None, None) => String::new(),
        (MemoryScope::Project, Some(project), None) if project.starts_with('/') => folder(project),
        (MemoryScope::Session, None, Some(session)) if !session.is_empty() => session.to_owned(),
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

/// A project's folder without links and dots, as runs name it; of one that is not there (any more) without dots.
fn folder(project: &str) -> String {
    let real = Path::new(project).canonicalize().unwrap_or_else(|_| {
        let mut clean = PathBuf::from("/");
        for part in Path::new(project).components() {
            match part {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => {
                    clean.pop();
                }
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        clean
    });
    real.display().to_string()
}

/// The full name of an entry.
pub fn key_of(shard: ShardName, key: &str) -> Result<MemoryKey, ApiError> {
    Ok(MemoryKey {
        scope: shard.scope,
        namespace: shard.namespace,
        key: key_text(key)?,
    })
}

fn key_text(key: &str) -> Result<Arc<str>, ApiError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains(char::is_control) {
        return Err(ApiError::invalid(format!(
            "a key has 1 to {KEY_BYTES_MAX} bytes and no control characters"
        )));
    }
    Ok(key.into())
}

/// A key that something is to be kept under. One that is kept already can be read and forgotten, however it looks.
pub fn new_key(key: &str) -> Result<Arc<str>, ApiError> {
    if matches!(key, "." | "..") {
        return Err(ApiError::invalid("`.` and `..` are no keys: no address can name them"));
    }
    if !is_visible(key) {
        let what = "a key shows all its characters: none that are invisible or change the direction";
        return Err(ApiError::invalid(what));
    }
    key_text(key)
}

/// Tags within their limits.
pub fn tags_of(tags: Vec<String>) -> Result<Vec<Arc<str>>, ApiError> {
    let is_bad = |tag: &String| tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.contains(char::is_control);
    if tags.len() > TAGS_MAX || tags.iter().any(is_bad) {
        return Err(ApiError::invalid(format!(
            "there are at most {TAGS_MAX} tags of 1 to {TAG_BYTES_MAX} bytes without control characters"
        )));
    }
    Ok(tags.into_iter().map(Into::into).collect())
}

/// An importance within its limits.
pub fn importance_of(importance: Option<u8>) -> Result<u8, ApiError> {
    let importance = importance.unwrap_or(IMPORTANCE_DEFAULT);
    if importance > 100 {
        return Err(ApiError::invalid("importance is 0 to 100"));
    }
    Ok(importance)
}

/// The end of what ends after so many seconds.
pub fn end_of(expires_in_s: Option<u64>, now: UtcMillis) -> Result<Option<UtcMillis>, ApiError> {
    if expires_in_s.is_some_and(|s| !(1..=EXPIRES_IN_S_MAX).contains(&s)) {
        return Err(ApiError::invalid(format!(
            "expires_in_s is 1 to {EXPIRES_IN_S_MAX}, ten years; what is to stay longer needs no end"
        )));
    }
    Ok(expires_in_s.map(|s| now.plus_ms(s * 1_000)))
}

/// A text within its limits.
pub fn text_of(text: String) -> Result<Arc<str>, ApiError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(ApiError::invalid(format!("a text has 1 to {TEXT_BYTES_MAX} bytes")));
    }
    Ok(text.into())
}

/// A source that says what kind it is.
pub fn source_of(by: &str) -> Result<Arc<str>, ApiError> {
    if !is_source(by) || by.contains(char::is_control) {
        return Err(ApiError::invalid(
            "a source is agent:, person:, file:, run: or step: and a name of at most 256 bytes",
        ));
    }
    Ok(by.into())
}

/// An error of the memory.
pub fn refused(error: &MemoryError) -> ApiError {
    let code = match error.fault() {
        _ if matches!(error, MemoryError::Full { .. }) => code::MEMORY_FULL,
        _ if matches!(error, MemoryError::Damaged(_)) => code::MEMORY_DAMAGED,
        _ if matches!(error, MemoryError::SessionEnded) => code::MEMORY_SESSION_ENDED,
        Fault::Overloaded => code::MEMORY_BUSY,
        Fault::Corrupt => code::STORE_CORRUPT,
        _ => code::STORE_FAILED,
    };
    let answer = ApiError::new(code, in_one_line(error));
    match error {
        MemoryError::Full { .. } => answer.hint(
            "nothing was kept; `openclaw memory prune` or a higher memory.maxEntries or memory.maxBytes makes room",
        ),
        MemoryError::SessionEnded => answer.hint("keep it in the project, or promote what the session knew"),
        MemoryError::Damaged(_) => answer.hint("its bytes are kept aside; `openclaw memory verify` looks for more"),
        _ => answer,
    }
}

/// Nothing is kept there.
pub fn missing(key: &str) -> ApiError {
    let message = format!("nothing is kept under `{}`", preview(key, 80));
    ApiError::new(code::MEMORY_NOT_FOUND, message).hint("POST /v1/memory/query finds by meaning")
}

/// There is no entry of this number.
pub fn missing_number(id: u64) -> ApiError {
    ApiError::new(code::MEMORY_NOT_FOUND, format!("there is no entry {id} here"))
        .hint("GET /v1/memory/{scope}?state=all lists the entries")
}

/// An entry as clients see it.
pub fn view(shard: &ShardName, entry: &MemoryEntry) -> Value {
    let sources = entry.sources.iter();
    let sources: Vec<Value> = sources
        .map(|source| json!({ "by": &*source.by, "run": source.run.map(|run| run.to_string()) }))
        .collect();
    let (state, newer, archived) = match &entry.state {
        MemoryState::Live => ("live", None, None),
        MemoryState::Superseded { by, .. } => ("superseded", Some(*by), None),
        MemoryState::Archived { at, why, until } => {
            let archived = json!({ "at": time(*at), "why": &**why, "until": time(*until) });
            ("archived", None, Some(archived))
        }
    };
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
        "state": state,
        "newer": newer,
        "archived": archived,
    })
}

/// An entry as it is exported and imported, one a line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryWire {
    key: Option<String>,
    text: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    sources: Vec<SourceWire>,
    importance: Option<u8>,
    created_at: Option<String>,
    updated_at: Option<String>,
    used_at: Option<String>,
    uses: Option<u64>,
    expires_at: Option<String>,
    version: Option<u64>,
    // What an export says beside it; the place where it is taken in decides.
    #[serde(rename = "id")]
    _id: Option<u64>,
    #[serde(rename = "scope")]
    _scope: Option<String>,
    #[serde(rename = "namespace")]
    _namespace: Option<String>,
    #[serde(rename = "previous")]
    _previous: Option<u64>,
    #[serde(rename = "state")]
    _state: Option<String>,
    #[serde(rename = "newer")]
    _newer: Option<u64>,
    #[serde(rename = "archived")]
    _archived: Option<Value>,
}

/// Where an entry comes from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceWire {
    by: String,
    run: Option<String>,
}

impl EntryWire {
    /// The entry, with what it does not say filled in.
    pub fn into_entry(self, caller: &str, now: UtcMillis) -> Result<MemoryEntry, ApiError> {
        let key = match self.key {
            Some(key) => Some(new_key(&key)?),
            None => None,
        };
        if self.sources.len() > SOURCES_MAX {
            return Err(ApiError::invalid(format!("an entry has at most {SOURCES_MAX} sources")));
        }
        let mut sources = Vec::with_capacity(self.sources.len().max(1));
        for source in &self.sources {
            let run = source.run.as_deref().map(str::parse).transpose();
            sources.push(MemorySource {
                by: source_of(&source.by)?,
                run: run.map_err(|_| ApiError::invalid("a run is named run_…"))?,
            });
        }
        if sources.is_empty() {
            sources.push(MemorySource {
                by: format!("person:{caller}").into(),
                run: None,
            });
        }
        let created_at = time_of(self.created_at.as_deref())?.unwrap_or(now);
        let updated_at = time_of(self.updated_at.as_deref())?.unwrap_or(created_at);
        Ok(MemoryEntry {
            id: 0,
            key,
            text: text_of(self.text)?,
            tags: tags_of(self.tags)?,
            sources,
            importance: importance_of(self.importance)?,
            created_at,
            updated_at,
            // It was just thought worth taking in, however old it is: nothing prunes it at once.
            used_at: time_of(self.used_at.as_deref())?.unwrap_or(now),
            uses: self.uses.unwrap_or(0),
            expires_at: time_of(self.expires_at.as_deref())?,
            version: self.version.unwrap_or(1).max(1),
            previous: None,
            state: MemoryState::Live,
        })
    }
}

fn time_of(text: Option<&str>) -> Result<Option<UtcMillis>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let time: Result<jiff::Timestamp, _> = text.parse();
    let ms = time.ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    let ms = ms.ok_or_else(|| ApiError::invalid("a time is written as 2026-11-22T18:00:00Z, from 1970 on"))?;
    Ok(Some(UtcMillis(ms)))
}
