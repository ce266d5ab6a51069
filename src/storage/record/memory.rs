//! Memory entries and shards.

use bincode::{BorrowDecode, Decode, Encode};

use crate::domain::id::RunId;
use crate::domain::memory::{MemoryEntry, MemoryScope, MemorySource, MemoryState, MemoryVector, ShardName};
use crate::domain::time::UtcMillis;

use super::reading::arcs;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EntryRecord {
    key: Option<String>,
    text: String,
    /// Of the text as the writer was given it, so that the row of the hash can be found again.
    pub hash: [u8; 16],
    tags: Vec<String>,
    sources: Vec<(String, Option<[u8; 16]>)>,
    importance: u8,
    created_at: u64,
    updated_at: u64,
    used_at: u64,
    uses: u64,
    expires_at: Option<u64>,
    version: u64,
    previous: Option<u64>,
    state: StateRecord,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum StateRecord {
    Live,
    Superseded {
        by: u64,
        at: u64,
    },
    /// As the first layout had it; read, not written.
    Archived {
        at: u64,
        why: String,
    },
    ArchivedUntil {
        at: u64,
        why: String,
        until: u64,
    },
}

/// How long an entry stays that was archived before it was said how long.
const ARCHIVED_MS: u64 = 30 * 24 * 3600 * 1000;

/// What is counted of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ShardRecord {
    /// Its number in the store.
    pub number: u32,
    /// The number of its next entry.
    pub next_id: u64,
    /// The place of its last change; 0 when there was none.
    pub last_change: u64,
    /// Live entries.
    pub live: u64,
    /// Bytes of their texts.
    pub bytes: u64,
}

/// A vector.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct VectorRecord {
    embedder: String,
    scale: f32,
    codes: Vec<i8>,
}

impl EntryRecord {
    /// The record of an entry.
    pub fn of(entry: &MemoryEntry, hash: [u8; 16]) -> Self {
        Self {
            key: entry.key.as_ref().map(ToString::to_string),
            text: entry.text.to_string(),
            hash,
            tags: entry.tags.iter().map(ToString::to_string).collect(),
            sources: entry
                .sources
                .iter()
                .map(|source| (source.by.to_string(), source.run.map(RunId::to_bytes)))
                .collect(),
            importance: entry.importance,
            created_at: entry.created_at.0,
            updated_at: entry.updated_at.0,
            used_at: entry.used_at.0,
            uses: entry.uses,
            expires_at: entry.expires_at.map(|at| at.0),
            version: entry.version,
            previous: entry.previous,
            state: match &entry.state {
                MemoryState::Live => StateRecord::Live,
                MemoryState::Superseded { by, at } => StateRecord::Superseded { by: *by, at: at.0 },
                MemoryState::Archived { at, why, until } => StateRecord::ArchivedUntil {
                    at: at.0,
                    why: why.to_string(),
                    until: until.0,
                },
            },
        }
    }

    /// The entry of this number.
    pub fn into_domain(self, id: u64) -> MemoryEntry {
        let sources = self.sources.into_iter().map(|(by, run)| MemorySource {
            by: by.into(),
            run: run.map(RunId::from_bytes),
        });
        MemoryEntry {
            id,
            key: self.key.map(Into::into),
            text: self.text.into(),
            tags: arcs(self.tags),
            sources: sources.collect(),
            importance: self.importance,
            created_at: UtcMillis(self.created_at),
            updated_at: UtcMillis(self.updated_at),
            used_at: UtcMillis(self.used_at),
            uses: self.uses,
            expires_at: self.expires_at.map(UtcMillis),
            version: self.version,
            previous: self.previous,
            state: match self.state {
                StateRecord::Live => MemoryState::Live,
                StateRecord::Superseded { by, at } => MemoryState::Superseded { by, at: UtcMillis(at) },
                StateRecord::Archived { at, why } => MemoryState::Archived {
                    at: UtcMillis(at),
                    why: why.into(),
                    until: UtcMillis(at.saturating_add(ARCHIVED_MS)),
                },
                StateRecord::ArchivedUntil { at, why, until } => MemoryState::Archived {
                    at: UtcMillis(at),
                    why: why.into(),
                    until: UtcMillis(until),
                },
            },
        }
    }
}

/// The same record as [`EntryRecord`] with its texts where they lie: half of the time of reading a shard was copies.
#[derive(Debug, PartialEq, BorrowDecode)]
pub struct EntryView<'r> {
    /// Under which key, if any.
    pub key: Option<&'r str>,
    /// The text.
    pub text: &'r str,
    hash: [u8; 16],
    /// Words to filter by.
    pub tags: Vec<&'r str>,
    /// Who said it, and in which run.
    pub sources: Vec<(&'r str, Option<[u8; 16]>)>,
    /// 0 to 100.
    pub importance: u8,
    /// When it was first put, in milliseconds since 1970.
    pub created_at: u64,
    /// When it was last put.
    pub updated_at: u64,
    /// When it was last used.
    pub used_at: u64,
    /// How often.
    pub uses: u64,
    /// When it ends by itself.
    pub expires_at: Option<u64>,
    version: u64,
    previous: Option<u64>,
    state: StateRecord,
}

impl EntryView<'_> {
    /// Whether it is found.
    pub fn is_live(&self) -> bool {
        self.state == StateRecord::Live
    }
}

/// The same record as [`VectorRecord`], borrowed.
#[derive(Debug, PartialEq, BorrowDecode)]
pub struct VectorView<'r> {
    /// What made it.
    pub embedder: &'r str,
    /// The scale.
    pub scale: f32,
    /// One signed code a dimension, as its byte.
    pub codes: &'r [u8],
}

impl VectorRecord {
    /// Whether it points somewhere.
    pub fn is_usable(&self) -> bool {
        self.scale.is_finite() && self.scale > 0.0 && self.codes.iter().any(|code| *code != 0)
    }
}

impl From<&MemoryVector> for VectorRecord {
    fn from(vector: &MemoryVector) -> Self {
        Self {
            embedder: vector.embedder.to_string(),
            scale: vector.scale,
            codes: vector.codes.to_vec(),
        }
    }
}

impl From<VectorRecord> for MemoryVector {
    fn from(record: VectorRecord) -> Self {
        Self {
            embedder: record.embedder.into(),
            scale: record.scale,
            codes: record.codes.into(),
        }
    }
}

/// The row of a shard: lengths in front keep any two names apart, whatever characters they hold.
pub fn shard_row(name: &ShardName) -> String {
    format!("{}:{}", name.scope.as_str(), name.namespace)
}

/// The name of a row made by [`shard_row`].
pub fn read_shard_row(row: &str) -> Option<ShardName> {
    let (scope, namespace) = row.split_once(':')?;
    Some(ShardName {
        scope: MemoryScope::from_word(scope)?,
        namespace: namespace.into(),
    })
}

/// One entry as the first layout of the memory table had it: text, version, time of the last put.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FirstMemoryRecord {
    /// The text.
    pub text: String,
    /// How often it was put.
    pub version: u64,
    /// When it was last put.
    pub updated_at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::codec;

    #[test]
    fn a_view_shows_the_record_in_each_of_its_states() {
        let states = [
            StateRecord::Live,
            StateRecord::Superseded { by: 7, at: 1 << 40 },
            StateRecord::Archived {
                at: 3,
                why: "old".into(),
            },
            StateRecord::ArchivedUntil {
                at: 3,
                why: "expired".into(),
                until: 300,
            },
        ];
        for (number, state) in (0u64..).zip(states) {
            let record = EntryRecord {
                key: (number % 2 == 0).then(|| "schlüssel".into()),
                text: "Grüße \u{0} 🙂".repeat(number as usize),
                hash: [number as u8; 16],
                tags: vec!["a".into(), String::new()],
                sources: vec![("agent:x".into(), Some([9; 16])), ("person:cli".into(), None)],
                importance: 200,
                created_at: 1 << 41,
                updated_at: 250,
                used_at: 251,
                uses: 252,
                expires_at: Some(70_000),
                version: 3,
                previous: Some(1),
                state: state.clone(),
            };
            let bytes = codec::encode(&record);
            let view: EntryView<'_> = codec::decode_borrowed(|| "an entry".into(), &bytes).expect("readable");
            let expected = EntryView {
                key: record.key.as_deref(),
                text: &record.text,
                hash: record.hash,
                tags: record.tags.iter().map(String::as_str).collect(),
                sources: record.sources.iter().map(|(by, run)| (by.as_str(), *run)).collect(),
                importance: record.importance,
                created_at: record.created_at,
                updated_at: record.updated_at,
                used_at: record.used_at,
                uses: record.uses,
                expires_at: record.expires_at,
                version: record.version,
                previous: record.previous,
                state,
            };
            assert_eq!(view, expected);
            let mut cut = bytes.clone();
            cut.pop();
            let damaged: Result<EntryView<'_>, _> = codec::decode_borrowed(|| "an entry".into(), &cut);
            assert!(damaged.is_err(), "{number}");
        }
        let record = VectorRecord {
            embedder: "e".into(),
            scale: 0.5,
            codes: vec![-128, -1, 0, 1, 127],
        };
        let bytes = codec::encode(&record);
        let view: VectorView<'_> = codec::decode_borrowed(|| "a vector".into(), &bytes).expect("readable");
        let codes: Vec<i8> = view.codes.iter().map(|code| code.cast_signed()).collect();
        assert_eq!((view.embedder, view.scale, codes), ("e", 0.5, record.codes.clone()));
    }
}
