//! Whole bodies as servers send them, and requests read back by the other side.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{body_in, call, object, read_whole, request, result, task, told};
use crate::domain::conversation::{
    Arguments, CallRequest, Message, ModelAnswer, ModelRequest, Stop, Usage, check_history,
};
use crate::domain::failure::FailureClass;
use crate::domain::request_options::RequestOptions;
use crate::llm::dialect::kind::Dialect;
use crate::llm::dialect::serve;

fn openai_body(request: &ModelRequest, model_id: &str, newest_fields: bool) -> Value {
    body_in(Dialect::OpenAiChat, request, model_id, newest_fields)
}

fn anthropic_body(request: &ModelRequest, model_id: &str) -> Value {
    body_in(Dialect::Anthropic, request, model_id, true)
}

fn responses_body(request: &ModelRequest, model_id: &str) -> Value {
    body_in(Dialect::OpenAiResponses, request, model_id, true)
}

#[test]
fn chat_completions_of_many_servers_are_read() {
    let check = |body: &str, expected: &str| {
        let answer = read_whole(Dialect::OpenAiChat, body, &task()).unwrap_or_else(|error| panic!("{error:?}: {body}"));
        assert_eq!(told(&answer), expected, "{body}");
    };
    // The vendor's own form.
    check(
        r#"{"id":"chatcmpl-1","model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"hi","refusal":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":3}}}"#,
        "\"hi\" End [] 9+2",
    );
    check(
        r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"call_a","type":"function","function":{"name":"fs__dot__read","arguments":"{\"path\":\"a\"}"}},{"id":"call_b","type":"function","function":{"name":"plain-name_2","arguments":""}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        "\"\" End [call_a:fs.read{\"path\":\"a\"} call_b:plain-name_2{}] 9+2",
    );
    // "stop" although there are calls; arguments as an object; ids empty or repeated; no usage.
    check(
        r#"{"choices":[{"message":{"content":"","tool_calls":[{"id":"","function":{"name":"fs__dot__read","arguments":{"path":"a"}}},{"id":"0","function":{"name":"fs__dot__read","arguments":null}},{"id":"0","function":{"name":"fs__dot__read"}}]},"finish_reason":"stop"}]}"#,
        "\"\" End [call_1_0:fs.read{\"path\":\"a\"} 0:fs.read{} call_1_2:fs.read{}] ~",
    );
    // The older form of one call; the id within the function.
    check(
        r#"{"choices":[{"message":{"function_call":{"name":"fs__dot__read","arguments":"{}"}},"finish_reason":"function_call"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        "\"\" End [call_1_0:fs.read{}] 1+1",
    );
    check(
        r#"{"choices":[{"message":{"tool_calls":[{"function":{"id":"in","name":"made_up","arguments":"{}"}}]}}],"usage":null}"#,
        "\"\" End [in:made_up{}] ~",
    );
    // Cut, refused, filtered, in parts.
    check(
        r#"{"choices":[{"message":{"content":"ha","tool_calls":[{"id":"a","function":{"name":"fs__dot__read","arguments":"{\"path\":\"x"}}]},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        "\"ha\" Length [a:fs.read!malformed] 1+1",
    );
    check(
        r#"{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"fs__dot__read","arguments":""}}]},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        "\"\" Length [a:fs.read!malformed] 1+1",
    );
    check(
        r#"{"choices":[{"message":{"content":null,"refusal":"I will not"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        "\"I will not\" Refused [] 1+1",
    );
    check(
        r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"other"},{"type":"text","text":"b"}]},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        "\"ab\" Refused [] 1+1",
    );
    // Halves of characters, in the text and within the arguments' own text.
    check(
        r#"{"choices":[{"message":{"content":"x\ud83d","tool_calls":[{"id":"a","function":{"name":"fs__dot__read","arguments":"{\"p\":\"\\ud83d\"}"}}]}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        "\"x\u{fffd}\" End [a:fs.read{\"p\":\"\u{fffd}\"}] 1+1",
    );
}

#[test]
fn messages_are_read() {
    let check = |body: &str, expected: &str| {
        let answer = read_whole(Dialect::Anthropic, body, &task()).unwrap_or_else(|error| panic!("{error:?}: {body}"));
        assert_eq!(told(&answer), expected, "{body}");
    };
    check(
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":5,"cache_creation_input_tokens":10,"cache_read_input_tokens":100,"output_tokens":2}}"#,
        "\"hi\" End [] 115+2",
    );
    // Thinking and blocks of the future are skipped; an empty input is an empty object.
    check(
        r#"{"type":"message","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"a"},{"type":"tool_use","id":"toolu_1","name":"fs__dot__read","input":{"path":"x"}},{"type":"new","input":[1]},{"type":"tool_use","id":"toolu_1","name":"fs__dot__read","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":5,"output_tokens":2}}"#,
        "\"a\" End [toolu_1:fs.read{\"path\":\"x\"} call_1_1:fs.read{}] 5+2",
    );
    check(
        r#"{"content":[{"type":"tool_use","id":"t","name":"fs__dot__read","input":{"a":1,"a":2}}],"stop_reason":"tool_use"}"#,
        "\"\" End [t:fs.read!malformed] ~",
    );
    check(
        r#"{"content":[],"stop_reason":"refusal","usage":{"input_tokens":5,"output_tokens":0}}"#,
        "\"\" Refused [] 5+0",
    );
    check(
        r#"{"content":[{"type":"text","text":"\udc00x"}],"stop_reason":"max_tokens","usage":{"input_tokens":5,"output_tokens":1}}"#,
        "\"\u{fffd}x\" Length [] 5+1",
    );
}

#[test]
fn what_is_no_answer_says_so() {
    let check = |body: &str, openai: FailureClass, anthropic_class: FailureClass| {
        let error = read_whole(Dialect::OpenAiChat, body, &task()).expect_err("no answer");
        assert_eq!(error.class, openai, "openai: {body}");
        let error = read_whole(Dialect::Anthropic, body, &task()).expect_err("no answer");
        assert_eq!(error.class, anthropic_class, "anthropic: {body}");
    };
    let malformed = FailureClass::Malformed;
    check("", malformed, malformed);
    check("<html>", malformed, malformed);
    check("{}", malformed, malformed);
    check(r#"{"choices":[]}"#, malformed, malformed);
    check(r#"{"choices":[{"message":{"content":"cut of"#, malformed, malformed);
    check(
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#,
        FailureClass::Rate,
        FailureClass::Rate,
    );
    let deep = format!("{{\"choices\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    check(&deep, malformed, malformed);
}

/// A history with all that can be in one.
fn history() -> Vec<Message> {
    vec![
        Message::User("# Task\nread 👨‍👩‍👧‍👦".into()),
        Message::Assistant {
            text: "I look".into(),
            calls: vec![
                call("call_1", object(json!({ "path": "a\u{fffd}" }))),
                call("call_2", object(json!({}))),
            ],
            kept: Arc::new([]),
        },
        Message::Results(vec![
            result("call_1", "text", false),
            result("call_2", "no such file", true),
        ]),
        Message::Assistant {
            text: "".into(),
            calls: vec![call("call_3", object(json!({ "n": [1, { "m": null }] })))],
            kept: Arc::new([]),
        },
        Message::Results(vec![result("call_3", "ok", false)]),
        Message::User("that was wrong".into()),
    ]
}

#[test]
fn a_request_is_read_back_as_the_same_conversation() {
    let check = |change: &dyn Fn(&mut ModelRequest)| {
        let mut request = request(history());
        change(&mut request);
        check_history(&request.messages).expect("valid");
        let body = openai_body(&request, "m", false);
        assert_eq!(serve::read_openai_chat(&body), Ok(request.clone()), "{body:#}");
        let body = responses_body(&request, "m");
        assert_eq!(serve::read_openai_responses(&body), Ok(request.clone()), "{body:#}");
        let body = anthropic_body(&request, "m");
        assert_eq!(serve::read_anthropic(&body), Ok(request), "{body:#}");
    };
    check(&|_| {});
    check(&|request| request.skills = Vec::new().into());
    check(&|request| request.messages = vec![Message::User("only".into())].into());
    check(&|request| request.output_schema = Some(Arc::new(crate::domain::plan_document::plan_schema())));
    check(&|request| {
        request.output_schema = Some(Arc::new(json!({ "type": "object", "additionalProperties": false })));
    });
}

#[test]
fn an_answer_is_read_back_as_it_was_written() {
    let check = |text: &str, calls: Vec<CallRequest>, stop: Stop| {
        let answer = ModelAnswer {
            text: text.into(),
            calls,
            stop,
            usage: Usage {
                input: 7,
                output: 3,
                cache_read: 0,
                cache_write: 0,
                estimated: false,
            },
            answered_by: "offline".into(),
            kept: Arc::new([]),
        };
        let body = serve::write_openai_chat(&answer, "x", 0).to_string();
        assert_eq!(
            read_whole(Dialect::OpenAiChat, &body, &task()).expect("read"),
            answer,
            "{body}"
        );
        let body = serve::write_openai_responses(&answer, "x", 0).to_string();
        let read = read_whole(Dialect::OpenAiResponses, &body, &task()).expect("read");
        assert_eq!(read, answer, "{body}");
        let body = serve::write_anthropic(&answer, "x").to_string();
        assert_eq!(
            read_whole(Dialect::Anthropic, &body, &task()).expect("read"),
            answer,
            "{body}"
        );
    };
    check("said 😀", vec![], Stop::End);
    check(
        "",
        vec![call("a", object(json!({ "path": "x" }))), call("b", object(json!({})))],
        Stop::End,
    );
    check("cut", vec![], Stop::Length);
    check("no", vec![], Stop::Refused);
}

#[test]
fn requests_keep_the_rules_of_their_vendor() {
    let strange = vec![
        Message::User("".into()),
        Message::Assistant {
            text: "".into(),
            calls: vec![call(
                "strange id ☠",
                Arguments::Malformed {
                    reason: "r".into(),
                    preview: "{".into(),
                },
            )],
            kept: Arc::new([]),
        },
        Message::Results(vec![result("strange id ☠", "malformed", true)]),
        Message::User("go on".into()),
        Message::User("please".into()),
        Message::Assistant {
            text: "".into(),
            calls: vec![],
            kept: Arc::new([]),
        },
        Message::User("well?".into()),
    ];
    let body = anthropic_body(&request(strange.clone()), "claude");
    let roles: Vec<&str> = body["messages"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|message| message["role"].as_str())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
    let messages = &body["messages"];
    assert_eq!(messages[1]["content"][0]["input"], json!({}));
    assert_eq!(
        messages[1]["content"][0]["id"],
        messages[2]["content"][0]["tool_use_id"]
    );
    assert_eq!(messages[2]["content"][0]["type"], "tool_result");
    assert!(!body.to_string().contains("\"text\":\"\""), "{body}");
    assert_eq!(body["tools"][0]["name"], "fs__dot__read");

    let body = openai_body(&request(strange), "gpt", true);
    assert_eq!(body["messages"][2]["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(
        body["messages"][2]["tool_calls"][0]["id"],
        body["messages"][3]["tool_call_id"]
    );
    assert_eq!(
        (&body["max_completion_tokens"], &body["max_tokens"]),
        (&json!(1000), &Value::Null)
    );

    let hot = ModelRequest {
        options: Some(Arc::new(RequestOptions {
            temperature: Some(1.5),
            ..RequestOptions::default()
        })),
        ..task()
    };
    assert_eq!(anthropic_body(&hot, "claude")["temperature"], json!(1.0));
    assert_eq!(openai_body(&hot, "gpt", true)["temperature"], json!(1.5));
}

#[test]
fn only_closed_schemas_are_sent_as_a_format() {
    let check = |schema: Value, sent: bool| {
        let mut request = task();
        request.output_schema = Some(Arc::new(schema.clone()));
        let body = anthropic_body(&request, "claude");
        assert_eq!(body.get("output_config").is_some(), sent, "{schema}");
        assert!(
            body["system"][0]["text"]
                .as_str()
                .is_some_and(|system| system.contains("JSON Schema"))
        );
    };
    check(
        json!({ "type": "object", "additionalProperties": false, "properties": { "a": { "type": "string" } } }),
        true,
    );
    check(json!({ "type": "object", "properties": {} }), false);
    check(json!({ "type": "array", "items": { "type": "object" } }), false);
    check(
        json!({ "type": "array", "minItems": 3, "items": { "type": "string" } }),
        false,
    );
    check(crate::domain::plan_document::plan_schema(), false);
}

#[test]
fn bodies_that_are_no_requests_name_the_place() {
    let check = |body: Value, pointer: &str| {
        let error = serve::read_openai_chat(&body).expect_err("refused");
        assert_eq!(error.pointer, pointer, "{body}");
        let error = serve::read_anthropic(&body).expect_err("refused");
        assert_eq!(error.pointer, pointer, "{body}");
        let mut body = body;
        if let Some(messages) = body.get_mut("messages").map(Value::take) {
            body["input"] = messages;
        }
        let error = serve::read_openai_responses(&body).expect_err("refused");
        assert_eq!(error.pointer, pointer.replace("/messages", "/input"), "{body}");
    };
    check(json!({}), "/model");
    check(json!({ "model": "m", "messages": 3 }), "/messages");
    check(json!({ "model": "M!", "messages": [] }), "/model");
    check(
        json!({ "model": "m", "messages": [{ "role": "king" }] }),
        "/messages/0/role",
    );
    check(json!({ "model": "m", "tools": {} }), "/tools");
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_an_error(body in "[\\[\\]{}\":,a-z0-9\\\\ud]{0,80}") {
        for dialect in Dialect::ALL {
            let _ = read_whole(dialect, &body, &task());
        }
    }

    #[test]
    fn any_text_survives_both_ways(text in "\\PC{1,60}", content in ".{0,60}") {
        prop_assume!(!text.trim().is_empty() && !content.starts_with("Error: "));
        let request = request(vec![
            Message::User(text.as_str().into()),
            Message::Assistant { text: "".into(), calls: vec![call("a", object(json!({ "t": text })))], kept: Arc::new([]) },
            Message::Results(vec![result("a", &content, false)]),
        ]);
        prop_assert_eq!(serve::read_openai_chat(&openai_body(&request, "m", true)), Ok(request.clone()));
        prop_assert_eq!(serve::read_openai_responses(&responses_body(&request, "m")), Ok(request.clone()));
        prop_assert_eq!(serve::read_anthropic(&anthropic_body(&request, "m")), Ok(request));
    }
}
