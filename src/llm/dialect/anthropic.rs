//! Anthropic's Messages.
//!
//! Refuses to know: HTTP. Invariants: user and assistant alternate; all results of a turn are in one user message,
//! first in it; no text block is empty.
//!
//! **Source**: the vendor's API reference (messages, tool use, structured outputs).

use serde::Deserialize;
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

/// The request body.
pub fn write_request(request: &ModelRequest, model_id: &str) -> Value {
    let names = Names::of(&request.skills);
    let mut messages: Vec<Value> = Vec::with_capacity(request.messages.len());
    let mut open: Vec<String> = Vec::new();
    for (place, message) in request.messages.iter().enumerate() {
        match message {
            Message::User(text) => {
                let text = if text.trim().is_empty() { "(no text)" } else { text };
                append(&mut messages, "user", vec![json!({ "type": "text", "text": text })]);
            }
            Message::Assistant { text, calls } => {
                let mut blocks = Vec::new();
                if !text.trim().is_empty() {
                    blocks.push(json!({ "type": "text", "text": &**text }));
                }
                open.clear();
                for (index, call) in calls.iter().enumerate() {
                    let id = ids::sendable(&call.id, place, index);
                    let input = match &call.arguments {
                        Arguments::Object(value) => value.clone(),
                        Arguments::Malformed { .. } => json!({}),
                    };
                    let name = names.to_wire(&call.skill);
                    blocks.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
                    open.push(id);
                }
                if blocks.is_empty() {
                    blocks.push(json!({ "type": "text", "text": "(no text)" }));
                }
                append(&mut messages, "assistant", blocks);
            }
            Message::Results(results) => {
                let blocks = results.iter().zip(&open).map(|(result, id)| {
                    let mut block = json!({ "type": "tool_result", "tool_use_id": id, "content": &*result.content });
                    if result.is_error {
                        block["is_error"] = true.into();
                    }
                    block
                });
                append(&mut messages, "user", blocks.collect());
            }
        }
    }
    let mut body = json!({ "model": model_id, "max_tokens": request.output_tokens_max, "messages": messages });
    let system = instruction::system(request);
    if !system.is_empty() {
        body["system"] = system.into();
    }
    if !request.skills.is_empty() {
        let tools = request.skills.iter().map(|skill| {
            json!({
                "name": names.to_wire(skill.name.as_str()),
                "description": &*skill.description,
                "input_schema": &*skill.input_schema,
            })
        });
        body["tools"] = tools.collect();
    }
    if let Some(schema) = &request.output_schema
        && is_strict(schema)
    {
        body["output_config"] = json!({ "format": { "type": "json_schema", "schema": &**schema } });
    }
    body
}

/// Adds blocks to the last message when it has the same role.
fn append(messages: &mut Vec<Value>, role: &str, blocks: Vec<Value>) {
    if let Some(last) = messages.last_mut()
        && last["role"] == role
        && let Some(present) = last["content"].as_array_mut()
    {
        present.extend(blocks);
        return;
    }
    messages.push(json!({ "role": role, "content": blocks }));
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
