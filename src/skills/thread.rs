//! Runs blocking work of a call (files, regular expressions) on a thread of its own, with a limit and a halt.
//!
//! Invariants: work that is no longer wanted sees its [`Halt`] and stops at the next look; nothing is written
//! after a look that said so.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::skill::SkillManifest;

use super::skill::{CallEnd, CallOrder, ProbeAnswer, SkillError};
use super::stop::{Halt, Stop};
use super::workspace::Workspace;

struct HaltOnDrop(Halt);

impl Drop for HaltOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Runs `work` with the call's workspace, at most for the shorter of the two limits.
///
/// **Cancel**: the thread goes on until its next look at the halt, at the latest one file later.
pub(super) fn on_thread<F>(
    manifest: &SkillManifest,
    order: CallOrder,
    work: F,
) -> BoxFuture<'static, Result<CallEnd, SkillError>>
where
    F: FnOnce(&CallOrder, &Workspace, &Halt) -> Result<CallEnd, Stop> + Send + 'static,
{
    let ended = bounded(manifest, order, work);
    Box::pin(async move { Ok(ended.await?.unwrap_or_else(CallEnd::refused)) })
}

/// The same for the question whether a call has happened; what stops the look leaves it unknown, with the reason.
pub(super) fn probe_on_thread<F>(manifest: &SkillManifest, order: CallOrder, look: F) -> BoxFuture<'static, ProbeAnswer>
where
    F: FnOnce(&CallOrder, &Workspace, &Halt) -> Result<ProbeAnswer, Stop> + Send + 'static,
{
    let seen = bounded(manifest, order, look);
    Box::pin(async move {
        match seen.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(refused)) => ProbeAnswer::Unknown(refused),
            Err(error) => ProbeAnswer::Unknown(error.to_string()),
        }
    })
}

/// What the work gave, or why it was refused.
fn bounded<F, T>(
    manifest: &SkillManifest,
    order: CallOrder,
    work: F,
) -> impl Future<Output = Result<Result<T, String>, SkillError>> + Send + 'static
where
    F: FnOnce(&CallOrder, &Workspace, &Halt) -> Result<T, Stop> + Send + 'static,
    T: Send + 'static,
{
    let limit = order.deadline.min(Duration::from_millis(manifest.timeout_ms));
    let skill = manifest.name.to_string();
    async move {
        let halt = Halt::default();
        let _unwanted = HaltOnDrop(halt.clone());
        let limit_ms = limit.as_millis() as u64;
        let thread = tokio::task::spawn_blocking(move || {
            let workspace = Workspace::open(&order.workspace)?;
            work(&order, &workspace, &halt)
        });
        let Ok(ended) = tokio::time::timeout(limit, thread).await else {
            return Err(SkillError::TimedOut { limit_ms });
        };
        match ended {
            Ok(Ok(end)) => Ok(Ok(end)),
            Ok(Err(Stop::Refused(text))) => Ok(Err(text)),
            Ok(Err(Stop::Failed(error))) => Err(error),
            Ok(Err(Stop::Unwanted)) => Err(SkillError::TimedOut { limit_ms }),
            Err(source) => Err(SkillError::Thread { skill, source }),
        }
    }
}
