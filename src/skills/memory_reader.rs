//! What the memory skills need of the store, and the names under which they see it.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::memory::{MemoryEntry, MemoryKey, MemoryScope, ShardName};

use super::skill::CallOrder;

/// Reads memory entries by key.
pub trait MemoryReader: Send + Sync {
    /// The entry of this key; the error is one line for people.
    fn get(&self, key: MemoryKey) -> BoxFuture<'static, Result<Option<MemoryEntry>, String>>;

    /// The best entries of a shard for a question, best first, with at most so many tokens of text.
    fn query(
        &self,
        shard: ShardName,
        question: Arc<str>,
        limit: usize,
        tokens_max: u64,
    ) -> BoxFuture<'static, Result<Vec<MemoryEntry>, String>>;

    /// Makes room for a text of so many bytes under a key where a limit is reached; the error says which limit.
    fn make_room(&self, key: MemoryKey, bytes: usize) -> BoxFuture<'static, Result<(), String>>;
}

/// Bytes of a key.
pub(super) const KEY_BYTES_MAX: usize = 256;

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
