//! What is read of bodies, and what is refused with its place.

use serde_json::{Value, json};

use super::body::Asked;
use super::{read_chat, read_messages, read_responses};
use crate::domain::code::{INVALID_REQUEST, PARAMETER_UNSUPPORTED};
use crate::domain::conversation::{CallResult, Message};
use crate::domain::exchange::Face;
use crate::domain::request_options::ToolChoice;
use crate::gateway::error::ApiError;

fn read(face: Face, body: &Value) -> Result<Asked, ApiError> {
    match face {
        Face::OpenAiChat => read_chat::read(body),
        Face::OpenAiResponses => read_responses::read(body),
        Face::Anthropic => read_messages::read(body, false),
    }
}

/// The least that is a request, with these members in their places.
fn with(face: Face, members: &Value) -> Value {
    let mut body = match face {
        Face::OpenAiResponses => json!({ "model": "m", "input": "hi" }),
        Face::OpenAiChat => json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] }),
        Face::Anthropic => {
            json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "hi" }] })
        }
    };
    for (name, value) in members.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn what_is_wrong_or_not_done_is_refused_with_its_place() {
    let check = |face: Face, members: Value, place: &str, code: &str| {
        let body = with(face, &members);
        let error = read(face, &body).expect_err("refused");
        let found = (error.param(), error.code().id);
        assert_eq!(found, (Some(place), code), "{body}: {}", error.message());
    };
    let (bad, not_done) = (INVALID_REQUEST.id, PARAMETER_UNSUPPORTED.id);
    let (chat, responses, messages) = (Face::OpenAiChat, Face::OpenAiResponses, Face::Anthropic);
    for face in Face::ALL {
        check(face, json!({ "unheard": 1 }), "unheard", not_done);
        check(face, json!({ "temperature": -1 }), "temperature", bad);
        check(face, json!({ "temperature": "hot" }), "temperature", bad);
        check(face, json!({ "stream": "yes" }), "stream", bad);
        check(face, json!({ "model": 7 }), "model", bad);
        check(face, json!({ "tools": {} }), "tools", bad);
    }
    check(chat, json!({ "n": 2 }), "n", not_done);
    check(chat, json!({ "stop": [""] }), "stop", bad);
    check(chat, json!({ "stop": vec!["x"; 17] }), "stop", bad);
    check(chat, json!({ "max_tokens": 0 }), "max_tokens", bad);
    check(chat, json!({ "stream_options": {} }), "stream_options", bad);
    check(
        chat,
        json!({ "response_format": { "type": "xml" } }),
        "response_format.type",
        not_done,
    );
    check(
        chat,
        json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": { "type": 5 } } } }),
        "response_format",
        bad,
    );
    check(chat, json!({ "messages": [] }), "messages", bad);
    check(
        chat,
        json!({ "messages": [{ "role": "king", "content": "" }] }),
        "messages[0].role",
        bad,
    );
    let nameless = json!([{ "type": "function", "function": { "name": "not a name" } }]);
    check(chat, json!({ "tools": nameless }), "tools[0].function.name", bad);
    let tool = json!({ "type": "function", "function": { "name": "f" } });
    check(chat, json!({ "tools": [tool, tool] }), "tools", bad);
    check(chat, json!({ "tools": vec![tool.clone(); 129] }), "tools", bad);
    let other = json!({ "type": "function", "function": { "name": "g" } });
    check(
        chat,
        json!({ "tools": [tool], "tool_choice": other }),
        "tool_choice",
        bad,
    );
    check(responses, json!({ "input": null }), "input", bad);
    check(
        responses,
        json!({ "input": [{ "type": "item_reference", "id": "x" }] }),
        "input[0].type",
        not_done,
    );
    check(
        responses,
        json!({ "background": true, "store": false }),
        "background",
        bad,
    );
    check(responses, json!({ "metadata": { "a": 1 } }), "metadata", bad);
    check(
        responses,
        json!({ "text": { "format": { "type": "xml" } } }),
        "text.format.type",
        not_done,
    );
    check(responses, json!({ "truncation": "middle" }), "truncation", not_done);
    check(messages, json!({ "max_tokens": null }), "max_tokens", bad);
    check(messages, json!({ "top_k": 4 }), "top_k", not_done);
    check(
        messages,
        json!({ "tool_choice": { "type": "tool", "name": "g" } }),
        "tool_choice.name",
        bad,
    );
    check(
        messages,
        json!({ "messages": [{ "role": "user" }] }),
        "messages.0.content",
        bad,
    );
    let image = json!([{ "type": "image", "source": {} }]);
    check(
        messages,
        json!({ "messages": [{ "role": "user", "content": image }] }),
        "messages.0.content.0.type",
        not_done,
    );
}

#[test]
fn members_that_are_null_or_change_nothing_are_passed_over() {
    let check = |face: Face, members: Value| {
        let plain = read(face, &with(face, &json!({}))).expect("a request");
        let same = read(face, &with(face, &members)).expect("the same request");
        let of = |asked: &Asked| {
            (
                asked.messages.clone(),
                asked.options.clone(),
                asked.output_tokens_max,
                asked.stream,
            )
        };
        assert_eq!(of(&plain), of(&same), "{members}");
    };
    let chat = json!({ "n": 1, "logprobs": false, "user": "u", "seed": 7, "temperature": null, "tools": null,
                       "metadata": { "a": "b" }, "frequency_penalty": 0, "logit_bias": {}, "reasoning_effort": "low" });
    check(Face::OpenAiChat, chat);
    check(
        Face::OpenAiResponses,
        json!({ "include": [], "reasoning": null, "truncation": "auto", "user": "u", "top_logprobs": 0 }),
    );
    let thinking = json!({ "type": "adaptive" });
    check(
        Face::Anthropic,
        json!({ "metadata": { "user_id": "u" }, "thinking": thinking, "service_tier": "auto" }),
    );
}

#[test]
fn one_conversation_reads_the_same_in_all_protocols() {
    let chat = json!({ "model": "m", "tool_choice": "required", "max_tokens": 9, "messages": [
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": [{ "type": "text", "text": "wea" }, { "type": "text", "text": "ther?" }] },
        { "role": "assistant", "content": "I look.", "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "look", "arguments": "{\"x\":1}" } },
            { "id": "b", "type": "function", "function": { "name": "look", "arguments": "{}" } },
        ] },
        { "role": "tool", "tool_call_id": "b", "content": "two" },
        { "role": "tool", "tool_call_id": "a", "content": "one" },
        { "role": "user", "content": "and?" },
    ], "tools": [{ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } }] });
    let responses = json!({ "model": "m", "tool_choice": "required", "max_output_tokens": 9, "instructions": "Be brief.",
        "input": [
            { "role": "user", "content": "weather?" },
            { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "I look." }] },
            { "type": "reasoning", "summary": [] },
            { "type": "function_call", "call_id": "a", "name": "look", "arguments": "{\"x\":1}" },
            { "type": "function_call", "call_id": "b", "name": "look", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "b", "output": "two" },
            { "type": "function_call_output", "call_id": "a", "output": "one" },
            { "role": "user", "content": [{ "type": "input_text", "text": "and?" }] },
        ], "tools": [{ "type": "function", "name": "look", "parameters": { "type": "object" } }] });
    let messages = json!({ "model": "m", "tool_choice": { "type": "any" }, "max_tokens": 9, "system": "Be brief.",
        "messages": [
            { "role": "user", "content": "weather?" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "s" }, { "type": "text", "text": "I look." },
                { "type": "tool_use", "id": "a", "name": "look", "input": { "x": 1 } },
                { "type": "tool_use", "id": "b", "name": "look", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "b", "content": "two" },
                { "type": "tool_result", "tool_use_id": "a", "content": [{ "type": "text", "text": "one" }] },
                { "type": "text", "text": "and?" },
            ] },
        ], "tools": [{ "name": "look", "input_schema": { "type": "object" } }] });
    let bodies = [
        (Face::OpenAiChat, chat),
        (Face::OpenAiResponses, responses),
        (Face::Anthropic, messages),
    ];
    let read = bodies.map(|(face, body)| {
        let mut asked = read(face, &body).unwrap_or_else(|error| panic!("{face:?}: {error:?}"));
        // Only where it may go on from an earlier one is a conversation settled later.
        super::body::settle("messages", &mut asked.messages).expect("a sound conversation");
        asked
    });
    for asked in &read {
        assert_eq!(asked.messages, read[0].messages);
        assert_eq!(asked.system, "Be brief.");
        assert_eq!(asked.options, read[0].options);
        assert_eq!(asked.output_tokens_max, Some(9));
    }
    assert_eq!(read[0].options.choice, ToolChoice::Required);
    let result = |id: &str, content: &str| CallResult {
        id: id.into(),
        content: content.into(),
        is_error: false,
    };
    let results = Message::Results(vec![result("a", "one"), result("b", "two")]);
    assert_eq!(read[0].messages[2], results, "in the order of the calls");
}

#[test]
fn a_conversation_may_begin_with_the_assistant_or_with_rules_where_the_protocol_allows_it() {
    let say = |role: &str| json!({ "role": role, "content": format!("of the {role}") });
    let talk = |roles: &[&str]| Value::from(roles.iter().map(|role| say(role)).collect::<Vec<_>>());
    let body = |face: Face, roles: &[&str]| match face {
        Face::OpenAiResponses => json!({ "model": "m", "input": talk(roles) }),
        _ => json!({ "model": "m", "max_tokens": 5, "messages": talk(roles) }),
    };
    let settled = |face: Face, roles: &[&str]| {
        let mut asked = read(face, &body(face, roles))?;
        super::body::settle("input", &mut asked.messages)?;
        Ok::<_, ApiError>(asked)
    };
    let check = |face: Face, roles: &[&str], is_opened: bool, count: usize| {
        let asked = settled(face, roles).unwrap_or_else(|error| panic!("{face:?} {roles:?}: {}", error.message()));
        assert_eq!(
            (asked.is_opened, asked.messages.len()),
            (is_opened, count),
            "{face:?} {roles:?}"
        );
        assert!(matches!(&asked.messages[0], Message::User(_)), "{face:?} {roles:?}");
    };
    let refused = |face: Face, roles: &[&str]| {
        settled(face, roles).expect_err("refused");
    };
    for face in [Face::OpenAiChat, Face::OpenAiResponses] {
        check(face, &["user"], false, 1);
        check(face, &["system", "user"], false, 1);
        check(face, &["system", "assistant", "user"], true, 3);
        check(face, &["assistant", "user"], true, 3);
        check(face, &["system"], true, 1);
        refused(face, &[]);
        refused(face, &["assistant"]);
        refused(face, &["user", "assistant"]);
    }
    refused(Face::Anthropic, &["assistant", "user"]);
    // What goes on from an earlier response has begun there.
    let goes_on = json!({ "model": "m", "previous_response_id": "r", "input": talk(&["assistant", "user"]) });
    let asked = read(Face::OpenAiResponses, &goes_on).expect("a request");
    assert_eq!((asked.is_opened, asked.messages.len()), (false, 2));
}

#[test]
fn rules_among_the_items_are_kept_apart_from_instructions() {
    let body = json!({ "model": "m", "instructions": "now", "input": [
        { "role": "developer", "content": "always" },
        { "role": "assistant", "content": "Hello." },
        { "role": "user", "content": "hi" },
        { "role": "system", "content": "at last" },
    ] });
    let asked = read(Face::OpenAiResponses, &body).expect("a request");
    let rules: Vec<(&str, &str, usize)> = asked
        .rules
        .iter()
        .map(|rule| (&*rule.role, &*rule.text, rule.at))
        .collect();
    assert_eq!(asked.system, "now");
    assert_eq!(rules, [("developer", "always", 1), ("system", "at last", 3)]);
    assert_eq!(asked.repeated["rules"], Value::Null);
}
