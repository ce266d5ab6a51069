//! Who is told of what, and when.
//!
//! **Invariants**: an incident is told once when it begins, again only after the interval and only as long as nobody has
//! seen it, and its end is told once to those who were told of it. What comes together is told together.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::id::IncidentId;
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
        // Of a time that has not come: the clock was ahead when they were told, and how long that is ago nobody knows.
        Some(told) if told > now || now.since(told) >= policy.repeat_ms => Fate::Tell(Telling::Again),
        Some(_) => Fate::Wait,
    }
}

/// What one look at all unsettled incidents comes to. It is shown one after another and keeps only those with which
/// something is to be done now, so that a flood of them costs no memory and hides nothing that comes after it.
#[derive(Debug)]
pub struct Look {
    policy: Policy,
    now: UtcMillis,
    /// Of each thing to be done, what one look does at most; the rest is left to the next.
    at_once_max: usize,
    told: Vec<(Incident, IncidentState, Telling)>,
    has_waited: bool,
    /// Those that have been quiet for so long that they have ended.
    pub quiet: Vec<IncidentId>,
    /// Those whose end is known to whoever was told.
    pub settled: Vec<IncidentId>,
    /// How many go on, by severity; all of them.
    pub open: BTreeMap<Arc<str>, u64>,
}

impl Look {
    /// A look that does at most so much of each thing.
    pub fn new(policy: Policy, now: UtcMillis, at_once_max: usize) -> Self {
        Self {
            policy,
            now,
            at_once_max,
            told: Vec::new(),
            has_waited: false,
            quiet: Vec::new(),
            settled: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    /// The next incident.
    pub fn see(&mut self, incident: Incident, state: IncidentState) {
        if state.is_open() {
            *self.open.entry(incident.severity.clone()).or_default() += 1;
        }
        match fate(&incident, &state, &self.policy, self.now) {
            Fate::Quiet if self.quiet.len() < self.at_once_max => self.quiet.push(incident.id),
            Fate::Settle if self.settled.len() < self.at_once_max => self.settled.push(incident.id),
            Fate::Tell(telling) => {
                let waited = self.now.since(incident.at);
                self.has_waited |=
                    telling != Telling::Began || waited >= self.policy.group_wait_ms || incident.at > self.now;
                if self.told.len() < self.at_once_max {
                    self.told.push((incident, state, telling));
                }
            }
            Fate::Quiet | Fate::Settle | Fate::Wait => {}
        }
    }

    /// What is told now. Beginnings wait until the first of them has waited long enough, and then all go together.
    pub fn due(&mut self) -> Vec<(Incident, IncidentState, Telling)> {
        if !self.has_waited {
            return Vec::new();
        }
        let mut told = std::mem::take(&mut self.told);
        told.sort_by_key(|(incident, _, telling)| (*telling, incident.id));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        // The clock was ahead when people were told.
        check(&[named(None), alerted(99_999)], 1_000, Fate::Tell(Telling::Again));
        check(&[named(None), alerted(99_999), acknowledged()], 1_000, Fate::Wait);
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

    fn look(all: &[(Incident, IncidentState)], now: u64, at_once_max: usize) -> Look {
        let mut look = Look::new(POLICY, UtcMillis(now), at_once_max);
        for (incident, state) in all {
            look.see(incident.clone(), state.clone());
        }
        look
    }

    #[test]
    fn what_begins_together_is_told_together_and_waits_for_nobody_twice() {
        let two = [
            (incident(100, "error"), state(&[])),
            (incident(108, "warning"), state(&[])),
        ];
        let told = |now: u64| look(&two, now, 9).due().len();
        assert_eq!((told(108), told(109), told(110)), (0, 0, 2));
        // What has waited already takes the others with it.
        let with_ended = [
            (incident(109, "error"), state(&[])),
            (incident(1, "error"), state(&[named(None), alerted(2), resolved()])),
        ];
        let found = look(&with_ended, 109, 9).due();
        let tellings: Vec<Telling> = found.iter().map(|(_, _, telling)| *telling).collect();
        assert_eq!(tellings, [Telling::Began, Telling::Ended]);
    }

    #[test]
    fn however_many_incidents_are_open_a_new_one_is_told_and_all_are_counted() {
        let check = |old: &[IncidentChange], wanted: &[u64]| {
            let mut all: Vec<_> = (1..=5).map(|at| (incident(at, "error"), state(old))).collect();
            all.push((incident(900, "error"), state(&[])));
            let mut told = Vec::new();
            for _ in 0..3 {
                let mut look = look(&all, 920, 2);
                assert_eq!(look.open.get("error"), Some(&6), "{old:?}");
                for (one, _, _) in look.due() {
                    told.push(one.at.0);
                    let known = all.iter_mut().find(|(incident, _)| incident.id == one.id);
                    known.expect("one of them").1.apply(&alerted(920));
                }
            }
            assert_eq!(told, wanted, "{old:?}");
        };
        check(&[named(None), alerted(910)], &[900]);
        check(&[named(None), acknowledged()], &[900]);
        // A flood of what nobody was told is told part by part.
        check(&[], &[1, 2, 3, 4, 5, 900]);
    }
}
