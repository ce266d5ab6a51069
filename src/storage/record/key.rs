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

/// What is known of a key beside its first record, which older programs wrote without it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct KeyTermsRecord {
    /// Milliseconds since 1970 from which on the key is not valid.
    pub expires_at: Option<u64>,
    /// BLAKE3 of the secret that was rotated out, and until when it is valid all the same.
    pub previous: Option<([u8; 32], u64)>,
    /// Who made it: a key's id, or a word for this machine's owner.
    pub made_by: String,
    /// Milliseconds since 1970.
    pub rotated_at: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::codec;

    #[test]
    fn the_bytes_of_a_key_and_its_terms_are_as_they_were() {
        let terms = KeyTermsRecord {
            expires_at: Some(5),
            previous: Some(([7; 32], 300)),
            made_by: "me".into(),
            rotated_at: None,
        };
        let mut golden = vec![1, 1, 5, 1];
        golden.extend([7; 32]);
        golden.extend([251, 44, 1, 2, b'm', b'e', 0]);
        assert_eq!(codec::encode(&terms), golden);
        assert_eq!(
            codec::decode::<KeyTermsRecord>(|| "terms".into(), &golden).expect("decodes"),
            terms
        );
    }
}
