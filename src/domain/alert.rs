//! A message to people, from its intent until it has arrived.

use std::sync::Arc;

use super::id::AlertId;
use super::time::UtcMillis;

/// One message on its way. It is written before it is sent and removed when it has arrived; its id stays the same over
/// all tries, so that whoever gets it twice can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: AlertId,
    /// The channel that it goes to, by its configured name.
    pub channel: Arc<str>,
    /// One line for people.
    pub subject: Arc<str>,
    /// The message as JSON.
    pub body: Arc<str>,
    /// When it was written.
    pub made_at: UtcMillis,
    /// Tries that failed.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: UtcMillis,
}
