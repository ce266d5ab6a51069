//! What other layers hold of the skills: the catalogue, the workers, and the spool of interrupted programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use supervisors::{TaskExit, Tasks};

use crate::domain::capability::CapabilitySet;
use crate::domain::effect::EffectKey;
use crate::domain::id::RunId;
use crate::domain::name::SkillName;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;
use crate::runtime::telemetry::Telemetry;

use super::catalogue::Catalogue;
use super::mcp::handle::McpHandle;
use super::meter::Meter;
use super::needs;
use super::package::library::Library;
use super::poison::CallName;
use super::preview::Preview;
use super::process::runner::ProcessRunner;
use super::process::spool::SpoolError;
use super::skill::{CallOrder, ProbeAnswer, Skill};
use super::workers::{CallRefused, CallTicket, WorkerEnd, Workers};

/// Longest wait for workers that are being started anew.
const RESTART_MAX: Duration = Duration::from_secs(2);
/// Longest time in which a call has to say what it would do.
const PREVIEW_MAX: Duration = Duration::from_secs(30);

/// A cheap clone.
#[derive(Clone)]
pub struct SkillsHandle {
    catalogue: Arc<ArcSwap<Catalogue>>,
    workers: Workers,
    tasks: Tasks,
    runner: Arc<ProcessRunner>,
    library: Arc<Library>,
    mcp: McpHandle,
}

/// What the handle is made of.
pub struct SkillsParts {
    /// The catalogue; whoever holds it may put another one in its place.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// Where calls are made.
    pub tasks: Tasks,
    /// Runs programs.
    pub runner: Arc<ProcessRunner>,
    /// The skill packages.
    pub library: Arc<Library>,
    /// The servers whose tools are skills.
    pub mcp: McpHandle,
}

/// Why a call was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such skill.
    #[error("call `{0}`: there is no such skill")]
    NoSkill(SkillName),
    /// Its workers do not take it.
    #[error("call `{skill}`")]
    Refused {
        /// Which skill.
        skill: SkillName,
        /// Why.
        #[source]
        source: CallRefused,
    },
}

/// Cancels a question to a skill when dropped or told to.
#[derive(Debug)]
pub enum Ticket {
    /// A call.
    Call(CallTicket),
    /// A probe or a look.
    Question(supervisors::TaskRef),
}

impl Ticket {
    /// Cancels; the end is told when nothing of it runs any more.
    pub fn cancel(&self) {
        match self {
            Self::Call(ticket) => ticket.cancel(),
            Self::Question(task) => task.cancel(),
        }
    }
}

impl SkillsHandle {
    /// These skills, made as tasks of this supervisor.
    pub fn new(parts: SkillsParts) -> Self {
        Self {
            catalogue: parts.catalogue,
            workers: Workers::new(parts.tasks.clone()),
            tasks: parts.tasks,
            runner: parts.runner,
            library: parts.library,
            mcp: parts.mcp,
        }
    }

    /// The same with its calls counted and timed. The tools of a server count together, under the server's name.
    #[must_use]
    pub fn counted(mut self, telemetry: &Telemetry) -> Self {
        let catalogue = self.catalogue();
        let skills = catalogue.manifests().map(|skill| skill.name.as_str());
        let own = skills.filter(|name| !name.starts_with("mcp.")).map(Arc::from);
        let servers = self.mcp.reports();
        let servers = servers.iter().map(|server| format!("mcp.{}", server.name).into());
        let meter = Meter::new(telemetry, own.chain(servers));
        self.workers = self.workers.metered(meter.clone());
        let workers = self.workers.clone();
        meter.show_depths(telemetry, move || workers.depths());
        self
    }

    /// Takes over from a journal that a call is dead: its run never has it made again.
    pub fn bury(&self, run: RunId, call: &CallName, text: &str) {
        self.workers.poison().bury(run, call, text);
    }

    /// The catalogue as it is now; the next look may give another one.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    /// The skill packages.
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// The servers whose tools are skills.
    pub fn mcp(&self) -> &McpHandle {
        &self.mcp
    }

    /// What a call with these arguments touches; whoever makes it must be allowed all of it.
    pub fn needs(&self, name: &SkillName, arguments: &Value, workspace: &Path) -> CapabilitySet {
        self.catalogue()
            .get(name)
            .map_or_else(|| needs::of_unknown(name), |skill| skill.needs(arguments, workspace))
    }

    /// Why this call would be refused as things are; none when that cannot be told before it is made.
    pub fn foreseen(&self, name: &SkillName, arguments: &Value, workspace: &Path) -> Option<String> {
        self.catalogue().get(name)?.foreseen(arguments, workspace)
    }

    fn find(&self, name: &SkillName) -> Result<Arc<dyn Skill>, CallError> {
        self.catalogue()
            .get(name)
            .ok_or_else(|| CallError::NoSkill(name.clone()))
    }

    /// Waits while the workers are just being started anew, for two seconds at most; what asks them then is told how
    /// they are.
    pub async fn await_workers(&self) {
        let up = tokio::time::timeout(RESTART_MAX, self.tasks.open()).await;
        if up.is_err() {
            tracing::warn!("the skill workers have been down for {RESTART_MAX:?}");
        }
    }

    /// Makes a call; `on_end` is called exactly once when it was accepted.
    pub fn call(
        &self,
        name: &SkillName,
        order: CallOrder,
        on_end: impl FnOnce(WorkerEnd) + Send + 'static,
    ) -> Result<Ticket, CallError> {
        let skill = self.find(name)?;
        let refused = |source| CallError::Refused {
            skill: name.clone(),
            source,
        };
        self.workers
            .call(skill, order, on_end)
            .map(Ticket::Call)
            .map_err(refused)
    }

    /// Asks whether the effect of an interrupted call happened.
    pub fn probe(
        &self,
        name: &SkillName,
        order: CallOrder,
        on_end: impl FnOnce(ProbeAnswer) + Send + 'static,
    ) -> Result<Ticket, CallError> {
        let skill = self.find(name)?;
        let limit = order.deadline.max(Duration::from_secs(1));
        self.question("probe", name, limit, skill.probe(order), |answer| {
            on_end(answer.unwrap_or_else(ProbeAnswer::Unknown));
        })
    }

    /// Finds out what a call would do, for a person who has to agree to it; `on_end` is called exactly once when the
    /// question was accepted, with the reason where it has no answer.
    pub fn preview(
        &self,
        name: &SkillName,
        order: CallOrder,
        on_end: impl FnOnce(Result<Preview, String>) + Send + 'static,
    ) -> Result<Ticket, CallError> {
        let skill = self.find(name)?;
        let looking = async move { skill.preview(order).await };
        self.question("preview", name, PREVIEW_MAX, looking, on_end)
    }

    fn question<T: Send + 'static>(
        &self,
        what: &'static str,
        name: &SkillName,
        limit: Duration,
        asking: impl Future<Output = T> + Send + 'static,
        on_end: impl FnOnce(Result<T, String>) + Send + 'static,
    ) -> Result<Ticket, CallError> {
        let asked = tokio::time::timeout(limit, asking);
        let task = self.tasks.spawn(format!("{what} {name}"), asked, move |exit| {
            on_end(match exit {
                TaskExit::Done(Ok(answer)) => Ok(answer),
                TaskExit::Done(Err(_)) => Err(format!("the {what} did not answer in its time")),
                TaskExit::Panicked(text) => Err(format!("the {what} crashed: {text}")),
                TaskExit::Cancelled => Err(format!("the {what} was stopped")),
            });
        });
        task.map(Ticket::Question).map_err(|_| CallError::Refused {
            skill: name.clone(),
            source: CallRefused::Down,
        })
    }

    /// The outcome that an interrupted program left in the spool.
    pub fn spooled(&self, key: EffectKey) -> Option<CallOutcome> {
        let spool = self.runner.spool()?;
        spool.find(key).unwrap_or_else(|error| {
            // An unreadable report is no report: the call is handled by its class.
            tracing::warn!(%key, %error, "a report in the spool cannot be read");
            None
        })
    }

    /// What is known of the program of a call that left no outcome: its number, start, arguments and output so far.
    pub fn evidence(&self, key: EffectKey) -> Option<String> {
        self.runner.spool()?.evidence(key)
    }

    /// Removes reports whose outcomes are on disk elsewhere.
    pub fn forget(&self, keys: impl IntoIterator<Item = EffectKey>) {
        let Some(spool) = self.runner.spool() else { return };
        for key in keys {
            if let Err(error) = spool.remove(key) {
                tracing::warn!(%key, %error, "a report in the spool cannot be removed; the sweep will");
            }
        }
    }

    /// What lies in the spool for longer than this: for [`Self::sweep_spool`].
    ///
    /// Reads a folder: not for a thread of the runtime.
    pub fn old_in_spool(&self, now: UtcMillis, older_than: Duration) -> Result<Vec<PathBuf>, SpoolError> {
        let spool = self.runner.spool();
        spool.map_or_else(|| Ok(Vec::new()), |spool| spool.aged(now, older_than))
    }

    /// Removes these files of the spool but those of calls that are `needed`; says how many went.
    pub fn sweep_spool(&self, files: &[PathBuf], needed: &BTreeSet<EffectKey>) -> Result<usize, SpoolError> {
        let spool = self.runner.spool();
        spool.map_or(Ok(0), |spool| spool.sweep(files, needed))
    }

    /// Ends what programs of these calls left running when an earlier life of the process was killed.
    pub async fn end_leftovers(&self, keys: Vec<EffectKey>) {
        // The shims first: they end their programs by themselves and write down what they know.
        self.runner.end_leftovers(keys.clone()).await;
        if let Some(spool) = self.runner.spool().cloned() {
            let ended = tokio::task::spawn_blocking(move || spool.end_survivors(&keys)).await;
            if let Ok(ended @ 1..) = ended {
                tracing::warn!(ended, "programs of an earlier life still ran and were ended");
            }
        }
    }
}
