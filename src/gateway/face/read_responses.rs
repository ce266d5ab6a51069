//! The body of `POST /v1/responses`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::conversation::{CallRequest, CallResult, Message};
use crate::domain::request_options::{ClientTool, RequestOptions};
use crate::gateway::error::ApiError;
use crate::llm::wire::arguments;

use super::body::{Asked, Members, check_tools, open, push_result, text_of, tool, unsupported, wrong};
use super::read_chat::{named_choice, schema};
use super::rules::Rule;

/// What is read.
const READ: &[&str] = &[
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "background",
    "previous_response_id",
    "store",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "max_output_tokens",
    "text",
    "metadata",
    "truncation",
];
/// What changes nothing in what is answered, or is for the agent's own configuration to say.
const PASSED_OVER: &[&str] = &[
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "reasoning",
    "include",
    "background_options",
    "access_programs",
];
/// What is taken with the value that it has by itself, and refused with any other.
const REFUSED: &[&str] = &[
    "max_tool_calls",
    "conversation",
    "prompt",
    "top_logprobs",
    "context_management",
    "moderation",
    "image",
];
/// Pairs of metadata, and the characters of their names and values.
const METADATA_PAIRS_MAX: usize = 16;
const METADATA_NAME_CHARS_MAX: usize = 64;
const METADATA_VALUE_CHARS_MAX: usize = 512;
const TEXTS: &[&str] = &["input_text", "output_text", "text", "refusal"];

/// Reads it. The conversation is that of the request alone: what it goes on from is for the caller to put before it,
/// and then to check with [`super::body::settle`].
pub fn read(body: &Value) -> Result<Asked, ApiError> {
    let members = Members::of(body)?;
    members.only(&[READ, PASSED_OVER, REFUSED])?;
    members.not("max_tool_calls", &[], "the agent's own limits hold")?;
    members.not("conversation", &[], "go on with `previous_response_id`")?;
    members.not("prompt", &[], "prompts are files of the agents")?;
    members.not("top_logprobs", &[json!(0)], "how likely tokens are is not said here")?;
    members.not(
        "context_management",
        &[json!([])],
        "long conversations are summarised by the agent itself",
    )?;
    members.not("moderation", &[], "agents have their own rules")?;
    members.not("image", &[], "agents answer in text")?;
    let truncation = [json!("disabled"), json!("auto")];
    members.not("truncation", &truncation, "expected auto or disabled")?;

    let mut rules: Vec<Rule> = Vec::new();
    let mut messages = Vec::new();
    match members.get("input") {
        Some(Value::String(text)) => messages.push(Message::User(text.as_str().into())),
        Some(Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                input(&format!("input[{index}]"), item, &mut rules, &mut messages)?;
            }
        }
        Some(_) => return Err(wrong("input", "expected a string or a list of items")),
        None => return Err(wrong("input", "missing required parameter: `input`")),
    }
    let mut tools: Vec<ClientTool> = Vec::new();
    for (index, item) in members.list("tools")?.iter().enumerate() {
        let place = format!("tools[{index}]");
        let item = Members::at(&place, item)?;
        if item.needed_text("type")? != "function" {
            let message = "the client's tools are of type `function`; others are for the agent's own skills";
            return Err(unsupported(item.place("type"), message));
        }
        let name = item.needed_text("name")?;
        tools.push(tool(&place, name, item.text("description")?, item.get("parameters"))?);
    }
    check_tools("tools", &tools)?;
    let choice = members.get("tool_choice");
    let choice = choice.map(|choice| named_choice("tool_choice", choice, &choice["name"], &tools));
    if let Some(options) = members.get("stream_options") {
        Members::at("stream_options", options)?.only(&[&["include_obfuscation"]])?;
    }
    let format = members.get("text").map(|text| {
        let text = Members::at("text", text)?;
        text.only(&[&["format", "verbosity"]])?;
        match text.get("format") {
            None => Ok(None),
            Some(format) => schema("text.format", format, |format| format),
        }
    });
    let store = members.flag("store")?.unwrap_or(true);
    let background = members.flag("background")?.unwrap_or(false);
    if background && !store {
        return Err(wrong("background", "a response in the background has to be stored"));
    }
    let previous = members.text("previous_response_id")?.map(str::to_owned);
    // What goes on from an earlier one has begun there.
    let is_opened = previous.is_none() && open(&mut messages, !rules.is_empty());
    for rule in &mut rules {
        rule.at += usize::from(is_opened);
    }
    let options = RequestOptions {
        tools: tools.into(),
        choice: choice.transpose()?.unwrap_or_default(),
        parallel: members.flag("parallel_tool_calls")?,
        temperature: members.number("temperature", 0.0, 2.0)?,
        top_p: members.number("top_p", 0.0, 1.0)?,
        stop: Arc::new([]),
    };
    let or_null = |name: &str| members.get(name).cloned().unwrap_or_default();
    let or = |name: &str, usual: Value| members.get(name).cloned().unwrap_or(usual);
    Ok(Asked {
        model: members.needed_text("model")?.to_owned(),
        system: members.text("instructions")?.unwrap_or("").to_owned(),
        rules,
        messages,
        is_opened,
        options,
        output_tokens_max: members.tokens("max_output_tokens")?,
        schema: format.transpose()?.flatten(),
        stream: members.flag("stream")?.unwrap_or(false),
        stream_usage: false,
        repeated: json!({
            "instructions": or_null("instructions"),
            "max_output_tokens": or_null("max_output_tokens"),
            "metadata": metadata(&members)?,
            "parallel_tool_calls": or("parallel_tool_calls", true.into()),
            "previous_response_id": previous,
            "temperature": or_null("temperature"),
            "text": or("text", json!({ "format": { "type": "text" } })),
            "tool_choice": or("tool_choice", "auto".into()),
            "tools": or("tools", json!([])),
            "top_p": or_null("top_p"),
            "truncation": or("truncation", "disabled".into()),
        }),
        store,
        background,
        previous,
    })
}

fn metadata(members: &Members<'_>) -> Result<Value, ApiError> {
    let Some(value) = members.get("metadata") else {
        return Ok(json!({}));
    };
    let bad = || {
        let message = format!(
            "expected at most {METADATA_PAIRS_MAX} strings of {METADATA_VALUE_CHARS_MAX} characters, with names of \
             {METADATA_NAME_CHARS_MAX}"
        );
        wrong("metadata", message)
    };
    let pairs = value.as_object().ok_or_else(bad)?;
    let is_good = |(name, value): (&String, &Value)| {
        name.chars().count() <= METADATA_NAME_CHARS_MAX
            && value
                .as_str()
                .is_some_and(|text| text.chars().count() <= METADATA_VALUE_CHARS_MAX)
    };
    if pairs.len() > METADATA_PAIRS_MAX || !pairs.iter().all(is_good) {
        return Err(bad());
    }
    Ok(value.clone())
}

fn input(place: &str, item: &Value, rules: &mut Vec<Rule>, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let members = Members::at(place, item)?;
    match members.text("type")?.unwrap_or("message") {
        "message" => {
            let text = text_of(&members.place("content"), members.get("content"), TEXTS)?;
            match members.needed_text("role")? {
                role @ ("system" | "developer") => rules.push(Rule {
                    role: role.into(),
                    text: text.into(),
                    at: messages.len(),
                }),
                "user" => messages.push(Message::User(text.into())),
                "assistant" => messages.push(Message::Assistant {
                    text: text.into(),
                    calls: Vec::new(),
                    kept: Arc::new([]),
                }),
                _ => {
                    return Err(wrong(
                        members.place("role"),
                        "expected user, assistant, system or developer",
                    ));
                }
            }
        }
        "function_call" => {
            let call = CallRequest {
                id: members.needed_text("call_id")?.into(),
                skill: members.needed_text("name")?.into(),
                arguments: arguments::parse(members.text("arguments")?.unwrap_or(""), false),
            };
            // Text and calls of one answer are items of their own here.
            match messages.last_mut() {
                Some(Message::Assistant { calls, .. }) => calls.push(call),
                _ => messages.push(Message::Assistant {
                    text: "".into(),
                    calls: vec![call],
                    kept: Arc::new([]),
                }),
            }
        }
        "function_call_output" => push_result(
            messages,
            CallResult {
                id: members.needed_text("call_id")?.into(),
                content: text_of(&members.place("output"), members.get("output"), TEXTS)?.into(),
                is_error: false,
            },
        ),
        // What a model thought means nothing to another one; none is ever given out here.
        "reasoning" => {}
        kind => {
            let kind = crate::domain::text::preview(kind, 40);
            let message = format!("items of type `{kind}` are not taken here");
            return Err(unsupported(members.place("type"), message));
        }
    }
    Ok(())
}
