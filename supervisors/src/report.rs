//! One structured report per fact, for logs and metrics.
//!
//! A report goes to the sink of the tree, if there is one, and to `tracing` (target `supervisors`). Building one costs a
//! few reference counts; the sink is called on the supervisor's task and must not block.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use crate::{ChildId, ExitReason, StartError, TreePath};

/// Where reports go.
pub type ReportSink = Arc<dyn Fn(&Report) + Send + Sync>;

/// A fact about a child or, where `child` is `None`, about the supervisor itself.
#[derive(Clone, Debug)]
pub struct Report {
    /// The supervisor that tells.
    pub supervisor: TreePath,
    /// The child it is about.
    pub child: Option<ChildId>,
    /// Which incarnation of the child; 0 where there is none.
    pub incarnation: u64,
    /// What happened.
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fact {
    /// The child runs.
    Started {
        /// Whether the supervisor restarted it by itself.
        restarted: bool,
    },
    /// The child had nothing to do.
    Ignored,
    /// The child did not start.
    StartFailed {
        /// Why.
        error: StartError,
    },
    /// The child has ended, and everything it held is released.
    Exited {
        /// Why.
        reason: ExitReason,
        /// Whether the supervisor had told it to stop.
        asked: bool,
    },
    /// The child ended otherwise than it should when told to stop; it has ended all the same.
    ShutdownError {
        /// How it ended instead.
        reason: ExitReason,
    },
    /// The child will be started again.
    Restarting {
        /// How many restarts since it was healthy; the first is 0.
        attempt: u32,
        /// The wait before it.
        delay: Duration,
    },
    /// A killed child did not end; it is left behind and its successor gets no registry name.
    Zombie,
    /// A zombie has ended after all.
    ZombieEnded,
    /// The supervisor stops everything and ends.
    GaveUp {
        /// Why.
        reason: GiveUp,
    },
    /// A significant child has ended, so the supervisor stops everything and ends.
    AutoShutdown,
}

/// Why a supervisor gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUp {
    /// More restarts than the intensity allows.
    Intensity,
    /// More zombies in the tree than the limit allows: only the end of the process gets rid of them.
    Zombies,
}

impl GiveUp {
    /// The reason the supervisor exits with.
    pub fn exit_reason(self) -> ExitReason {
        ExitReason::ShutdownWith(self.to_string())
    }
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intensity => "restart intensity reached",
            Self::Zombies => "zombie limit reached",
        })
    }
}

impl Fact {
    /// The name of the fact, as a label for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Ignored => "ignored",
            Self::StartFailed { .. } => "start_failed",
            Self::Exited { .. } => "exited",
            Self::ShutdownError { .. } => "shutdown_error",
            Self::Restarting { .. } => "restarting",
            Self::Zombie => "zombie",
            Self::ZombieEnded => "zombie_ended",
            Self::GaveUp { .. } => "gave_up",
            Self::AutoShutdown => "auto_shutdown",
        }
    }
}

/// Hands a report to the sink and to `tracing`. A panic in the sink is caught: it must not cost a supervisor.
pub(crate) fn emit(report: &Report, sink: Option<&ReportSink>) {
    if let Some(sink) = sink
        && std::panic::catch_unwind(AssertUnwindSafe(|| sink(report))).is_err()
    {
        tracing::error!(target: "supervisors", "the report sink panicked");
    }
    let supervisor = report.supervisor.as_str();
    let child = report.child.as_ref().map(ChildId::as_str);
    let incarnation = report.incarnation;
    let name = report.fact.name();
    match &report.fact {
        Fact::Started { restarted } => {
            tracing::debug!(target: "supervisors", supervisor, child, incarnation, restarted, "{name}");
        }
        Fact::Exited { reason, asked } if *asked || reason.is_orderly() => {
            tracing::debug!(target: "supervisors", supervisor, child, incarnation, %reason, "{name}");
        }
        Fact::Exited { reason, .. } | Fact::ShutdownError { reason } => {
            tracing::warn!(target: "supervisors", supervisor, child, incarnation, %reason, "{name}");
        }
        Fact::StartFailed { error } => {
            tracing::warn!(target: "supervisors", supervisor, child, incarnation, error = %Chain(error), "{name}");
        }
        Fact::Restarting { attempt, delay } => {
            tracing::info!(target: "supervisors", supervisor, child, incarnation, attempt, ?delay, "{name}");
        }
        Fact::GaveUp { reason } => {
            tracing::error!(target: "supervisors", supervisor, child, incarnation, %reason, "{name}");
        }
        Fact::Zombie => tracing::error!(target: "supervisors", supervisor, child, incarnation, "{name}"),
        Fact::Ignored | Fact::ZombieEnded | Fact::AutoShutdown => {
            tracing::info!(target: "supervisors", supervisor, child, incarnation, "{name}");
        }
    }
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a StartError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
