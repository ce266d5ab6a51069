//! Who is told of what, and when.
//!
//! **Invariants**: an incident is told once when it begins, again only after the interval and only as long as nobody has
//! seen it, and its end is told once to those who were told of it. What comes together is told together.

use crate::domain::incident::{Incident, IncidentState};
use crate::domain::time::UtcMillis;
use crate::health::check::Severity;

/// When people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long an incident waits for others, in milliseconds.
    pub group_wait_ms: u64,
    /// After how long people are told again of what nobody has seen, in milliseconds.
    pub repeat_ms: u64,
    /// What is less than this is told to nobody.
    pub least: Severity,
}

/// Why an incident is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Telling {
    /// It has begun.
    Began,
    /// It goes on and nobody has seen it.
    Again,
    /// It has ended.
    Ended,
}

impl Telling {
    /// The word of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Again => "goes on",
            Self::Ended => "ended",
        }
    }
}

/// What becomes of one incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// People are told.
    Tell(Telling),
    /// It has been quiet for so long that it has ended.
    Quiet,
    /// Its end is known to whoever was told: a person ended it.
    Settle,
    /// Nothing.
    Wait,
}

/// What becomes of an incident, by itself.
pub fn fate(incident: &Incident, state: &IncidentState, policy: &Policy, now: UtcMillis) -> Fate {
    if !state.is_open() {
        let by_person = state.fingerprint.is_none() && state.acknowledged.is_some();
        return match state.alerts > 0 && !state.end_told {
            true if by_person => Fate::Settle,
            true => Fate::Tell(Telling::Ended),
            false => Fate::Wait,
        };
    }
    let seen = state.seen_at.unwrap_or(incident.at);
    if state.quiet_ms.is_some_and(|quiet| now.since(seen) >= quiet) {
        return Fate::Quiet;
    }
    if Severity::from_word(&incident.severity) < policy.least || state.acknowledged.is_some() {
        return Fate::Wait;
    }
    match state.alerted_at {
        None => Fate::Tell(Telling::Began),
        Some(told) if now.since(told) >= policy.repeat_ms => Fate::Tell(Telling::Again),
        Some(_) => Fate::Wait,
    }
}

/// What is told now. Beginnings wait until the first of them has waited long enough, and then all go together.
pub fn due<'of>(
    unsettled: &'of [(Incident, IncidentState)],
    policy: &Policy,
    now: UtcMillis,
) -> Vec<(&'of Incident, &'of IncidentState, Telling)> {
    let mut told: Vec<_> = unsettled
        .iter()
        .filter_map(|(incident, state)| match fate(incident, state, policy, now) {
            Fate::Tell(telling) => Some((incident, state, telling)),
            Fate::Quiet | Fate::Settle | Fate::Wait => None,
        })
        .collect();
    let has_waited = |incident: &Incident| now.since(incident.at) >= policy.group_wait_ms || incident.at > now;
    let waited = told
        .iter()
        .any(|(incident, _, telling)| *telling != Telling::Began || has_waited(incident));
    if !waited {
        told.clear();
    }
    told.sort_by_key(|(incident, _, telling)| (*telling, incident.id));
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::IncidentId;
    use crate::domain::incident::IncidentChange;

    const POLICY: Policy = Policy {
        group_wait_ms: 10,
        repeat_ms: 1_000,
        least: Severity::Warning,
    };

    fn incident(at: u64, severity: &str) -> Incident {
        Incident {
            id: IncidentId::new(UtcMillis(at), u128::from(at)),
            at: UtcMillis(at),
            severity: severity.into(),
            what: "x".into(),
            why: "y".into(),
            action: "z".into(),
            run: None,
        }
    }

    fn state(changes: &[IncidentChange]) -> IncidentState {
        let mut state = IncidentState::default();
        for change in changes {
            state.apply(change);
        }
        state
    }

    fn named(quiet_ms: Option<u64>) -> IncidentChange {
        IncidentChange::Named {
            fingerprint: "check:x".into(),
            evidence: "".into(),
            quiet_ms,
        }
    }

    fn alerted(at: u64) -> IncidentChange {
        IncidentChange::Alerted { at: UtcMillis(at) }
    }

    fn acknowledged() -> IncidentChange {
        IncidentChange::Acknowledged {
            at: UtcMillis(1),
            by: "a person".into(),
        }
    }

    fn resolved() -> IncidentChange {
        IncidentChange::Resolved {
            at: UtcMillis(1),
            how: "".into(),
        }
    }

    #[test]
    fn an_incident_is_told_once_again_after_a_while_and_its_end_once() {
        let check = |changes: &[IncidentChange], now: u64, wanted: Fate| {
            let found = fate(&incident(100, "error"), &state(changes), &POLICY, UtcMillis(now));
            assert_eq!(found, wanted, "{changes:?} at {now}");
        };
        check(&[], 100, Fate::Tell(Telling::Began));
        check(&[named(None), alerted(110)], 1_109, Fate::Wait);
        check(&[named(None), alerted(110)], 1_110, Fate::Tell(Telling::Again));
        check(&[named(None), alerted(110), acknowledged()], 9_999, Fate::Wait);
        check(&[named(None), acknowledged()], 9_999, Fate::Wait);
        check(
            &[named(None), alerted(110), resolved()],
            200,
            Fate::Tell(Telling::Ended),
        );
        check(
            &[named(None), alerted(110), resolved(), IncidentChange::EndTold],
            200,
            Fate::Wait,
        );
        check(&[named(None), resolved()], 200, Fate::Wait);
        // Whoever ended it knows.
        check(&[alerted(110), acknowledged()], 200, Fate::Settle);
        check(&[named(Some(50)), alerted(110)], 149, Fate::Wait);
        check(&[named(Some(50)), alerted(110)], 150, Fate::Quiet);
    }

    #[test]
    fn what_is_less_than_asked_for_is_told_to_nobody() {
        let policy = Policy {
            least: Severity::Error,
            ..POLICY
        };
        let check = |severity: &str, wanted: Fate| {
            let found = fate(&incident(1, severity), &state(&[]), &policy, UtcMillis(1));
            assert_eq!(found, wanted, "{severity}");
        };
        check("warning", Fate::Wait);
        check("error", Fate::Tell(Telling::Began));
    }

    #[test]
    fn what_begins_together_is_told_together_and_waits_for_nobody_twice() {
        let two = [
            (incident(100, "error"), state(&[])),
            (incident(108, "warning"), state(&[])),
        ];
        let told = |now: u64| due(&two, &POLICY, UtcMillis(now)).len();
        assert_eq!((told(108), told(109), told(110)), (0, 0, 2));
        // What has waited already takes the others with it.
        let with_ended = [
            (incident(109, "error"), state(&[])),
            (incident(1, "error"), state(&[named(None), alerted(2), resolved()])),
        ];
        let found = due(&with_ended, &POLICY, UtcMillis(109));
        let tellings: Vec<Telling> = found.iter().map(|(_, _, telling)| *telling).collect();
        assert_eq!(tellings, [Telling::Began, Telling::Ended]);
    }
}
