//! Which run an idempotency key stands for.

use bincode::{Decode, Encode};

/// One submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SubmissionRecord {
    /// The run's 16 bytes.
    pub run: [u8; 16],
    /// Hash of the body.
    pub body: [u8; 32],
}
