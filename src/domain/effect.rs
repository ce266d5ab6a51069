//! Effect classes of skills, the key that names one effect, and what recovery does with an interrupted call.

use std::sync::Arc;

use super::id::RunId;
use super::name::{SkillName, StepId};

/// What a skill does to the world; decides what must be on disk before it starts and what recovery may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EffectClass {
    /// Changes nothing: may be made again at any time.
    Read,
    /// The same key has the same effect once, however often it is sent.
    Idempotent,
    /// Can be asked afterwards whether it happened.
    Probe,
    /// May happen at most once and cannot be asked.
    Once,
    /// Effect and outcome share one transaction of the main store.
    Local,
}

/// What recovery does with a call that has an intent and no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// Make it again, with the same key.
    MakeAgain,
    /// Ask the skill's probe; record what it says, or make it when it says "not done".
    AskProbe,
    /// Record `CallUnknown`; the machine never makes it again.
    LeaveUnknown,
}

impl EffectClass {
    /// Every class, for tables and tests.
    pub const ALL: [Self; 5] = [Self::Read, Self::Idempotent, Self::Probe, Self::Once, Self::Local];

    /// The stable word for manifests, journals and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Probe => "probe",
            Self::Once => "once",
            Self::Local => "local",
        }
    }

    /// The class of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// Whether the intent must be durable before the call starts (the wait rule).
    pub fn waits_for_intent(self) -> bool {
        matches!(self, Self::Idempotent | Self::Probe | Self::Once)
    }

    /// What recovery does with a call of this class that has no outcome. A `Local` call without an outcome did
    /// not happen, because both are one transaction, so it is made again like a read.
    pub fn when_interrupted(self) -> Interrupted {
        match self {
            Self::Read | Self::Local | Self::Idempotent => Interrupted::MakeAgain,
            Self::Probe => Interrupted::AskProbe,
            Self::Once => Interrupted::LeaveUnknown,
        }
    }
}

/// Names one effect: the same over retries of the same logical call, new for every deliberate new attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectKey(pub uuid::Uuid);

impl EffectKey {
    /// The name space of all keys of this program (a random version 4 UUID, fixed for ever).
    const NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0x6f70_656e_636c_4177_9d1c_5c0f_a2e4_71b3);

    /// UUIDv5 over run, step, attempt and the call's number within the attempt.
    ///
    /// **Source**: RFC 9562 section 5.5.
    pub fn derive(run: RunId, step: &StepId, attempt: u32, ordinal: u32) -> Self {
        let name = format!("{run}/{step}/{attempt}/{ordinal}");
        Self(uuid::Uuid::new_v5(&Self::NAMESPACE, name.as_bytes()))
    }
}

impl std::fmt::Display for EffectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// What became of a call that had been begun when its process ended, in words.
pub fn cut_off(skill: &SkillName, key: EffectKey) -> String {
    format!("{skill} with key {key} was started before the process ended; whether it took effect is not known")
}

/// What a person is shown of a call whose end nobody saw: what became of it, and below that what is known of its program.
pub fn evidence_of(what: String, known: Option<String>) -> Arc<str> {
    match known {
        Some(known) => format!("{what}\n{known}").into(),
        None => what.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UtcMillis;

    #[test]
    fn the_key_is_a_function_of_the_logical_call_alone() {
        let run = RunId::new(UtcMillis(7), 9);
        let step = StepId::new("draft").expect("valid");
        let key = EffectKey::derive(run, &step, 1, 0);
        assert_eq!(key, EffectKey::derive(run, &step, 1, 0));
        assert_ne!(key, EffectKey::derive(run, &step, 2, 0));
        assert_ne!(key, EffectKey::derive(run, &step, 1, 1));
    }

    #[test]
    fn the_machine_never_makes_a_once_call_again() {
        for class in EffectClass::ALL {
            assert_eq!(EffectClass::from_word(class.as_str()), Some(class));
            assert_eq!(
                class == EffectClass::Once,
                class.when_interrupted() == Interrupted::LeaveUnknown
            );
        }
    }
}
