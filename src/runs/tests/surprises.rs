//! Words that come late, twice, or cross others on the way.

use std::sync::Arc;

use serde_json::json;

use super::simulator::{Case, START, load, plan, some_check, step};
use crate::domain::check::CheckReport;
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::Finding;
use crate::domain::run::Outcome;
use crate::domain::time::UtcMillis;
use crate::runs::decision::{After, AttemptEnd, Effect, Event, Reaction, RunLoop, react};
use crate::runs::state::StepPhase;

/// A run of one step `a` with two checks, and its clock.
struct Scene {
    case: Case,
    run: RunLoop,
    now: u64,
}

impl Scene {
    fn new() -> Self {
        Self::of(Case::default())
    }

    fn of(case: Case) -> Self {
        let mut only = step("a");
        only.checks = vec![some_check(), some_check()];
        let case = Case {
            given: Some(Arc::new(plan(vec![only]))),
            deadline: START + 100_000,
            ..case
        };
        let run = RunLoop::new(load(&case.accepted()));
        let mut scene = Self { case, run, now: START };
        scene.hear(Event::Taken {
            after: After::Acceptance,
        });
        scene
    }

    /// The step works.
    fn working() -> Self {
        let mut scene = Self::new();
        scene.hear(granted());
        scene
    }

    /// The checks of the step are out.
    fn checking() -> Self {
        let mut scene = Self::working();
        scene.hear(answered(1));
        scene
    }

    fn hear(&mut self, event: Event) -> Reaction {
        self.now += 1;
        react(&mut self.run, event, UtcMillis(self.now), &self.case)
    }

    fn phase(&self) -> &StepPhase {
        &self.run.state.steps[&attempt(1).step].phase
    }
}

fn attempt(number: u32) -> Attempt {
    Attempt {
        step: step("a").id,
        number,
    }
}

fn granted() -> Event {
    Event::Granted { step: attempt(1).step }
}

fn ended(number: u32, end: AttemptEnd) -> Event {
    Event::Ended {
        attempt: attempt(number),
        end,
    }
}

fn answered(number: u32) -> Event {
    let end = AttemptEnd::Answered {
        output: Arc::new(json!(number)),
        tried: Vec::new(),
    };
    ended(number, end)
}

fn failed(number: u32) -> Event {
    let end = AttemptEnd::Failed {
        class: FailureClass::ToolError,
        reason: "no".into(),
        tried: Vec::new(),
    };
    ended(number, end)
}

fn checked(number: u32, passed: &[bool]) -> Event {
    let reports = (0..).zip(passed).map(|(index, passed)| CheckReport {
        index,
        passed: *passed,
        evidence: "seen".into(),
    });
    Event::Checked {
        attempt: attempt(number),
        output: Arc::new(json!(number)),
        reports: reports.collect(),
        tried: Vec::new(),
    }
}

fn refused(number: u32) -> Event {
    let findings = Arc::new([Finding::new("/task", "no")]);
    Event::Refused {
        attempt: attempt(number),
        findings,
    }
}

fn cancel() -> Event {
    let reason = "enough".into();
    Event::CancelWanted { reason }
}

fn kinds(reaction: &Reaction) -> Vec<&'static str> {
    let facts = reaction.facts.iter().map(Fact::kind);
    let effects = reaction.effects.iter().map(|effect| match effect {
        Effect::Want(_) => "Want",
        Effect::Release { .. } => "Release",
        Effect::Start { .. } => "Start",
        Effect::Stop { .. } => "Stop",
        Effect::Check { .. } => "Check",
        Effect::Wake { .. } => "Wake",
        Effect::LookBack => "LookBack",
        Effect::Leave => "Leave",
    });
    facts.chain(effects).collect()
}

#[test]
fn words_that_belong_to_nothing_under_way_change_nothing() {
    let check = |name: &str, mut scene: Scene, events: Vec<Event>| {
        for event in events {
            let before = scene.run.clone();
            let reaction = scene.hear(event.clone());
            assert_eq!(kinds(&reaction), [""; 0], "{name}: {event:?}");
            assert_eq!(scene.run, before, "{name}: {event:?}");
        }
    };
    let stopped = |number| ended(number, AttemptEnd::Stopped);
    let waits = vec![
        answered(1),
        failed(1),
        stopped(1),
        checked(1, &[true, true]),
        refused(1),
    ];
    check("it waits for a slot", Scene::new(), waits.clone());

    let wrong = vec![answered(2), failed(0), stopped(2), refused(2), granted()];
    let early = checked(1, &[true, true]);
    check("it works", Scene::working(), [wrong.clone(), vec![early]].concat());

    let late = vec![answered(1), stopped(1), refused(1), checked(2, &[true, true])];
    check("it is checked", Scene::checking(), [wrong, late.clone()].concat());

    let mut scene = Scene::checking();
    scene.hear(cancel());
    check("its checks are no longer wanted", scene, late);

    let mut scene = Scene::checking();
    scene.hear(checked(1, &[false]));
    assert_eq!(scene.run.state.attempt(&attempt(1).step), Some(attempt(1)));
    check("it waits for the next slot", scene, waits);

    let mut scene = Scene::working();
    scene.hear(failed(1));
    scene.hear(granted());
    check(
        "the next attempt works",
        scene,
        vec![answered(1), failed(1), stopped(1), refused(1)],
    );
}

#[test]
fn an_end_that_races_with_a_stop_is_a_stop_and_gives_the_slot_back_once() {
    let check = |mut scene: Scene, stop: &[&str], end: Event, late: Event| {
        assert_eq!(kinds(&scene.hear(cancel())), stop);
        let reaction = scene.hear(end.clone());
        let all = ["step.cancelled", "run.done", "Release", "Leave"];
        assert_eq!(kinds(&reaction), all, "{end:?}");
        assert_eq!(kinds(&scene.hear(late)), ["Leave"]);
    };
    let stop = ["run.cancel_requested", "Stop"];
    let stopped = || ended(1, AttemptEnd::Stopped);
    check(Scene::working(), &stop, answered(1), stopped());
    check(Scene::working(), &stop, failed(1), stopped());
    check(Scene::working(), &stop, refused(1), stopped());
    check(Scene::working(), &stop, stopped(), answered(1));
    let stop = ["run.cancel_requested"];
    check(Scene::checking(), &stop, checked(1, &[true, true]), stopped());
}

#[test]
fn a_grant_that_crosses_a_taken_back_wish_is_not_given_back_again() {
    let mut scene = Scene::new();
    let reaction = scene.hear(cancel());
    let all = ["run.cancel_requested", "run.done", "Release", "Leave"];
    assert_eq!(kinds(&reaction), all);
    assert_eq!(kinds(&scene.hear(granted())), ["Leave"]);
}

#[test]
fn a_slot_that_comes_after_the_deadline_is_given_back_unused() {
    let mut scene = Scene::new();
    scene.now = scene.case.deadline;
    let reaction = scene.hear(granted());
    let all = ["run.cancel_requested", "run.done", "Release", "Leave"];
    assert_eq!(kinds(&reaction), all);
    assert_eq!(scene.run.state.done.expect("ended").0, Outcome::Expired);
}

#[test]
fn only_a_word_for_every_check_makes_a_step_done() {
    let check = |passed: &[bool], done: bool| {
        let mut scene = Scene::checking();
        scene.hear(checked(1, passed));
        assert_eq!(*scene.phase() == StepPhase::Done, done, "{passed:?}");
    };
    check(&[true, true], true);
    check(&[true, false], false);
    check(&[false], false);
    check(&[true], false);
    check(&[], false);
}

#[test]
fn a_session_stopped_by_somebody_else_is_repeated_unchanged() {
    let mut scene = Scene::working();
    let reaction = scene.hear(ended(1, AttemptEnd::Stopped));
    assert_eq!(kinds(&reaction), ["step.failed", "Release", "Wake"]);
    assert!(matches!(scene.phase(), StepPhase::Retrying(_)));
    scene.now += 600;
    assert_eq!(kinds(&scene.hear(Event::Woken)), ["Want", "Wake"]);
    let reaction = scene.hear(granted());
    let [
        Effect::Start {
            attempt: next,
            handoff: Some(order),
            resume: false,
            ..
        },
    ] = &reaction.effects[..]
    else {
        panic!("one start, found {:?}", reaction.effects);
    };
    assert_eq!((next, order.lessons.len()), (&attempt(2), 0));
}

#[test]
fn an_early_or_late_timer_is_set_again_for_what_is_still_due() {
    let mut scene = Scene::working();
    let reaction = scene.hear(ended(1, AttemptEnd::Stopped));
    let Some(Effect::Wake { at }) = reaction.effects.last() else {
        panic!("a timer, found {:?}", reaction.effects);
    };
    assert_eq!(kinds(&scene.hear(Event::Woken)), ["Wake"], "early");
    scene.now = at.0 + 50;
    let reaction = scene.hear(Event::Woken);
    assert_eq!(kinds(&reaction), ["Want", "Wake"]);
    let wake = Effect::Wake {
        at: UtcMillis(scene.case.deadline),
    };
    assert_eq!(reaction.effects.last(), Some(&wake));
}

#[test]
fn checks_that_cannot_be_made_fail_the_attempt() {
    let mut scene = Scene::checking();
    let reaction = scene.hear(failed(1));
    assert_eq!(kinds(&reaction), ["step.failed", "Release", "Want"]);
    assert_eq!(kinds(&scene.hear(checked(1, &[true, true]))), [""; 0], "too late");

    let mut scene = Scene::checking();
    scene.hear(cancel());
    let all = ["step.cancelled", "run.done", "Release", "Leave"];
    assert_eq!(kinds(&scene.hear(failed(1))), all);
}

#[test]
fn a_cancelled_run_stops_what_another_life_began_before_it_ends() {
    let mut scene = Scene::working();
    // Only the run's actor died: the session goes on.
    scene.run = RunLoop::new(scene.run.state.clone());
    assert_eq!(kinds(&scene.hear(cancel())), ["run.cancel_requested", "Stop"]);
    let all = ["step.cancelled", "run.done", "Release", "Leave"];
    assert_eq!(kinds(&scene.hear(ended(1, AttemptEnd::Stopped))), all);
}

#[test]
fn a_file_is_fresh_for_its_step_since_the_attempt_and_for_the_run_since_its_beginning() {
    let mut scene = Scene::of(Case {
        checks: vec![some_check()],
        ..Case::default()
    });
    scene.now += 500;
    scene.hear(granted());
    let leased = UtcMillis(scene.now);
    scene.now += 500;
    let reaction = scene.hear(answered(1));
    let Some(Effect::Check { checks, .. }) = reaction.effects.first() else {
        panic!("{reaction:?}");
    };
    let since: Vec<UtcMillis> = checks.iter().map(|(_, since)| *since).collect();
    assert_eq!(since, [leased, leased, UtcMillis(START)]);
}
