//! What the audit log says: each change of trust or configuration, who made it, and to what.

use super::time::UtcMillis;

/// One change, before it has its place in the log. Never holds a secret: names, ids and digests only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditNote {
    /// When.
    pub at: UtcMillis,
    /// Who: a key with its name, or a part of this program.
    pub actor: Box<str>,
    /// What was done, such as `key.revoked`.
    pub action: Box<str>,
    /// To what, such as a key's id.
    pub object: Box<str>,
    /// What else there is to know; may be empty.
    pub detail: Box<str>,
}

/// One row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place, from 1 without gaps.
    pub seq: u64,
    /// What it says.
    pub note: AuditNote,
    /// The hash that binds it to all rows before it.
    pub hash: [u8; 32],
}

/// The first place at which the log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditBreak {
    /// Which row.
    pub seq: u64,
    /// What is wrong with it.
    pub what: Box<str>,
}
