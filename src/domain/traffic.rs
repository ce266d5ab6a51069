//! A run's model traffic that is kept beside its journal: which request each answer belongs to.
//!
//! The answers themselves are facts. What a request was is not in the journal, because it follows from facts,
//! configuration and prompts; a run that is recorded keeps enough of it to find the answer again.

use std::sync::Arc;

use super::fact::Attempt;

/// The name of a request: the hash of what was asked, without what varies from run to run.
pub type RequestHash = [u8; 32];

/// What a run does with its model traffic. A run without a tape keeps nothing and asks its models.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tape {
    /// The cassette that answers instead of the models, as its text.
    pub replay: Option<Arc<str>>,
}

/// One answered request; its answer is the `TurnFinished` of the same attempt and turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Which attempt asked.
    pub attempt: Attempt,
    /// In which turn.
    pub turn: u32,
    /// The request's name.
    pub request: RequestHash,
    /// What was asked, as JSON text for people and for finding differences.
    pub note: Arc<str>,
}
