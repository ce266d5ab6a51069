//! API keys: only a hash of the secret is kept.

use bincode::{Decode, Encode};

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyRecord {
    /// The public id's 16 bytes.
    pub id: [u8; 16],
    /// BLAKE3 of the secret part.
    pub secret_hash: [u8; 32],
    /// A name for people.
    pub name: String,
    /// What the key may do (`runs:write`, `*` …).
    pub scopes: Vec<String>,
    /// Milliseconds since 1970.
    pub made_at: u64,
    /// Milliseconds since 1970.
    pub revoked_at: Option<u64>,
}
