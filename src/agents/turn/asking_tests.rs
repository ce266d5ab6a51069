//! Retries, waits and fallbacks of the turn loop, whole and cut at every fact.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::decision::{Admission, CallVerdict, Effect, Event, SessionEnd, Surroundings, react};
use super::state::{TurnRules, TurnState};
use super::summary::Compaction;
use crate::domain::conversation::{CallRequest, ModelAnswer, Stop, Usage};
use crate::domain::effect::EffectKey;
use crate::domain::fact::Fact;
use crate::domain::failure::FailureClass;
use crate::domain::handoff::Finding;
use crate::domain::money::{MicroUsd, Price};
use crate::domain::name::ModelAlias;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;

const START: u64 = 1_000;
const DEADLINE: u64 = START + 1_000_000;

fn alias(name: &str) -> ModelAlias {
    ModelAlias::new(name).expect("valid")
}

fn rules(fallback: &[&str]) -> TurnRules {
    TurnRules {
        model: alias("first"),
        fallback: fallback.iter().map(|name| alias(name)).collect(),
        deadline: UtcMillis(DEADLINE),
        ..super::tests::rules()
    }
}

/// What comes of asking a model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    Answers,
    Fails(FailureClass, Option<u64>),
    IsTooLong,
}

const OVERLOAD: Told = Told::Fails(FailureClass::Overload, None);

/// A world in which each model does what its script says and then answers, and each gate lets nobody through before
/// its time.
#[derive(Debug, Clone, Default)]
struct World {
    scripts: BTreeMap<String, Vec<Told>>,
    /// Until when a model may not be asked, and whether it may be earlier.
    gates: BTreeMap<String, (u64, bool)>,
    admitted: RefCell<Vec<(String, bool)>>,
}

impl World {
    fn of(scripts: &[(&str, &[Told])]) -> Self {
        let scripts = scripts.iter().map(|(name, told)| ((*name).to_owned(), told.to_vec()));
        Self {
            scripts: scripts.collect(),
            ..Self::default()
        }
    }

    fn gate(mut self, model: &str, until: u64) -> Self {
        self.gates.insert(model.into(), (until, false));
        self
    }
}

impl Surroundings for World {
    fn price(&self, model: &ModelAlias) -> Price {
        let output = if model.as_str() == "first" {
            1_000_000
        } else {
            3_000_000
        };
        Price {
            input: output,
            output,
            ..Price::default()
        }
    }

    fn admit(&self, model: &ModelAlias, _: u64, waited: bool, now: UtcMillis) -> Admission {
        self.admitted.borrow_mut().push((model.to_string(), waited));
        match self.gates.get(model.as_str()) {
            Some((until, early)) if *until > now.0 => Admission::Wait {
                until: UtcMillis(*until),
                reason: format!("{model} is full").into(),
                early: *early,
            },
            _ => Admission::Go,
        }
    }

    fn judge_call(&self, _: &CallRequest) -> CallVerdict {
        CallVerdict::Refuse("none here".into())
    }

    fn ceiling(&self, _: &TurnState) -> u64 {
        100
    }

    fn request_tokens(&self, _: &TurnState) -> u64 {
        0
    }

    fn compaction(&self) -> Compaction {
        Compaction::default()
    }

    fn judge_answer(&self, text: &str) -> Result<Value, Vec<Finding>> {
        Ok(text.into())
    }

    fn spooled(&self, _: EffectKey) -> Option<CallOutcome> {
        None
    }
}

/// What came of an attempt.
#[derive(Debug)]
struct Course {
    facts: Vec<Fact>,
    end: SessionEnd,
    /// Who was asked, in order.
    asked: Vec<String>,
    /// How often it gave its slot back.
    rests: usize,
    ms: u64,
}

/// Plays an attempt to its end. The process dies after `cut` journaled facts, then a new life goes on; a session that
/// rests goes on at its time. A model's n-th request is what its script says of the n-th.
fn play(rules: &TurnRules, world: &World, cut: Option<usize>, jitter: u64) -> Course {
    let mut journal: Vec<Fact> = Vec::new();
    let (mut cut, mut now, mut rests) = (cut, START, 0);
    let mut asked: Vec<String> = Vec::new();
    'life: for _ in 0..200 {
        let mut state = TurnState::load(rules.clone(), &journal);
        let mut next = Some(Event::Begun);
        while let Some(event) = next.take() {
            let reaction = react(&mut state, event, UtcMillis(now), world);
            if cut.is_some_and(|cut| journal.len() + reaction.facts.len() > cut) {
                cut = None;
                continue 'life;
            }
            journal.extend(reaction.facts);
            let [effect] = &reaction.effects[..] else {
                panic!("one thing at a time: {:?}", reaction.effects)
            };
            match effect {
                Effect::Ask { turn } => {
                    now += 5;
                    let model = state.asked.to_string();
                    // By what the journal has, so that a cut changes nothing of it.
                    let of_model =
                        |fact: &&Fact| matches!(fact, Fact::TurnFailed { class, .. } if *class != FailureClass::Crash);
                    let mut count = 0;
                    let mut last = String::new();
                    for fact in &journal {
                        if let Fact::TurnIntended { model, .. } = fact {
                            last = model.to_string();
                        } else if of_model(&fact) && last == model {
                            count += 1;
                        }
                    }
                    asked.push(model.clone());
                    let told = world.scripts.get(&model).and_then(|script| script.get(count));
                    next = Some(match told.copied().unwrap_or(Told::Answers) {
                        Told::Answers => Event::Answered {
                            turn: *turn,
                            answer: answer(&model),
                        },
                        Told::IsTooLong => Event::TooLong {
                            turn: *turn,
                            reason: "too long".into(),
                            unspent: true,
                        },
                        Told::Fails(class, retry_after_ms) => Event::AskFailed {
                            turn: *turn,
                            class,
                            reason: format!("{} of {model}", class.as_str()).into(),
                            unspent: true,
                            retry_after_ms,
                            jitter,
                        },
                    });
                }
                Effect::Rest { until } => {
                    assert!(until.0 > now, "it waits for the past");
                    assert!(until.0 - now <= 60_000, "it keeps its slot for {} ms", until.0 - now);
                    now = until.0;
                    next = Some(Event::Rested);
                }
                Effect::End(SessionEnd::Rested { until, .. }) => {
                    assert!(until.0 > now + 60_000 && until.0 < DEADLINE, "{until:?} at {now}");
                    now = until.0;
                    rests += 1;
                    continue 'life;
                }
                Effect::End(end) => {
                    return Course {
                        facts: journal,
                        end: end.clone(),
                        asked,
                        rests,
                        ms: now - START,
                    };
                }
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("it goes round in circles: {journal:#?}");
}

fn answer(model: &str) -> Arc<ModelAnswer> {
    Arc::new(ModelAnswer {
        text: model.into(),
        calls: Vec::new(),
        stop: Stop::End,
        usage: Usage {
            input: 1,
            output: 1,
            cache_read: 0,
            cache_write: 0,
            estimated: false,
        },
        answered_by: model.into(),
        kept: Arc::new([]),
    })
}

fn answered(model: &str) -> SessionEnd {
    SessionEnd::Answered {
        output: Arc::new(json!(model)),
    }
}

fn kinds(course: &Course) -> Vec<&'static str> {
    course.facts.iter().map(Fact::kind).collect()
}

#[test]
fn a_wish_to_wait_is_kept_in_the_slot_up_to_a_minute_and_without_it_beyond() {
    let check = |retry_after_ms: u64, rests: usize| {
        let limited = Told::Fails(FailureClass::Rate, Some(retry_after_ms));
        let course = play(&rules(&[]), &World::of(&[("first", &[limited])]), None, 0);
        assert_eq!(
            (&course.end, course.rests),
            (&answered("first"), rests),
            "{retry_after_ms}"
        );
        assert!(course.ms >= retry_after_ms, "{} of {retry_after_ms}", course.ms);
    };
    check(0, 0);
    check(59_000, 0);
    check(60_000, 0);
    check(60_001, 1);
    check(300_000, 1);
}

#[test]
fn a_wait_beyond_the_deadline_fails_at_once_and_says_why() {
    let check = |world: World| {
        let course = play(&rules(&[]), &world, None, 0);
        let SessionEnd::Failed { class, reason } = &course.end else {
            panic!("{:?}", course.end)
        };
        assert_eq!((*class, course.rests), (FailureClass::Deadline, 0));
        assert!(reason.contains("after the deadline of the step: "), "{reason}");
        assert!(course.ms < 100, "{}", course.ms);
    };
    check(World::of(&[(
        "first",
        &[Told::Fails(FailureClass::Rate, Some(2_000_000))],
    )]));
    check(World::default().gate("first", DEADLINE + 1));
}

#[test]
fn backoff_grows_with_full_jitter_and_has_a_cap() {
    let waits = |jitter: u64| -> Vec<u64> {
        let failing = [OVERLOAD; 20];
        let mut rules = rules(&[]);
        rules.turn_retries_max = 7;
        let course = play(&rules, &World::of(&[("first", &failing)]), None, jitter);
        let waits = course.facts.iter().filter_map(|fact| match fact {
            Fact::TurnFailed { retry_at, .. } => *retry_at,
            _ => None,
        });
        let mut at = START;
        waits
            .map(|until| {
                let asked_at = at + 5;
                at = until.0.max(asked_at);
                until.0 - asked_at
            })
            .collect()
    };
    assert_eq!(waits(0), [0; 7], "jitter may be nothing");
    let longest = waits(8_001 * 4_001 * 2_001 * 1_001 * 501 - 1);
    assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
}

#[test]
fn what_is_too_long_and_cannot_be_shorter_is_asked_of_the_next_model() {
    let world = World::of(&[("first", &[Told::IsTooLong]), ("third", &[Told::IsTooLong])]);
    let course = play(&rules(&["second"]), &world, None, 0);
    assert_eq!((&course.end, course.ms), (&answered("second"), 10));
    assert_eq!(course.asked, ["first", "second"]);
    let course = play(&rules(&["third"]), &world, None, 0);
    assert_eq!(course.asked, ["first", "third"], "each once");
    assert!(
        matches!(
            &course.end,
            SessionEnd::Failed {
                class: FailureClass::Config,
                ..
            }
        ),
        "{:?}",
        course.end
    );
}

#[test]
fn what_does_not_pass_is_not_repeated() {
    for class in [
        FailureClass::Budget,
        FailureClass::Refusal,
        FailureClass::Config,
        FailureClass::Malformed,
    ] {
        let course = play(
            &rules(&[]),
            &World::of(&[("first", &[Told::Fails(class, None)])]),
            None,
            0,
        );
        assert_eq!(course.asked, ["first"], "{class:?}");
        assert!(
            matches!(course.end, SessionEnd::Failed { class: found, .. } if found == class),
            "{:?}",
            course.end
        );
    }
}

#[test]
fn who_is_asked_instead() {
    let check = |first: &[Told], second: &[Told], asked: &[&str], end: Result<&str, FailureClass>| {
        let world = World::of(&[("first", first), ("second", second)]);
        let course = play(&rules(&["second"]), &world, None, 0);
        assert_eq!(course.asked, asked, "{first:?} {second:?}");
        match (&course.end, end) {
            (SessionEnd::Failed { class, .. }, Err(expected)) => assert_eq!(*class, expected),
            (found, Ok(expected)) => assert_eq!(*found, answered(expected)),
            (found, expected) => panic!("{found:?} for {expected:?}"),
        }
    };
    let config = Told::Fails(FailureClass::Config, None);
    let refusal = Told::Fails(FailureClass::Refusal, None);
    let limited = Told::Fails(FailureClass::Rate, None);
    check(&[], &[], &["first"], Ok("first"));
    check(&[OVERLOAD], &[], &["first", "first"], Ok("first"));
    check(
        &[OVERLOAD; 3],
        &[],
        &["first", "first", "first", "second"],
        Ok("second"),
    );
    check(&[config], &[], &["first", "second"], Ok("second"));
    let no_credit = Told::Fails(FailureClass::Budget, None);
    check(&[no_credit], &[], &["first", "second"], Ok("second"));
    check(&[config], &[config], &["first", "second"], Err(FailureClass::Config));
    check(&[refusal], &[], &["first"], Err(FailureClass::Refusal));
    let all = ["first", "first", "first", "second", "second", "second"];
    check(&[OVERLOAD; 9], &[OVERLOAD; 9], &all, Err(FailureClass::Overload));
    let mut asked = vec!["first"; 9];
    asked.push("second");
    check(&[limited; 20], &[], &asked, Ok("second"));
}

#[test]
fn a_model_that_may_not_be_asked_for_long_is_passed_over_and_paid_for_is_who_answers() {
    let world = World::default().gate("first", START + 30_000);
    let course = play(&rules(&["second"]), &world, None, 0);
    assert_eq!(
        (course.asked.as_slice(), &course.end),
        (&["second".to_owned()][..], &answered("second"))
    );
    let costs: Vec<MicroUsd> = course
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::TurnIntended { reserved_cost, .. } => Some(*reserved_cost),
            Fact::TurnFinished { cost, .. } => Some(*cost),
            _ => None,
        })
        .collect();
    assert_eq!(costs, [MicroUsd(300), MicroUsd(6)], "by the price of the second");

    let world = World::default().gate("first", START + 1_000);
    let course = play(&rules(&["second"]), &world, None, 0);
    assert_eq!(course.end, answered("first"), "the first choice is worth a short wait");
    assert_eq!(
        kinds(&course),
        ["handoff.accepted", "turn.deferred", "turn.intended", "turn.finished"]
    );

    let world = World::default()
        .gate("first", START + 90_000)
        .gate("second", START + 20_000);
    let course = play(&rules(&["second"]), &world, None, 0);
    assert_eq!(
        (&course.end, course.ms),
        (&answered("second"), 20_005),
        "whoever is free first"
    );
}

#[test]
fn a_wait_for_others_is_no_failure_ends_when_a_place_is_free_and_is_journaled_once() {
    let mut world = World::default();
    world.gates.insert("first".into(), (START + 2_000, true));
    let mut state = TurnState::new(rules(&[]));
    let reaction = react(&mut state, Event::Begun, UtcMillis(START), &world);
    assert!(
        matches!(reaction.facts.last(), Some(Fact::TurnDeferred { .. })),
        "{:?}",
        reaction.facts
    );
    for at in 1..9 {
        world.gates.insert("first".into(), (START + 2_000 + at * 100, true));
        let reaction = react(&mut state, Event::PlaceFree, UtcMillis(START + at * 100), &world);
        assert_eq!(reaction.facts, [], "nothing new to say");
        assert!(
            matches!(reaction.effects[..], [Effect::Rest { .. }]),
            "{:?}",
            reaction.effects
        );
    }
    let reaction = react(&mut state, Event::Rested, UtcMillis(START + 950), &world);
    assert!(
        matches!(reaction.effects[..], [Effect::Rest { .. }]),
        "an old timer: {:?}",
        reaction.effects
    );
    world.gates.clear();
    let reaction = react(&mut state, Event::PlaceFree, UtcMillis(START + 1_000), &world);
    assert_eq!(reaction.effects, [Effect::Ask { turn: 1 }]);
    assert_eq!(
        react(&mut state, Event::PlaceFree, UtcMillis(START + 1_001), &world).effects,
        []
    );

    let failed = Event::AskFailed {
        turn: 1,
        class: FailureClass::Rate,
        reason: "slow down".into(),
        unspent: true,
        retry_after_ms: Some(5_000),
        jitter: 0,
    };
    react(&mut state, failed, UtcMillis(START + 2_000), &world);
    let reaction = react(&mut state, Event::PlaceFree, UtcMillis(START + 2_001), &world);
    assert_eq!(reaction.effects, [], "what the provider asked for is waited for");
}

#[test]
fn a_wait_for_others_does_not_fail_a_step_whose_deadline_is_near() {
    let mut world = World::default();
    world.gates.insert("first".into(), (DEADLINE + 500, true));
    let mut state = TurnState::new(rules(&[]));
    let reaction = react(&mut state, Event::Begun, UtcMillis(DEADLINE - 1_000), &world);
    let until = UtcMillis(DEADLINE - 1);
    assert_eq!(reaction.effects, [Effect::Rest { until }]);
}

#[test]
fn the_next_turn_begins_with_the_first_model_again() {
    let mut state = TurnState::new(rules(&["second"]));
    let world = World::default().gate("first", START + 30_000);
    react(&mut state, Event::Begun, UtcMillis(START), &world);
    assert_eq!(state.asked, alias("second"));
    let calls = ModelAnswer {
        calls: vec![CallRequest {
            id: "c".into(),
            skill: "none".into(),
            arguments: crate::domain::conversation::Arguments::Object(json!({}).into()),
        }],
        ..(*answer("second")).clone()
    };
    let event = Event::Answered {
        turn: 1,
        answer: Arc::new(calls),
    };
    let reaction = react(&mut state, event, UtcMillis(START + 31_000), &world);
    assert_eq!(reaction.effects, [Effect::Ask { turn: 2 }]);
    assert_eq!(state.asked, alias("first"));
}

fn any_told() -> impl Strategy<Value = Told> {
    let class = prop::sample::select(vec![
        FailureClass::Transport,
        FailureClass::Rate,
        FailureClass::Overload,
        FailureClass::Timeout,
        FailureClass::Config,
        FailureClass::Malformed,
    ]);
    let wait = prop::option::of(prop::sample::select(vec![0, 900, 50_000, 70_000, 300_000, 2_000_000]));
    prop_oneof![1 => Just(Told::Answers), 4 => (class, wait).prop_map(|(class, wait)| Told::Fails(class, wait))]
}

proptest! {
    /// Whatever the models do: the attempt ends; it keeps no slot for more than a minute; no model is asked more
    /// often than its tries; and a process that dies anywhere ends it as one that does not.
    #[test]
    fn cut_anywhere_it_ends_as_the_uncut_attempt_does(
        first in prop::collection::vec(any_told(), 0..12),
        second in prop::collection::vec(any_told(), 0..12),
        has_second: bool,
        gate in prop::option::of((prop::sample::select(vec!["first", "second"]), 0u64..200_000)),
        cut in 0usize..40,
    ) {
        let mut world = World::of(&[("first", &first), ("second", &second)]);
        // With one model alone, or the gate would decide by when the process died who is asked.
        if let Some((model, until)) = gate.filter(|_| !has_second) {
            world = world.gate(model, START + until);
        }
        let rules = rules(if has_second { &["second"] } else { &[] });
        let uncut = play(&rules, &world, None, 0);
        for model in ["first", "second"] {
            let count = uncut.asked.iter().filter(|asked| *asked == model).count();
            prop_assert!(count <= 12, "{model} is asked {count} times");
        }
        let course = play(&rules, &world, Some(cut), 0);
        let class = |end: &SessionEnd| match end {
            SessionEnd::Failed { class, .. } => Err(*class),
            other => Ok(other.clone()),
        };
        prop_assert_eq!(class(&course.end), class(&uncut.end));
    }
}
