//! Anthropic's Messages.
//!
//! Refuses to know: HTTP. Invariants: user and assistant alternate; all results of a turn are in one user message,
//! first in it; no text block is empty.
//!
//! **Source**: the vendor's API reference (messages, tool use, structured outputs).

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::conversation::{Arguments, CallRequest, Message, ModelAnswer, ModelRequest, Stop, Usage};
use crate::domain::failure::FailureClass;
use crate::domain::text;
use crate::llm::estimate;
use crate::llm::model::AskError;
use crate::llm::wire::names::Names;
use crate::llm::wire::{arguments, ids, instruction, surrogate};

/// The version of the API that this dialect is.
pub const VERSION: &str = "2023-06-01";

// Written straight from the conversation, without a tree of values in between: see the other dialect.
#[derive(Serialize)]
struct Sent<'r> {
    model: &'r str,
    max_tokens: u32,
    messages: Vec<SentMessage<'r>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    system: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<SentTool<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
}

#[derive(Serialize)]
struct SentMessage<'r> {
    role: &'static str,
    content: Vec<SentBlock<'r>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SentBlock<'r> {
    Text {
        text: &'r str,
    },
    ToolUse {
        id: String,
        name: String,
        input: Cow<'r, Value>,
    },
    ToolResult {
        tool_use_id: String,
        content: &'r str,
        #[serde(skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
    },
}

#[derive(Serialize)]
struct SentTool<'r> {
    name: String,
    description: &'r str,
    input_schema: &'r Value,
}

/// The request body.
pub fn write_request(request: &ModelRequest, model_id: &str) -> String {
    const NO_TEXT: SentBlock<'_> = SentBlock::Text { text: "(no text)" };
    let names = Names::of(&request.skills);
    let mut messages = Vec::with_capacity(request.messages.len());
    let mut open: Vec<String> = Vec::new();
    for (place, message) in request.messages.iter().enumerate() {
        match message {
            Message::User(text) if text.trim().is_empty() => append(&mut messages, "user", vec![NO_TEXT]),
            Message::User(text) => append(&mut messages, "user", vec![SentBlock::Text { text }]),
            Message::Assistant { text, calls, .. } => {
                let mut blocks = Vec::new();
                if !text.trim().is_empty() {
                    blocks.push(SentBlock::Text { text });
                }
                open.clear();
                for (index, call) in calls.iter().enumerate() {
                    let id = ids::sendable(&call.id, place, index);
                    open.push(id.clone());
                    blocks.push(SentBlock::ToolUse {
                        id,
                        name: names.to_wire(&call.skill),
                        input: match &call.arguments {
                            Arguments::Object(value) => Cow::Borrowed(&**value),
                            Arguments::Malformed { .. } => Cow::Owned(json!({})),
                        },
                    });
                }
                if blocks.is_empty() {
                    blocks.push(NO_TEXT);
                }
                append(&mut messages, "assistant", blocks);
            }
            Message::Results(results) => {
                let blocks = results
                    .iter()
                    .zip(open.drain(..))
                    .map(|(result, id)| SentBlock::ToolResult {
                        tool_use_id: id,
                        content: &result.content,
                        is_error: result.is_error.then_some(true),
                    });
                append(&mut messages, "user", blocks.collect());
            }
        }
    }
    let tools = request.skills.iter().map(|skill| SentTool {
        name: names.to_wire(skill.name.as_str()),
        description: &skill.description,
        input_schema: &skill.input_schema,
    });
    let schema = request.output_schema.as_ref().filter(|schema| is_strict(schema));
    let body = Sent {
        model: model_id,
        max_tokens: request.output_tokens_max,
        messages,
        system: instruction::system(request),
        tools: tools.collect(),
        output_config: schema.map(|schema| json!({ "format": { "type": "json_schema", "schema": &**schema } })),
    };
    serde_json::to_string(&body).expect("texts, numbers and values with text keys can be written")
}

/// Adds blocks to the last message when it has the same role.
fn append<'r>(messages: &mut Vec<SentMessage<'r>>, role: &'static str, blocks: Vec<SentBlock<'r>>) {
    match messages.last_mut().filter(|last| last.role == role) {
        Some(last) => last.content.extend(blocks),
        None => messages.push(SentMessage { role, content: blocks }),
    }
}

/// Whether the provider takes a schema as a format: it refuses the whole request for an open object or a bound that
/// it does not know. Other schemas are asked for in words alone.
fn is_strict(schema: &Value) -> bool {
    const KNOWN: &[&str] = &[
        "$defs",
        "$ref",
        "$schema",
        "additionalProperties",
        "anyOf",
        "const",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "properties",
        "required",
        "title",
        "type",
    ];
    let Some(fields) = schema.as_object() else {
        return false;
    };
    let closed = fields.get("type").is_none_or(|kind| kind != "object") || schema["additionalProperties"] == false;
    let inner = |name: &str| {
        let members = schema[name].as_object().into_iter().flatten();
        members.map(|(_, schema)| schema).all(is_strict)
    };
    closed
        && fields.keys().all(|name| KNOWN.contains(&name.as_str()))
        && inner("properties")
        && inner("$defs")
        && fields.get("items").is_none_or(is_strict)
        && schema["anyOf"].as_array().into_iter().flatten().all(is_strict)
}

#[derive(Deserialize)]
struct Body {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    content: Option<Vec<Block>>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Used>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    input: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Used {
    #[serde(default, rename = "input_tokens")]
    input: Option<u64>,
    #[serde(default, rename = "cache_creation_input_tokens")]
    cache_written: Option<u64>,
    #[serde(default, rename = "cache_read_input_tokens")]
    cache_read: Option<u64>,
    #[serde(default, rename = "output_tokens")]
    output: Option<u64>,
}

/// Reads the response body. Blocks of a type that is not known here are skipped.
pub fn read_answer(body: &str, request: &ModelRequest) -> Result<ModelAnswer, AskError> {
    let body: Body = match serde_json::from_str(body) {
        Ok(body) => body,
        Err(_) => serde_json::from_str(&surrogate::repair(body)).map_err(|error| {
            AskError::unknown(FailureClass::Malformed, "the answer is not a message").because(error)
        })?,
    };
    if let Some(error) = body.error.filter(|_| body.kind.as_deref() == Some("error")) {
        let class = error_class(&json!({ "error": error })).unwrap_or(FailureClass::Overload);
        let message = error["message"].as_str().unwrap_or("no reason given");
        let reason = format!(
            "the provider reports an error in its answer: {}",
            text::preview(message, 300)
        );
        return Err(AskError::unknown(class, reason));
    }
    let Some(blocks) = body.content else {
        return Err(AskError::unknown(FailureClass::Malformed, "the answer has no content"));
    };
    let stop = match body.stop_reason.as_deref() {
        Some("max_tokens" | "model_context_window_exceeded") => Stop::Length,
        Some("refusal") => Stop::Refused,
        _ => Stop::End,
    };
    let names = Names::of(&request.skills);
    let mut words = String::new();
    let mut calls = Vec::new();
    for block in blocks {
        match block.kind.as_str() {
            "text" => words.push_str(block.text.as_deref().unwrap_or("")),
            "tool_use" => {
                let raw = block.input.as_deref().map_or("", RawValue::get);
                calls.push(CallRequest {
                    id: block.id.unwrap_or_default().into(),
                    skill: names.from_wire(block.name.as_deref().unwrap_or("")).into(),
                    arguments: arguments::parse(raw, stop == Stop::Length),
                });
            }
            _ => {}
        }
    }
    ids::make_unique(request, &mut calls);
    if request.output_schema.is_some() && calls.is_empty() {
        words = instruction::unwrap_json(&words).into();
    }
    let mut answer = ModelAnswer {
        text: words.into(),
        calls,
        stop,
        usage: Usage::default(),
        answered_by: body.model.unwrap_or_default().into(),
        kept: Arc::new([]),
    };
    let used = body.usage;
    // The provider's figure leaves cached tokens out; ours has them in.
    let input = used.as_ref().and_then(|used| {
        let cached = [used.cache_written, used.cache_read];
        let cached: u64 = cached.into_iter().flatten().sum();
        used.input.map(|input| input.saturating_add(cached))
    });
    let input = input.filter(|tokens| *tokens > 0);
    let output = used.as_ref().and_then(|used| used.output);
    answer.usage = Usage {
        input: input.unwrap_or_else(|| estimate::request_tokens(request)),
        output: output.unwrap_or_else(|| estimate::answer_tokens(&answer)),
        cache_read: 0,
        cache_write: 0,
        estimated: input.is_none() || output.is_none(),
    };
    Ok(answer)
}

/// The class of an error that the status alone does not tell.
pub fn error_class(body: &Value) -> Option<FailureClass> {
    match body["error"]["type"].as_str()? {
        "billing_error" => Some(FailureClass::Budget),
        "overloaded_error" | "api_error" => Some(FailureClass::Overload),
        "rate_limit_error" => Some(FailureClass::Rate),
        "timeout_error" => Some(FailureClass::Timeout),
        "authentication_error"
        | "permission_error"
        | "not_found_error"
        | "invalid_request_error"
        | "request_too_large" => Some(FailureClass::Config),
        _ => None,
    }
}
