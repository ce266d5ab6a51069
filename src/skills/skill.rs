//! What a skill is to its callers: a manifest, a way to call it, and a way to ask whether an effect happened.
//!
//! Refuses to know: agents, runs, the journal. Invariants: a refusal that a model can act on (missing file, exit
//! code, bad URL) is an `Ok` outcome with `is_error`; [`SkillError`] means that the machinery itself failed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::domain::capability::CapabilitySet;
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fault::Fault;
use crate::domain::id::RunId;
use crate::domain::memory::ShardName;
use crate::domain::name::StepId;
use crate::domain::skill::{CallOutcome, SkillManifest};

use super::needs;
use super::preview::Preview;
use super::process::runner::ProcessError;

/// Something that agents can call.
pub trait Skill: Send + Sync {
    /// What it says of itself.
    fn manifest(&self) -> &SkillManifest;

    /// What a call with these arguments does to the world; the manifest's class unless the arguments decide.
    fn class_of(&self, arguments: &Value) -> EffectClass {
        let _ = arguments;
        self.manifest().class
    }

    /// Makes one call.
    ///
    /// **Cancel**: dropping the future cancels the call. A program that it started is told to end and then
    /// killed with its whole process group; [`Skill::settled`] waits until that has happened.
    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>>;

    /// What the call would do, for a person who has to agree to it. Changes nothing.
    ///
    /// **Cancel**: as that of [`Skill::call`].
    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        Preview::of_arguments(&order.arguments).at_once()
    }

    /// What a call with these arguments touches. The arguments need not have been validated.
    fn needs(&self, arguments: &Value, workspace: &Path) -> CapabilitySet {
        needs::of(&self.manifest().name, arguments, workspace)
    }

    /// Why a call with these arguments would be refused as things are, seen before anything of it is done or written
    /// down. A skill whose probe judges by what is there after a call says here what must be there before it.
    fn foreseen(&self, arguments: &Value, workspace: &Path) -> Option<String> {
        let _ = (arguments, workspace);
        None
    }

    /// Asks whether the effect of an interrupted call happened. Only skills of class `probe` know.
    fn probe(&self, order: CallOrder) -> BoxFuture<'static, ProbeAnswer> {
        let _ = order;
        Box::pin(std::future::ready(ProbeAnswer::Unknown(
            "this skill cannot be asked".to_owned(),
        )))
    }

    /// Whether nothing of a call goes on once it was cancelled and is [`Skill::settled`]: a program is killed with all
    /// that it started. What was sent to others may be done there all the same.
    fn ends_when_cancelled(&self) -> bool {
        false
    }

    /// Completes when nothing of a dropped call runs any more. It has a bound of its own.
    fn settled(&self, key: EffectKey) -> BoxFuture<'static, ()> {
        let _ = key;
        Box::pin(std::future::ready(()))
    }
}

/// One call, as the skill gets it.
#[derive(Debug, Clone)]
pub struct CallOrder {
    /// Names the effect; the same when the machine makes the call again.
    pub key: EffectKey,
    /// For whom.
    pub run: RunId,
    /// For which step.
    pub step: StepId,
    /// The arguments: an object that matches the manifest's schema.
    pub arguments: Value,
    /// The folder that the run works in, absolute.
    pub workspace: Arc<Path>,
    /// What whoever makes the call may touch at most; none means that nothing was said. Programs are confined to it.
    pub granted: Option<Arc<CapabilitySet>>,
    /// Whether a person agreed to this very call: then it goes nowhere that the person was not shown.
    pub agreed: bool,
    /// Time that remains for this call; the skill also keeps its own manifest's limit.
    pub deadline: Duration,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub struct CallEnd {
    /// What the model gets.
    pub outcome: CallOutcome,
    /// What the committer writes in the same transaction as the outcome.
    pub local: Option<LocalEffect>,
}

impl CallEnd {
    /// A result without error and without local effect.
    pub fn ok(content: impl Into<Arc<str>>) -> Self {
        Self {
            outcome: CallOutcome::ok(content),
            local: None,
        }
    }

    /// A refusal, in words for the model.
    pub fn refused(content: impl Into<Arc<str>>) -> Self {
        Self {
            outcome: CallOutcome::error(content),
            local: None,
        }
    }
}

impl From<CallOutcome> for CallEnd {
    fn from(outcome: CallOutcome) -> Self {
        Self { outcome, local: None }
    }
}

/// A text that a skill wants kept; who keeps it and when is not its to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNote {
    /// Where.
    pub shard: ShardName,
    /// Under which key, if any.
    pub key: Option<Arc<str>>,
    /// What.
    pub text: Arc<str>,
    /// Words to filter by.
    pub tags: Vec<Arc<str>>,
    /// 0 to 100; the usual one when not given.
    pub importance: Option<u8>,
    /// When it ends by itself, in seconds from when it is kept.
    pub expires_in_s: Option<u64>,
}

/// An effect on the main store, made by its owner together with the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalEffect {
    /// Puts a memory entry.
    MemoryPut(Box<NewNote>),
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeAnswer {
    /// The effect is there; this is its outcome.
    Happened(CallOutcome),
    /// The effect is not there: the call may be made.
    NotHappened,
    /// It cannot be told, with the reason.
    Unknown(String),
}

/// Says which part of the machinery failed under a call.
#[derive(Debug, thiserror::Error)]
pub enum SkillError {
    /// The workspace cannot be opened.
    #[error("failed to open workspace {path}")]
    OpenWorkspace {
        /// The folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Input or output within the workspace failed for a reason that is not the model's to mend.
    #[error("failed to {doing} {path}")]
    Files {
        /// What was being done, as an infinitive.
        doing: &'static str,
        /// To what.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The surroundings of a program could not be made; it was not started.
    #[error("failed to prepare a program")]
    Prepare(#[source] Box<SkillError>),
    /// The thread that did the work ended without a result.
    #[error("failed to finish {skill} on its thread")]
    Thread {
        /// Which skill.
        skill: String,
        /// Why.
        #[source]
        source: tokio::task::JoinError,
    },
    /// A program could not be run at all.
    #[error("failed to run a program")]
    Process(#[from] ProcessError),
    /// The memory could not be read.
    #[error("failed to read memory: {reason}")]
    Memory {
        /// Why.
        reason: String,
    },
    /// The network client could not be made.
    #[error("failed to make the network client")]
    Client(#[source] reqwest::Error),
    /// A request broke off, and whether it reached the other side is not known.
    #[error("failed to hear what became of a request: {reason}")]
    Lost {
        /// Why.
        reason: String,
    },
    /// The call's turn did not come in time; nothing was done.
    #[error("failed to start within {waited_ms} ms: other calls of the skill were before it")]
    NotStarted {
        /// How long it waited.
        waited_ms: u64,
    },
    /// The server that has the tool is not there; nothing was sent.
    #[error("failed to reach the server {server}: {reason} [OC-5023]")]
    ServerDown {
        /// Which.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server that has the tool was lost while it worked; how far it came is not known.
    #[error("failed to hear from the server {server}: {reason} [OC-5023]")]
    ServerLost {
        /// Which.
        server: String,
        /// What was seen.
        reason: String,
    },
    /// The call's time ran out within the machinery.
    #[error("failed to finish within {limit_ms} ms")]
    TimedOut {
        /// The limit.
        limit_ms: u64,
    },
}

impl SkillError {
    /// Whether it is certain that the call did nothing.
    pub fn nothing_happened(&self) -> bool {
        match self {
            Self::NotStarted { .. }
            | Self::ServerDown { .. }
            | Self::OpenWorkspace { .. }
            | Self::Prepare(_)
            | Self::Client(_) => true,
            Self::Process(error) => error.nothing_started(),
            Self::Files { .. }
            | Self::Thread { .. }
            | Self::Memory { .. }
            | Self::Lost { .. }
            | Self::ServerLost { .. }
            | Self::TimedOut { .. } => false,
        }
    }

    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::OpenWorkspace { .. }
            | Self::Files { .. }
            | Self::Memory { .. }
            | Self::Client(_)
            | Self::Lost { .. }
            | Self::ServerDown { .. }
            | Self::ServerLost { .. } => Fault::Unavailable,
            Self::Thread { .. } => Fault::Bug,
            Self::Prepare(error) => error.fault(),
            Self::Process(error) => error.fault(),
            Self::NotStarted { .. } => Fault::Overloaded,
            Self::TimedOut { .. } => Fault::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_before_anything_was_started_is_known_not_to_have_happened() {
        let full = || std::io::Error::from_raw_os_error(24);
        let files = || SkillError::Files {
            doing: "make",
            path: "x".into(),
            source: full(),
        };
        let check = |error: SkillError, expected: bool| assert_eq!(error.nothing_happened(), expected, "{error:?}");
        check(
            SkillError::OpenWorkspace {
                path: "x".into(),
                source: full(),
            },
            true,
        );
        check(SkillError::Prepare(Box::new(files())), true);
        check(SkillError::Process(ProcessError::Connect(full())), true);
        check(
            SkillError::Process(ProcessError::SendOrder {
                tries: 3,
                source: full(),
            }),
            true,
        );
        // Within a skill's own work it may be the second file of two.
        check(files(), false);
        check(SkillError::Process(ProcessError::Silent { limit_ms: 1 }), false);
        check(SkillError::Process(ProcessError::ReadReport(full())), false);
        check(SkillError::TimedOut { limit_ms: 1 }, false);
    }
}
