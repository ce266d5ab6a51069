//! Memory entries by key. Three tiers; found here by key.

use std::sync::Arc;

use super::time::UtcMillis;

/// How far an entry reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemoryScope {
    /// Ends with its session.
    Session,
    /// Belongs to one project.
    Project,
    /// Across projects.
    Global,
}

impl MemoryScope {
    /// Every scope, for tables and tests.
    pub const ALL: [Self; 3] = [Self::Session, Self::Project, Self::Global];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Project => "project",
            Self::Global => "global",
        }
    }

    /// The scope of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// The full name of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemoryKey {
    /// How far it reaches.
    pub scope: MemoryScope,
    /// Which session or project; empty for `Global`. A project's name space is its workspace's path.
    pub namespace: Arc<str>,
    /// The key itself, at most 256 bytes.
    pub key: Arc<str>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryEntry {
    /// The text.
    pub text: Arc<str>,
    /// How often it was put; 1 for a new one.
    pub version: u64,
    /// When it was last put.
    pub updated_at: UtcMillis,
}
