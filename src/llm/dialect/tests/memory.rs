//! What one request leaves behind for the next: bytes that are not written again, and that a provider's cache knows.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{call, hand, object, request, result};
use crate::domain::conversation::{KeptBlock, Message, ModelRequest};
use crate::llm::dialect::kind::Dialect;
use crate::llm::estimate::Fixed;
use crate::llm::wire::memo::{Frame, Hand, Memo};

fn stream_hand(dialect: Dialect) -> Hand {
    Hand {
        stream: true,
        ..hand(dialect, "m", true)
    }
}

/// One turn: what was said, and what follows.
fn turn(number: usize, dialect: Dialect) -> [Message; 2] {
    let id = format!("call_{number}");
    let said = Message::Assistant {
        text: if number.is_multiple_of(2) { "" } else { "I look" }.into(),
        calls: vec![call(&id, object(json!({ "path": format!("f{number}") })))],
        kept: Arc::new([KeptBlock {
            dialect: dialect.as_str().into(),
            before: 0,
            json: format!(r#"{{"type":"thinking","thinking":"{number}","signature":"s"}}"#).into(),
        }]),
    };
    let results = vec![result(&id, "content 😀", number.is_multiple_of(3))];
    [said, Message::Results(results)]
}

fn write(dialect: Dialect, request: &ModelRequest, memo: &Memo) -> String {
    let bytes = dialect.write_request(request, &stream_hand(dialect), memo);
    String::from_utf8(bytes).expect("text")
}

const MARK: &str = r#","cache_control":{"type":"ephemeral"}"#;

#[test]
fn a_growing_conversation_is_written_as_if_anew_and_begins_with_what_was_sent_before() {
    for dialect in Dialect::ALL {
        let memo = Memo::default();
        let mut messages = vec![Message::User("task".into())];
        let mut before = String::new();
        for number in 0..12 {
            let request = request(messages.clone());
            let remembered = write(dialect, &request, &memo);
            assert_eq!(remembered, write(dialect, &request, &Memo::default()), "{dialect:?}");
            assert_eq!(remembered, write(dialect, &request, &memo), "asked twice");
            let marks = remembered.matches(MARK).count();
            let expected = match (dialect, number) {
                (Dialect::Anthropic, 0) => 3,
                (Dialect::Anthropic, _) => 4,
                _ => 0,
            };
            assert_eq!(marks, expected, "{remembered}");
            let unmarked = remembered.replace(MARK, "");
            assert!(unmarked.starts_with(&before), "{before}\n{unmarked}");
            let closing = if dialect == Dialect::Anthropic { "]}]}" } else { "]}" };
            before = unmarked.strip_suffix(closing).expect("a closing").to_owned();
            messages.extend(turn(number, dialect));
        }
    }
}

#[test]
fn marks_stand_at_the_end_of_what_is_sent_and_of_what_was_sent_before() {
    let mut messages = vec![Message::User("task".into())];
    messages.extend(turn(1, Dialect::Anthropic));
    let body = write(Dialect::Anthropic, &request(messages), &Memo::default());
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let mark = json!({ "type": "ephemeral" });
    assert_eq!(body["system"][0]["cache_control"], mark);
    assert_eq!(body["tools"][1]["cache_control"], mark);
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], mark);
    assert_eq!(body["messages"][2]["content"][0]["cache_control"], mark);
    let mut once = request(vec![Message::User("x".into())]);
    once.skills = Vec::new().into();
    let body = write(Dialect::Anthropic, &once, &Memo::default());
    assert_eq!(
        body.matches(MARK).count(),
        1,
        "what is asked once is not worth a mark: {body}"
    );
}

#[test]
fn whatever_changes_is_written_anew() {
    type Change = fn(&mut ModelRequest);
    let changes: &[Change] = &[
        |request| Arc::make_mut(&mut request.messages)[0] = Message::User("another task".into()),
        |request| drop(Arc::make_mut(&mut request.messages).drain(1..3)),
        |request| Arc::make_mut(&mut request.messages).truncate(1),
        |request| request.system = "other".into(),
        |request| request.skills = Vec::new().into(),
        |request| request.output_tokens_max = 7,
        |request| request.output_schema = Some(Arc::new(json!({ "type": "object" }))),
        |_| {},
    ];
    for dialect in Dialect::ALL {
        let memo = Memo::default();
        let mut first = request(vec![Message::User("task".into())]);
        for number in 0..3 {
            Arc::make_mut(&mut first.messages).extend(turn(number, dialect));
        }
        write(dialect, &first, &memo);
        for (number, change) in changes.iter().enumerate() {
            let mut request = first.clone();
            change(&mut request);
            let found = write(dialect, &request, &memo);
            let fresh = write(dialect, &request, &Memo::default());
            assert_eq!(found, fresh, "change {number} in {dialect:?}");
        }
    }
}

#[test]
fn dialects_take_turns_on_one_memo() {
    let memo = Memo::default();
    let mut messages = vec![Message::User("task".into())];
    for number in 0..6 {
        let request = request(messages.clone());
        for dialect in Dialect::ALL {
            let found = write(dialect, &request, &memo);
            assert_eq!(found, write(dialect, &request, &Memo::default()));
        }
        messages.extend(turn(number, Dialect::Anthropic));
    }
}

#[test]
fn each_message_is_written_once() {
    let memo = Memo::default();
    let hand = stream_hand(Dialect::OpenAiChat);
    let mut messages = vec![Message::User("task".into())];
    let mut written = 0;
    for number in 0..10 {
        let request = request(messages.clone());
        memo.write(
            &hand,
            &request,
            |_| Frame::default(),
            |_, place, _, _| {
                assert_eq!(place, written, "message {place} is written again");
                written += 1;
            },
            |_| (),
        );
        assert_eq!(written, messages.len());
        messages.extend(turn(number, Dialect::OpenAiChat));
    }
}

proptest! {
    #[test]
    fn the_estimate_with_a_memory_is_the_estimate(cuts in prop::collection::vec(0usize..20, 1..8)) {
        let memo = Memo::default();
        let mut messages = vec![Message::User("task".into())];
        (0..10).for_each(|number| messages.extend(turn(number, Dialect::Anthropic)));
        let fixed = Fixed::of("system", &[], None, 10);
        for cut in cuts {
            let part = &messages[..=cut];
            prop_assert_eq!(fixed.ceiling_remembered(part, &memo), fixed.ceiling(part));
        }
    }
}
