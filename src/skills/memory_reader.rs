//! What the memory skills need of the store, and the names under which they see it.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::memory::{KEY_BYTES_MAX, MemoryEntry, MemoryKey, MemoryScope, ShardName, TAG_BYTES_MAX, TAGS_MAX};
use crate::domain::time::UtcMillis;

use super::skill::CallOrder;

/// Reads memory entries by key.
pub trait MemoryReader: Send + Sync {
    /// The entry of this key; the error is one line for people.
    fn get(&self, key: MemoryKey) -> BoxFuture<'static, Result<Option<MemoryEntry>, String>>;

    /// The best entries of a shard for a question, best first.
    fn query(&self, shard: ShardName, question: MemoryQuestion)
    -> BoxFuture<'static, Result<Vec<MemoryEntry>, String>>;

    /// Makes room for a text of so many bytes, under this key if it has one, where a limit is reached; the error says
    /// which limit.
    fn make_room(
        &self,
        shard: ShardName,
        key: Option<Arc<str>>,
        bytes: usize,
    ) -> BoxFuture<'static, Result<(), String>>;
}

/// A question as a skill puts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryQuestion {
    /// In words.
    pub text: Arc<str>,
    /// Only entries that have all of these tags.
    pub tags: Vec<Arc<str>>,
    /// Only entries with a source that begins so, like `agent:` or `person:cli`.
    pub source: Option<Arc<str>>,
    /// Only entries put at or after this time.
    pub since: Option<UtcMillis>,
    /// Only entries put before this time.
    pub until: Option<UtcMillis>,
    /// Entries at most.
    pub limit: usize,
    /// Tokens of all texts together at most.
    pub tokens_max: u64,
}

/// The full name of an entry as a call sees it: a session is the run's step, a project its workspace.
pub(super) fn full_key(order: &CallOrder, scope: &str, key: &str) -> Result<MemoryKey, String> {
    let shard = namespace_of(order, scope)?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains(char::is_control) {
        return Err(format!(
            "a key has 1 to {KEY_BYTES_MAX} bytes and no control characters"
        ));
    }
    Ok(MemoryKey {
        scope: shard.scope,
        namespace: shard.namespace,
        key: key.into(),
    })
}

/// Tags within their limits.
pub(super) fn tags_of(tags: Vec<String>) -> Result<Vec<Arc<str>>, String> {
    let is_bad = |tag: &String| tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.contains(char::is_control);
    if tags.len() > TAGS_MAX || tags.iter().any(is_bad) {
        return Err(format!(
            "there are at most {TAGS_MAX} tags of 1 to {TAG_BYTES_MAX} bytes without control characters"
        ));
    }
    Ok(tags.into_iter().map(Into::into).collect())
}

/// The part of a scope that a call sees: a session is the run's step, a project its workspace.
pub(super) fn namespace_of(order: &CallOrder, scope: &str) -> Result<ShardName, String> {
    let known = MemoryScope::from_word(scope);
    let scope = known.ok_or_else(|| format!("there is no scope `{scope}`; there are: session, project, global"))?;
    let namespace = match scope {
        MemoryScope::Session => format!("{}/{}", order.run, order.step),
        MemoryScope::Project => order.workspace.display().to_string(),
        MemoryScope::Global => String::new(),
    };
    Ok(ShardName {
        scope,
        namespace: namespace.into(),
    })
}
