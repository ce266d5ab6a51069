//! Secrets, sealed: the key that opens them is never in the store.

use bincode::{Decode, Encode};

/// One sealed secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SecretRecord {
    /// Which key seals it: the first bytes of a hash of that key.
    pub key_id: [u8; 8],
    /// Nonce and sealed bytes.
    pub sealed: Vec<u8>,
    /// Milliseconds since 1970.
    pub set_at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::codec;

    #[test]
    fn the_bytes_of_a_sealed_secret_are_as_they_were() {
        let record = SecretRecord {
            key_id: [9; 8],
            sealed: vec![1, 2, 3],
            set_at: 4,
        };
        let golden = [1, 9, 9, 9, 9, 9, 9, 9, 9, 3, 1, 2, 3, 4];
        assert_eq!(codec::encode(&record), golden);
    }
}
