//! What a schedule's actor is told, and what it answers.

use std::sync::Arc;

use ractor::RpcReplyPort;

use crate::domain::time::UtcMillis;
use crate::runtime::committer::CommitError;
use crate::storage::error::StoreError;

use super::effect::Verdict;

/// Slots that one request may run later.
pub const BACKFILL_MAX: usize = 100;

/// What an answer to a person is.
pub type Answer<T> = Result<T, ScheduleRefused>;

/// Why a schedule's actor does not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScheduleRefused {
    /// More slots than one request may run.
    #[error("run slots later: {found} are asked for, at most {BACKFILL_MAX} at once")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// The write was refused or failed.
    #[error("write the ledger")]
    Commit(#[source] CommitError),
    /// The ledger cannot be read.
    #[error("read the ledger")]
    Store(#[source] Arc<StoreError>),
}

/// What a schedule's actor is told.
#[derive(Debug)]
pub enum ScheduleMessage {
    /// Hold no new slots from now on, and say why.
    Pause {
        /// Why.
        why: Arc<str>,
        /// Where the answer goes.
        reply: RpcReplyPort<Answer<()>>,
    },
    /// Go on; slots that were due meanwhile stay skipped.
    Resume {
        /// Where the answer goes.
        reply: RpcReplyPort<Answer<()>>,
    },
    /// Run now, whatever the clock says.
    RunNow {
        /// Who asks.
        by: Arc<str>,
        /// Where the slot's name goes.
        reply: RpcReplyPort<Answer<UtcMillis>>,
    },
    /// Run slots of a time that did not run.
    Backfill {
        /// The first and the last time.
        between: (UtcMillis, UtcMillis),
        /// Who asks.
        by: Arc<str>,
        /// Where the slots go.
        reply: RpcReplyPort<Answer<Vec<UtcMillis>>>,
    },
    /// The schedule is being removed: close its rows.
    Retire {
        /// Where the answer goes.
        reply: RpcReplyPort<Answer<()>>,
    },
    /// A slot's run has ended.
    RunEnded {
        /// Which slot.
        slot: UtcMillis,
        /// What came of it.
        verdict: Verdict,
    },
    /// Look at the clock.
    LookDue,
    /// Panic, for tests of supervision.
    #[cfg(test)]
    Crash,
}
