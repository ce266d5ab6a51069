//! What an attempt left behind that nobody goes on with: calls whose end is not on record.
//!
//! Invariants: an end that the spool has counts; a call that may have taken effect is not let go while nobody knows
//! whether it did.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agents::order::ReportedEnd;
use crate::domain::effect::{EffectClass, EffectKey, Interrupted, cut_off, evidence_of};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::fault::in_one_line;
use crate::domain::id::RunId;
use crate::domain::name::SkillName;
use crate::skills::handle::SkillsHandle;
use crate::storage::batch::Batch;

use super::check_call::Journal;

/// Where a call of an attempt stands.
#[derive(Debug, Clone, PartialEq)]
enum Left {
    /// It was begun and its end is not there.
    CutOff {
        skill: SkillName,
        class: EffectClass,
        key: EffectKey,
    },
    /// It waits for a person.
    Unknown(Arc<str>),
}

/// The calls of an attempt that have no end, by number.
fn left<'facts>(facts: impl IntoIterator<Item = &'facts Fact>, of: &Attempt) -> BTreeMap<u32, Left> {
    let mut calls = BTreeMap::new();
    for fact in facts.into_iter().filter(|fact| fact.attempt() == Some(of)) {
        match fact {
            Fact::CallIntended {
                ordinal,
                skill,
                class,
                key,
                ..
            } => {
                let begun = Left::CutOff {
                    skill: skill.clone(),
                    class: *class,
                    key: *key,
                };
                calls.insert(*ordinal, begun);
            }
            Fact::CallUnknown { ordinal, evidence, .. } => {
                calls.insert(*ordinal, Left::Unknown(evidence.clone()));
            }
            // One that was given up waits for nobody any more.
            Fact::CallFinished { ordinal, .. } | Fact::CallResolved { ordinal, .. } => {
                calls.remove(ordinal);
            }
            _ => {}
        }
    }
    calls
}

/// Closes the calls of an attempt that is stopped and has no session: the process that made them was killed, and nobody
/// takes them up any more. Gives how the attempt ended.
///
/// What may be made again without harm is neither made nor asked for: its run wants it no more.
pub(super) async fn close(
    run: RunId,
    attempt: &Attempt,
    skills: &SkillsHandle,
    journal: &Journal,
) -> Result<ReportedEnd, String> {
    let readable = journal.committer.barrier().await;
    readable.map_err(|error| in_one_line(&error))?;
    let facts = journal.store.facts_for_state(run);
    let facts = facts.map_err(|error| in_one_line(&error))?;
    let calls = left(facts.iter().map(|stamped| &stamped.fact), attempt);
    let open: Vec<EffectKey> = calls
        .values()
        .filter_map(|call| match call {
            Left::CutOff { key, .. } => Some(*key),
            Left::Unknown(_) => None,
        })
        .collect();
    if !open.is_empty() {
        // A shim that is still there may write its report yet.
        skills.end_leftovers(open).await;
    }
    let (mut known, mut harvested, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (ordinal, call) in calls {
        let (skill, class, key) = match call {
            Left::Unknown(evidence) => {
                unknown.push(evidence);
                continue;
            }
            Left::CutOff { skill, class, key } => (skill, class, key),
        };
        let attempt = attempt.clone();
        if let Some(outcome) = skills.spooled(key) {
            harvested.push(key);
            known.push(Fact::CallFinished {
                attempt,
                ordinal,
                outcome: Arc::new(outcome),
            });
        } else if class.when_interrupted() != Interrupted::MakeAgain {
            let evidence = evidence_of(cut_off(&skill, key), skills.evidence(key));
            unknown.push(evidence.clone());
            known.push(Fact::CallUnknown {
                attempt,
                ordinal,
                evidence,
            });
        }
    }
    if !known.is_empty() {
        let batch = Batch::facts(run, journal.clock.now(), known);
        let pending = journal.committer.submit(batch).map_err(|error| in_one_line(&error))?;
        pending.durable().await.map_err(|error| in_one_line(&error))?;
        skills.forget(harvested);
    }
    Ok(match &unknown[..] {
        [] => ReportedEnd::Stopped,
        evidence => ReportedEnd::Unknown(evidence.join("\n").into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::StepId;
    use crate::domain::resolution::Resolution;
    use crate::domain::skill::CallOutcome;

    fn attempt(number: u32) -> Attempt {
        let step = StepId::new("a").expect("a step");
        Attempt { step, number }
    }

    fn intended(number: u32, ordinal: u32) -> Fact {
        Fact::CallIntended {
            attempt: attempt(number),
            ordinal,
            skill: SkillName::new("pay").expect("a name"),
            class: EffectClass::Once,
            key: EffectKey(uuid::Uuid::nil()),
        }
    }

    fn unknown(ordinal: u32) -> Fact {
        Fact::CallUnknown {
            attempt: attempt(2),
            ordinal,
            evidence: "e".into(),
        }
    }

    fn resolved(resolution: Resolution) -> Fact {
        Fact::CallResolved {
            attempt: attempt(2),
            ordinal: 0,
            resolution,
            by: "p".into(),
        }
    }

    #[test]
    fn a_call_is_left_until_its_end_is_on_record_or_a_person_has_spoken() {
        let check = |facts: &[Fact], expected: &[(u32, &str)]| {
            let found = left(facts, &attempt(2));
            let found: Vec<(u32, &str)> = found
                .iter()
                .map(|(ordinal, call)| match call {
                    Left::CutOff { .. } => (*ordinal, "cut off"),
                    Left::Unknown(_) => (*ordinal, "unknown"),
                })
                .collect();
            assert_eq!(found, expected, "{facts:?}");
        };
        let finished = Fact::CallFinished {
            attempt: attempt(2),
            ordinal: 0,
            outcome: Arc::new(CallOutcome::ok("x")),
        };
        check(&[], &[]);
        check(&[intended(1, 0)], &[]);
        check(&[intended(2, 0), intended(2, 1)], &[(0, "cut off"), (1, "cut off")]);
        check(&[intended(2, 0), intended(2, 1), finished], &[(1, "cut off")]);
        check(&[intended(2, 0), unknown(0)], &[(0, "unknown")]);
        let then = |said| [intended(2, 0), unknown(0), resolved(said)];
        check(&then(Resolution::Happened { output: "x".into() }), &[]);
        check(&then(Resolution::NotHappened), &[]);
        let again = [
            intended(2, 0),
            unknown(0),
            resolved(Resolution::NotHappened),
            intended(2, 0),
        ];
        check(&again, &[(0, "cut off")]);
    }
}
