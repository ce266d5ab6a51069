//! Rows of the audit log: what was changed, and the hash that binds a row to all before it.

use bincode::{Decode, Encode};

use crate::domain::audit::{AuditEntry, AuditNote};
use crate::domain::time::UtcMillis;
use crate::storage::codec;

/// Binds the hashes to this use: bytes of another use never hash to a row of this log.
const CONTEXT: &str = "openclaw audit log row 1";

/// What the hash of a row is over.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditBodyRecord {
    /// The row's place, from 1 without gaps.
    pub seq: u64,
    at: u64,
    actor: String,
    action: String,
    object: String,
    detail: String,
    /// Hash of the row before; zeros before the first.
    pub previous: [u8; 32],
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditRecord {
    /// What it says.
    pub body: AuditBodyRecord,
    /// Hash of the body.
    pub hash: [u8; 32],
}

impl AuditRecord {
    /// The row that says `note` after a row with the hash `previous`.
    pub fn new(seq: u64, note: &AuditNote, previous: [u8; 32]) -> Self {
        let body = AuditBodyRecord {
            seq,
            at: note.at.0,
            actor: note.actor.to_string(),
            action: note.action.to_string(),
            object: note.object.to_string(),
            detail: note.detail.to_string(),
            previous,
        };
        Self {
            hash: body.hash(),
            body,
        }
    }

    /// As a value.
    pub fn into_domain(self) -> AuditEntry {
        AuditEntry {
            seq: self.body.seq,
            note: AuditNote {
                at: UtcMillis(self.body.at),
                actor: self.body.actor.into(),
                action: self.body.action.into(),
                object: self.body.object.into(),
                detail: self.body.detail.into(),
            },
            hash: self.hash,
        }
    }
}

impl AuditBodyRecord {
    /// The hash that belongs to it.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&codec::encode(self));
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_and_the_hash_of_a_row_are_as_they_were() {
        let note = AuditNote {
            at: UtcMillis(3),
            actor: "a".into(),
            action: "b".into(),
            object: "c".into(),
            detail: "".into(),
        };
        let record = AuditRecord::new(1, &note, [0; 32]);
        let mut golden = vec![1, 1, 3, 1, b'a', 1, b'b', 1, b'c', 0];
        golden.extend([0; 32]);
        golden.extend(record.hash);
        assert_eq!(codec::encode(&record), golden);
        insta::assert_snapshot!(blake3::Hash::from_bytes(record.hash).to_hex().to_string(), @"d412ce9a18704c9df3e551ad056e276ef8e0a3d94eb046514c0845d39a9ff8ec");
    }
}
