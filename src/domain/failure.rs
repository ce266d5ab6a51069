//! Why a turn, a call or a step failed, and what that means for the next attempt ("fail forward").

/// The classes of failure; each decides whether another attempt makes sense and whether it must be a different one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// The connection failed or broke.
    Transport,
    /// The provider limits the rate.
    Rate,
    /// The provider or this daemon is overloaded.
    Overload,
    /// A deadline of one turn or call passed.
    Timeout,
    /// The model's output could not be read as what it claims to be.
    Malformed,
    /// The output does not match the declared schema.
    Schema,
    /// A skill reported an error.
    ToolError,
    /// A declared check said no.
    Check,
    /// The model refused.
    Refusal,
    /// A token or money budget is used up.
    Budget,
    /// The step's or run's own deadline passed.
    Deadline,
    /// A call may or may not have had its effect.
    UnknownEffect,
    /// The actor doing the work crashed.
    Crash,
    /// The configuration does not allow the work (no such agent, skill or model; no key).
    Config,
    /// The work was cancelled.
    Cancelled,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// The same work again: the failure said nothing about it.
    Unchanged,
    /// Again with the reason and what was tried added to the hand-off.
    WithLesson,
    /// No further attempt by the machine.
    None,
}

impl FailureClass {
    /// Every class, for tables and tests.
    pub const ALL: [Self; 15] = [
        Self::Transport,
        Self::Rate,
        Self::Overload,
        Self::Timeout,
        Self::Malformed,
        Self::Schema,
        Self::ToolError,
        Self::Check,
        Self::Refusal,
        Self::Budget,
        Self::Deadline,
        Self::UnknownEffect,
        Self::Crash,
        Self::Config,
        Self::Cancelled,
    ];

    /// The stable word for journals, JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Rate => "rate",
            Self::Overload => "overload",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Schema => "schema",
            Self::ToolError => "tool_error",
            Self::Check => "check",
            Self::Refusal => "refusal",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::UnknownEffect => "unknown_effect",
            Self::Crash => "crash",
            Self::Config => "config",
            Self::Cancelled => "cancelled",
        }
    }

    /// The class of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// What the next attempt of a step should be. Only failures that say something about the work itself
    /// change the prompt; those of the way to the model repeat it; the rest are for a person.
    pub fn next_attempt(self) -> NextAttempt {
        match self {
            Self::Transport | Self::Rate | Self::Overload | Self::Timeout | Self::Crash => NextAttempt::Unchanged,
            Self::Malformed | Self::Schema | Self::ToolError | Self::Check => NextAttempt::WithLesson,
            Self::Refusal | Self::Budget | Self::Deadline | Self::UnknownEffect | Self::Config | Self::Cancelled => {
                NextAttempt::None
            }
        }
    }

    /// Whether one model request may be repeated within the step before the step itself fails.
    pub fn retries_turn(self) -> bool {
        matches!(self, Self::Transport | Self::Rate | Self::Overload | Self::Timeout)
    }
}
