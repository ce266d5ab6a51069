//! Certificates that the internal authority has issued.

use bincode::{Decode, Encode};

/// One certificate. The certificate itself is with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CertificateRecord {
    /// Its serial number.
    pub serial: [u8; 16],
    /// Whose it is, such as `admin/operator`.
    pub identity: String,
    /// Which authority signed it, counted from 1.
    pub authority: u32,
    /// BLAKE3 of its DER bytes.
    pub fingerprint: [u8; 32],
    /// Milliseconds since 1970.
    pub not_before: u64,
    /// Milliseconds since 1970.
    pub not_after: u64,
    /// Milliseconds since 1970.
    pub revoked_at: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::codec;

    #[test]
    fn the_bytes_of_a_certificate_are_as_they_were() {
        let record = CertificateRecord {
            serial: [1; 16],
            identity: "admin/x".into(),
            authority: 2,
            fingerprint: [3; 32],
            not_before: 4,
            not_after: 5,
            revoked_at: Some(6),
        };
        let mut golden = vec![1];
        golden.extend([1; 16]);
        golden.push(7);
        golden.extend(b"admin/x");
        golden.push(2);
        golden.extend([3; 32]);
        golden.extend([4, 5, 1, 6]);
        assert_eq!(codec::encode(&record), golden);
    }
}
