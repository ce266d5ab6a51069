//! What a person sees before agreeing to a call, and what the agreement is bound to.

use std::future::ready;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::domain::text::cut;

/// Bytes of what is shown. Nobody can agree to more than that: what does not fit is cut with a marker and not asked.
pub const SHOWN_BYTES_MAX: usize = 32 * 1024;

/// What a call would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// For a person: the exact command, changes or address.
    pub shown: String,
    /// What it rests on beside its arguments, such as the present content of a file: when that changes, it is
    /// another call.
    pub basis: String,
    /// Whether the person's answer is the call's outcome.
    pub is_question: bool,
    /// Whether something of it is not shown.
    pub is_cut: bool,
}

impl Preview {
    /// A call that is told by these words alone.
    pub fn of(shown: impl Into<String>) -> Self {
        let shown = shown.into();
        Self {
            is_cut: shown.len() > SHOWN_BYTES_MAX,
            shown: cut(&shown, SHOWN_BYTES_MAX),
            basis: String::new(),
            is_question: false,
        }
    }

    /// A call that is told by its arguments.
    pub fn of_arguments(arguments: &Value) -> Self {
        Self::of(serde_json::to_string_pretty(arguments).unwrap_or_default())
    }

    /// The same, resting on something beside the arguments.
    #[must_use]
    pub fn resting_on(mut self, basis: impl Into<String>) -> Self {
        self.basis = basis.into();
        self
    }

    /// The same, of which something is not shown.
    #[must_use]
    pub fn incomplete(mut self) -> Self {
        self.is_cut = true;
        self
    }

    /// The same for whoever waits for it.
    pub fn at_once(self) -> BoxFuture<'static, Self> {
        Box::pin(ready(self))
    }

    /// The same, whose answer is the outcome.
    #[must_use]
    pub fn as_question(mut self) -> Self {
        self.is_question = true;
        self
    }
}
