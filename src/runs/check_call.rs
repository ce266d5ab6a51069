//! The command of a check: a call like any other of its attempt, made where all calls are made and kept on record.
//!
//! Invariants: the intent is durable before the command starts, each time it starts; an end that is on record, or in
//! the spool, is taken and the command is not run again; a command that was cut off is run again only when its plan
//! says that it may be, else a person has to say what became of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use crate::domain::effect::{EffectClass, evidence_of};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::fault::in_one_line;
use crate::domain::name::SkillName;
use crate::domain::resolution::Resolution;
use crate::domain::skill::CallOutcome;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::skills::handle::{SkillsHandle, Ticket};
use crate::skills::skill::CallOrder;
use crate::skills::workers::WorkerEnd;
use crate::storage::batch::Batch;
use crate::storage::store::Store;

/// The skill that runs the commands of checks.
pub const COMMAND_SKILL: &str = "exec.run";

/// What that skill is called with.
pub fn command_arguments(argv: &[Arc<str>], timeout_ms: u64) -> Value {
    json!({ "argv": argv.iter().map(|text| &**text).collect::<Vec<_>>(), "timeout_ms": timeout_ms })
}

/// Where calls are on record.
#[derive(Clone)]
pub struct Journal {
    /// Tells the time of facts.
    pub clock: Clock,
    /// Reads.
    pub store: Store,
    /// Writes.
    pub committer: Committer,
    /// Who waits for them at a stop.
    pub under_way: UnderWay,
}

/// The commands of checks that are under way.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<watch::Sender<Commands>>);

#[derive(Debug, Default)]
struct Commands {
    running: usize,
    is_closed: bool,
}

/// One of them; dropped when its end is on record, or will not be.
struct OneUnderWay(UnderWay);

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|commands| commands.running -= 1);
    }
}

impl UnderWay {
    /// Has no further command begun, and waits until those that run have their end on record; gives how many had not
    /// got there within `limit`.
    pub async fn close(&self, limit: Duration) -> usize {
        self.0.send_modify(|commands| commands.is_closed = true);
        let mut seen = self.0.subscribe();
        let quiet = seen.wait_for(|commands| commands.running == 0);
        match tokio::time::timeout(limit, quiet).await {
            Ok(_) => 0,
            Err(_) => self.0.borrow().running,
        }
    }

    fn begin(&self) -> Option<OneUnderWay> {
        let begins = self.0.send_if_modified(|commands| {
            commands.running += usize::from(!commands.is_closed);
            !commands.is_closed
        });
        begins.then(|| OneUnderWay(self.clone()))
    }
}

/// One command that is to be run.
pub(super) struct CheckCall<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) ordinal: u32,
    pub(super) skill: SkillName,
    pub(super) order: CallOrder,
    pub(super) repeatable: bool,
}

/// What became of a command.
#[derive(Debug)]
pub(super) enum Commanded {
    /// It came to its end.
    Ended(Arc<CallOutcome>),
    /// It is not run, and the work has to change for that to be otherwise.
    Refused(String),
    /// Nobody knows how far it came.
    Unknown(Arc<str>),
    /// It could not be run, through no fault of the work.
    NotMade(FailureClass, String),
}

/// What the journal has of a call.
#[derive(Debug, PartialEq)]
enum Standing {
    /// It is to be made.
    ToBeMade,
    /// It was begun and its end is not there.
    CutOff,
    /// It ended.
    Ended(Arc<CallOutcome>),
    /// It waits for a person.
    Unknown(Arc<str>),
}

/// Ends a call that nobody waits for any more.
struct Waiting(Ticket);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl CheckCall<'_> {
    /// Takes the end that is known, or has the command run.
    ///
    /// **Cancel**: the command is ended; what is not on record of it is found out by whoever comes next.
    pub(super) async fn make(self, skills: &SkillsHandle, journal: &Journal) -> Commanded {
        let made = self.try_to(skills, journal).await;
        made.unwrap_or_else(|reason| Commanded::NotMade(FailureClass::Crash, format!("a check was not made: {reason}")))
    }

    async fn try_to(self, skills: &SkillsHandle, journal: &Journal) -> Result<Commanded, String> {
        let key = self.order.key;
        match self.standing(journal).await? {
            Standing::Ended(outcome) => return Ok(Commanded::Ended(outcome)),
            Standing::Unknown(evidence) => return Ok(Commanded::Unknown(evidence)),
            Standing::ToBeMade => {}
            Standing::CutOff => {
                // It must not be run beside its own earlier self, which may write its report yet.
                skills.end_leftovers(vec![key]).await;
                if let Some(outcome) = skills.spooled(key) {
                    return self.ended(skills, journal, outcome).await;
                }
                if !self.repeatable {
                    let what =
                        "it was running when the daemon ended, and its plan does not say that it may be run again";
                    return self.lost(skills, journal, what.to_owned()).await;
                }
            }
        }
        let Some(_one) = journal.under_way.begin() else {
            // The daemon is stopping: whoever resumes the run makes the check.
            return std::future::pending().await;
        };
        let class = if self.repeatable {
            EffectClass::Idempotent
        } else {
            EffectClass::Once
        };
        self.note(
            journal,
            Fact::CallIntended {
                attempt: self.attempt.clone(),
                ordinal: self.ordinal,
                skill: self.skill.clone(),
                class,
                key,
            },
        )
        .await?;
        let (tell, told) = oneshot::channel();
        let on_end = move |end| drop(tell.send(end));
        skills.await_workers().await;
        let waiting = match skills.call(&self.skill, self.order.clone(), on_end) {
            Ok(ticket) => Waiting(ticket),
            Err(error) => {
                let reason = in_one_line(&error);
                self.ended(skills, journal, CallOutcome::error(reason.clone())).await?;
                return Ok(Commanded::NotMade(FailureClass::Overload, reason));
            }
        };
        let end = told.await;
        drop(waiting);
        match end {
            Ok(WorkerEnd::Finished(Ok(end))) => self.ended(skills, journal, end.outcome).await,
            Ok(WorkerEnd::Finished(Err(error))) if error.nothing_happened() => {
                let reason = in_one_line(&error);
                self.ended(skills, journal, CallOutcome::error(reason.clone())).await?;
                Ok(Commanded::NotMade(FailureClass::Overload, reason))
            }
            Ok(WorkerEnd::Finished(Err(error))) => self.lost(skills, journal, in_one_line(&error)).await,
            Ok(WorkerEnd::Panicked(text)) => self.lost(skills, journal, format!("the skill crashed: {text}")).await,
            Ok(WorkerEnd::DeadLettered { text, .. }) => {
                let what = format!("the skill crashed again and again: {text}");
                self.lost(skills, journal, what).await
            }
            Ok(WorkerEnd::TimedOut) => {
                let what = "it did not end in its time".to_owned();
                self.lost(skills, journal, what).await
            }
            Ok(WorkerEnd::Cancelled { .. }) | Err(_) => {
                let what = "it was stopped before it ended".to_owned();
                if self.repeatable {
                    return Ok(Commanded::NotMade(FailureClass::Crash, what));
                }
                self.lost(skills, journal, what).await
            }
        }
    }

    async fn standing(&self, journal: &Journal) -> Result<Standing, String> {
        // What was submitted of the attempt must be readable.
        let readable = journal.committer.barrier().await;
        readable.map_err(|error| in_one_line(&error))?;
        let facts = journal.store.facts_for_state(self.order.run);
        let facts = facts.map_err(|error| in_one_line(&error))?;
        Ok(standing(
            facts.iter().map(|stamped| &stamped.fact),
            self.attempt,
            self.ordinal,
        ))
    }

    async fn note(&self, journal: &Journal, fact: Fact) -> Result<(), String> {
        let batch = Batch::facts(self.order.run, journal.clock.now(), vec![fact]);
        let pending = journal.committer.submit(batch).map_err(|error| in_one_line(&error))?;
        pending.durable().await.map_err(|error| in_one_line(&error))?;
        Ok(())
    }

    /// Keeps an end for good; the spool need not keep it any longer.
    async fn ended(&self, skills: &SkillsHandle, journal: &Journal, outcome: CallOutcome) -> Result<Commanded, String> {
        let outcome = Arc::new(outcome);
        let finished = Fact::CallFinished {
            attempt: self.attempt.clone(),
            ordinal: self.ordinal,
            outcome: outcome.clone(),
        };
        self.note(journal, finished).await?;
        skills.forget([self.order.key]);
        Ok(Commanded::Ended(outcome))
    }

    /// Nobody saw its end. One that may be run again has failed; of any other one a person has to say what became.
    async fn lost(&self, skills: &SkillsHandle, journal: &Journal, what: String) -> Result<Commanded, String> {
        if self.repeatable {
            return self.ended(skills, journal, CallOutcome::error(what)).await;
        }
        let evidence = evidence_of(what, skills.evidence(self.order.key));
        let unknown = Fact::CallUnknown {
            attempt: self.attempt.clone(),
            ordinal: self.ordinal,
            evidence: evidence.clone(),
        };
        self.note(journal, unknown).await?;
        Ok(Commanded::Unknown(evidence))
    }
}

fn standing<'facts>(facts: impl IntoIterator<Item = &'facts Fact>, of: &Attempt, ordinal: u32) -> Standing {
    let mut standing = Standing::ToBeMade;
    for fact in facts.into_iter().filter(|fact| fact.attempt() == Some(of)) {
        standing = match fact {
            Fact::CallIntended { ordinal: number, .. } if *number == ordinal => Standing::CutOff,
            Fact::CallFinished {
                ordinal: number,
                outcome,
                ..
            } if *number == ordinal => Standing::Ended(outcome.clone()),
            Fact::CallUnknown {
                ordinal: number,
                evidence,
                ..
            } if *number == ordinal => Standing::Unknown(evidence.clone()),
            Fact::CallResolved {
                ordinal: number,
                resolution,
                ..
            } if *number == ordinal => match resolution {
                Resolution::Happened { output } => Standing::Ended(Arc::new(as_told(output))),
                Resolution::NotHappened => Standing::ToBeMade,
                // The step fails; nobody goes on with it.
                Resolution::Abandoned => continue,
            },
            _ => continue,
        };
    }
    standing
}

/// The end of a command that a person tells: its exit code, or an object with it.
fn as_told(output: &str) -> CallOutcome {
    let value: Option<Value> = serde_json::from_str(output.trim()).ok();
    let code = value.and_then(|value| value.get("exit_code").unwrap_or(&value).as_i64());
    match code.and_then(|code| i32::try_from(code).ok()) {
        Some(code) => CallOutcome {
            exit_code: Some(code),
            ..CallOutcome::ok(output)
        },
        None => CallOutcome::error(format!(
            "a person says that it was run, and not with which exit code: {output}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::check::CHECK_ORDINALS;
    use crate::domain::effect::EffectKey;
    use crate::domain::name::StepId;

    fn attempt(number: u32) -> Attempt {
        let step = StepId::new("a").expect("a step");
        Attempt { step, number }
    }

    fn intended(number: u32, ordinal: u32) -> Fact {
        Fact::CallIntended {
            attempt: attempt(number),
            ordinal,
            skill: SkillName::new(COMMAND_SKILL).expect("a name"),
            class: EffectClass::Once,
            key: EffectKey(uuid::Uuid::nil()),
        }
    }

    fn resolved(resolution: Resolution) -> Fact {
        Fact::CallResolved {
            attempt: attempt(2),
            ordinal: CHECK_ORDINALS,
            resolution,
            by: "p".into(),
        }
    }

    #[test]
    fn a_command_is_run_only_when_its_attempt_has_no_word_of_it_or_a_person_says_that_it_was_not() {
        let check = |facts: &[Fact], wanted: Standing| {
            assert_eq!(standing(facts, &attempt(2), CHECK_ORDINALS), wanted, "{facts:?}");
        };
        let of_check = intended(2, CHECK_ORDINALS);
        let outcome = Arc::new(CallOutcome::ok("x"));
        let finished = Fact::CallFinished {
            attempt: attempt(2),
            ordinal: CHECK_ORDINALS,
            outcome: outcome.clone(),
        };
        let unknown = Fact::CallUnknown {
            attempt: attempt(2),
            ordinal: CHECK_ORDINALS,
            evidence: "e".into(),
        };
        let told = |output: &str| resolved(Resolution::Happened { output: output.into() });
        check(&[], Standing::ToBeMade);
        check(
            &[
                intended(1, CHECK_ORDINALS),
                intended(2, 0),
                intended(2, CHECK_ORDINALS + 1),
            ],
            Standing::ToBeMade,
        );
        check(std::slice::from_ref(&of_check), Standing::CutOff);
        check(&[of_check.clone(), finished], Standing::Ended(outcome));
        let waits = [of_check.clone(), unknown];
        let then = |more: Fact| waits.iter().cloned().chain([more]).collect::<Vec<_>>();
        check(&waits, Standing::Unknown("e".into()));
        check(&then(resolved(Resolution::Abandoned)), Standing::Unknown("e".into()));
        check(&then(resolved(Resolution::NotHappened)), Standing::ToBeMade);
        check(&then(of_check), Standing::CutOff);
        for (output, code) in [
            ("3", Some(3)),
            (r#"{"exit_code": 0}"#, Some(0)),
            ("it was", None),
            ("", None),
        ] {
            let Standing::Ended(outcome) = standing(&then(told(output)), &attempt(2), CHECK_ORDINALS) else {
                panic!("{output}: it ended");
            };
            assert_eq!(
                (outcome.exit_code, outcome.is_error),
                (code, code.is_none()),
                "{output}"
            );
        }
    }
}
