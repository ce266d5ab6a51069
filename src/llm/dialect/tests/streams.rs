//! Streams as servers send them, from `tests/fixtures/models`: one recording for each way in which a server differs.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::support::{call, object, request, result, task, told};
use crate::domain::conversation::{Message, ModelAnswer, ModelRequest, Stop, Usage};
use crate::domain::failure::FailureClass;
use crate::llm::dialect::failure::ContextExceeded;
use crate::llm::dialect::gathered::Heard;
use crate::llm::dialect::kind::Dialect;
use crate::llm::dialect::serve::Events;
use crate::llm::model::{AskError, Delta, Listener};
use crate::llm::wire::sse::{FrameError, SseEvent, SseFramer};

#[derive(Default)]
struct Notes(Mutex<Vec<Delta>>);

impl Listener for Notes {
    fn delta(&self, delta: Delta) {
        self.0.lock().expect("no panic").push(delta);
    }
}

/// What comes of a stream in these chunks, and what was heard.
fn follow<'c>(
    dialect: Dialect,
    chunks: impl IntoIterator<Item = &'c [u8]>,
    request: &ModelRequest,
) -> (Result<ModelAnswer, AskError>, Vec<Delta>) {
    let notes = Notes::default();
    let mut heard = Heard::new(&notes);
    let mut framer = SseFramer::new();
    let mut reader = dialect.reader(request);
    let mut take = |event: Option<Result<SseEvent, FrameError>>| -> Result<Option<bool>, AskError> {
        let event = event.map(|event| reader.event(&event.expect("small events"), &mut heard));
        event.transpose()
    };
    let run = || -> Result<(), AskError> {
        for chunk in chunks {
            framer.push(chunk);
            while let Some(is_last) = take(framer.next())? {
                if is_last {
                    return Ok(());
                }
            }
        }
        while take(framer.finish())?.is_some() {}
        Ok(())
    };
    let ran = run();
    let any = heard.any();
    let read = ran.and_then(|()| reader.finish(request));
    let heard = notes.0.into_inner().expect("no panic");
    assert_eq!(any, !heard.is_empty());
    (read, heard)
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/models/{name}.sse", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dialect_of(name: &str) -> Dialect {
    if name.starts_with("anthropic-") {
        Dialect::Anthropic
    } else if name.starts_with("responses-") {
        Dialect::OpenAiResponses
    } else {
        Dialect::OpenAiChat
    }
}

/// Short streams are cut at every byte; of long ones every seventeenth does, after the byte-by-byte run.
fn step(stream: &[u8]) -> usize {
    if stream.len() < 700 { 1 } else { 17 }
}

/// The text that was heard, and the arguments of each call.
fn joined(heard: &[Delta]) -> (String, Vec<(String, String)>) {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for delta in heard {
        match delta {
            Delta::Text(piece) => text.push_str(piece),
            Delta::Thinking(_) => {}
            Delta::CallBegun { index, skill } => {
                assert_eq!(*index as usize, calls.len(), "calls are counted from 0");
                calls.push((skill.to_string(), String::new()));
            }
            Delta::CallArguments { index, json } => calls[*index as usize].1.push_str(json),
        }
    }
    (text, calls)
}

/// A short form of what came of a stream.
fn came(read: &Result<ModelAnswer, AskError>) -> String {
    match read {
        Ok(answer) => told(answer),
        Err(error) => format!("!{} {:?}", error.class.as_str(), error.spent),
    }
}

/// Every recording with what must come of it.
const RECORDED: &[(&str, &str)] = &[
    ("anthropic-text", "\"Hello 😀 wörld\" End [] 135+15"),
    (
        "anthropic-thinking-tools",
        "\"I look.\" End [toolu_A:fs.read{\"path\":\"a/b.txt\"} toolu_B:plain-name_2{}] 25+89",
    ),
    ("anthropic-pause", "\"still at it\" Paused [] 25+9"),
    ("anthropic-refusal", "\"\" Refused [] 25+2"),
    ("anthropic-max-tokens", "\"\" Length [toolu_A:fs.read!malformed] 25+100"),
    ("anthropic-usage-at-end", "\"ok\" End [] 31+4"),
    ("anthropic-overloaded", "!overload Unknown"),
    ("anthropic-cut", "!transport Unknown"),
    ("openai-text", "\"Hello 😀 wörld\" End [] 19+10"),
    (
        "openai-tools",
        "\"\" End [call_A:fs.read{\"path\":\"a\"} call_B:plain-name_2{}] 19+10",
    ),
    (
        "openai-stop-with-calls",
        "\"\" End [call_A:fs.read{\"path\":\"a\"}] 19+10",
    ),
    ("openai-refusal", "\"I will not\" Refused [] 19+10"),
    ("openai-length", "\"cut o\" Length [] 19+10"),
    ("openai-error", "!overload Unknown"),
    ("openai-cut", "!transport Unknown"),
    (
        "openai-older-function-call",
        "\"\" End [call_1_0:fs.read{\"path\":\"a\"}] 19+10",
    ),
    ("azure-filter-first", "\"ok\" End [] 19+10"),
    (
        "ollama-index-0-objects",
        "\"\" End [call_x1:fs.read{\"path\":\"a\"} call_x2:fs.read{\"path\":\"b\"}] 19+10",
    ),
    (
        "ollama-proxy-no-ids",
        "\"\" End [call_1_0:fs.read{\"path\":\"a\"} call_1_1:fs.read{\"path\":\"b\"} call_1_2:plain-name_2{}] 19+10",
    ),
    (
        "ollama-proxy-changing-ids",
        "\"\" End [call_1:fs.read{\"path\":\"a\"}] 19+10",
    ),
    (
        "vllm-empty-ids",
        "\"\" End [chatcmpl-tool-1:fs.read{\"path\":\"a\"}] 19+10",
    ),
    (
        "vllm-index-repeated",
        "\"\" End [chatcmpl-tool-1:fs.read{\"path\":\"a\"} chatcmpl-tool-2:fs.read{\"path\":\"b\"}] 19+10",
    ),
    ("vllm-error", "!overload Unknown"),
    (
        "sglang-ids-0",
        "\"\" End [0:fs.read{\"path\":\"a\"} 1:fs.read{\"path\":\"b\"}] 19+10",
    ),
    ("llamacpp-name-repeated", "\"\" End [k1:fs.read{\"path\":\"a\"}] 19+10"),
    ("local-no-usage-no-done", "\"Hello there\" End [] ~"),
    ("local-no-blank-at-end", "\"Hello\" End [] ~"),
    ("deepseek-reasoning", "\"\" End [call_A:fs.read{\"path\":\"a\"}] 19+10"),
    (
        "gemini-thought-signature",
        "\"\" End [function-call-1:fs.read{\"path\":\"a\"}] 19+10",
    ),
    ("mistral-content-parts", "\"Hello\" End [] 19+10"),
    ("openrouter-error", "!rate Unknown"),
    ("responses-text", "\"Hello 😀 wörld\" End [] 37+12"),
    (
        "responses-reasoning-tools",
        "\"\" End [call_A:fs.read{\"path\":\"a\"} call_B:plain-name_2{}] 37+12",
    ),
    ("responses-incomplete", "\"cut o\" Length [] 37+12"),
    ("responses-refusal", "\"I will not\" Refused [] 37+12"),
    (
        "responses-only-completed",
        "\"ok\" End [call_A:fs.read{\"path\":\"a\"}] 37+12",
    ),
    ("responses-failed", "!rate Unknown"),
    ("responses-error", "!overload Unknown"),
    ("responses-too-long", "!config Unknown"),
    ("responses-cut", "!transport Unknown"),
];

#[test]
fn every_recorded_stream_is_read() {
    for (name, expected) in RECORDED {
        let stream = fixture(name);
        let (read, heard) = follow(dialect_of(name), [&stream[..]], &task());
        assert_eq!(came(&read), *expected, "{name}: {read:?}");
        if let Ok(answer) = read {
            let (text, calls) = joined(&heard);
            assert_eq!(text, *answer.text, "{name}: what was heard is what is answered");
            let names: Vec<&str> = calls.iter().map(|(skill, _)| skill.as_str()).collect();
            let answered: Vec<&str> = answer.calls.iter().map(|call| &*call.skill).collect();
            assert_eq!(names, answered, "{name}");
        }
    }
    let folder = format!("{}/tests/fixtures/models", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).expect("a folder").count();
    assert_eq!(files, RECORDED.len(), "every recording is in the table");
}

#[test]
fn how_a_stream_is_cut_into_chunks_changes_nothing() {
    for (name, expected) in RECORDED {
        let (stream, dialect, request) = (fixture(name), dialect_of(name), task());
        let whole = follow(dialect, [&stream[..]], &request).1;
        let same = |chunks: &mut dyn Iterator<Item = &[u8]>, how: &str| {
            let (read, heard) = follow(dialect, chunks, &request);
            assert_eq!(came(&read), *expected, "{name} {how}");
            assert_eq!(heard, whole, "{name} {how}");
        };
        same(&mut stream.chunks(1), "byte by byte");
        for cut in (0..stream.len()).step_by(step(&stream)) {
            let (head, tail) = stream.split_at(cut);
            same(&mut [head, tail].into_iter(), &format!("cut at {cut}"));
        }
    }
}

#[test]
fn a_stream_that_ends_early_is_never_half_an_answer() {
    for (name, expected) in RECORDED {
        let (stream, dialect, request) = (fixture(name), dialect_of(name), task());
        if expected.starts_with('!') {
            continue;
        }
        let whole = follow(dialect, [&stream[..]], &request).0.expect("an answer");
        for cut in (0..stream.len()).step_by(step(&stream)) {
            // Chat says why it finished before the usage comes: what follows that is no part of the answer.
            match follow(dialect, [&stream[..cut]], &request).0 {
                Err(error) => assert!(
                    matches!(error.class, FailureClass::Transport | FailureClass::Malformed),
                    "{name} ended at {cut}: {error}"
                ),
                Ok(answer) => assert_eq!(
                    (&answer.text, &answer.calls, answer.stop),
                    (&whole.text, &whole.calls, whole.stop),
                    "{name} ended at {cut}"
                ),
            }
        }
    }
}

#[test]
fn what_came_before_an_error_is_told_and_its_cause_is_known() {
    let check = |name: &str, text: &str, says: &str| {
        let (read, heard) = follow(dialect_of(name), [&fixture(name)[..]], &task());
        let error = read.expect_err("an error");
        assert_eq!(joined(&heard).0, text, "{name}");
        assert!(error.to_string().contains(says), "{name}: {error}");
        error
    };
    check("anthropic-overloaded", "Hel", "Overloaded");
    check("openai-error", "Hel", "The server had an error");
    check("responses-error", "Hel", "boom");
    check("vllm-error", "Hel", "EngineCore died");
    let error = check("responses-too-long", "", "context window");
    assert!(ContextExceeded::is_cause_of(&error));
    assert!(!ContextExceeded::is_cause_of(&check(
        "responses-failed",
        "",
        "Rate limit"
    )));
}

#[test]
fn usage_tells_what_the_cache_gave() {
    let check = |name: &str, read: u64, write: u64| {
        let (answer, _) = follow(dialect_of(name), [&fixture(name)[..]], &task());
        let usage = answer.expect("an answer").usage;
        assert_eq!((usage.cache_read, usage.cache_write), (read, write), "{name}");
    };
    check("anthropic-text", 100, 10);
    check("openai-text", 8, 0);
    check("responses-text", 11, 0);
    check("local-no-usage-no-done", 0, 0);
}

#[test]
fn ids_that_a_server_uses_in_every_turn_are_replaced() {
    let history = request(vec![
        Message::User("task".into()),
        Message::Assistant {
            text: "".into(),
            calls: vec![call("0", object(serde_json::json!({})))],
            kept: Arc::new([]),
        },
        Message::Results(vec![result("0", "x", false)]),
    ]);
    let (answer, _) = follow(Dialect::OpenAiChat, [&fixture("sglang-ids-0")[..]], &history);
    let answer = answer.expect("an answer");
    let ids: Vec<&str> = answer.calls.iter().map(|call| &*call.id).collect();
    assert_eq!(ids, ["call_2_0", "1"]);
}

#[test]
fn events_that_are_no_json_are_malformed_unless_nobody_knows_them() {
    let check = |dialect: Dialect, stream: &str, expected: &str| {
        let (read, _) = follow(dialect, [stream.as_bytes()], &task());
        assert_eq!(came(&read), expected, "{stream:?}");
    };
    let (chat, anthropic, responses) = (Dialect::OpenAiChat, Dialect::Anthropic, Dialect::OpenAiResponses);
    check(chat, "data: {\"choices\": [}\n\n", "!malformed Unknown");
    check(anthropic, "data: hello\n\n", "!malformed Unknown");
    check(anthropic, "event: new\ndata: hello\n\n", "!transport Unknown");
    check(responses, "data: [1,\n\n", "!malformed Unknown");
    check(responses, "event: new\ndata: hello\n\n", "!transport Unknown");
    check(chat, "data: [DONE]\n\n", "!malformed Unknown");
    check(anthropic, "data: {\"type\":\"message_stop\"}\n\n", "!malformed Unknown");
    check(chat, "hello\n\nworld\n", "!transport Unknown");
    let number = "data: {\"choices\":[{\"delta\":{\"content\":5}}]}\n\n";
    check(chat, number, "!malformed Unknown");
}

/// An answer as the other side of a dialect streams it.
fn streamed(dialect: Dialect, answer: &ModelAnswer) -> String {
    let mut events = Events::new(dialect, "x", &answer.answered_by, 0);
    events.begin() + &events.end(answer)
}

#[test]
fn what_is_heard_can_be_passed_on_as_it_comes() {
    for dialect in Dialect::ALL {
        for name in ["anthropic-thinking-tools", "openai-tools", "responses-text"] {
            let (answer, heard) = follow(dialect_of(name), [&fixture(name)[..]], &task());
            let answer = answer.expect("an answer");
            let mut events = Events::new(dialect, "x", &answer.answered_by, 0);
            let mut stream = events.begin();
            for delta in &heard {
                stream.push_str(&events.delta(delta));
            }
            stream.push_str(&events.end(&answer));
            let (again, heard_again) = follow(dialect, [stream.as_bytes()], &task());
            let again = again.unwrap_or_else(|error| panic!("{name} in {dialect:?}: {error}\n{stream}"));
            assert_eq!((&again.text, again.stop), (&answer.text, answer.stop), "{stream}");
            let ((text, calls), (text_again, calls_again)) = (joined(&heard), joined(&heard_again));
            assert_eq!((text_again, calls_again.len()), (text, calls.len()), "{stream}");
            let arguments = |answer: &ModelAnswer| -> Vec<_> {
                let calls = answer.calls.iter();
                calls.map(|call| (call.skill.clone(), call.arguments.clone())).collect()
            };
            assert_eq!(arguments(&again), arguments(&answer), "{stream}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_answer_streamed_by_the_other_side_is_the_same_answer(
        text in "(\\PC|[\\x00-\\x20\"\\\\😀é]){0,200}",
        argument in "(\\PC|[\\x00-\\x20\"\\\\😀é]){0,200}",
        calls in 0usize..3,
        size in 1usize..40,
    ) {
        let calls = (0..calls).map(|index| call(&format!("id_{index}"), object(serde_json::json!({ "a": argument }))));
        let answer = ModelAnswer {
            text: text.as_str().into(),
            calls: calls.collect(),
            stop: Stop::End,
            usage: Usage { input: 9, cache_read: 3, cache_write: 0, output: 4, estimated: false },
            answered_by: "m-1".into(),
            kept: Arc::new([]),
        };
        for dialect in Dialect::ALL {
            let stream = streamed(dialect, &answer);
            let (read, _) = follow(dialect, stream.as_bytes().chunks(size), &task());
            prop_assert_eq!(&read.expect("an answer"), &answer, "{:?}", stream);
        }
    }

    #[test]
    fn no_stream_is_a_surprise(body in "(data: |event: error|\n\n|[\\[\\]{}\":,a-z0-9\\\\ud]|\"type\":|\"choices\":|\"delta\":){0,60}") {
        for dialect in Dialect::ALL {
            let _ = follow(dialect, [body.as_bytes()], &task());
        }
    }
}
