//! What schedules stand on, handed in once by the composition root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;
use supervisors::{DynamicRef, Tasks};

use crate::agents::handle::AgentsHandle;
use crate::domain::name::ScheduleName;
use crate::domain::plan::Plan;
use crate::domain::schedule::document::Defaults;
use crate::runs::handle::RunsHandle;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::runtime::telemetry::Telemetry;
use crate::skills::handle::SkillsHandle;
use crate::storage::store::Store;

use super::book::Book;
use super::message::ScheduleMessage;

/// The operator's files of schedules.
pub trait ScheduleFiles: Send + Sync {
    /// Writes a schedule that is new, whole or not at all, and says where.
    fn write(&self, name: &ScheduleName, document: &Value) -> Result<String, String>;
    /// Removes a schedule's file.
    fn remove(&self, name: &ScheduleName) -> Result<(), String>;
}

/// Everything below that schedules use.
#[derive(Clone)]
pub struct AutomationParts {
    /// Tells the time.
    pub clock: Clock,
    /// For ids of incidents.
    pub entropy: Entropy,
    /// Reads.
    pub store: Store,
    /// Writes.
    pub committer: Committer,
    /// Counts.
    pub telemetry: Telemetry,
    /// Accepts what a slot starts.
    pub runs: RunsHandle,
    /// Who may be named.
    pub agents: AgentsHandle,
    /// What may be called.
    pub skills: SkillsHandle,
    /// The operator's pipelines, by name.
    pub pipelines: Arc<[(Arc<str>, Arc<Plan>)]>,
    /// Folders that programs are looked for in when a schedule does not say.
    pub path: OsString,
    /// What programs read outside of their workspace; none when they are not confined.
    pub readable: Option<Arc<[PathBuf]>>,
    /// The folder of runs when a schedule does not say.
    pub folder: Arc<Path>,
    /// What the configuration says for all schedules.
    pub defaults: Defaults,
    /// The operator's files.
    pub files: Arc<dyn ScheduleFiles>,
    /// How long rows of ledgers are kept, in milliseconds.
    pub slots_ms: u64,
    /// The longest time between two looks at the clock, so that one that was set is noticed.
    pub tick: Duration,
}

/// What the actors of the layer share among themselves.
#[derive(Clone)]
pub struct AutomationInside {
    /// Everything below.
    pub parts: AutomationParts,
    /// The schedules.
    pub book: Book,
    /// Their actors.
    pub actors: DynamicRef<ScheduleName, ScheduleMessage>,
    /// Tasks that wait for the ends of runs.
    pub watching: Tasks,
    /// Whether nothing is started for now: an operator drains the daemon.
    pub held: Arc<AtomicBool>,
}
