//! Conversations that a client leads: its tools are its own to call, also when the session is cut anywhere.

use std::sync::Arc;

use super::decision::{Effect, Event, SessionEnd, react};
use super::state::{Phase, SessionWork, TurnRules, TurnState};
use super::tests::{World, rules, says};
use crate::domain::conversation::{Arguments, Message, ModelAnswer, Stop, check_history};
use crate::domain::fact::Fact;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;

const NOW: UtcMillis = UtcMillis(5);

fn exchange_rules() -> TurnRules {
    let said = Message::Assistant {
        text: "four".into(),
        calls: Vec::new(),
        kept: Arc::new([]),
    };
    TurnRules {
        work: SessionWork::Exchange {
            opening: Arc::new(vec![
                Message::User("two and two\u{e0041}?".into()),
                said,
                Message::User("and the weather?".into()),
            ]),
            tools: Arc::new(["weather".into()]),
        },
        ..rules()
    }
}

/// Plays these answers; every own call that is made gives "ok". A new life takes over after each fact.
fn play(answers: &[Arc<ModelAnswer>]) -> (Vec<Fact>, SessionEnd, Vec<Message>) {
    let world = World::default();
    let mut journal: Vec<Fact> = Vec::new();
    let mut state = TurnState::load(exchange_rules(), &journal);
    let mut events = vec![Event::Begun];
    while let Some(event) = events.pop() {
        let reaction = react(&mut state, event, NOW, &world);
        journal.extend(reaction.facts);
        for effect in reaction.effects {
            match effect {
                Effect::Ask { turn } => {
                    check_history(&state.messages).expect("only sound histories are sent");
                    let answer = answers[turn as usize - 1].clone();
                    events.push(Event::Answered { turn, answer });
                }
                Effect::Call { ordinal, .. } => events.insert(
                    0,
                    Event::CallEnded {
                        ordinal,
                        outcome: Arc::new(CallOutcome::ok("ok")),
                    },
                ),
                Effect::End(end) => {
                    let again = TurnState::load(exchange_rules(), &journal);
                    assert_eq!(
                        again.messages.to_vec(),
                        state.messages.to_vec(),
                        "a new life has the same conversation"
                    );
                    return (journal, end, state.messages.to_vec());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("it came to no end: {:?}", state.phase)
}

fn is_answered(end: &SessionEnd) -> bool {
    matches!(end, SessionEnd::Answered { .. })
}

#[test]
fn what_memory_told_stands_below_what_the_client_said_last() {
    let told = Fact::MemoryRecalled {
        attempt: exchange_rules().attempt,
        entries: Arc::new(["project#1@1".into()]),
        lines: Arc::new(["[project] it rains in spring".into()]),
    };
    let state = TurnState::load(exchange_rules(), [&told]);
    let plain = TurnState::new(exchange_rules());
    let (messages, before) = (state.messages.to_vec(), plain.messages.to_vec());
    assert_eq!(messages[..2], before[..2], "the beginning stays as it was");
    match (&messages[2], messages.len()) {
        (Message::User(text), 3) => {
            assert!(text.starts_with("and the weather?\n"), "{text}");
            assert!(text.ends_with("- [project] it rains in spring\n"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_conversation_of_the_client_is_what_the_model_reads_without_what_hides_in_it() {
    let (_, end, messages) = play(&[says("{\"a\":1}", &[], 1)]);
    assert!(is_answered(&end), "{end:?}");
    let first = &messages[0];
    let Message::User(text) = first else {
        panic!("{first:?}")
    };
    assert!(
        !text.contains('\u{e0041}') && text.starts_with("two and two"),
        "{text:?}"
    );
    assert_eq!(messages[2], Message::User("and the weather?".into()));
}

#[test]
fn a_turn_that_only_calls_the_clients_tools_is_the_answer_and_nothing_is_called() {
    let (facts, end, _) = play(&[says("I ask.", &["weather", "weather"], 1)]);
    assert!(is_answered(&end), "{end:?}");
    let calls = facts
        .iter()
        .filter(|fact| matches!(fact, Fact::CallIntended { .. } | Fact::CallFinished { .. }));
    assert_eq!(calls.count(), 0, "{facts:?}");
    let state = TurnState::load(exchange_rules(), &facts);
    assert_eq!(state.phase, Phase::HandedOver);
}

#[test]
fn beside_own_calls_the_clients_tools_wait_and_are_called_in_a_turn_of_their_own() {
    let (facts, end, messages) = play(&[says("", &["read", "weather"], 1), says("", &["weather"], 2)]);
    assert!(is_answered(&end), "{end:?}");
    let outcomes: Vec<(u32, bool)> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::CallFinished { ordinal, outcome, .. } => Some((*ordinal, outcome.is_error)),
            _ => None,
        })
        .collect();
    let mut outcomes = outcomes;
    outcomes.sort_unstable();
    assert_eq!(
        outcomes,
        [(0, false), (1, true)],
        "the own call is made, the client's is not"
    );
    let results = messages.iter().find_map(|message| match message {
        Message::Results(results) => Some(results.clone()),
        _ => None,
    });
    let results = results.expect("results");
    assert!(results[1].content.contains("own tools"), "{results:?}");
}

#[test]
fn arguments_that_are_no_object_go_back_to_the_model_and_not_to_the_client() {
    let mut broken = (*says("", &["weather"], 1)).clone();
    broken.calls[0].arguments = Arguments::Malformed {
        reason: "no end".into(),
        preview: "{".into(),
    };
    let (facts, end, _) = play(&[Arc::new(broken), says("", &["weather"], 2)]);
    assert!(is_answered(&end), "{end:?}");
    let is_told = facts.iter().any(
        |fact| matches!(fact, Fact::CallFinished { outcome, .. } if outcome.is_error && outcome.content.contains("no end")),
    );
    assert!(is_told, "{facts:?}");
}

#[test]
fn an_answer_that_was_given_no_room_may_be_empty_and_no_other() {
    let check = |stop: Stop, passes: bool| {
        let mut empty = (*says("", &[], 1)).clone();
        empty.stop = stop;
        let world = World::of_words();
        let mut state = TurnState::new(exchange_rules());
        react(&mut state, Event::Begun, NOW, &world);
        let answer = Arc::new(empty);
        let reaction = react(&mut state, Event::Answered { turn: 1, answer }, NOW, &world);
        let is_over = matches!(&reaction.effects[..], [Effect::End(end)] if is_answered(end));
        assert_eq!(is_over, passes, "{stop:?}: {reaction:?}");
    };
    check(Stop::Length, true);
    check(Stop::End, false);
}
