//! A run that ends without success undoes what took effect: the last effect first, each once, wherever it is cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::simulator::{
    Case, Journal, PlannerEnd, START, StepEnd, facts, go_on, id, load, outcome, plan, play, run_id, step,
};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::failure::FailureClass;
use crate::domain::id::BootId;
use crate::domain::name::{SkillName, StepId};
use crate::domain::plan::{Input, Need, NeedState, OnFailure, Plan, Step, StepUndo, Work};
use crate::domain::run::Outcome;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;
use crate::runs::state::StepPhase;
use crate::runs::undo::undo;

fn skill(name: &str) -> SkillName {
    SkillName::new(name).expect("valid")
}

/// A step that is undone with its own output.
fn undoable(name: &str, needs: &[&str]) -> Step {
    let inputs = BTreeMap::from([(
        "of".into(),
        Input::Output {
            step: id(name),
            pointer: "/step".into(),
        },
    )]);
    Step {
        undo: Some(StepUndo {
            skill: skill("fs.read"),
            inputs,
        }),
        ..after(name, needs)
    }
}

fn after(name: &str, needs: &[&str]) -> Step {
    let needs = needs.iter().map(|need| Need {
        step: id(need),
        on: NeedState::Ok,
    });
    Step {
        needs: needs.collect(),
        ..step(name)
    }
}

fn chain() -> Plan {
    plan(vec![
        undoable("one", &[]),
        after("two", &["one"]),
        undoable("three", &["two"]),
        undoable("last", &["three"]),
    ])
}

/// What was queued, in order: the step that is undone and the arguments.
fn queued(journal: &Journal) -> Vec<(String, String)> {
    let queued = facts(journal).filter_map(|stamped| match &stamped.fact {
        Fact::CompensationQueued { undoes, arguments, .. } => Some((undoes.step.to_string(), arguments.to_string())),
        _ => None,
    });
    queued.collect()
}

/// The steps that undo, in the order in which they ended, with how.
fn ended(journal: &Journal) -> Vec<(String, &'static str)> {
    let state = load(journal);
    let name = |step: &StepId| state.compensation(step).map(|undo| undo.undoes.step.to_string());
    let ended = facts(journal).filter_map(|stamped| match &stamped.fact {
        Fact::StepDone { attempt, .. } => Some((name(&attempt.step)?, "done")),
        Fact::StepFailed {
            attempt,
            retry_at: None,
            ..
        } => Some((name(&attempt.step)?, "failed")),
        Fact::StepUnknown { attempt, .. } => Some((name(&attempt.step)?, "unknown")),
        _ => None,
    });
    ended.collect()
}

#[test]
fn what_took_effect_is_undone_in_reverse_order_wherever_the_run_is_cut() {
    let case = |end: fn(Case) -> Case| {
        end(Case {
            given: Some(chain().into()),
            retries: 0,
            ..Case::default()
        })
    };
    let check = |case: Case, expected: Outcome, steps: &[(&str, &str)]| {
        let whole = play(&case);
        let steps: Vec<(String, &str)> = steps.iter().map(|(step, how)| ((*step).to_owned(), *how)).collect();
        for cut in 1..=whole.len() {
            let journal = if cut == whole.len() {
                whole.clone()
            } else {
                go_on(&case, &whole[..cut])
            };
            let (outcome, text) = outcome(&journal);
            assert_eq!(outcome, expected, "cut after {cut}: {text}");
            assert_eq!(ended(&journal), steps, "cut after {cut}: {text}");
            for (step, arguments) in queued(&journal) {
                assert_eq!(arguments, json!({ "of": step }).to_string(), "cut after {cut}");
            }
        }
    };
    check(case(|case| case), Outcome::Succeeded, &[]);
    let fails = |case: Case| case.end("last", 1, StepEnd::Fails(FailureClass::ToolError));
    check(
        case(|case| case.end("last", 1, StepEnd::Fails(FailureClass::ToolError))),
        Outcome::Failed,
        &[("three", "done"), ("one", "done")],
    );
    check(
        case(|case| case.end("two", 1, StepEnd::Fails(FailureClass::ToolError))),
        Outcome::Failed,
        &[("one", "done")],
    );
    check(
        case(|case| case.end("one", 1, StepEnd::Fails(FailureClass::ToolError))),
        Outcome::Failed,
        &[],
    );
    // One that cannot be undone keeps the other from nothing; its attempts are bounded.
    let stuck = (1..=3).fold(fails(case(|case| case)), |case, attempt| {
        case.end("undo-1", attempt, StepEnd::Fails(FailureClass::ToolError))
    });
    check(stuck, Outcome::Failed, &[("three", "failed"), ("one", "done")]);
    let unknown = fails(case(|case| case)).end("undo-1", 1, StepEnd::Unknown);
    check(unknown, Outcome::Unknown, &[("three", "unknown"), ("one", "done")]);
}

#[test]
fn a_cancelled_and_an_expired_run_undo_what_they_did_although_their_time_is_over() {
    let check = |case: Case, expected: Outcome| {
        let journal = play(&case);
        assert_eq!(outcome(&journal).0, expected);
        assert_eq!(ended(&journal), [("one".to_owned(), "done")]);
        for cut in 1..journal.len() {
            let again = go_on(&case, &journal[..cut]);
            assert_eq!(queued(&again).len(), ended(&again).len(), "cut after {cut}");
        }
    };
    let case = Case {
        given: Some(plan(vec![undoable("one", &[]), after("two", &["one"])]).into()),
        ..Case::default()
    }
    .takes("two", 1, 5_000);
    let cancelled = Case {
        cancel_at: Some(START + 200),
        ..case.clone()
    };
    check(cancelled, Outcome::Cancelled);
    let expired = Case {
        deadline: START + 300,
        ..case
    };
    check(expired, Outcome::Expired);
}

#[test]
fn what_undoes_a_call_is_found_by_its_skill_and_only_for_calls_that_took_effect() {
    let deploy = Step {
        inputs: BTreeMap::from([("to".into(), Input::Literal("prod".into()))]),
        ..Step::new(id("ship"), Work::Skill(skill("deploy")), "ship")
    };
    let mut case = Case {
        given: Some(plan(vec![deploy]).into()),
        ..Case::default()
    }
    .accepted();
    let attempt = Attempt {
        step: id("ship"),
        number: 1,
    };
    let leased = || Fact::StepLeased {
        attempt: attempt.clone(),
        boot: BootId::new(UtcMillis(START), 1),
    };
    let key = EffectKey::derive(run_id(), &attempt.step, 1, 0);
    let finished = |is_error: bool| Fact::CallFinished {
        attempt: attempt.clone(),
        ordinal: 0,
        outcome: Arc::new(CallOutcome {
            content: "shipped".into(),
            is_error,
            exit_code: None,
        }),
    };
    let intended = Fact::CallIntended {
        attempt: attempt.clone(),
        ordinal: 0,
        skill: skill("deploy"),
        class: EffectClass::Once,
        key,
    };
    let mut check = |last: Vec<Fact>, expected: &[&str]| {
        let seen: Vec<Stamped> = facts(&case).cloned().collect();
        let more = last.into_iter().map(|fact| Stamped {
            seq: 99,
            at: seen[0].at,
            fact,
        });
        let seen: Vec<Stamped> = seen.iter().cloned().chain(more).collect();
        let found = undo(&seen, |of| (of.as_str() == "deploy").then(|| skill("undeploy")));
        let found: Vec<String> = found
            .iter()
            .map(|undo| format!("{} {}", undo.skill, undo.arguments))
            .collect();
        assert_eq!(found, expected);
        case.truncate(1);
    };
    check(
        vec![leased(), intended.clone(), finished(false)],
        &["undeploy {\"to\":\"prod\"}"],
    );
    check(vec![leased(), intended.clone(), finished(true)], &[]);
    check(vec![leased(), intended], &[]);
    check(vec![leased(), finished(false)], &[]);
}

/// What undoes the effects of these facts.
fn undone(seen: &[Fact]) -> Vec<String> {
    let seen: Vec<Stamped> = (1..)
        .zip(seen)
        .map(|(seq, fact)| Stamped {
            seq,
            at: UtcMillis(START),
            fact: fact.clone(),
        })
        .collect();
    let found = undo(&seen, |of| (of.as_str() == "deploy").then(|| skill("undeploy")));
    found
        .iter()
        .map(|undo| format!("{} {} {}", undo.undoes, undo.skill, undo.arguments))
        .collect()
}

#[test]
fn an_effect_is_undone_as_the_plan_says_that_was_in_force_when_it_was_made() {
    let ship = |to: &str| Step {
        inputs: BTreeMap::from([("to".into(), Input::Literal(to.into()))]),
        ..Step::new(id("ship"), Work::Skill(skill("deploy")), "ship")
    };
    let own_word = |to: &str| Step {
        undo: Some(StepUndo {
            skill: skill("recall"),
            inputs: BTreeMap::from([(
                "what".into(),
                Input::Output {
                    step: id("ship"),
                    pointer: "".into(),
                },
            )]),
        }),
        ..ship(to)
    };
    let attempt = |number| Attempt {
        step: id("ship"),
        number,
    };
    let proposed = |round, steps: Vec<Step>| Fact::PlanProposed {
        round,
        plan: plan(steps).into(),
    };
    let shipped = |number: u32| {
        let leased = Fact::StepLeased {
            attempt: attempt(number),
            boot: BootId::new(UtcMillis(START), 1),
        };
        let intended = Fact::CallIntended {
            attempt: attempt(number),
            ordinal: 0,
            skill: skill("deploy"),
            class: EffectClass::Once,
            key: EffectKey::derive(run_id(), &id("ship"), number, 0),
        };
        let finished = Fact::CallFinished {
            attempt: attempt(number),
            ordinal: 0,
            outcome: Arc::new(CallOutcome::ok(format!("shipped {number}"))),
        };
        // It took effect, and a check said no.
        let failed = Fact::StepFailed {
            attempt: attempt(number),
            class: FailureClass::Check,
            reason: "no".into(),
            tried: Arc::new([]),
            retry_at: None,
        };
        [leased, intended, finished, failed]
    };
    let check = |first: Step, second: Step, again: bool, expected: &[&str]| {
        let mut facts = vec![proposed(1, vec![first]), Fact::PlanAccepted { round: 1 }];
        facts.extend(shipped(1));
        // One that was refused in between was never in force.
        facts.push(proposed(2, vec![own_word("nowhere")]));
        let findings = Arc::new([]);
        facts.push(Fact::PlanRejected { round: 2, findings });
        facts.push(proposed(3, vec![second]));
        facts.push(Fact::PlanAccepted { round: 3 });
        if again {
            facts.extend(shipped(2));
        }
        assert_eq!(undone(&facts), expected);
    };
    let prod = r#"ship#1 undeploy {"to":"prod"}"#;
    check(ship("prod"), step("other"), false, &[prod]);
    check(ship("prod"), ship("test"), false, &[prod]);
    check(
        ship("prod"),
        ship("test"),
        true,
        &[r#"ship#2 undeploy {"to":"test"}"#, prod],
    );
    check(
        own_word("prod"),
        ship("test"),
        true,
        &[
            r#"ship#2 undeploy {"to":"test"}"#,
            r#"ship#1 recall {"what":"shipped 1"}"#,
        ],
    );
    check(ship("prod"), own_word("test"), false, &[prod]);
}

#[test]
fn an_effect_of_an_earlier_plan_is_undone_when_the_amended_one_fails() {
    let replan = |step: Step| Step {
        on_failure: OnFailure::Replan,
        retries: Some(0),
        ..step
    };
    let first = plan(vec![undoable("one", &[]), replan(after("two", &["one"]))]);
    // The amended plan does not name the finished step.
    let second = plan(vec![after("three", &[])]);
    let case = Case {
        planner: vec![PlannerEnd::Plans(first.into()), PlannerEnd::Plans(second.into())],
        retries: 0,
        ..Case::default()
    }
    .end("two", 1, StepEnd::Fails(FailureClass::ToolError))
    .end("three", 1, StepEnd::Fails(FailureClass::ToolError));
    let journal = play(&case);
    assert_eq!(outcome(&journal).0, Outcome::Failed);
    assert_eq!(load(&journal).replans, 1);
    assert_eq!(ended(&journal), [("one".to_owned(), "done")]);
}

#[test]
fn a_step_that_undoes_never_takes_the_name_of_a_planned_one() {
    let case = Case {
        given: Some(
            plan(vec![
                undoable("undo-1", &[]),
                Step {
                    needs: vec![Need {
                        step: id("undo-1"),
                        on: NeedState::Ok,
                    }],
                    ..step("b")
                },
            ])
            .into(),
        ),
        retries: 0,
        ..Case::default()
    }
    .end("b", 1, StepEnd::Fails(FailureClass::ToolError));
    let journal = play(&case);
    let state = load(&journal);
    assert_eq!(state.compensations[0].step.id, id("undo-2"));
    assert_eq!(state.steps[&id("undo-2")].phase, StepPhase::Done);
    assert_eq!(outcome(&journal).0, Outcome::Failed);
}
