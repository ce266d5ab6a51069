//! What is kept to be found again: entries in three tiers, by key and by meaning.

use std::sync::Arc;

use super::id::RunId;
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

/// Names a shard: entries of one scope and name space. Nothing of one shard is ever seen from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardName {
    /// How far its entries reach.
    pub scope: MemoryScope,
    /// Which session or project; empty for `Global`. A project's name space is its workspace's path.
    pub namespace: Arc<str>,
}

/// The full name of an entry that has a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemoryKey {
    /// How far it reaches.
    pub scope: MemoryScope,
    /// Which session or project; empty for `Global`. A project's name space is its workspace's path.
    pub namespace: Arc<str>,
    /// The key itself, at most 256 bytes.
    pub key: Arc<str>,
}

impl MemoryKey {
    /// Where the entry lives.
    pub fn shard(&self) -> ShardName {
        ShardName {
            scope: self.scope,
            namespace: self.namespace.clone(),
        }
    }
}

/// Who or what an entry comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySource {
    /// In words with a kind in front: `agent:coder`, `person:cli`, `file:notes.md`. Entries that follow each other within
    /// one run, one file, or what people and agents say outside of a run are each other's context.
    pub by: Arc<str>,
    /// The run, when it was one.
    pub run: Option<RunId>,
}

/// Whether an entry is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryState {
    /// It is.
    Live,
    /// A newer entry has its key.
    Superseded {
        /// Which.
        by: u64,
        /// Since when.
        at: UtcMillis,
    },
    /// It was pruned and can be restored until it is deleted.
    Archived {
        /// Since when.
        at: UtcMillis,
        /// Why.
        why: Arc<str>,
        /// When it is deleted.
        until: UtcMillis,
    },
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryEntry {
    /// Its number within the shard; rises with every new entry.
    pub id: u64,
    /// Its key, if it has one.
    pub key: Option<Arc<str>>,
    /// The text.
    pub text: Arc<str>,
    /// Words to filter by.
    pub tags: Vec<Arc<str>>,
    /// Where it comes from, oldest first; equal texts from several sources are one entry.
    pub sources: Vec<MemorySource>,
    /// 0 to 100.
    pub importance: u8,
    /// When it was first put.
    pub created_at: UtcMillis,
    /// When it was last put.
    pub updated_at: UtcMillis,
    /// When it was last found and used.
    pub used_at: UtcMillis,
    /// How often it was found and used.
    pub uses: u64,
    /// When it ends by itself.
    pub expires_at: Option<UtcMillis>,
    /// How often the key (or the text, when there is no key) was put; 1 for a new one.
    pub version: u64,
    /// The entry that had the key before, when its text was another.
    pub previous: Option<u64>,
    /// Whether it is found.
    pub state: MemoryState,
}

/// A vector as it is stored: value = scale × code.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryVector {
    /// What made it; vectors of different embedders are never compared.
    pub embedder: Arc<str>,
    /// The scale.
    pub scale: f32,
    /// One code a dimension.
    pub codes: Box<[i8]>,
}

impl MemoryVector {
    /// The cosine with another one; 0 when another embedder made that.
    pub fn cosine(&self, other: &Self) -> f32 {
        if self.embedder != other.embedder || self.codes.len() != other.codes.len() {
            return 0.0;
        }
        let pairs = self.codes.iter().zip(&other.codes);
        let dot: i32 = pairs.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        dot as f32 * self.scale * other.scale
    }
}

/// Vectors that an embedder made of entries after they were put.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVectors {
    /// Where.
    pub shard: ShardName,
    /// What made them; names their dimensions too.
    pub embedder: Arc<str>,
    /// By the numbers of their entries.
    pub vectors: Vec<(u64, MemoryVector)>,
    /// Texts up to `through` that the embedder has no vector for.
    pub refused: u64,
    /// Up to this number no entry waits for a vector any more.
    pub through: u64,
    /// Whether no entry is behind it: from then on the shard is searched by these vectors.
    pub is_end: bool,
    /// When.
    pub at: UtcMillis,
}

/// Vectors of embedders from before the one that is configured, which nobody searches by any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierVectors {
    /// Where.
    pub shard: ShardName,
    /// The embedder that has gone through the shard since; its vectors stay.
    pub kept: Arc<str>,
    /// Numbers of the entries whose earlier vectors go.
    pub ids: Vec<u64>,
    /// Whether no others are left.
    pub is_end: bool,
    /// When.
    pub at: UtcMillis,
}

/// What is put.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMemory {
    /// Where.
    pub shard: ShardName,
    /// Under which key, if any: an entry that has it is superseded.
    pub key: Option<Arc<str>>,
    /// The text.
    pub text: Arc<str>,
    /// Hash of the text without what makes no difference; entries without a key whose hashes agree are one.
    pub hash: [u8; 16],
    /// Words to filter by.
    pub tags: Vec<Arc<str>>,
    /// Where it comes from.
    pub source: MemorySource,
    /// 0 to 100.
    pub importance: u8,
    /// When it ends by itself.
    pub expires_at: Option<UtcMillis>,
    /// Its vector, when it has one.
    pub vector: Option<MemoryVector>,
    /// When.
    pub at: UtcMillis,
}

/// An entry as it was when somebody looked at it: a put, a use and a restore make another one of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsSeen {
    /// Its version.
    pub version: u64,
    /// When it was last used.
    pub used_at: UtcMillis,
}

impl AsSeen {
    /// As this entry is.
    pub fn of(entry: &MemoryEntry) -> Self {
        Self {
            version: entry.version,
            used_at: entry.used_at,
        }
    }
}

/// A change that an operator or the collection makes to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryEdit {
    /// Removes it for good, with its history.
    Forget,
    /// Takes it out of sight; it can be restored until it is forgotten.
    Archive {
        /// Why.
        why: Arc<str>,
        /// When it is deleted.
        until: UtcMillis,
        /// How it was when that was decided: one that was put or used since stays. None takes it out whatever came.
        seen: Option<AsSeen>,
    },
    /// Brings an archived entry back, unless a newer one has its key or text by now. A time to end that has passed is
    /// taken from it.
    Restore,
    /// Puts a record aside that cannot be read: its bytes are kept, nothing finds it any more, an incident says so. A
    /// record that can be read is left alone.
    Quarantine,
    /// It was found and used.
    Used {
        /// How often more.
        times: u64,
    },
}

/// An entry that comes from elsewhere with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryCopy {
    /// Where it goes.
    pub shard: ShardName,
    /// The entry; its number and state there mean nothing here.
    pub entry: MemoryEntry,
    /// Hash of its text, as in [`NewMemory`].
    pub hash: [u8; 16],
    /// Its vector, when it has one.
    pub vector: Option<MemoryVector>,
}

/// A due time that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryDue {
    /// When it came.
    pub at: UtcMillis,
    /// The number of the shard in the store.
    pub shard: u32,
    /// The name of the shard; none when no shard has the number any more.
    pub name: Option<ShardName>,
    /// The number of the entry.
    pub id: u64,
}

/// What is counted of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardCount {
    /// Which.
    pub name: ShardName,
    /// Its number in the store.
    pub number: u32,
    /// Live entries.
    pub live: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Archived entries.
    pub archived: u64,
}

/// What an entry can come from; each source begins with one of these and a colon.
pub const SOURCE_KINDS: [&str; 5] = ["agent", "person", "file", "run", "step"];

/// Whether a source says what kind it is and which.
pub fn is_source(by: &str) -> bool {
    let parts = by.split_once(':');
    parts.is_some_and(|(kind, name)| SOURCE_KINDS.contains(&kind) && !name.is_empty() && name.len() <= 256)
}

/// The run of a session's name space, which is the run and the step: `run_…/step`. None when it is named otherwise.
pub fn run_of_session(namespace: &str) -> Option<RunId> {
    namespace.split_once('/')?.0.parse().ok()
}

/// Importance of an entry that is neither pruned nor evicted.
pub const IMPORTANCE_PINNED: u8 = 100;
/// Earlier texts that are kept behind an entry's key; the oldest are removed.
pub const HISTORY_MAX: usize = 8;
/// Importance of an entry when nobody says.
pub const IMPORTANCE_DEFAULT: u8 = 50;
/// Sources that an entry remembers; the oldest are dropped.
pub const SOURCES_MAX: usize = 8;
/// Bytes of one entry's text.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 256;
/// Tags of one entry or question.
pub const TAGS_MAX: usize = 16;
/// Longest time after which an entry may end by itself, in seconds: ten years. What is to stay longer needs no end.
pub const EXPIRES_IN_S_MAX: u64 = 10 * 366 * 86_400;
/// Bytes of one tag.
pub const TAG_BYTES_MAX: usize = 64;
/// Changes that a shard's log keeps; an index that is further behind is rebuilt.
pub const CHANGES_KEPT: u64 = 4_096;
