//! Which runs go: those that ended long ago, and when all of them take too much room, the oldest.
//!
//! **Invariants**: a run that has not ended, is parked, or ended unknown stays, whatever its age: a person has to say.
//! What ended within the last hour stays, so that whoever submitted it can still ask.

use crate::domain::id::RunId;
use crate::domain::run::{Outcome, RunStatus};
use crate::domain::time::UtcMillis;

/// How long every run is kept, in milliseconds.
pub const SPARED_MS: u64 = 3_600_000;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long runs are kept after their end, in milliseconds.
    pub runs_ms: u64,
    /// Bytes of all runs together.
    pub bytes: u64,
    /// How long rows of the audit log are kept, in milliseconds.
    pub audit_ms: u64,
}

impl Default for Limits {
    /// Nothing goes.
    fn default() -> Self {
        Self {
            runs_ms: u64::MAX,
            bytes: u64::MAX,
            audit_ms: u64::MAX,
        }
    }
}

/// A run that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub run: RunId,
    /// How it is.
    pub status: RunStatus,
    /// When it ended.
    pub ended_at: Option<UtcMillis>,
}

/// What is to become of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// It goes because of its age.
    Old,
    /// It goes when there is too much.
    Spare,
}

/// What is to become of a run, by itself.
pub fn fate(of: &Candidate, limits: &Limits, now: UtcMillis) -> Fate {
    let (RunStatus::Ended(outcome), Some(ended_at)) = (of.status, of.ended_at) else {
        return Fate::Stays;
    };
    let age = now.since(ended_at);
    if outcome == Outcome::Unknown || age < SPARED_MS {
        return Fate::Stays;
    }
    if age >= limits.runs_ms { Fate::Old } else { Fate::Spare }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ended_long_ago_goes_and_what_a_person_has_to_settle_never() {
        const HOUR: u64 = 3_600_000;
        let limits = Limits {
            runs_ms: 10 * HOUR,
            ..Limits::default()
        };
        let check = |status: RunStatus, hours_ago: Option<u64>, wanted: Fate| {
            let now = UtcMillis(100 * HOUR);
            let candidate = Candidate {
                run: RunId::new(UtcMillis(1), 1),
                status,
                ended_at: hours_ago.map(|hours| UtcMillis(now.0 - hours * HOUR)),
            };
            assert_eq!(fate(&candidate, &limits, now), wanted, "{candidate:?}");
        };
        for outcome in [
            Outcome::Succeeded,
            Outcome::Failed,
            Outcome::Cancelled,
            Outcome::Expired,
        ] {
            check(RunStatus::Ended(outcome), Some(10), Fate::Old);
            check(RunStatus::Ended(outcome), Some(9), Fate::Spare);
            check(RunStatus::Ended(outcome), Some(0), Fate::Stays);
        }
        check(RunStatus::Ended(Outcome::Unknown), Some(99), Fate::Stays);
        check(RunStatus::Parked, Some(99), Fate::Stays);
        check(RunStatus::Active, None, Fate::Stays);
    }
}
