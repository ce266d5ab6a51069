//! The bodies of `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::conversation::{Arguments, CallRequest, CallResult, Message};
use crate::domain::request_options::{ClientTool, RequestOptions, ToolChoice};
use crate::gateway::error::ApiError;

use super::body::{Asked, Members, check_tools, push_result, settle, text_of, tool, unsupported, wrong};
use super::read_chat::schema;

/// What is read.
const READ: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "system",
    "stream",
    "temperature",
    "top_p",
    "stop_sequences",
    "tools",
    "tool_choice",
    "output_config",
];
/// What changes nothing in what is answered, or is for the agent's own configuration to say.
const PASSED_OVER: &[&str] = &[
    "metadata",
    "service_tier",
    "thinking",
    "cache_control",
    "inference_geo",
    "diagnostics",
    "speed",
];
/// What is refused.
const REFUSED: &[&str] = &["top_k", "container", "mcp_servers", "context_management"];

/// Reads a request. `is_counting`: nothing is answered, so the ceiling may be left out.
pub fn read(body: &Value, is_counting: bool) -> Result<Asked, ApiError> {
    let members = Members::of(body)?;
    members.only(&[READ, PASSED_OVER, REFUSED])?;
    members.not("top_k", &[], "not every model behind an agent has it")?;
    members.not("container", &[], "agents run things with their own skills")?;
    members.not("mcp_servers", &[json!([])], "servers are configured with the agents")?;
    members.not(
        "context_management",
        &[],
        "long conversations are summarised by the agent itself",
    )?;

    let mut messages: Vec<Message> = Vec::new();
    for (index, item) in members.list("messages")?.iter().enumerate() {
        message(&format!("messages.{index}"), item, &mut messages)?;
    }
    settle("messages", &mut messages)?;
    let mut tools: Vec<ClientTool> = Vec::new();
    for (index, item) in members.list("tools")?.iter().enumerate() {
        let place = format!("tools.{index}");
        let item = Members::at(&place, item)?;
        if item.text("type")?.is_some_and(|kind| kind != "custom") {
            let message = "the client's tools are of type `custom`; others are for the agent's own skills";
            return Err(unsupported(item.place("type"), message));
        }
        let name = item.needed_text("name")?;
        tools.push(tool(&place, name, item.text("description")?, item.get("input_schema"))?);
    }
    check_tools("tools", &tools)?;
    let (choice, parallel) = choice(&members, &tools)?;
    let format = members.get("output_config").map(|config| {
        let config = Members::at("output_config", config)?;
        config.only(&[&["format", "effort"]])?;
        match config.get("format") {
            None => Ok(None),
            Some(format) => schema("output_config.format", format, |format| format),
        }
    });
    let output_tokens_max = members.tokens("max_tokens")?;
    if output_tokens_max.is_none() && !is_counting {
        return Err(wrong("max_tokens", "Field required"));
    }
    Ok(Asked {
        model: members.needed_text("model")?.to_owned(),
        system: text_of("system", members.get("system"), &["text"])?,
        messages,
        options: RequestOptions {
            tools: tools.into(),
            choice,
            parallel,
            temperature: members.number("temperature", 0.0, 1.0)?,
            top_p: members.number("top_p", 0.0, 1.0)?,
            stop: members.stop("stop_sequences")?,
        },
        output_tokens_max,
        schema: format.transpose()?.flatten(),
        stream: members.flag("stream")?.unwrap_or(false),
        repeated: json!({}),
        ..Asked::default()
    })
}

fn message(place: &str, item: &Value, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let members = Members::at(place, item)?;
    let content = members
        .get("content")
        .ok_or_else(|| wrong(members.place("content"), "Field required"))?;
    let whole = [json!({ "type": "text", "text": content })];
    let blocks = match content {
        Value::String(_) => &whole[..],
        Value::Array(blocks) => blocks,
        _ => return Err(wrong(members.place("content"), "expected a string or a list of blocks")),
    };
    let is_user = match members.needed_text("role")? {
        "user" => true,
        "assistant" => false,
        _ => return Err(wrong(members.place("role"), "expected user or assistant")),
    };
    let mut text = String::new();
    let mut calls = Vec::new();
    let mut has_results = false;
    for (index, block) in blocks.iter().enumerate() {
        let block = Members::at(&format!("{place}.content.{index}"), block)?;
        match (block.needed_text("type")?, is_user) {
            ("text", _) => text.push_str(block.needed_text("text")?),
            ("tool_result", true) => {
                has_results = true;
                push_result(
                    messages,
                    CallResult {
                        id: block.needed_text("tool_use_id")?.into(),
                        content: text_of(&block.place("content"), block.get("content"), &["text"])?.into(),
                        is_error: block.flag("is_error")?.unwrap_or(false),
                    },
                );
            }
            ("tool_use", false) => {
                let input = block.get("input").cloned().unwrap_or_else(|| json!({}));
                if !input.is_object() {
                    return Err(wrong(block.place("input"), "expected an object"));
                }
                calls.push(CallRequest {
                    id: block.needed_text("id")?.into(),
                    skill: block.needed_text("name")?.into(),
                    arguments: Arguments::Object(Arc::new(input)),
                });
            }
            // What a model thought means nothing to another one; none is ever given out here.
            ("thinking" | "redacted_thinking", false) => {}
            (kind, _) => {
                let kind = crate::domain::text::preview(kind, 40);
                let message = format!("blocks of type `{kind}` are not taken here; agents read text");
                return Err(unsupported(block.place("type"), message));
            }
        }
    }
    if !is_user {
        messages.push(Message::Assistant {
            text: text.into(),
            calls,
            kept: Arc::new([]),
        });
    } else if !text.is_empty() || !has_results {
        messages.push(Message::User(text.into()));
    }
    Ok(())
}

fn choice(members: &Members<'_>, tools: &[ClientTool]) -> Result<(ToolChoice, Option<bool>), ApiError> {
    let Some(choice) = members.get("tool_choice") else {
        return Ok((ToolChoice::Auto, None));
    };
    let choice = Members::at("tool_choice", choice)?;
    let parallel = choice.flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
    let choice = match choice.needed_text("type")? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => {
            let name = choice.needed_text("name")?;
            if !tools.iter().any(|tool| &*tool.name == name) {
                return Err(wrong("tool_choice.name", "names no tool of this request"));
            }
            ToolChoice::Tool(name.into())
        }
        _ => return Err(wrong("tool_choice.type", "expected auto, any, tool or none")),
    };
    Ok((choice, parallel))
}
