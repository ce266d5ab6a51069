//! Waiting for the end of a slot's run and judging it.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::fact::Fact;
use crate::domain::fault::in_one_line;
use crate::domain::id::RunId;
use crate::domain::run::{Outcome, RunStatus};
use crate::domain::schedule::definition::Schedule;
use crate::domain::schedule::slot::SlotRow;
use crate::domain::time::UtcMillis;

use super::effect::Verdict;
use super::outputs;
use super::parts::AutomationParts;

/// Between two looks at a run of which nothing is heard. What is heard comes at once; this is for what is not.
const LOOK: Duration = Duration::from_secs(60);

/// Why a schedule ends a run: it is how the run's journal tells that end from one that a person asked for.
pub(super) const SUPERSEDED: &str = "a later slot of its schedule is due";

/// Waits until a slot's run has ended, and judges it. The run has a deadline of its own.
///
/// **Cancel**: nothing is lost; whoever waits next sees the same.
pub(super) async fn verdict(parts: AutomationParts, schedule: Arc<Schedule>, row: SlotRow, run: RunId) -> Verdict {
    let failed = |why: String| Verdict {
        succeeded: false,
        is_superseded: false,
        why: why.into(),
    };
    let (status, ended_at) = match end_of(&parts, run).await {
        Ok(end) => end,
        Err(reason) => return failed(format!("{run} cannot be read: {reason}")),
    };
    match status {
        RunStatus::Ended(Outcome::Succeeded) => {}
        RunStatus::Ended(Outcome::Unknown) => {
            return failed(format!(
                "{run} ended unknown: a person must say what happened, `openclaw runs resolve`"
            ));
        }
        RunStatus::Ended(Outcome::Cancelled) => {
            return match is_superseded(&parts, run) {
                Ok(is_superseded) => Verdict {
                    is_superseded,
                    ..failed(format!("{run} is cancelled"))
                },
                Err(reason) => failed(format!("{run} is cancelled, and cannot be read: {reason}")),
            };
        }
        other => return failed(format!("{run} is {}", other.as_str())),
    }
    let workspace = parts.workspace(&schedule);
    // The daemon may have been down since: what was fresh when the run ended has not grown old by that.
    let ended_at = ended_at.unwrap_or_else(|| parts.clock.now());
    let looked =
        tokio::task::spawn_blocking(move || outputs::look(&workspace, &schedule.outputs, row.decided_at, ended_at));
    match looked.await {
        Ok(Ok(())) => Verdict {
            succeeded: true,
            is_superseded: false,
            why: "".into(),
        },
        Ok(Err(reason)) => failed(format!("{run} succeeded, but {reason}")),
        Err(error) => failed(format!("the expected outputs could not be looked at: {error}")),
    }
}

/// Whether the first who asked for the run's end was its schedule.
fn is_superseded(parts: &AutomationParts, run: RunId) -> Result<bool, String> {
    let facts = parts.runs.facts(run, 0).map_err(|error| in_one_line(&error))?;
    let asked = facts.iter().find_map(|stamped| match &stamped.fact {
        Fact::CancelRequested { reason, .. } => Some(&**reason == SUPERSEDED),
        _ => None,
    });
    Ok(asked.unwrap_or(false))
}

/// How a run ended, and when.
async fn end_of(parts: &AutomationParts, run: RunId) -> Result<(RunStatus, Option<UtcMillis>), String> {
    let mut watch = parts.runs.watch(run);
    let mut seen = 0;
    loop {
        // Read before the status: what comes after it raises the level again.
        let facts = parts.runs.facts(run, seen).map_err(|error| in_one_line(&error))?;
        seen = facts.last().map_or(seen, |fact| fact.seq);
        let header = parts.runs.header(run).map_err(|error| in_one_line(&error))?;
        if header.status != RunStatus::Active {
            return Ok((header.status, header.ended_at));
        }
        // Either way the status decides.
        tokio::time::timeout(LOOK, watch.past(seen)).await.ok();
    }
}
