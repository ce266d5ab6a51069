//! What a person says of a call of which the machine cannot know whether it happened.

use std::sync::Arc;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It happened; the session goes on with this output.
    Happened {
        /// What the call gave back, as far as the person knows.
        output: Arc<str>,
    },
    /// It did not happen: it is made again, under the same key.
    NotHappened,
    /// Nobody will know: the step fails.
    Abandoned,
}

impl Resolution {
    /// The stable word for journals and JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Happened { .. } => "happened",
            Self::NotHappened => "not_happened",
            Self::Abandoned => "abandoned",
        }
    }

    /// The answer of a word made by [`Self::as_str`], with its output.
    pub fn from_word(word: &str, output: &str) -> Option<Self> {
        match word {
            "happened" => Some(Self::Happened { output: output.into() }),
            "not_happened" => Some(Self::NotHappened),
            "abandoned" => Some(Self::Abandoned),
            _ => None,
        }
    }
}
