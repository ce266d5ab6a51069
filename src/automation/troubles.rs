//! The incidents of a schedule: one for as long as its slots fail, one for as long as some are missed.

use std::sync::Arc;

use crate::domain::id::IncidentId;
use crate::domain::incident::{Incident, IncidentChange};
use crate::domain::name::ScheduleName;
use crate::domain::time::UtcMillis;
use crate::storage::batch::Op;
use crate::storage::error::StoreError;
use crate::storage::incidents::fold;

use super::effect::{Notice, Trouble, Written};
use super::parts::AutomationParts;

/// What is written of a schedule's incidents together with its rows. Of one that is well there is nothing to end.
pub(super) fn follow(
    parts: &AutomationParts,
    name: &ScheduleName,
    written: &Written,
    is_well: bool,
) -> Result<Vec<Op>, StoreError> {
    let now = parts.clock.now();
    match &written.notice {
        Some(notice) => begun(parts, name, notice, now),
        None if written.succeeds() && !is_well => {
            let ops = resolve(parts, name, Trouble::Failing, "a slot succeeded", now)?;
            Ok(ops.into_iter().collect())
        }
        None => Ok(Vec::new()),
    }
}

/// Ends the incidents of a schedule that goes away: nothing else ever would.
pub(super) fn end(parts: &AutomationParts, name: &ScheduleName, now: UtcMillis) -> Result<Vec<Op>, StoreError> {
    let mut ops = Vec::new();
    for trouble in Trouble::ALL {
        ops.extend(resolve(parts, name, trouble, "the schedule was removed", now)?);
    }
    Ok(ops)
}

fn begun(parts: &AutomationParts, name: &ScheduleName, notice: &Notice, now: UtcMillis) -> Result<Vec<Op>, StoreError> {
    tracing::warn!(schedule = %name, why = %notice.why, "{}", notice.what);
    let named = notice.trouble.fingerprint(name);
    let open = parts.store.open_incident_of(&named)?;
    let begin = |why: Arc<str>| Incident {
        id: IncidentId::new(now, parts.entropy.u128()),
        at: now,
        severity: notice.severity.into(),
        what: notice.what.as_str().into(),
        why,
        action: notice.action.as_str().into(),
        run: notice.run,
    };
    let why = notice.why.as_str().into();
    Ok(fold(open, &named, notice.trouble.quiet_ms(), why, now, begin))
}

fn resolve(
    parts: &AutomationParts,
    name: &ScheduleName,
    trouble: Trouble,
    how: &str,
    at: UtcMillis,
) -> Result<Option<Op>, StoreError> {
    let open = parts.store.open_incident_of(&trouble.fingerprint(name))?;
    Ok(open.map(|id| Op::IncidentChange(id, IncidentChange::Resolved { at, how: how.into() })))
}
