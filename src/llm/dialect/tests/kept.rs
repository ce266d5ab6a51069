//! What goes back to a provider as it came.

use std::sync::Arc;

use super::support::{call, hand, object, read_whole, request, result, task};
use crate::domain::conversation::{KeptBlock, Message, ModelAnswer, ModelRequest};
use crate::llm::dialect::gathered::Heard;
use crate::llm::dialect::kind::Dialect;
use crate::llm::model::Nobody;
use crate::llm::wire::memo::Memo;
use crate::llm::wire::sse::SseFramer;

fn recorded(dialect: Dialect, name: &str) -> ModelAnswer {
    let path = format!("{}/tests/fixtures/models/{name}.sse", env!("CARGO_MANIFEST_DIR"));
    let mut framer = SseFramer::new();
    framer.push(&std::fs::read(path).expect("a recording"));
    let (request, mut heard) = (task(), Heard::new(&Nobody));
    let mut reader = dialect.reader(&request);
    while let Some(event) = framer.next() {
        reader.event(&event.expect("small"), &mut heard).expect("an event");
    }
    reader.finish(&request).expect("an answer")
}

/// The conversation after this answer: results of its calls, or another word of the user.
fn after(answer: &ModelAnswer) -> ModelRequest {
    let mut messages = vec![
        Message::User("task".into()),
        Message::Assistant {
            text: answer.text.clone(),
            calls: answer.calls.clone(),
            kept: answer.kept.clone(),
        },
    ];
    let results = answer.calls.iter().map(|call| result(&call.id, "ok", false));
    messages.push(if answer.calls.is_empty() {
        Message::User("go on".into())
    } else {
        Message::Results(results.collect())
    });
    request(messages)
}

fn sent(dialect: Dialect, request: &ModelRequest) -> String {
    let bytes = dialect.write_request(request, &hand(dialect, "m", false), &Memo::default());
    serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON");
    String::from_utf8(bytes).expect("text")
}

/// That these pieces stand in the text, in this order.
fn check_order(text: &str, pieces: &[&str]) {
    let mut from = 0;
    for piece in pieces {
        let at = text[from..].find(piece);
        let at = at.unwrap_or_else(|| panic!("{piece} is not after {} of {text}", &text[..from]));
        from += at + piece.len();
    }
}

#[test]
fn thinking_goes_back_byte_for_byte_in_its_place_and_only_to_its_dialect() {
    let answer = recorded(Dialect::Anthropic, "anthropic-thinking-tools");
    let kept = answer.kept.iter();
    let kept: Vec<(&str, u32, &str)> = kept.map(|kept| (&*kept.dialect, kept.before, &*kept.json)).collect();
    let thinking = r#"{"type":"thinking","thinking":"Let me \"see\": \u00e9\/","signature":"EqQBCgIYAg=="}"#;
    let redacted = r#"{"type":"redacted_thinking","data":"EmwKAhgB+/=="}"#;
    assert_eq!(kept, [("anthropic", 0, thinking), ("anthropic", 0, redacted)]);
    let request = after(&answer);
    check_order(
        &sent(Dialect::Anthropic, &request),
        &[thinking, redacted, r#""text":"I look.""#, "toolu_A", "toolu_B"],
    );
    for other in [Dialect::OpenAiChat, Dialect::OpenAiResponses] {
        let body = sent(other, &request);
        assert!(!body.contains("EqQBCg") && !body.contains("EmwKAhgB"), "{body}");
    }
}

#[test]
fn thinking_of_a_whole_answer_is_kept_as_it_stands() {
    let block = r#"{ "signature":"s\/1","thinking" : "h\u00e9 \ud83d\ude00","type":"thinking", "new": 1 }"#;
    let body = format!(
        r#"{{"content":[{{"type":"text","text":"a"}},{block},{{"type":"tool_use","id":"t","name":"fs__dot__read","input":{{}}}}]}}"#
    );
    let answer = read_whole(Dialect::Anthropic, &body, &task()).expect("an answer");
    assert_eq!((&*answer.kept[0].json, answer.kept[0].before), (block, 1));
    let body = sent(Dialect::Anthropic, &after(&answer));
    check_order(&body, &[r#""text":"a""#, block, "tool_use"]);
    let unsigned = r#"{"content":[{"type":"thinking","thinking":"x","signature":""}]}"#;
    let answer = read_whole(Dialect::Anthropic, unsigned, &task()).expect("an answer");
    assert_eq!(
        answer.kept.len(),
        0,
        "the provider refuses thinking without a signature"
    );
}

#[test]
fn encrypted_reasoning_goes_back_before_its_call() {
    let answer = recorded(Dialect::OpenAiResponses, "responses-reasoning-tools");
    let item = r#"{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"Looking"}],"encrypted_content":"gAAAAAB+/=="}"#;
    assert_eq!((answer.kept.len(), &*answer.kept[0].json), (1, item));
    let body = sent(Dialect::OpenAiResponses, &after(&answer));
    check_order(&body, &[item, r#""call_id":"call_A""#, r#""call_id":"call_B""#]);
    assert!(
        !body.contains("fc_1"),
        "the id of the item is not the id of the call: {body}"
    );
    check_order(
        &body,
        &[r#""store":false"#, r#""include":["reasoning.encrypted_content"]"#],
    );
    assert!(!sent(Dialect::OpenAiChat, &after(&answer)).contains("gAAAAAB"));
}

#[test]
fn compatible_servers_get_back_what_they_want_back() {
    let answer = recorded(Dialect::OpenAiChat, "deepseek-reasoning");
    let body = sent(Dialect::OpenAiChat, &after(&answer));
    check_order(&body, &[r#""reasoning_content":"Hm, \"a\"""#, "call_A"]);
    let answer = recorded(Dialect::OpenAiChat, "gemini-thought-signature");
    let body = sent(Dialect::OpenAiChat, &after(&answer));
    let extra = r#""extra_content":{"google":{"thought_signature":"CvIB=="}}"#;
    check_order(&body, &["function-call-1", extra]);
    assert!(!sent(Dialect::Anthropic, &after(&answer)).contains("CvIB"));
}

#[test]
fn a_kept_part_that_is_no_json_any_more_costs_itself_only() {
    for dialect in Dialect::ALL {
        let said = Message::Assistant {
            text: "said".into(),
            calls: vec![call("a", object(serde_json::json!({})))],
            kept: Arc::new([KeptBlock {
                dialect: dialect.as_str().into(),
                before: 0,
                json: "{\"type\":".into(),
            }]),
        };
        let results = Message::Results(vec![result("a", "r", false)]);
        let messages = vec![Message::User("x".into()), said, results];
        assert!(sent(dialect, &request(messages)).contains("said"));
    }
}
