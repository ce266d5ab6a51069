//! What is asked of memory, and what is found.

use std::sync::Arc;

use crate::domain::memory::{MemoryEntry, ShardName};
use crate::domain::time::UtcMillis;

use super::embed::vector::Quantised;
use super::index::signals::Parts;

/// Entries of one answer at most.
pub const FOUND_MAX: usize = 100;
/// Entries of an answer when nobody says.
pub const FOUND_DEFAULT: usize = 10;

/// A question to one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
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
    /// Entries at most, up to [`FOUND_MAX`].
    pub limit: usize,
    /// Tokens of all texts together at most: the best that fit.
    pub tokens_max: Option<u64>,
}

impl Question {
    /// A question with no filter.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            tags: Vec::new(),
            source: None,
            since: None,
            until: None,
            limit: FOUND_DEFAULT,
            tokens_max: None,
        }
    }
}

/// The direction of a question, for the vectors that its shard is searched by.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Direction {
    /// In the built-in embedder's space, which the shard finds itself.
    #[default]
    BuiltIn,
    /// In the space of the embedder of this number.
    Of(u32, Quantised),
    /// There is none: the embedder that serves the shard did not answer.
    Unknown,
}

/// What a question found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// The best entries, best first.
    pub entries: Vec<FoundEntry>,
    /// Why only their words were compared, when it was so.
    pub words_alone: Option<Arc<str>>,
}

/// One entry that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundEntry {
    /// Where it lives.
    pub shard: ShardName,
    /// The entry, as the store has it now; where none fits into the tokens that were asked for, the best one with the
    /// beginning of its text.
    pub entry: MemoryEntry,
    /// By which the answer is ordered.
    pub score: f32,
    /// What the score is made of.
    pub parts: Parts,
}

/// Tokens of a text, by the rule of thumb of four bytes a token.
pub fn tokens_of(text: &str) -> u64 {
    tokens_of_bytes(text.len())
}

/// Tokens of so many bytes of text.
pub fn tokens_of_bytes(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}
