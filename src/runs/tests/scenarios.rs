//! Scene by scene: what a policy, a join, a retry, a refusal, a deadline or a cancel leads to.

use std::sync::Arc;

use serde_json::{Value, json};

use super::simulator::{
    Case, Journal, Life, PlannerEnd, START, StepEnd, UNSENDABLE, facts, go_on, id, load, outcome, plan, play,
    some_check, step,
};
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::Handoff;
use crate::domain::limits::POISON_RECOVERIES_MAX;
use crate::domain::plan::{Input, Join, Need, NeedState, OnFailure, Step};
use crate::runs::decision::Effect;
use crate::runs::state::StepPhase;

/// A step with what differs from the default.
pub(super) fn with(name: &str, needs: &[&str], change: impl Fn(&mut Step)) -> Step {
    let mut made = step(name);
    let needs = needs.iter().map(|need| Need {
        step: id(need),
        on: NeedState::Ok,
    });
    made.needs = needs.collect();
    change(&mut made);
    made
}

pub(super) fn on_failure(policy: OnFailure) -> impl Fn(&mut Step) {
    move |step| step.on_failure = policy
}

fn join(join: Join) -> impl Fn(&mut Step) {
    move |step| step.join = join
}

pub(super) fn given(steps: Vec<Step>) -> Case {
    Case {
        given: Some(Arc::new(plan(steps))),
        ..Case::default()
    }
}

fn planned(ends: Vec<PlannerEnd>) -> Case {
    Case {
        planner: ends,
        ..Case::default()
    }
}

fn plans(steps: Vec<Step>) -> PlannerEnd {
    PlannerEnd::Plans(Arc::new(plan(steps)))
}

const REFUSAL: StepEnd = StepEnd::Fails(FailureClass::Refusal);
const TOOL: StepEnd = StepEnd::Fails(FailureClass::ToolError);
const TRANSPORT: StepEnd = StepEnd::Fails(FailureClass::Transport);

fn phase(phase: &StepPhase) -> &'static str {
    match phase {
        StepPhase::Waiting => "waits",
        StepPhase::Retrying(_) => "retries",
        StepPhase::Running => "runs",
        StepPhase::Resting(_) => "rests",
        StepPhase::Done => "done",
        StepPhase::Failed => "failed",
        StepPhase::Skipped => "skipped",
        StepPhase::Cancelled => "cancelled",
        StepPhase::Unknown => "unknown",
        StepPhase::Asking => "asks",
    }
}

/// The end of the run, and of each step with its last attempt: `failed: plan 1 done, a 2 failed, b 0 skipped`.
pub(super) fn summary(journal: &Journal) -> String {
    let state = load(journal);
    let plan = (state.planning.attempt > 0)
        .then(|| format!("plan {} {}", state.planning.attempt, phase(&state.planning.phase)));
    let steps = state
        .steps
        .iter()
        .map(|(id, step)| format!("{id} {} {}", step.attempt, phase(&step.phase)));
    let all: Vec<String> = plan.into_iter().chain(steps).collect();
    format!("{}: {}", state.status().as_str(), all.join(", "))
}

fn orders(journal: &Journal, step: &str) -> Vec<Arc<Handoff>> {
    let sent = facts(journal).filter_map(|stamped| match &stamped.fact {
        Fact::HandoffSent { attempt, handoff } if attempt.step.as_str() == step => Some(handoff.clone()),
        _ => None,
    });
    sent.collect()
}

/// When each attempt of a step was leased, after the start.
pub(super) fn leases(journal: &Journal, step: &str) -> Vec<u64> {
    let leased = facts(journal).filter_map(|stamped| match &stamped.fact {
        Fact::StepLeased { attempt, .. } if attempt.step.as_str() == step => Some(stamped.at.0 - START),
        _ => None,
    });
    leased.collect()
}

#[track_caller]
fn check(case: Case, expected: &str) {
    assert_eq!(summary(&play(&case)), expected);
}

#[test]
fn a_policy_decides_what_a_failure_means_for_the_others() {
    let three = |policy| {
        let case = given(vec![
            with("a", &[], on_failure(policy)),
            with("b", &["a"], |_| {}),
            with("c", &[], |_| {}),
            with("d", &["b"], on_failure(OnFailure::Continue)),
        ]);
        Case { slots: 1, ..case }.end("a", 1, REFUSAL)
    };
    check(
        three(OnFailure::FailFast),
        "failed: a 1 failed, b 0 skipped, c 0 skipped, d 0 skipped",
    );
    check(
        three(OnFailure::SkipSubtree),
        "failed: a 1 failed, b 0 skipped, c 1 done, d 0 skipped",
    );
    check(
        three(OnFailure::Continue),
        "succeeded: a 1 failed, b 1 done, c 1 done, d 1 done",
    );
    // Nobody planned it who could mend it.
    check(
        three(OnFailure::Replan),
        "failed: a 1 failed, b 0 skipped, c 0 skipped, d 0 skipped",
    );
    // What runs beside a fatal failure comes to its end.
    check(
        Case {
            slots: 2,
            ..three(OnFailure::FailFast)
        }
        .takes("c", 1, 500),
        "failed: a 1 failed, b 0 skipped, c 1 done, d 0 skipped",
    );
}

#[test]
fn a_failed_step_is_mended_by_the_planner_at_most_twice() {
    let again = || {
        plans(vec![
            with("b", &[], |_| {}),
            with("a", &["b"], on_failure(OnFailure::Replan)),
        ])
    };
    let case = || planned(vec![again()]).end("a", 1, REFUSAL);
    check(case(), "succeeded: plan 2 done, a 2 done, b 1 done");
    check(
        case().end("a", 2, REFUSAL),
        "succeeded: plan 3 done, a 3 done, b 1 done",
    );
    check(
        case().end("a", 2, REFUSAL).end("a", 3, REFUSAL),
        "failed: plan 3 done, a 3 failed, b 1 done",
    );
    // A declared end of the run is not mended.
    let hard = plans(vec![
        with("a", &[], on_failure(OnFailure::Replan)),
        with("b", &[], |_| {}),
    ]);
    check(
        planned(vec![hard]).end("a", 1, REFUSAL).end("b", 1, REFUSAL),
        "failed: plan 1 done, a 1 failed, b 1 failed",
    );
}

#[test]
fn a_join_of_some_starts_with_the_first_and_cancels_the_others() {
    let race = |how| {
        let case = given(vec![
            with("a", &[], |_| {}),
            with("b", &[], |_| {}),
            with("c", &[], |_| {}),
            with("j", &["a", "b", "c"], join(how)),
        ]);
        Case { slots: 4, ..case }
            .takes("a", 1, 10)
            .takes("b", 1, 50)
            .takes("c", 1, 900)
    };
    check(
        race(Join::Any),
        "succeeded: a 1 done, b 1 cancelled, c 1 cancelled, j 1 done",
    );
    check(
        race(Join::AtLeast(2)),
        "succeeded: a 1 done, b 1 done, c 1 cancelled, j 1 done",
    );
    check(race(Join::All), "succeeded: a 1 done, b 1 done, c 1 done, j 1 done");
    // What waits for its next attempt is cancelled as well.
    let tired = race(Join::Any).end("b", 1, TRANSPORT);
    check(tired, "succeeded: a 1 done, b 1 cancelled, c 1 cancelled, j 1 done");
    // Too few are left.
    let case = race(Join::AtLeast(2));
    let soft = |name: &str| with(name, &[], on_failure(OnFailure::SkipSubtree));
    let steps = vec![
        soft("a"),
        soft("b"),
        soft("c"),
        with("j", &["a", "b", "c"], join(Join::AtLeast(2))),
    ];
    let case = Case {
        given: Some(Arc::new(plan(steps))),
        ..case
    };
    check(
        case.end("a", 1, REFUSAL).end("b", 1, REFUSAL),
        "failed: a 1 failed, b 1 failed, c 1 done, j 0 skipped",
    );
}

#[test]
fn two_joins_that_have_both_started_do_not_keep_a_loser_for_each_other() {
    let steps = vec![
        with("a", &[], |_| {}),
        with("b", &[], |_| {}),
        with("j", &["a", "b"], join(Join::Any)),
        with("k", &["a", "b"], join(Join::Any)),
    ];
    let case = Case {
        slots: 4,
        ..given(steps)
    }
    .takes("b", 1, 300)
    .takes("j", 1, 200)
    .takes("k", 1, 200);
    check(case.clone(), "succeeded: a 1 done, b 1 cancelled, j 1 done, k 1 done");
    let journal = play(&case);
    let cancelled = facts(&journal).find(|stamped| matches!(stamped.fact, Fact::StepCancelled { .. }));
    assert!(
        cancelled.expect("b is cancelled").at.0 < START + 100,
        "at once, not when j and k have ended"
    );
}

#[test]
fn an_attempt_is_repeated_with_a_lesson_or_unchanged_after_a_wait() {
    let case = |end| {
        Case {
            retries: 2,
            ..given(vec![step("a")])
        }
        .end("a", 1, end)
        .end("a", 2, end)
    };
    let lessons = |end| {
        let orders = orders(&play(&case(end)), "a");
        orders.iter().map(|order| order.lessons.len()).collect::<Vec<_>>()
    };
    let waits = |end| {
        let leases = leases(&play(&case(end)), "a");
        leases.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    assert_eq!(lessons(TOOL), [0, 1, 2]);
    assert!(waits(TOOL).iter().all(|ms| *ms < 20), "{:?}", waits(TOOL));
    for class in [
        FailureClass::Transport,
        FailureClass::Overload,
        FailureClass::Timeout,
        FailureClass::Crash,
    ] {
        let end = StepEnd::Fails(class);
        assert_eq!(lessons(end), [0, 0, 0], "{class:?}");
        let waits = waits(end);
        assert!(
            (510..520).contains(&waits[0]) && (1010..1020).contains(&waits[1]),
            "{class:?} {waits:?}"
        );
    }
    check(case(TOOL), "succeeded: a 3 done");
    check(case(TOOL).end("a", 3, TOOL), "failed: a 3 failed");
    check(case(REFUSAL), "failed: a 1 failed");
    let (_, reason) = outcome(&play(&case(TRANSPORT).end("a", 3, TRANSPORT)));
    assert_eq!(reason, "\"step a failed (transport): it met transport\"");
}

#[test]
fn what_was_tried_reaches_the_next_attempt() {
    let checked = with("a", &[], |step| step.checks.push(some_check()));
    let journal = play(&given(vec![checked]).end("a", 1, StepEnd::ChecksFail));
    let orders = orders(&journal, "a");
    let lesson = &orders[1].lessons[0];
    assert_eq!((lesson.attempt, lesson.class), (1, FailureClass::Check));
    assert_eq!(lesson.tried, vec![Arc::<str>::from("tried a#1")]);
    assert_eq!(&*lesson.reason, "check 0: exit code is 0: seen");
}

#[test]
fn a_plan_goes_back_twice_and_then_the_run_fails() {
    let bad = || PlannerEnd::PlansBadly;
    let good = || plans(vec![step("a")]);
    let circle = || plans(vec![with("a", &["b"], |_| {}), with("b", &["a"], |_| {})]);
    check(
        planned(vec![bad(), circle(), good()]),
        "succeeded: plan 3 done, a 1 done",
    );
    check(planned(vec![bad(), bad(), circle(), good()]), "failed: plan 3 failed");
    check(planned(vec![PlannerEnd::Unknown]), "unknown: plan 1 unknown");
    let tired = || PlannerEnd::Fails(FailureClass::Transport);
    check(planned(vec![tired(), good()]), "succeeded: plan 2 done, a 1 done");
    check(planned(vec![tired(), tired(), good()]), "failed: plan 2 failed");

    let journal = play(&planned(vec![circle(), good()]));
    let told = &orders(&journal, "plan")[1].context;
    let findings = told.iter().find(|entry| &*entry.name == "findings");
    assert!(format!("{findings:?}").contains("wait for each other"), "{told:?}");
}

#[test]
fn each_planning_has_its_own_retries() {
    let tired = || PlannerEnd::Fails(FailureClass::Transport);
    let p = || plans(vec![with("a", &[], on_failure(OnFailure::Replan))]);
    let case = planned(vec![tired(), p(), tired(), p()]).end("a", 1, REFUSAL);
    check(case, "succeeded: plan 4 done, a 2 done");
}

#[test]
fn a_refused_order_goes_to_the_planner() {
    let unsendable = || plans(vec![with("a", &[], |step| step.constraints.push(UNSENDABLE.into()))]);
    let good = || plans(vec![step("a")]);
    check(planned(vec![unsendable(), good()]), "succeeded: plan 2 done, a 2 done");
    check(planned(vec![unsendable()]), "failed: plan 3 done, a 3 failed");
    // Orders refused side by side do not use up the rounds in which the new plan may be repaired.
    let both = vec![step("a"), step("b"), step("c")];
    let case = planned(vec![
        plans(both.clone()),
        PlannerEnd::PlansBadly,
        PlannerEnd::PlansBadly,
        plans(both),
    ]);
    let names = ["a", "b", "c"].iter();
    let case = names.fold(case, |case, name| case.end(name, 1, StepEnd::Refuses));
    let case = Case { slots: 3, ..case };
    check(case, "succeeded: plan 4 done, a 2 done, b 2 done, c 2 done");
    // The receiver's word counts as the sender's.
    check(
        planned(vec![good()]).end("a", 1, StepEnd::Refuses),
        "succeeded: plan 2 done, a 2 done",
    );
    // There is no planner to ask.
    check(
        given(vec![step("a")]).end("a", 1, StepEnd::Refuses),
        "failed: a 1 failed",
    );
}

#[test]
fn a_deadline_or_a_cancel_ends_the_run_when_its_work_has_ended() {
    let slow = || Case {
        deadline: START + 100,
        ..given(vec![step("a"), with("b", &["a"], |_| {})])
    };
    check(slow().takes("a", 1, 500), "expired: a 1 cancelled, b 0 waits");
    // A retry that would come too late is not begun.
    check(slow().end("a", 1, TRANSPORT), "failed: a 1 failed, b 0 skipped");
    let cancelled = |at, case: Case| Case {
        cancel_at: Some(START + at),
        ..case
    };
    check(
        cancelled(50, given(vec![step("a")])).takes("a", 1, 500),
        "cancelled: a 1 cancelled",
    );
    check(cancelled(0, given(vec![step("a")])), "cancelled: a 0 waits");
    check(cancelled(0, planned(vec![plans(vec![step("a")])])), "cancelled: ");
    check(
        cancelled(50, given(vec![step("a")]).end("a", 1, TRANSPORT)),
        "cancelled: a 1 cancelled",
    );
}

#[test]
fn a_cancel_during_checks_waits_for_them_and_the_step_is_not_done() {
    let case = |at| Case {
        cancel_at: Some(at),
        ..given(vec![with("a", &[], |step| step.checks.push(some_check()))])
    };
    let whole = play(&case(START + 5_000));
    let checked = facts(&whole).find(|stamped| matches!(stamped.fact, Fact::CheckMade { .. }));
    let at = checked.expect("a check is made").at.0;
    let journal = play(&case(at - 1));
    assert_eq!(summary(&journal), "cancelled: a 1 cancelled");
    let ended = facts(&journal).last().expect("an end").at.0;
    assert_eq!(ended, at, "not before the checks are over");
}

#[test]
fn the_checks_of_the_run_are_those_of_the_result() {
    let case = || Case {
        checks: vec![some_check()],
        retries: 0,
        ..given(vec![step("a"), with("b", &["a"], |_| {})])
    };
    check(case().end("a", 1, StepEnd::ChecksFail), "succeeded: a 1 done, b 1 done");
    check(case().end("b", 1, StepEnd::ChecksFail), "failed: a 1 done, b 1 failed");
}

#[test]
fn the_output_of_a_step_that_was_passed_over_is_null() {
    let from = |step: &str, pointer: &str| Input::Output {
        step: id(step),
        pointer: pointer.into(),
    };
    let last = with("b", &["a", "c"], |step| {
        step.inputs.insert("gone".into(), from("a", ""));
        step.inputs.insert("who".into(), from("c", "/step"));
        step.inputs.insert("odd".into(), from("c", "/none"));
    });
    let steps = vec![with("a", &[], on_failure(OnFailure::Continue)), step("c"), last.clone()];
    let state = load(&play(&given(steps).end("a", 1, REFUSAL)));
    let inputs = Value::Object(state.inputs(&last));
    assert_eq!(inputs, json!({ "gone": null, "who": "c", "odd": null }));
}

#[test]
fn an_unknown_step_holds_up_what_needs_it_and_its_run_is_not_replanned() {
    let steps = || {
        vec![
            with("a", &[], |_| {}),
            with("b", &[], on_failure(OnFailure::Replan)),
            with("c", &["a"], |step| step.needs[0].on = NeedState::Done),
        ]
    };
    check(
        given(steps()).end("a", 1, StepEnd::Unknown),
        "unknown: a 1 unknown, b 1 done, c 0 waits",
    );
    check(
        planned(vec![plans(steps())])
            .end("a", 1, StepEnd::Unknown)
            .end("b", 1, REFUSAL),
        "unknown: plan 1 done, a 1 unknown, b 1 failed, c 0 skipped",
    );
}

/// A journal up to the batch that leases the first attempt of `a`, and the case.
pub(super) fn leased() -> (Case, Journal) {
    let case = given(vec![step("a")]);
    let mut journal = play(&case);
    let at = journal.iter().position(|batch| {
        batch
            .iter()
            .any(|stamped| matches!(stamped.fact, Fact::StepLeased { .. }))
    });
    journal.truncate(at.expect("a is leased") + 1);
    (case, journal)
}

#[test]
fn a_resumed_attempt_keeps_its_number_and_its_order() {
    let (case, journal) = leased();
    let order = orders(&journal, "a")[0].clone();
    let mut whole = journal.clone();
    let mut life = Life::new(&case, &whole, true);
    assert!(life.go(&mut whole, usize::MAX));
    let starts: Vec<&Effect> = life
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Start { .. }))
        .collect();
    let [
        Effect::Start {
            attempt,
            handoff: Some(handoff),
            deadline,
            resume: true,
        },
    ] = starts[..]
    else {
        panic!("one resumed start, found {starts:?}");
    };
    assert_eq!((attempt.number, handoff, *deadline), (1, &order, order.deadline));
    assert_eq!(summary(&whole), "succeeded: a 1 done");
    assert_eq!(orders(&whole, "a").len(), 1, "the order is not sent again");
}

#[test]
fn a_run_that_only_recovers_is_parked() {
    let check = |batches_of_each_life: usize, word: Option<Fact>, parked: bool| {
        let (case, mut journal) = leased();
        for _ in 1..POISON_RECOVERIES_MAX {
            let batches = journal.len() + batches_of_each_life;
            Life::new(&case, &journal, true).go(&mut journal, batches);
            if let Some(fact) = &word {
                // The session writes into the same journal.
                let last = facts(&journal).last().expect("facts").clone();
                journal.push(vec![Stamped {
                    seq: last.seq + 1,
                    fact: fact.clone(),
                    ..last
                }]);
            }
        }
        let journal = go_on(&case, &journal);
        assert_eq!(
            load(&journal).parked.is_some(),
            parked,
            "{batches_of_each_life} {word:?}"
        );
        let last = &facts(&journal).last().expect("facts").fact;
        assert!(matches!(last, Fact::RunParked { .. } | Fact::RunDone { .. }));
    };
    let attempt = Attempt {
        step: id("a"),
        number: 1,
    };
    let turn = 1;
    // It dies as soon as it is taken up, or when its step is leased again, or when the model is asked again.
    check(1, None, true);
    check(2, None, true);
    let asked_in_vain = Fact::TurnFailed {
        attempt: attempt.clone(),
        turn,
        class: FailureClass::Crash,
        reason: "cut off".into(),
        charged: 0,
        cost: crate::domain::money::MicroUsd(8),
        retry_at: None,
    };
    check(2, Some(asked_in_vain), true);
    // A session that gets further saves it.
    let findings = Arc::new([]);
    let answered = Fact::AnswerRejected {
        attempt,
        turn,
        findings,
    };
    check(2, Some(answered), false);
}

#[test]
fn an_amended_plan_may_drop_what_a_finished_step_needed() {
    let first = plans(vec![
        with("x", &[], on_failure(OnFailure::Continue)),
        with("c", &["x"], |step| {
            step.inputs.insert(
                "x".into(),
                Input::Output {
                    step: id("x"),
                    pointer: "".into(),
                },
            );
        }),
        with("y", &["c"], on_failure(OnFailure::Replan)),
    ]);
    // The result is the last step that the planner lists, finished or not.
    let second = plans(vec![with("z", &["c"], |_| {}), step("c")]);
    let third = plans(vec![with("y", &["c"], |_| {})]);
    let case = planned(vec![first.clone(), second])
        .end("x", 1, REFUSAL)
        .end("y", 1, REFUSAL);
    check(case.clone(), "succeeded: plan 2 done, c 1 done, z 1 done");
    assert_eq!(
        outcome(&play(&case)).1,
        json!({ "step": "c", "attempt": 1 }).to_string()
    );

    // A step that was dropped and comes back goes on counting: effect keys hang on it.
    let between = plans(vec![with("z", &["c"], on_failure(OnFailure::Replan))]);
    let case = planned(vec![first, between, third])
        .end("x", 1, REFUSAL)
        .end("y", 1, REFUSAL)
        .end("z", 1, REFUSAL);
    check(case, "succeeded: plan 3 done, c 1 done, y 2 done");
}

#[test]
fn an_attempt_that_rests_gives_its_slot_to_another_and_goes_on_as_itself() {
    let mut case = given(vec![step("a"), step("b")]).rests("a", 1, START + 400);
    case.slots = 1;
    let journal = play(&case);
    let shown: Vec<String> = facts(&journal)
        .filter(|stamped| stamped.fact.kind().starts_with("step."))
        .map(|stamped| {
            let attempt = stamped.fact.attempt().expect("of a step");
            format!("{} {attempt}", stamped.fact.kind())
        })
        .collect();
    let expected = [
        "step.leased a#1",
        "step.rested a#1",
        "step.leased b#1",
        "step.done b#1",
        "step.leased a#1",
        "step.done a#1",
    ];
    assert_eq!(shown, expected);
    let again = facts(&journal).filter(|stamped| stamped.fact.kind() == "handoff.sent");
    assert_eq!(again.count(), 2, "its order is not sent again");
    let (_, at) = facts(&journal)
        .filter(|stamped| stamped.fact.kind() == "step.leased")
        .map(|stamped| (stamped.seq, stamped.at))
        .last()
        .expect("leased");
    assert!(at.0 >= START + 400, "{at:?}");
}

#[test]
fn a_rest_ends_with_its_run() {
    let check = |case: Case, expected: &str| assert_eq!(summary(&play(&case)), expected);
    let resting = || given(vec![step("a"), step("b")]).rests("a", 1, START + 90_000);
    check(
        Case {
            cancel_at: Some(START + 500),
            ..resting()
        },
        "cancelled: a 1 cancelled, b 1 done",
    );
    check(
        Case {
            deadline: START + 500,
            ..resting()
        },
        "expired: a 1 cancelled, b 1 done",
    );
    check(resting().end("b", 1, REFUSAL), "failed: a 1 skipped, b 1 failed");
}
