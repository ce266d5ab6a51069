//! From what somebody wants kept to what the writer puts: the hash and the vector are made here, outside of any
//! transaction.
//!
//! Refuses to know: who asks. Invariant: pure; the same text always has the same hash and vector.

use std::sync::Arc;

use crate::domain::memory::{MemorySource, MemoryVector, NewMemory, ShardName};
use crate::domain::time::UtcMillis;
use crate::storage::memory_row::text_hash;

use super::embed::table::{EMBEDDER, embed_quantised};

/// What is wanted kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Where.
    pub shard: ShardName,
    /// Under which key, if any.
    pub key: Option<Arc<str>>,
    /// The text.
    pub text: Arc<str>,
    /// Words to filter by.
    pub tags: Vec<Arc<str>>,
    /// Where it comes from.
    pub source: MemorySource,
    /// 0 to 100.
    pub importance: u8,
    /// When it ends by itself.
    pub expires_at: Option<UtcMillis>,
}

impl Wish {
    /// What the writer puts; some ten microseconds for a short text.
    pub fn prepare(self, at: UtcMillis) -> NewMemory {
        NewMemory {
            hash: text_hash(&self.text),
            vector: vector_of(&self.text),
            shard: self.shard,
            key: self.key,
            text: self.text,
            tags: self.tags,
            source: self.source,
            importance: self.importance.min(100),
            expires_at: self.expires_at,
            at,
        }
    }
}

/// The vector of a text by the built-in embedder; none for a text without a direction.
pub fn vector_of(text: &str) -> Option<MemoryVector> {
    let quantised = embed_quantised(text)?;
    Some(MemoryVector {
        embedder: EMBEDDER.into(),
        scale: quantised.scale,
        codes: quantised.codes,
    })
}
