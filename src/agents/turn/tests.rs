//! The turn loop against scripted models and skills, whole and cut at every fact.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::decision::{Admission, CallVerdict, Effect, Event, SessionEnd, Surroundings, react};
use super::state::{SessionWork, TurnRules, TurnState};
use super::summary::Compaction;
use crate::domain::conversation::{Arguments, CallRequest, Message, ModelAnswer, Stop, Usage, check_history};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::Finding;
use crate::domain::id::RunId;
use crate::domain::name::{AgentName, ModelAlias, SkillName, StepId};
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;

pub(super) fn rules() -> TurnRules {
    TurnRules {
        run: RunId::new(UtcMillis(1), 1),
        attempt: Attempt {
            step: StepId::new("s").expect("valid"),
            number: 1,
        },
        agent: AgentName::new("a").expect("valid"),
        model: ModelAlias::new("m").expect("valid"),
        fallback: Vec::new(),
        deadline: UtcMillis(600_000),
        rest_over_ms: 60_000,
        prompt: "v1".into(),
        work: SessionWork::Agent { brief: "do it".into() },
        turns_max: 10,
        turn_retries_max: 2,
        rejections_max: 2,
        exit_code_is_checked: false,
    }
}

/// The world outside the loop: what each effect has really done, by key.
#[derive(Default)]
pub(super) struct World {
    /// Times each key took effect.
    effects: RefCell<BTreeMap<EffectKey, u32>>,
    /// Whether any words are an answer, and not only JSON.
    takes_words: bool,
    /// Why every call would be refused as things are.
    foreseen: Option<&'static str>,
    /// The spool, for skills that keep one.
    spool: RefCell<BTreeMap<EffectKey, CallOutcome>>,
}

fn class_of(skill: &str) -> Option<EffectClass> {
    EffectClass::from_word(skill)
}

impl World {
    /// One that takes any words for an answer.
    pub(super) fn of_words() -> Self {
        Self {
            takes_words: true,
            ..Self::default()
        }
    }
}

impl Surroundings for World {
    fn price(&self, _: &ModelAlias) -> crate::domain::money::Price {
        crate::domain::money::Price::default()
    }

    fn admit(&self, _: &ModelAlias, _: u64, _: bool, _: UtcMillis) -> Admission {
        Admission::Go
    }

    fn judge_call(&self, call: &CallRequest) -> CallVerdict {
        match (class_of(&call.skill), &call.arguments) {
            (Some(class), Arguments::Object(arguments)) => CallVerdict::Make {
                skill: SkillName::new(&call.skill).expect("valid"),
                class,
                arguments: (**arguments).clone(),
            },
            _ => CallVerdict::Refuse("no such skill".into()),
        }
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
        if self.takes_words {
            return Ok(text.into());
        }
        serde_json::from_str(text).map_err(|error| vec![Finding::new("", error.to_string())])
    }

    fn foreseen(&self, _: &SkillName, _: &Value) -> Option<String> {
        self.foreseen.map(str::to_owned)
    }

    fn spooled(&self, key: EffectKey) -> Option<CallOutcome> {
        self.spool.borrow().get(&key).cloned()
    }
}

pub(super) fn says(text: &str, calls: &[&str], turn: u32) -> Arc<ModelAnswer> {
    let calls = calls.iter().enumerate().map(|(index, skill)| CallRequest {
        id: format!("{turn}-{index}").into(),
        skill: (*skill).into(),
        arguments: Arguments::Object(json!({ "turn": turn }).into()),
    });
    Arc::new(ModelAnswer {
        text: text.into(),
        calls: calls.collect(),
        stop: Stop::End,
        usage: Usage {
            input: 1,
            output: 1,
            cache_read: 0,
            cache_write: 0,
            estimated: false,
        },
        answered_by: "script".into(),
        kept: Arc::new([]),
    })
}

/// Runs a session over a script (one entry of calls per turn, then an answer). The process dies after `cut`
/// journaled facts (a batch is durable as a whole or not), then a new life goes on. Gives all facts and the end.
fn run(script: &[Vec<&str>], world: &World, cut: Option<usize>) -> (Vec<Fact>, SessionEnd) {
    let mut journal: Vec<Fact> = Vec::new();
    let mut cut = cut;
    'life: loop {
        let mut state = TurnState::load(rules(), &journal);
        let mut events = vec![Event::Begun];
        while let Some(event) = events.pop() {
            let reaction = react(&mut state, event, UtcMillis(5), world);
            if cut.is_some_and(|cut| journal.len() + reaction.facts.len() > cut) {
                // The process dies before this batch is durable; reads may have been made, effects may not.
                cut = None;
                continue 'life;
            }
            journal.extend(reaction.facts);
            for effect in reaction.effects {
                match effect {
                    Effect::Ask { turn } => {
                        check_history(&state.messages).expect("only sound histories are sent");
                        let answer = match script.get(turn as usize - 1) {
                            Some(calls) => says("", calls, turn),
                            None => says("{\"done\":true}", &[], turn),
                        };
                        events.insert(0, Event::Answered { turn, answer });
                    }
                    Effect::Call {
                        ordinal,
                        skill,
                        key,
                        durable_first,
                        ..
                    } => {
                        let class = class_of(skill.as_str()).expect("known");
                        assert_eq!(durable_first, class.waits_for_intent() && durable_first);
                        let mut effects = world.effects.borrow_mut();
                        let count = effects.entry(key).or_default();
                        *count = if class == EffectClass::Idempotent {
                            1
                        } else {
                            *count + 1
                        };
                        events.insert(
                            0,
                            Event::CallEnded {
                                ordinal,
                                outcome: Arc::new(CallOutcome::ok("ok")),
                            },
                        );
                    }
                    Effect::Probe { ordinal, key, .. } => {
                        let happened = world.effects.borrow().get(&key).copied().unwrap_or(0) > 0;
                        events.insert(
                            0,
                            if happened {
                                Event::CallEnded {
                                    ordinal,
                                    outcome: Arc::new(CallOutcome::ok("ok")),
                                }
                            } else {
                                Event::NotHappened { ordinal }
                            },
                        );
                    }
                    Effect::Look { ordinal, .. } => events.insert(0, Event::Looked { ordinal }),
                    Effect::Rest { .. } => events.insert(0, Event::Rested),
                    Effect::End(end) => return (journal, end),
                }
            }
        }
        panic!("the loop waits for nothing: {:?}", state.phase);
    }
}

fn done() -> SessionEnd {
    SessionEnd::Answered {
        output: Arc::new(json!({ "done": true })),
    }
}

#[test]
fn a_read_only_turn_has_no_intent_and_a_writing_one_has() {
    let check = |calls: Vec<&str>, intents: usize| {
        let (facts, end) = run(std::slice::from_ref(&calls), &World::default(), None);
        assert_eq!(end, done());
        let found = facts
            .iter()
            .filter(|fact| matches!(fact, Fact::CallIntended { .. }))
            .count();
        assert_eq!(found, intents, "{calls:?}");
    };
    check(vec!["read", "read", "local"], 0);
    check(vec!["read", "once"], 1);
    check(vec!["idempotent", "probe", "once"], 3);
}

#[test]
fn unknown_skills_and_repeats_are_told_to_the_model_or_end_the_attempt() {
    let (facts, end) = run(&[vec!["nonsense"]], &World::default(), None);
    assert_eq!(end, done());
    let refused = facts
        .iter()
        .any(|fact| matches!(fact, Fact::CallFinished { outcome, .. } if outcome.is_error));
    assert!(refused);

    let mut state = TurnState::new(rules());
    let world = World::default();
    let mut reaction = react(&mut state, Event::Begun, UtcMillis(1), &world);
    for turn in 1..=3 {
        assert_eq!(reaction.effects, [Effect::Ask { turn }]);
        // The same arguments each time, unlike `says`.
        let answer = Arc::new(ModelAnswer {
            calls: says("", &["nonsense"], 1).calls.clone(),
            ..(*says("", &[], 1)).clone()
        });
        reaction = react(&mut state, Event::Answered { turn, answer }, UtcMillis(1), &world);
    }
    let [Effect::End(SessionEnd::Failed { class, reason })] = &reaction.effects[..] else {
        panic!("expected an end, found {:?}", reaction.effects)
    };
    assert_eq!(*class, FailureClass::ToolError);
    assert!(reason.contains("3 times in a row"), "{reason}");
}

#[test]
fn an_answer_that_does_not_match_goes_back_at_most_twice() {
    let mut state = TurnState::new(rules());
    let world = World::default();
    react(&mut state, Event::Begun, UtcMillis(1), &world);
    for turn in 1..=2 {
        let answer = says("no json", &[], turn);
        let reaction = react(&mut state, Event::Answered { turn, answer }, UtcMillis(1), &world);
        assert!(
            reaction
                .facts
                .iter()
                .any(|fact| matches!(fact, Fact::AnswerRejected { .. }))
        );
        assert_eq!(reaction.effects, [Effect::Ask { turn: turn + 1 }]);
    }
    let reaction = react(
        &mut state,
        Event::Answered {
            turn: 3,
            answer: says("no", &[], 3),
        },
        UtcMillis(1),
        &world,
    );
    assert!(matches!(
        &reaction.effects[..],
        [Effect::End(SessionEnd::Failed {
            class: FailureClass::Schema,
            ..
        })]
    ));
}

#[test]
fn a_failed_request_is_repeated_within_its_bound_and_unknown_use_is_charged_in_full() {
    let check = |class: FailureClass, unspent: bool, expected_asks: u32, charged_each: u64| {
        let mut state = TurnState::new(rules());
        let world = World::default();
        let mut reaction = react(&mut state, Event::Begun, UtcMillis(1), &world);
        let mut asks = 0;
        let mut charged = 0;
        while let Some(Effect::Ask { turn }) = reaction.effects.first().cloned() {
            asks += 1;
            let failed = Event::AskFailed {
                turn,
                class,
                reason: "x".into(),
                unspent,
                retry_after_ms: Some(8),
                jitter: 0,
            };
            reaction = react(&mut state, failed, UtcMillis(1), &world);
            for fact in &reaction.facts {
                if let Fact::TurnFailed { charged: tokens, .. } = fact {
                    charged += tokens;
                }
            }
            if reaction.effects == [(Effect::Rest { until: UtcMillis(9) })] {
                reaction = react(&mut state, Event::Rested, UtcMillis(9), &world);
            }
        }
        assert!(
            matches!(reaction.effects[..], [Effect::End(SessionEnd::Failed { .. })]),
            "{:?}",
            reaction.effects
        );
        assert_eq!(
            (asks, charged),
            (expected_asks, u64::from(expected_asks) * charged_each),
            "{class:?}"
        );
    };
    check(FailureClass::Overload, true, 3, 0);
    check(FailureClass::Timeout, false, 3, 100);
    check(FailureClass::Refusal, false, 1, 100);
    check(FailureClass::Config, true, 1, 0);
}

proptest! {
    /// The process dies once, after any number of facts: the session ends as if it had not, except that a `once`
    /// call which had begun is unknown, and no effect is doubled.
    #[test]
    fn cut_anywhere_it_ends_as_the_uncut_session_does(
        script in prop::collection::vec(
            prop::collection::vec(prop::sample::select(vec!["read", "idempotent", "probe", "once", "local", "none"]), 1..4),
            0..4,
        ),
        cut in 0usize..40,
    ) {
        let uncut = run(&script, &World::default(), None);
        prop_assert_eq!(&uncut.1, &done());
        let world = World::default();
        let (facts, end) = run(&script, &world, Some(cut));
        match end {
            SessionEnd::Unknown { .. } => {
                let once = facts.iter().any(|fact| {
                    matches!(fact, Fact::CallIntended { class: EffectClass::Once, .. })
                });
                prop_assert!(once, "only a once call can be unknown");
            }
            end => prop_assert_eq!(end, done()),
        }
        let intents: BTreeMap<EffectKey, EffectClass> = facts.iter().filter_map(|fact| match fact {
            Fact::CallIntended { key, class, .. } => Some((*key, *class)),
            _ => None,
        }).collect();
        for (key, count) in world.effects.borrow().iter() {
            if let Some(EffectClass::Once | EffectClass::Probe | EffectClass::Idempotent) = intents.get(key) {
                prop_assert_eq!(*count, 1, "effects with an intent happen once");
            }
        }
    }

    /// With a spool, an interrupted once call is known.
    #[test]
    fn a_spooled_outcome_is_taken_and_the_call_not_made_again(cut in 0usize..12) {
        let world = World::default();
        let key = EffectKey::derive(rules().run, &rules().attempt.step, 1, 0);
        world.spool.borrow_mut().insert(key, CallOutcome::ok("from the spool"));
        let (_, end) = run(&[vec!["once"]], &world, Some(cut));
        prop_assert_eq!(end, done());
        prop_assert!(world.effects.borrow().get(&key).copied().unwrap_or(0) <= 1);
    }
}

#[test]
fn the_output_of_a_skill_step_is_never_sent_to_a_model() {
    let check = |content: &str, expected: Result<Value, FailureClass>| {
        let work = SessionWork::Skill {
            skill: SkillName::new("read").expect("valid"),
            arguments: json!({}),
        };
        let mut state = TurnState::new(TurnRules { work, ..rules() });
        react(&mut state, Event::Begun, UtcMillis(5), &Quiet);
        let outcome = Arc::new(CallOutcome::ok(content));
        let ended = react(
            &mut state,
            Event::CallEnded { ordinal: 0, outcome },
            UtcMillis(5),
            &Quiet,
        );
        assert!(
            matches!(&ended.facts[..], [Fact::CallFinished { .. }]),
            "{content:?}: {:?}",
            ended.facts
        );
        let found = match &ended.effects[..] {
            [Effect::End(SessionEnd::Answered { output })] => Ok((**output).clone()),
            [Effect::End(SessionEnd::Failed { class, .. })] => Err(*class),
            other => panic!("{content:?}: {other:?}"),
        };
        assert_eq!(found, expected, "{content:?}");
    };
    check("", Ok(json!("")));
    check("seven", Ok(json!("seven")));
    check("wrong", Err(FailureClass::Schema));
}

/// Surroundings that take any text for an answer but one.
struct Quiet;

impl Surroundings for Quiet {
    fn price(&self, _: &ModelAlias) -> crate::domain::money::Price {
        crate::domain::money::Price::default()
    }

    fn admit(&self, _: &ModelAlias, _: u64, _: bool, _: UtcMillis) -> Admission {
        Admission::Go
    }

    fn judge_call(&self, call: &CallRequest) -> CallVerdict {
        World::default().judge_call(call)
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
        if text == "wrong" {
            return Err(vec![Finding::new("", "wrong")]);
        }
        Ok(text.into())
    }

    fn spooled(&self, _: EffectKey) -> Option<CallOutcome> {
        None
    }
}

#[test]
fn the_exit_code_of_a_skill_step_is_judged_by_its_check_when_it_has_one() {
    let check = |exit_code: Option<i32>, is_checked: bool, fails: bool| {
        let work = SessionWork::Skill {
            skill: SkillName::new("read").expect("valid"),
            arguments: json!({}),
        };
        let mut state = TurnState::new(TurnRules {
            work,
            exit_code_is_checked: is_checked,
            ..rules()
        });
        let world = World::default();
        react(&mut state, Event::Begun, UtcMillis(1), &world);
        let outcome = Arc::new(CallOutcome {
            exit_code,
            ..CallOutcome::error("{}")
        });
        let reaction = react(
            &mut state,
            Event::CallEnded { ordinal: 0, outcome },
            UtcMillis(1),
            &world,
        );
        let failed = matches!(&reaction.effects[..], [Effect::End(SessionEnd::Failed { .. })]);
        assert_eq!(failed, fails, "{exit_code:?} {is_checked}: {:?}", reaction.effects);
    };
    check(Some(3), false, true);
    check(Some(3), true, false);
    check(None, true, true);
}

#[test]
fn a_model_sees_results_and_orders_without_what_is_hidden_and_the_journal_keeps_it() {
    let hidden = "a\0b\u{202e}c\u{e0041}👩\u{200d}🚀\u{feff}";
    let seen = "a\u{fffd}bc👩\u{200d}🚀";
    let mut rules = rules();
    rules.work = SessionWork::Agent { brief: hidden.into() };
    let outcome = Arc::new(CallOutcome::ok(hidden));
    let finished = Fact::CallFinished {
        attempt: rules.attempt.clone(),
        ordinal: 0,
        outcome: outcome.clone(),
    };
    let answer = Fact::TurnFinished {
        attempt: rules.attempt.clone(),
        turn: 1,
        cost: crate::domain::money::MicroUsd::default(),
        answer: says("", &["read"], 1),
    };
    let state = TurnState::load(rules.clone(), [&answer, &finished]);
    assert_eq!(state.messages[0], Message::User(seen.into()));
    let Some(Message::Results(results)) = state.messages.last() else {
        panic!("{:?}", state.messages)
    };
    assert_eq!(&*results[0].content, seen);
    assert_eq!(&*outcome.content, hidden);
    assert_eq!(rules.work, SessionWork::Agent { brief: hidden.into() });
}

#[test]
fn a_call_that_is_seen_to_be_refused_has_no_intent_and_one_under_way_is_asked_about() {
    let work = SessionWork::Skill {
        skill: SkillName::new("probe").expect("valid"),
        arguments: json!({}),
    };
    let rules = TurnRules { work, ..rules() };
    let refusing = World {
        foreseen: Some("`a` is not there"),
        ..World::default()
    };
    let mut state = TurnState::new(rules.clone());
    let reaction = react(&mut state, Event::Begun, UtcMillis(1), &refusing);
    let is_intent = |fact: &Fact| matches!(fact, Fact::CallIntended { .. });
    assert!(!reaction.facts.iter().any(is_intent), "{:?}", reaction.facts);
    let told = reaction.facts.iter().find_map(|fact| match fact {
        Fact::CallFinished { outcome, .. } => Some(outcome.content.clone()),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("`a` is not there"));

    let mut begun = TurnState::new(rules.clone());
    let reaction = react(&mut begun, Event::Begun, UtcMillis(1), &World::default());
    assert!(reaction.facts.iter().any(is_intent), "{:?}", reaction.facts);
    // A later life sees what the call has done, and does not take it for a reason against it.
    let mut state = TurnState::load(rules, &reaction.facts);
    let reaction = react(&mut state, Event::Begun, UtcMillis(2), &refusing);
    let asks = |effect: &Effect| matches!(effect, Effect::Probe { .. });
    assert!(reaction.effects.iter().any(asks), "{:?}", reaction.effects);
}
