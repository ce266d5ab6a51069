//! Whether a call may be made: the policy, and what a person said to it. Pure.

use std::sync::Arc;

use crate::domain::approval::{Ask, Given, TIMED_OUT};
use crate::domain::name::SkillName;
use crate::domain::skill::CallOutcome;

/// Who has to agree to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// Nobody.
    Auto,
    /// Perhaps a person: what the call would do has to be looked at first.
    Look,
    /// A person.
    Ask {
        /// Names the call with all that it would do.
        hash: Arc<str>,
        /// What the person sees.
        shown: Arc<str>,
        /// How long the answer is waited for, in milliseconds.
        timeout_ms: u64,
        /// Whether the answer itself is the outcome: nothing is to be done but asking.
        is_question: bool,
    },
    /// Nobody can; with the reason for the model.
    Deny(String),
}

/// What that makes of the call.
pub(super) enum Agreed {
    Make,
    Look,
    Settle(CallOutcome),
    Ask(Ask),
}

/// Whether a call may be made, by the policy and the answer that there is. A yes counts for exactly what was shown:
/// when the call would do something else by now, it is asked again.
pub(super) fn agreed(policy: Policy, ordinal: u32, skill: &SkillName, given: Option<&Given>) -> Agreed {
    let (hash, shown, timeout_ms, is_question) = match policy {
        Policy::Auto => return Agreed::Make,
        Policy::Look => return Agreed::Look,
        Policy::Deny(reason) => return Agreed::Settle(CallOutcome::error(reason)),
        Policy::Ask {
            hash,
            shown,
            timeout_ms,
            is_question,
        } => (hash, shown, timeout_ms, is_question),
    };
    match given {
        Some(given) if !given.granted => Agreed::Settle(CallOutcome::error(refusal(given, is_question))),
        Some(given) if given.hash == hash && is_question => Agreed::Settle(CallOutcome::ok(given.reason.clone())),
        Some(given) if given.hash == hash => Agreed::Make,
        _ => Agreed::Ask(Ask {
            ordinal,
            skill: skill.clone(),
            hash,
            shown,
            timeout_ms,
        }),
    }
}

fn refusal(given: &Given, is_question: bool) -> String {
    if &*given.by == TIMED_OUT {
        return if is_question {
            "nobody answered in time; go on without an answer".into()
        } else {
            "not made: a person had to agree and nobody answered in time".into()
        };
    }
    let reason = if given.reason.is_empty() {
        "no reason was given"
    } else {
        &*given.reason
    };
    if is_question {
        format!("the question was declined: {reason}")
    } else {
        format!("not made: a person said no: {reason}")
    }
}
