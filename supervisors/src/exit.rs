//! Why a child ended, as a type.
//!
//! ractor reports an end as an optional string or an error; this module is the only place that reads those strings.
//! It knows nothing of supervisors.

use std::fmt;

/// The text that asks an actor to stop in an orderly way, and that an orderly exit carries.
pub const SHUTDOWN: &str = "shutdown";

/// The text that ractor gives to the end of a killed actor.
pub(crate) const KILLED: &str = "killed";

/// Why a child ended.
///
/// The classes are OTP's: [`Normal`](Self::Normal), [`Shutdown`](Self::Shutdown) and
/// [`ShutdownWith`](Self::ShutdownWith) are orderly, everything else is abnormal, a kill included.
///
/// | in ractor | here |
/// |---|---|
/// | `stop(None)`, `stop("normal")`, a finished `drain()` | `Normal` |
/// | `stop("shutdown")` | `Shutdown` |
/// | `stop("shutdown: text")` | `ShutdownWith("text")` |
/// | `kill()` | `Killed` |
/// | the task was aborted | `Cancelled` |
/// | a panic | `Panicked(text)` |
/// | a handler returned `Err` | `Error(text)` |
/// | `stop("any other text")` | `Stopped(text)` |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// Ended by itself, with nothing to say.
    Normal,
    /// Ended because it was asked to.
    Shutdown,
    /// Ended in an orderly way, for the reason given.
    ShutdownWith(String),
    /// Was killed.
    Killed,
    /// Its task was aborted from outside.
    Cancelled,
    /// Panicked, with this text.
    Panicked(String),
    /// A handler returned this error.
    Error(String),
    /// Stopped itself with a text of its own that does not say `shutdown`.
    Stopped(String),
    /// Ended unseen: no event told why.
    Unknown,
}

impl ExitReason {
    /// Tells whether the exit counts as orderly (a transient child is then not restarted).
    pub fn is_orderly(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::ShutdownWith(_))
    }

    /// Reads the reason that ractor attaches to a terminated actor.
    pub fn from_stop_reason(reason: Option<&str>) -> Self {
        match reason {
            None | Some("normal" | "Drained") => Self::Normal,
            Some(SHUTDOWN) => Self::Shutdown,
            Some(KILLED) => Self::Killed,
            Some("actor_task_cancelled") => Self::Cancelled,
            Some(text) => match text.strip_prefix("shutdown:") {
                Some(detail) => Self::ShutdownWith(detail.trim_start().to_owned()),
                None => Self::Stopped(text.to_owned()),
            },
        }
    }

    /// Writes the reason as the text to pass to ractor's `stop`, so that it reads back as the same class.
    pub fn to_stop_reason(&self) -> Option<String> {
        match self {
            Self::Normal => None,
            Self::ShutdownWith(detail) => Some(format!("shutdown: {detail}")),
            Self::Stopped(text) | Self::Error(text) | Self::Panicked(text) => Some(text.clone()),
            _ => Some(SHUTDOWN.to_owned()),
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::ShutdownWith(detail) => write!(f, "shutdown: {detail}"),
            Self::Killed => f.write_str("killed"),
            Self::Cancelled => f.write_str("task cancelled"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::Error(text) => write!(f, "error: {text}"),
            Self::Stopped(text) => write!(f, "stopped: {text}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ractor_reasons_get_their_class() {
        for (given, expected, orderly) in [
            (None, ExitReason::Normal, true),
            (Some("Drained"), ExitReason::Normal, true),
            (Some("shutdown"), ExitReason::Shutdown, true),
            (
                Some("shutdown: reload"),
                ExitReason::ShutdownWith("reload".into()),
                true,
            ),
            (Some("killed"), ExitReason::Killed, false),
            (Some("actor_task_cancelled"), ExitReason::Cancelled, false),
            (Some("shutdowns"), ExitReason::Stopped("shutdowns".into()), false),
            (Some("tired"), ExitReason::Stopped("tired".into()), false),
        ] {
            let read = ExitReason::from_stop_reason(given);
            assert_eq!(read, expected);
            assert_eq!(read.is_orderly(), orderly, "{given:?}");
        }
    }

    #[test]
    fn orderly_reasons_survive_the_way_through_ractor() {
        for reason in [
            ExitReason::Normal,
            ExitReason::Shutdown,
            ExitReason::ShutdownWith("x".into()),
        ] {
            assert_eq!(ExitReason::from_stop_reason(reason.to_stop_reason().as_deref()), reason);
        }
    }
}
