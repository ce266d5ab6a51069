//! Conversations that get long: whole, cut at every fact, with summaries that come and that do not.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::decision::{Admission, CallVerdict, Effect, Event, SessionEnd, Surroundings, react};
use super::history::History;
use super::state::{SessionWork, TurnRules, TurnState};
use super::summary::{Compaction, extract, transcript};
use crate::domain::conversation::{Arguments, CallRequest, Message, ModelAnswer, Stop, Usage, check_history};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::Fact;
use crate::domain::failure::FailureClass;
use crate::domain::handoff::Finding;
use crate::domain::money::Price;
use crate::domain::name::{ModelAlias, SkillName};
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;
use crate::llm::estimate::messages_tokens;

const BRIEF: &str = "# Task\nkeep the house in order\n\n# Constraints\n- touch nothing red\n";

fn rules() -> TurnRules {
    TurnRules {
        work: SessionWork::Agent { brief: BRIEF.into() },
        turns_max: 100,
        ..super::tests::rules()
    }
}

/// Surroundings that compact from this length on.
struct Around(Compaction);

impl Surroundings for Around {
    fn judge_call(&self, call: &CallRequest) -> CallVerdict {
        let Arguments::Object(arguments) = &call.arguments else {
            return CallVerdict::Refuse("no".into());
        };
        CallVerdict::Make {
            skill: SkillName::new(&call.skill).expect("valid"),
            class: EffectClass::Read,
            arguments: (**arguments).clone(),
        }
    }

    fn ceiling(&self, _: &TurnState) -> u64 {
        100
    }

    fn request_tokens(&self, state: &TurnState) -> u64 {
        messages_tokens(state.messages.cost())
    }

    fn compaction(&self) -> Compaction {
        self.0
    }

    fn price(&self, _: &ModelAlias) -> Price {
        Price::default()
    }

    fn admit(&self, _: &ModelAlias, _: u64, _: bool, _: UtcMillis) -> Admission {
        Admission::Go
    }

    fn judge_answer(&self, text: &str) -> Result<Value, Vec<Finding>> {
        Ok(text.into())
    }

    fn spooled(&self, _: EffectKey) -> Option<CallOutcome> {
        None
    }
}

/// What becomes of a request for a summary.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Summary {
    Comes,
    IsEmpty,
    Fails,
    IsTooLong,
    FailsOnce,
}

fn says(text: &str, calls: Vec<CallRequest>, by: &str) -> Arc<ModelAnswer> {
    Arc::new(ModelAnswer {
        text: text.into(),
        calls,
        stop: Stop::End,
        usage: Usage::default(),
        answered_by: by.into(),
        kept: Arc::new([]),
    })
}

/// One turn of the script: bytes of the text, and bytes of each call's result.
type Turn = (usize, Vec<usize>);

fn answer(script: &[Turn], number: usize) -> Arc<ModelAnswer> {
    let Some((bytes, calls)) = script.get(number) else {
        return says("\"done\"", Vec::new(), "script");
    };
    let calls = calls.iter().enumerate().map(|(index, bytes)| CallRequest {
        id: format!("{number}-{index}").into(),
        skill: "fs.read".into(),
        arguments: Arguments::Object(json!({ "path": format!("{number}-{index}.txt"), "bytes": bytes }).into()),
    });
    let text = format!("turn {number} {}", "t".repeat(*bytes));
    says(&text, calls.collect(), "script")
}

fn is_by(fact: &Fact, who: &str) -> bool {
    matches!(fact, Fact::TurnFinished { answer, .. } if &*answer.answered_by == who)
}

struct Course {
    facts: Vec<Fact>,
    state: TurnState,
    end: SessionEnd,
    /// The conversations as they were sent, with their generation.
    sent: Vec<(u32, Vec<Message>)>,
}

/// Runs a script to its end; the process dies once after `cut` facts.
fn run(script: &[Turn], compaction: Compaction, summary: Summary, mut cut: Option<usize>) -> Course {
    let around = Around(compaction);
    let mut facts: Vec<Fact> = Vec::new();
    let mut sent: Vec<(u32, Vec<Message>)> = Vec::new();
    let mut asked_for_summary = 0;
    'life: loop {
        let mut state = TurnState::load(rules(), &facts);
        let mut events = vec![Event::Begun];
        while let Some(event) = events.pop() {
            let reaction = react(&mut state, event, UtcMillis(5), &around);
            if cut.is_some_and(|cut| facts.len() + reaction.facts.len() > cut) {
                cut = None;
                continue 'life;
            }
            facts.extend(reaction.facts);
            for effect in reaction.effects {
                let next = match effect {
                    Effect::Ask { turn } if state.compacting.is_some() => {
                        asked_for_summary += 1;
                        summarise(summary, turn, asked_for_summary)
                    }
                    Effect::Ask { turn } => {
                        sent.push((state.messages.generation(), state.messages.to_vec()));
                        let number = facts.iter().filter(|fact| is_by(fact, "script")).count();
                        let answer = answer(script, number);
                        Event::Answered { turn, answer }
                    }
                    Effect::Call { ordinal, arguments, .. } => {
                        let bytes = arguments["bytes"].as_u64().expect("bytes") as usize;
                        let content = format!("{}{}", arguments["path"], "r".repeat(bytes));
                        let outcome = Arc::new(CallOutcome::ok(content));
                        Event::CallEnded { ordinal, outcome }
                    }
                    Effect::Rest { .. } => Event::Rested,
                    Effect::End(end) => {
                        return Course {
                            facts,
                            state,
                            end,
                            sent,
                        };
                    }
                    Effect::Probe { .. } | Effect::Look { .. } => panic!("nothing is asked of a skill here"),
                };
                events.insert(0, next);
            }
        }
        panic!("the loop waits for nothing: {:?}", state.phase);
    }
}

fn summarise(summary: Summary, turn: u32, asked: u32) -> Event {
    let failed = |class: FailureClass| Event::AskFailed {
        turn,
        class,
        reason: "no".into(),
        unspent: true,
        retry_after_ms: None,
        jitter: 0,
    };
    let answered = |text: &str| Event::Answered {
        turn,
        answer: says(text, Vec::new(), "summary"),
    };
    match summary {
        Summary::FailsOnce if asked == 1 => failed(FailureClass::Overload),
        Summary::Comes | Summary::FailsOnce => answered("the summary"),
        Summary::IsEmpty => answered("  "),
        Summary::Fails => failed(FailureClass::Refusal),
        Summary::IsTooLong => Event::TooLong {
            turn,
            reason: "long".into(),
            unspent: true,
        },
    }
}

fn at(tokens: u64) -> Compaction {
    Compaction {
        at_tokens: Some(tokens),
        by_model: true,
    }
}

fn done() -> SessionEnd {
    SessionEnd::Answered {
        output: Arc::new(json!("\"done\"")),
    }
}

fn count(facts: &[Fact], kind: &str) -> usize {
    facts.iter().filter(|fact| fact.kind() == kind).count()
}

/// The whole conversation, as if nothing had ever been replaced.
fn whole(facts: &[Fact]) -> Vec<Message> {
    let own = facts.iter().filter(|fact| {
        let is_compaction = matches!(fact, Fact::CompactionBegun { .. } | Fact::HistoryCompacted { .. });
        !is_compaction && !is_by(fact, "summary")
    });
    TurnState::load(rules(), own).messages.to_vec()
}

fn first_words(messages: &[Message]) -> &str {
    match &messages[0] {
        Message::User(text) => text,
        other => panic!("{other:?}"),
    }
}

fn long_script(turns: usize) -> Vec<Turn> {
    (0..turns).map(|_| (40, vec![200])).collect()
}

#[test]
fn a_summary_takes_the_place_of_what_is_old_and_a_lost_one_is_made_without_a_model() {
    let offline = Compaction {
        by_model: false,
        ..at(500)
    };
    let check = |summary: Summary, compaction: Compaction, said: &str, failures: usize| {
        let course = run(&long_script(8), compaction, summary, None);
        assert_eq!(course.end, done(), "{summary:?}");
        let times = count(&course.facts, "history.compacted");
        assert!(times >= 1, "{summary:?}");
        assert_eq!(count(&course.facts, "compaction.begun"), times);
        assert_eq!(count(&course.facts, "turn.failed"), failures * times, "{summary:?}");
        let asked = if compaction.by_model { times } else { 0 };
        assert_eq!(count(&course.facts, "turn.intended"), 9 + asked, "{summary:?}");
        let words = first_words(&course.state.messages);
        assert!(words.starts_with(BRIEF), "the task stays: {words}");
        assert!(words.contains(said), "{summary:?}: {words}");
        let call = "fs.read {\"bytes\":200,\"path\":\"0-0.txt\"} → ok, 209 bytes, blake3 ";
        assert!(words.contains(call), "{words}");
    };
    check(Summary::Comes, at(500), "the summary", 0);
    check(Summary::IsEmpty, at(500), "no model made this summary", 0);
    check(Summary::Fails, at(500), "no model made this summary", 1);
    check(Summary::IsTooLong, at(500), "no model made this summary", 1);
    check(Summary::Comes, offline, "no model made this summary", 0);
    let course = run(&long_script(8), at(500), Summary::FailsOnce, None);
    assert_eq!(count(&course.facts, "turn.failed"), 1, "it is asked for again");
    assert!(first_words(&course.state.messages).contains("the summary"));
}

#[test]
fn a_short_conversation_is_left_alone_and_a_long_one_is_compacted_again_and_again() {
    let short = run(&long_script(3), at(5_000), Summary::Comes, None);
    assert_eq!(count(&short.facts, "compaction.begun"), 0);
    let long = run(&long_script(60), at(3_000), Summary::Comes, None);
    let times = count(&long.facts, "history.compacted");
    assert!((2..30).contains(&times), "{times}");
    let all = whole(&long.facts).len();
    assert_eq!(long.state.ledger.gone as usize + long.state.messages.len(), all);
    // The turns for summaries come on top of those that the work may take.
    assert_eq!(long.state.turn as usize, 61 + times);
    let longest = long.sent.iter().map(|(_, messages)| {
        let history = History::new(messages.iter().cloned());
        messages_tokens(history.cost())
    });
    let longest = longest.max().expect("requests");
    assert!(longest <= 5_000, "what is sent stays within bounds: {longest}");
}

#[test]
fn a_refusal_for_the_length_compacts_once_and_then_fails() {
    let around = Around(Compaction {
        at_tokens: None,
        by_model: false,
    });
    let mut state = TurnState::new(rules());
    react(&mut state, Event::Begun, UtcMillis(1), &around);
    let script = long_script(4);
    for number in 0..4 {
        let turn = state.turn;
        let answer = answer(&script, number);
        react(&mut state, Event::Answered { turn, answer }, UtcMillis(1), &around);
        let ended = Event::CallEnded {
            ordinal: number as u32,
            outcome: Arc::new(CallOutcome::ok("x")),
        };
        react(&mut state, ended, UtcMillis(1), &around);
    }
    let too_long = |turn: u32| Event::TooLong {
        turn,
        reason: "too long".into(),
        unspent: true,
    };
    let turn = state.turn;
    let reaction = react(&mut state, too_long(turn), UtcMillis(1), &around);
    let kinds: Vec<&str> = reaction.facts.iter().map(Fact::kind).collect();
    assert_eq!(
        kinds,
        ["turn.failed", "compaction.begun", "history.compacted", "turn.intended"]
    );
    assert_eq!(state.messages.len(), 5);
    assert_eq!(reaction.effects, [Effect::Ask { turn: turn + 1 }]);
    let is_failed = |effects: &[Effect]| {
        let config = FailureClass::Config;
        matches!(effects, [Effect::End(SessionEnd::Failed { class, .. })] if *class == config)
    };
    let reaction = react(&mut state, too_long(turn + 1), UtcMillis(1), &around);
    assert!(is_failed(&reaction.effects), "{:?}", reaction.effects);
    // A conversation that is only a task has nothing to give.
    let mut state = TurnState::new(rules());
    react(&mut state, Event::Begun, UtcMillis(1), &around);
    let reaction = react(&mut state, too_long(1), UtcMillis(1), &around);
    assert!(is_failed(&reaction.effects), "{:?}", reaction.effects);
}

#[test]
fn what_a_summary_is_made_from_has_its_bound_and_its_ends() {
    let course = run(&long_script(20), at(100_000), Summary::Comes, None);
    let all = course.state.messages.len() as u32;
    let text = transcript(&course.state.messages, all, 1 << 20);
    for said in ["keep the house in order", "turn 19", "\"path\":\"7-0.txt\""] {
        assert!(text.contains(said), "{said}: {text}");
    }
    for bytes in [500, 2_000, 5_000] {
        let text = transcript(&course.state.messages, all, bytes);
        assert!(text.len() <= bytes && text.contains("Summarise"), "{bytes}: {text}");
    }
    let words = extract(&course.state.messages, all);
    assert!(words.contains("turn 19") && words.len() < 7_000, "{words}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is said, and wherever the conversation is compacted: each request is sound, begins with the task and ends
    /// word for word as the whole conversation does; between two compactions it only grows; and a new life that reads the
    /// facts sees the same.
    #[test]
    fn every_request_is_sound_and_keeps_the_task_and_the_end(
        script in prop::collection::vec((0usize..300, prop::collection::vec(0usize..600, 1..4)), 0..14),
        tokens in 50u64..900,
        summary in prop::sample::select(vec![Summary::Comes, Summary::Fails, Summary::FailsOnce, Summary::IsTooLong]),
        cut in prop::option::of(0usize..80),
    ) {
        let course = run(&script, at(tokens), summary, cut);
        prop_assert_eq!(&course.end, &done());
        for (generation, messages) in &course.sent {
            prop_assert_eq!(check_history(messages), Ok(()));
            prop_assert!(first_words(messages).starts_with(BRIEF));
            prop_assert_eq!(*generation > 0, first_words(messages).len() > BRIEF.len());
        }
        for pair in course.sent.windows(2) {
            if pair[0].0 == pair[1].0 {
                prop_assert!(pair[1].1.starts_with(&pair[0].1), "the beginning of a request does not change");
            }
        }
        let whole = whole(&course.facts);
        let tail = &course.state.messages[1..];
        prop_assert!(tail.len() >= 4.min(whole.len() - 1));
        prop_assert!(whole.ends_with(tail), "the last messages are kept word for word");
        let again = TurnState::load(rules(), &course.facts);
        prop_assert_eq!(again.messages.to_vec(), course.state.messages.to_vec());
        prop_assert_eq!(&again.ledger, &course.state.ledger);
        let uncut = run(&script, at(tokens), summary, None);
        prop_assert_eq!(uncut.state.messages.to_vec(), course.state.messages.to_vec(), "a crash changes nothing");
    }
}
