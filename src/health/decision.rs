//! What becomes of checks: when a failure is an incident, and when it has ended.
//!
//! **Invariants**: one failure alone is asked again before anybody is told; a check has at most one open incident; the
//! first good answer ends it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::id::IncidentId;
use crate::domain::time::UtcMillis;

use super::check::{Finding, Verdict};

/// What is known of one check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Failures in a row.
    pub failed: u32,
    /// Since when it has been as it is.
    pub since: Option<UtcMillis>,
    /// Its open incident.
    pub open: Option<IncidentId>,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// An incident begins.
    Open {
        /// The check.
        check: Arc<str>,
        /// Why.
        finding: Finding,
    },
    /// It goes on.
    Seen {
        /// Which.
        incident: IncidentId,
        /// The cause now.
        why: Arc<str>,
    },
    /// It has ended.
    Resolve {
        /// Which.
        incident: IncidentId,
        /// What was seen.
        seen: Arc<str>,
    },
}

/// All checks as they stand.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    known: BTreeMap<Arc<str>, Known>,
    failures: u32,
}

impl Checks {
    /// Checks of which these have an open incident from an earlier life; so many failures in a row are an incident.
    pub fn new(failures: u32, open: impl IntoIterator<Item = (Arc<str>, IncidentId)>) -> Self {
        let open = open.into_iter().map(|(check, incident)| {
            let known = Known {
                failed: failures,
                since: None,
                open: Some(incident),
            };
            (check, known)
        });
        Self {
            known: open.collect(),
            failures: failures.max(1),
        }
    }

    /// A check was made.
    pub fn made(&mut self, check: &Arc<str>, verdict: &Verdict, now: UtcMillis) -> Option<Effect> {
        let known = self.known.entry(check.clone()).or_default();
        match verdict {
            Verdict::Good(seen) => {
                if known.failed > 0 || known.since.is_none() {
                    known.since = Some(now);
                }
                known.failed = 0;
                let incident = known.open.take()?;
                Some(Effect::Resolve {
                    incident,
                    seen: seen.clone(),
                })
            }
            Verdict::Failed(finding) => {
                if known.failed == 0 {
                    known.since = Some(now);
                }
                known.failed = known.failed.saturating_add(1);
                match known.open {
                    Some(incident) => Some(Effect::Seen {
                        incident,
                        why: finding.why.clone(),
                    }),
                    None if known.failed >= self.failures => Some(Effect::Open {
                        check: check.clone(),
                        finding: finding.clone(),
                    }),
                    None => None,
                }
            }
        }
    }

    /// The incident of a check was opened.
    pub fn opened(&mut self, check: &Arc<str>, incident: IncidentId) {
        self.known.entry(check.clone()).or_default().open = Some(incident);
    }

    /// Incidents of checks that are made no more: nothing would ever end them.
    pub fn left(&mut self, made: &[Arc<str>]) -> Vec<IncidentId> {
        let gone: Vec<Arc<str>> = self
            .known
            .keys()
            .filter(|check| !made.contains(check))
            .cloned()
            .collect();
        let known = gone.iter().filter_map(|check| self.known.remove(check));
        known.filter_map(|known| known.open).collect()
    }

    /// What is known of a check.
    pub fn known(&self, check: &str) -> Option<&Known> {
        self.known.get(check)
    }

    /// Whether a check failed that is not an incident yet: it is asked again soon.
    pub fn is_doubtful(&self) -> bool {
        self.known
            .values()
            .any(|known| known.failed > 0 && known.open.is_none())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failed() -> Verdict {
        Verdict::Failed(Finding::new("why", "what to do"))
    }

    fn good() -> Verdict {
        Verdict::Good("seen".into())
    }

    #[test]
    fn one_failure_is_doubt_two_are_an_incident_and_the_first_good_answer_ends_it() {
        let mut checks = Checks::new(2, []);
        let (name, id): (Arc<str>, _) = ("disk".into(), IncidentId::new(UtcMillis(1), 1));
        let now = UtcMillis(9);
        assert_eq!(checks.made(&name, &failed(), now), None);
        assert!(checks.is_doubtful());
        assert!(matches!(checks.made(&name, &failed(), now), Some(Effect::Open { .. })));
        checks.opened(&name, id);
        assert!(!checks.is_doubtful());
        assert!(matches!(checks.made(&name, &failed(), now), Some(Effect::Seen { .. })));
        assert!(matches!(checks.made(&name, &good(), now), Some(Effect::Resolve { incident, .. }) if incident == id));
        assert_eq!(checks.made(&name, &good(), now), None);
    }

    #[test]
    fn an_incident_of_an_earlier_life_goes_on_and_one_of_a_check_that_is_gone_ends() {
        let id = |number| IncidentId::new(UtcMillis(1), number);
        let names: [Arc<str>; 2] = ["disk".into(), "gone".into()];
        let mut checks = Checks::new(2, names.iter().cloned().zip([id(1), id(2)]));
        assert_eq!(checks.left(&names[..1]), [id(2)]);
        assert!(matches!(
            checks.made(&names[0], &failed(), UtcMillis(1)),
            Some(Effect::Seen { .. })
        ));
    }

    proptest! {
        #[test]
        fn a_check_has_at_most_one_open_incident(answers in prop::collection::vec(any::<bool>(), 0..60), failures in 1u32..4) {
            let mut checks = Checks::new(failures, []);
            let name: Arc<str> = "x".into();
            let (mut open, mut in_a_row) = (None, 0);
            for (number, is_good) in answers.into_iter().enumerate() {
                let now = UtcMillis(number as u64);
                in_a_row = if is_good { 0 } else { in_a_row + 1 };
                match checks.made(&name, &if is_good { good() } else { failed() }, now) {
                    Some(Effect::Open { .. }) => {
                        prop_assert!(open.is_none() && in_a_row >= failures);
                        let id = IncidentId::new(now, number as u128);
                        checks.opened(&name, id);
                        open = Some(id);
                    }
                    Some(Effect::Seen { incident, .. }) => prop_assert_eq!(Some(incident), open),
                    Some(Effect::Resolve { incident, .. }) => {
                        prop_assert!(is_good);
                        prop_assert_eq!(open.take(), Some(incident));
                    }
                    None => prop_assert!(is_good || in_a_row < failures),
                }
                prop_assert_eq!(open.is_some() && is_good, false);
            }
        }
    }
}
