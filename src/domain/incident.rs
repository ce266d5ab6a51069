//! An incident: one record of a fault or a repair, for a person.
//!
//! What happened is written once and never changed; how it went on is a state beside it that changes are folded into.

use std::sync::Arc;

use super::id::{IncidentId, RunId};
use super::time::UtcMillis;

/// One record of a fault or a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// When.
    pub at: UtcMillis,
    /// `warning` or `error`.
    pub severity: Arc<str>,
    /// What happened.
    pub what: Arc<str>,
    /// Why, as far as known.
    pub why: Arc<str>,
    /// What was done about it.
    pub action: Arc<str>,
    /// The run concerned.
    pub run: Option<RunId>,
}

/// How an incident went on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IncidentState {
    /// What it is of, such as `check:disk`: the same again is this incident, as long as it is open. None for incidents
    /// that stand for themselves and are closed by a person.
    pub fingerprint: Option<Arc<str>>,
    /// What was seen, last.
    pub evidence: Arc<str>,
    /// How often it was seen after the first time.
    pub again: u64,
    /// When it was last seen again.
    pub seen_at: Option<UtcMillis>,
    /// It ends by itself when it was not seen for so many milliseconds.
    pub quiet_ms: Option<u64>,
    /// When and how it ended.
    pub resolved: Option<(UtcMillis, Arc<str>)>,
    /// Who has seen it, and when.
    pub acknowledged: Option<(UtcMillis, Arc<str>)>,
    /// How often somebody was told of it.
    pub alerts: u32,
    /// When somebody was last told.
    pub alerted_at: Option<UtcMillis>,
    /// Whether those who were told of it were told of its end.
    pub end_told: bool,
}

/// One change of an incident's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncidentChange {
    /// It is of this, and can be seen again.
    Named {
        /// What it is of.
        fingerprint: Arc<str>,
        /// What was seen.
        evidence: Arc<str>,
        /// It ends by itself after so long without being seen.
        quiet_ms: Option<u64>,
    },
    /// It was seen again.
    Seen {
        /// When.
        at: UtcMillis,
        /// How often since it was last told.
        times: u64,
        /// What was seen.
        evidence: Arc<str>,
    },
    /// It has ended.
    Resolved {
        /// When.
        at: UtcMillis,
        /// How.
        how: Arc<str>,
    },
    /// A person has seen it.
    Acknowledged {
        /// When.
        at: UtcMillis,
        /// Who.
        by: Arc<str>,
    },
    /// Somebody is told of it: comes with the message.
    Alerted {
        /// When.
        at: UtcMillis,
    },
    /// Those who were told of it are told of its end: comes with the message.
    EndTold,
}

impl IncidentState {
    /// The state after a change.
    pub fn apply(&mut self, change: &IncidentChange) {
        match change {
            IncidentChange::Named {
                fingerprint,
                evidence,
                quiet_ms,
            } => {
                self.fingerprint = Some(fingerprint.clone());
                self.evidence = evidence.clone();
                self.quiet_ms = *quiet_ms;
            }
            IncidentChange::Seen { at, times, evidence } => {
                self.again = self.again.saturating_add(*times);
                self.seen_at = Some(*at);
                self.evidence = evidence.clone();
            }
            IncidentChange::Resolved { at, how } if self.resolved.is_none() => {
                self.resolved = Some((*at, how.clone()));
            }
            IncidentChange::Acknowledged { at, by } if self.acknowledged.is_none() => {
                self.acknowledged = Some((*at, by.clone()));
                if self.fingerprint.is_none() && self.resolved.is_none() {
                    // Nothing will ever say that it has ended but the person who has seen it.
                    self.resolved = Some((*at, "acknowledged".into()));
                }
            }
            // The first one counts.
            IncidentChange::Resolved { .. } | IncidentChange::Acknowledged { .. } => {}
            IncidentChange::Alerted { at } => {
                self.alerts = self.alerts.saturating_add(1);
                self.alerted_at = Some(*at);
            }
            IncidentChange::EndTold => self.end_told = true,
        }
    }

    /// Whether it goes on.
    pub fn is_open(&self) -> bool {
        self.resolved.is_none()
    }

    /// Whether nobody has to look at it any more: it has ended, and whoever was told of it knows.
    pub fn is_settled(&self) -> bool {
        !self.is_open() && (self.alerts == 0 || self.end_told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(changes: &[IncidentChange]) -> IncidentState {
        let mut state = IncidentState::default();
        for change in changes {
            state.apply(change);
        }
        state
    }

    fn named() -> IncidentChange {
        IncidentChange::Named {
            fingerprint: "check:disk".into(),
            evidence: "".into(),
            quiet_ms: None,
        }
    }

    fn resolved(at: u64) -> IncidentChange {
        IncidentChange::Resolved {
            at: UtcMillis(at),
            how: "it is good again".into(),
        }
    }

    fn acknowledged(by: &str) -> IncidentChange {
        IncidentChange::Acknowledged {
            at: UtcMillis(3),
            by: by.into(),
        }
    }

    #[test]
    fn an_incident_that_stands_for_itself_ends_with_its_acknowledgement_and_others_do_not() {
        assert!(!after(&[acknowledged("a")]).is_open());
        assert!(after(&[named(), acknowledged("a")]).is_open());
        let state = after(&[named(), acknowledged("a"), acknowledged("b"), resolved(5), resolved(9)]);
        assert_eq!(state.acknowledged.expect("seen").1, "a".into());
        assert_eq!(state.resolved.expect("ended").0, UtcMillis(5));
    }

    #[test]
    fn it_is_settled_when_whoever_was_told_of_it_was_told_of_its_end() {
        let alerted = IncidentChange::Alerted { at: UtcMillis(4) };
        assert!(!after(&[named()]).is_settled());
        assert!(after(&[named(), resolved(5)]).is_settled(), "nobody was told");
        let told = [named(), alerted, resolved(5)];
        assert!(!after(&told).is_settled());
        let [one, two, three] = told;
        assert!(after(&[one, two, three, IncidentChange::EndTold]).is_settled());
    }
}
