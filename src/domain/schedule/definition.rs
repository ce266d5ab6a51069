//! What a schedule is: when, what it starts, and what happens when things do not go by the clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::name::{AgentName, ScheduleName, SkillName};
use crate::domain::time::UtcMillis;

use super::expression::When;

/// A slot that starts later than this after it was due is late, when the schedule does not say.
pub const LATE_AFTER_MS: u64 = 60_000;
/// The least that it may be: within less, nobody can start anything.
pub const LATE_AFTER_MS_MIN: u64 = 1_000;
/// How long a slot's run may take when the schedule does not say: 24 hours.
pub const DEADLINE_MS: u64 = 24 * 3_600_000;
/// How long a command may run when the schedule does not say: half an hour, which is also the most.
pub const COMMAND_TIMEOUT_MS: u64 = 1_800_000;
/// Most of what a slot's start is put off: a day.
pub const JITTER_MS_MAX: u64 = 86_400_000;
/// Expected outputs of one schedule.
pub const OUTPUTS_MAX: usize = 16;
/// Schedules of one daemon.
pub const SCHEDULES_MAX: usize = 256;

/// One schedule as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// When, as it was written.
    pub expression: Arc<str>,
    /// When.
    pub when: When,
    /// The IANA name of its zone.
    pub zone: Arc<str>,
    /// What it starts.
    pub target: Target,
    /// The folder of its runs, absolute; none is the daemon's own.
    pub workspace: Option<Arc<str>>,
    /// What a slot does that is due while an earlier one runs.
    pub overlap: Overlap,
    /// What becomes of slots that were due while nobody looked.
    pub catch_up: CatchUp,
    /// The most by which a slot's start is put off, in milliseconds; never beyond the next slot.
    pub jitter_ms: u64,
    /// From how much on a start counts as late, in milliseconds.
    pub late_after_ms: u64,
    /// How long a slot's run may take, in milliseconds.
    pub deadline_ms: u64,
    /// What must be there when a run has succeeded.
    pub outputs: Vec<ExpectedOutput>,
}

/// What a schedule starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A task for an agent; none lets the planner split it.
    Agent {
        /// Which.
        agent: Option<AgentName>,
        /// What is to be done.
        task: Arc<str>,
    },
    /// One call of a skill.
    Skill {
        /// Which.
        skill: SkillName,
        /// Its arguments, an object.
        arguments: Value,
    },
    /// A pipeline of the operator.
    Pipeline {
        /// Its name.
        pipeline: Arc<str>,
        /// What the run is called; the pipeline's goal when not given.
        task: Option<Arc<str>>,
    },
    /// A program.
    Command(Command),
}

/// A program and everything that it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments; no shell.
    pub argv: Vec<Arc<str>>,
    /// Folders that programs are looked for in; none is the daemon's own list.
    pub path: Option<Arc<str>>,
    /// Further variables.
    pub env: BTreeMap<Arc<str>, Arc<str>>,
    /// A file that `sh` sources first, absolute.
    pub profile: Option<Arc<str>>,
    /// Where it runs, within the workspace.
    pub cwd: Option<Arc<str>>,
    /// Its deadline in milliseconds.
    pub timeout_ms: u64,
}

/// What a slot does that is due while an earlier one of the same schedule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// It does not run.
    Skip,
    /// It waits; one may wait.
    Queue,
    /// It runs beside it.
    Allow,
    /// The earlier one is cancelled, and this one runs when that has ended.
    Cancel,
}

/// What becomes of slots that were due while nobody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// All run, the oldest first, one after another.
    All,
    /// The last one runs.
    Last,
    /// None runs.
    Skip,
}

/// What must be there when a run has succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedOutput {
    /// A file of the workspace, or a pattern with `*`, `?` and `**`: at least one file that matches must be as new as is
    /// asked for, and all that are must hold the rest.
    pub path: Arc<str>,
    /// Time since it was last written, at most, in milliseconds; none asks that it was written since the slot's start.
    pub max_age_ms: Option<u64>,
    /// The least size in bytes.
    pub bytes_min: u64,
    /// The greatest size in bytes.
    pub bytes_max: Option<u64>,
    /// A regular expression that its text matches.
    pub matches: Option<Arc<str>>,
    /// A JSON Schema that it keeps, read as JSON.
    pub schema: Option<Arc<Value>>,
}

macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+) => {
        impl $type {
            /// Every one, for messages.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for files and JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// The one of a word made by [`Self::as_str`].
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}

words!(Overlap: Skip = "skip", Queue = "queue", Allow = "allow", Cancel = "cancel");
words!(CatchUp: All = "all", Last = "last", Skip = "skip");

impl Schedule {
    /// By how much the start of a slot is put off, in milliseconds: the same each time it is asked, so that a slot
    /// does not move when the daemon starts again.
    pub fn jitter_of(&self, slot: UtcMillis) -> u64 {
        if self.jitter_ms == 0 {
            return 0;
        }
        // FNV-1a, then the finaliser of SplitMix64: spread evenly, and the same on every machine.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.name.as_str().bytes().chain([0]).chain(slot.0.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (hash ^ (hash >> 31)) % (self.jitter_ms + 1)
    }
}

impl Target {
    /// What kind of thing it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Agent { .. } => "agent",
            Self::Skill { .. } => "skill",
            Self::Pipeline { .. } => "pipeline",
            Self::Command(_) => "command",
        }
    }
}
