//! Model traffic of runs that are recorded or replayed.

use bincode::{Decode, Encode};

use crate::domain::fact::Attempt;
use crate::domain::traffic::Traffic;

use super::reading::{Reason, named};

/// What a run does with its model traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TapeRecord {
    /// The blob of the cassette that answers, if one does.
    pub replay: Option<[u8; 32]>,
}

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TrafficRecord {
    step: String,
    attempt: u32,
    turn: u32,
    request: [u8; 32],
    note: String,
}

impl From<&Traffic> for TrafficRecord {
    fn from(traffic: &Traffic) -> Self {
        Self {
            step: traffic.attempt.step.to_string(),
            attempt: traffic.attempt.number,
            turn: traffic.turn,
            request: traffic.request,
            note: traffic.note.to_string(),
        }
    }
}

impl TrafficRecord {
    /// Reads it back.
    pub fn into_domain(self) -> Result<Traffic, Reason> {
        Ok(Traffic {
            attempt: Attempt {
                step: named(&self.step)?,
                number: self.attempt,
            },
            turn: self.turn,
            request: self.request,
            note: self.note.into(),
        })
    }
}
