//! Why a message did not arrive.

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The other side refused it or did not answer.
    #[error("{0}")]
    Refused(String),
    /// It cannot be sent as it is configured.
    #[error("{0}")]
    Unusable(String),
}
