//! A provider's request read as ours.
//!
//! Refuses to know: HTTP. Invariant: what the dialects write is read back as the same conversation, without the parts
//! that were kept for their provider.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::approval::Approval;
use crate::domain::conversation::{Arguments, CallRequest, CallResult, Message, ModelRequest};
use crate::domain::effect::EffectClass;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::name::{ModelAlias, SkillName};
use crate::domain::skill::SkillManifest;
use crate::llm::wire::{arguments, instruction, names};

/// Tokens of an answer when the request does not say.
const OUTPUT_TOKENS_DEFAULT: u32 = 4096;

/// Why a body is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct ServeError {
    /// JSON Pointer to the place.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

fn wrong(pointer: impl Into<String>, message: impl Into<String>) -> ServeError {
    ServeError {
        pointer: pointer.into(),
        message: message.into(),
    }
}

fn list<'v>(body: &'v Value, member: &str) -> Result<&'v [Value], ServeError> {
    match body.get(member) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(wrong(format!("/{member}"), "expected a list")),
    }
}

fn model(body: &Value) -> Result<ModelAlias, ServeError> {
    let text = body["model"]
        .as_str()
        .ok_or_else(|| wrong("/model", "expected a string"))?;
    ModelAlias::new(text).map_err(|error| wrong("/model", error.to_string()))
}

/// The text of a content that is a string, or the text blocks of a list.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn skill(pointer: &str, name: &Value, description: &Value, schema: &Value) -> Result<SkillManifest, ServeError> {
    let name = names::decode(name.as_str().unwrap_or(""));
    let name = SkillName::new(&name).map_err(|error| wrong(format!("{pointer}/name"), error.to_string()))?;
    Ok(SkillManifest {
        name,
        description: description.as_str().unwrap_or("").into(),
        input_schema: Arc::new(if schema.is_object() {
            schema.clone()
        } else {
            json!({ "type": "object" })
        }),
        // What a client's tool does to the world is not known here.
        class: EffectClass::Once,
        timeout_ms: 0,
        output_bytes_max: RESULT_BYTES_MAX,
        concurrency: 1,
        approval: Approval::Auto,
        resources: Arc::new([]),
        undo: None,
        examples: Arc::new([]),
    })
}

fn tokens(body: &Value, members: &[&str]) -> u32 {
    let given = members.iter().find_map(|member| body[*member].as_u64());
    given.map_or(OUTPUT_TOKENS_DEFAULT, |tokens| tokens.min(u64::from(u32::MAX)) as u32)
}

/// Reads the body of `POST /chat/completions`.
pub fn read_openai_chat(body: &Value) -> Result<ModelRequest, ServeError> {
    let mut system: Vec<String> = Vec::new();
    let mut messages: Vec<Message> = Vec::new();
    for (index, message) in list(body, "messages")?.iter().enumerate() {
        let at = format!("/messages/{index}");
        let text = text_of(&message["content"]);
        match message["role"].as_str() {
            Some("system" | "developer") => system.push(text),
            Some("user") => messages.push(Message::User(text.into())),
            Some("assistant") => {
                let calls = list(message, "tool_calls")?.iter().map(|call| CallRequest {
                    id: call["id"].as_str().unwrap_or("").into(),
                    skill: names::decode(call["function"]["name"].as_str().unwrap_or("")).into(),
                    arguments: arguments::parse(call["function"]["arguments"].as_str().unwrap_or(""), false),
                });
                messages.push(Message::Assistant {
                    text: text.into(),
                    calls: calls.collect(),
                    kept: Arc::new([]),
                });
            }
            Some("tool") => {
                let id = message["tool_call_id"]
                    .as_str()
                    .ok_or_else(|| wrong(format!("{at}/tool_call_id"), "expected a string"))?;
                let error = text.strip_prefix("Error: ");
                let result = CallResult {
                    id: id.into(),
                    content: error.unwrap_or(&text).into(),
                    is_error: error.is_some(),
                };
                match messages.last_mut() {
                    Some(Message::Results(results)) => results.push(result),
                    _ => messages.push(Message::Results(vec![result])),
                }
            }
            _ => return Err(wrong(format!("{at}/role"), "expected system, user, assistant or tool")),
        }
    }
    let tools = list(body, "tools")?.iter().enumerate().map(|(index, tool)| {
        let function = &tool["function"];
        let at = format!("/tools/{index}/function");
        skill(
            &at,
            &function["name"],
            &function["description"],
            &function["parameters"],
        )
    });
    let schema = &body["response_format"]["json_schema"]["schema"];
    Ok(ModelRequest {
        model: model(body)?,
        system: instruction::strip(&system.join("\n\n")).into(),
        messages: in_order(messages).into(),
        skills: tools.collect::<Result<Vec<_>, _>>()?.into(),
        output_schema: schema.is_object().then(|| Arc::new(schema.clone())),
        output_tokens_max: tokens(body, &["max_completion_tokens", "max_tokens"]),
        options: None,
    })
}

/// Reads the body of `POST /v1/messages`.
pub fn read_anthropic(body: &Value) -> Result<ModelRequest, ServeError> {
    let mut messages: Vec<Message> = Vec::new();
    for (index, message) in list(body, "messages")?.iter().enumerate() {
        let at = format!("/messages/{index}");
        let content = &message["content"];
        let blocks = content.as_array().map_or(&[][..], Vec::as_slice);
        match message["role"].as_str() {
            Some("user") => {
                let results: Vec<CallResult> = blocks
                    .iter()
                    .filter(|block| block["type"] == "tool_result")
                    .map(|block| CallResult {
                        id: block["tool_use_id"].as_str().unwrap_or("").into(),
                        content: text_of(&block["content"]).into(),
                        is_error: block["is_error"] == true,
                    })
                    .collect();
                let has_results = !results.is_empty();
                if has_results {
                    messages.push(Message::Results(results));
                }
                let text = text_of(content);
                if !text.is_empty() || !has_results {
                    messages.push(Message::User(text.into()));
                }
            }
            Some("assistant") => {
                let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
                let calls = calls.map(|block| CallRequest {
                    id: block["id"].as_str().unwrap_or("").into(),
                    skill: names::decode(block["name"].as_str().unwrap_or("")).into(),
                    arguments: Arguments::Object(Arc::new(if block["input"].is_object() {
                        block["input"].clone()
                    } else {
                        json!({})
                    })),
                });
                messages.push(Message::Assistant {
                    text: text_of(content).into(),
                    calls: calls.collect(),
                    kept: Arc::new([]),
                });
            }
            _ => return Err(wrong(format!("{at}/role"), "expected user or assistant")),
        }
    }
    let tools = list(body, "tools")?.iter().enumerate().map(|(index, tool)| {
        let at = format!("/tools/{index}");
        skill(&at, &tool["name"], &tool["description"], &tool["input_schema"])
    });
    let system = text_of(&body["system"]);
    // A schema that the provider would refuse as a format was asked for in words alone.
    let schema = match &body["output_config"]["format"]["schema"] {
        schema @ Value::Object(_) => Some(schema.clone()),
        _ => instruction::schema(&system),
    };
    Ok(ModelRequest {
        model: model(body)?,
        system: instruction::strip(&system).into(),
        messages: in_order(messages).into(),
        skills: tools.collect::<Result<Vec<_>, _>>()?.into(),
        output_schema: schema.map(Arc::new),
        output_tokens_max: tokens(body, &["max_tokens"]),
        options: None,
    })
}

/// Reads the body of `POST /v1/responses`. Items of other kinds than messages, calls and their outputs are skipped.
pub fn read_openai_responses(body: &Value) -> Result<ModelRequest, ServeError> {
    let mut system: Vec<String> = body["instructions"].as_str().map(str::to_owned).into_iter().collect();
    let mut messages: Vec<Message> = Vec::new();
    let items = match &body["input"] {
        Value::String(text) => {
            messages.push(Message::User(text.as_str().into()));
            &[]
        }
        _ => list(body, "input")?,
    };
    for (index, item) in items.iter().enumerate() {
        let at = format!("/input/{index}");
        match item["type"].as_str().unwrap_or("message") {
            "message" => {
                let text = text_of(&item["content"]);
                match item["role"].as_str() {
                    Some("system" | "developer") => system.push(text),
                    Some("user") => messages.push(Message::User(text.into())),
                    Some("assistant") => messages.push(Message::Assistant {
                        text: text.into(),
                        calls: Vec::new(),
                        kept: Arc::new([]),
                    }),
                    _ => return Err(wrong(format!("{at}/role"), "expected system, user or assistant")),
                }
            }
            "function_call" => {
                let call = CallRequest {
                    id: item["call_id"].as_str().unwrap_or("").into(),
                    skill: names::decode(item["name"].as_str().unwrap_or("")).into(),
                    arguments: arguments::parse(item["arguments"].as_str().unwrap_or(""), false),
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
            "function_call_output" => {
                let text = text_of(&item["output"]);
                let error = text.strip_prefix("Error: ");
                let result = CallResult {
                    id: item["call_id"].as_str().unwrap_or("").into(),
                    content: error.unwrap_or(&text).into(),
                    is_error: error.is_some(),
                };
                match messages.last_mut() {
                    Some(Message::Results(results)) => results.push(result),
                    _ => messages.push(Message::Results(vec![result])),
                }
            }
            _ => {}
        }
    }
    let tools = list(body, "tools")?.iter().enumerate();
    let tools = tools
        .filter(|(_, tool)| tool["type"] == "function")
        .map(|(index, tool)| {
            let at = format!("/tools/{index}");
            skill(&at, &tool["name"], &tool["description"], &tool["parameters"])
        });
    let schema = &body["text"]["format"]["schema"];
    Ok(ModelRequest {
        model: model(body)?,
        system: instruction::strip(&system.join("\n\n")).into(),
        messages: in_order(messages).into(),
        skills: tools.collect::<Result<Vec<_>, _>>()?.into(),
        output_schema: schema.is_object().then(|| Arc::new(schema.clone())),
        output_tokens_max: tokens(body, &["max_output_tokens"]),
        options: None,
    })
}

/// Results may come in any order; ours follow the calls.
fn in_order(mut messages: Vec<Message>) -> Vec<Message> {
    for index in 1..messages.len() {
        let (before, after) = messages.split_at_mut(index);
        if let (Some(Message::Assistant { calls, .. }), Some(Message::Results(results))) =
            (before.last(), after.first_mut())
        {
            results.sort_by_key(|result| calls.iter().position(|call| call.id == result.id));
        }
    }
    messages
}
