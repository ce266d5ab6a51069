//! Requests of the Messages dialect.
//!
//! Refuses to know: HTTP. Invariants: user and assistant alternate; all results of a turn are in one user message,
//! first in it; no text block is empty; kept parts go back byte for byte where they were; at most four places are
//! marked for the provider's cache, none of them in a kept part.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::conversation::{Arguments, CallRequest, KeptBlock, Message, ModelRequest};
use crate::domain::request_options::{RequestOptions, ToolChoice};
use crate::llm::dialect::gathered::kept_for;
use crate::llm::wire::memo::{Frame, Hand, Memo, Page, Sheet};
use crate::llm::wire::names::Names;
use crate::llm::wire::{ids, instruction};

/// The dialect's name, for kept parts and memos.
pub const NAME: &str = "anthropic";
/// The version of the API that this dialect is.
pub const VERSION: &str = "2023-06-01";

/// Ends a block so that the provider caches everything up to it; takes the place of the block's last bracket.
const MARK: &[u8] = br#","cache_control":{"type":"ephemeral"}}"#;
const ASSISTANT: &str = "assistant";
const USER: &str = "user";
/// The most randomness that is taken.
const TEMPERATURE_MAX: f64 = 1.0;

#[derive(Serialize)]
struct SentFrame<'r> {
    model: &'r str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<SentTool<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<SentSystem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'r [Arc<str>],
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SentBlock<'r> {
    Text {
        text: &'r str,
    },
    ToolUse {
        id: &'r str,
        name: String,
        input: Cow<'r, Value>,
    },
    ToolResult {
        tool_use_id: &'r str,
        content: &'r str,
        #[serde(skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
    },
}

#[derive(Serialize)]
struct SentSystem {
    r#type: &'static str,
    text: String,
    cache_control: Value,
}

#[derive(Serialize)]
struct SentTool<'r> {
    name: String,
    description: Cow<'r, str>,
    input_schema: &'r Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Value>,
}

const NO_TEXT: SentBlock<'_> = SentBlock::Text { text: "(no text)" };

/// The request body.
pub fn write_request(request: &ModelRequest, hand: &Hand, memo: &Memo) -> Vec<u8> {
    memo.write(
        hand,
        request,
        |names| frame(request, hand, names),
        write_message,
        |sheet| join(request, sheet),
    )
}

fn frame(request: &ModelRequest, hand: &Hand, names: &Names) -> Frame {
    let mark = || json!({ "type": "ephemeral" });
    let last = request.tools().count().saturating_sub(1);
    let tools = request.tools().enumerate();
    let tools = tools.map(|(place, (name, description, input_schema))| SentTool {
        name: names.to_wire(name),
        description,
        input_schema,
        cache_control: (place == last).then(mark),
    });
    let none = RequestOptions::default();
    let options = request.options.as_deref().unwrap_or(&none);
    let choice = match &options.choice {
        ToolChoice::Auto => options.parallel.map(|_| json!({ "type": "auto" })),
        ToolChoice::None => Some(json!({ "type": "none" })),
        ToolChoice::Required => Some(json!({ "type": "any" })),
        ToolChoice::Tool(name) => Some(json!({ "type": "tool", "name": names.to_wire(name) })),
    };
    let choice = choice.filter(|_| request.tools().next().is_some()).map(|mut choice| {
        if options.parallel == Some(false) && choice["type"] != "none" {
            choice["disable_parallel_tool_use"] = true.into();
        }
        choice
    });
    let system = instruction::system(request);
    let system = (!system.trim().is_empty()).then(|| SentSystem {
        r#type: "text",
        text: system,
        cache_control: mark(),
    });
    let schema = request.output_schema.as_ref().filter(|schema| is_strict(schema));
    let frame = SentFrame {
        model: &hand.model_id,
        max_tokens: request.output_tokens_max,
        stream: hand.stream.then_some(true),
        tools: tools.collect(),
        system: system.into_iter().collect(),
        output_config: schema.map(|schema| json!({ "format": { "type": "json_schema", "schema": &**schema } })),
        tool_choice: choice,
        // Other vendors' clients go up to 2, which this one refuses.
        temperature: options.temperature.map(|temperature| temperature.min(TEMPERATURE_MAX)),
        top_p: options.top_p,
        stop_sequences: &options.stop,
    };
    let mut head = serde_json::to_vec(&frame).expect("texts, numbers and values with text keys can be written");
    head.pop();
    head.extend_from_slice(br#","messages":["#);
    Frame {
        head,
        tail: b"]}".to_vec(),
    }
}

fn write_message(page: &mut Page, place: usize, message: &Message, names: &Names) {
    match message {
        Message::User(text) => {
            turn_to(page, USER);
            let block = SentBlock::Text { text };
            add(page, if text.trim().is_empty() { &NO_TEXT } else { &block });
        }
        Message::Assistant { text, calls, kept } => {
            turn_to(page, ASSISTANT);
            write_said(page, place, (text, calls, kept), names);
        }
        Message::Results(results) => {
            turn_to(page, USER);
            let open = std::mem::take(&mut page.open);
            for (result, id) in results.iter().zip(&open) {
                let block = SentBlock::ToolResult {
                    tool_use_id: id,
                    content: &result.content,
                    is_error: result.is_error.then_some(true),
                };
                add(page, &block);
            }
        }
    }
}

/// Text and calls, and between them what was kept, where it was.
fn write_said(page: &mut Page, place: usize, said: (&str, &[CallRequest], &[KeptBlock]), names: &Names) {
    let (text, calls, kept) = said;
    let start = page.bytes.len();
    let mut kept = kept_for(kept, NAME).peekable();
    let mut part = 0;
    let mut keep_up_to = |page: &mut Page, part: u32| {
        while let Some((_, json)) = kept.next_if(|(before, _)| *before <= part) {
            add(page, json);
        }
    };
    keep_up_to(page, part);
    if !text.is_empty() {
        if !text.trim().is_empty() {
            add(page, &SentBlock::Text { text });
        }
        part += 1;
    }
    page.open.clear();
    for (index, call) in calls.iter().enumerate() {
        keep_up_to(page, part);
        part += 1;
        let id = ids::sendable(&call.id, place, index);
        let block = SentBlock::ToolUse {
            id: &id,
            name: names.to_wire(&call.skill),
            input: match &call.arguments {
                Arguments::Object(value) => Cow::Borrowed(&**value),
                Arguments::Malformed { .. } => Cow::Owned(json!({})),
            },
        };
        add(page, &block);
        page.open.push(id);
    }
    keep_up_to(page, u32::MAX);
    if page.bytes.len() == start {
        add(page, &NO_TEXT);
    }
}

/// Ends the open message when the next one has another role.
fn turn_to(page: &mut Page, role: &'static str) {
    if page.role == Some(role) {
        return;
    }
    if page.role.is_some() {
        page.bytes.extend_from_slice(b"]},");
    }
    page.bytes.extend_from_slice(br#"{"role":""#);
    page.bytes.extend_from_slice(role.as_bytes());
    page.bytes.extend_from_slice(br#"","content":["#);
    page.role = Some(role);
}

fn add(page: &mut Page, block: &(impl Serialize + ?Sized)) {
    if page.bytes.last() != Some(&b'[') {
        page.bytes.push(b',');
    }
    serde_json::to_writer(&mut page.bytes, block).expect("texts and values with text keys can be written");
}

/// Joins the parts and marks what a later request will begin with: the end of this one, and the end of the one
/// before it, because the provider looks back only a few blocks from a mark.
fn join(request: &ModelRequest, sheet: &Sheet) -> Vec<u8> {
    let (frame, page) = (&sheet.frame, &sheet.page);
    let is_user = |place: &usize| !matches!(request.messages[*place], Message::Assistant { .. });
    let earlier = request
        .messages
        .iter()
        .rposition(|message| matches!(message, Message::Assistant { .. }));
    let earlier = earlier.and_then(|place| place.checked_sub(1)).filter(is_user);
    let last = request.messages.len().checked_sub(1).filter(is_user);
    let is_lasting = !request.skills.is_empty() || earlier.is_some();
    let mut marks: Vec<usize> = [earlier, last]
        .into_iter()
        .flatten()
        .filter(|_| is_lasting)
        .map(|place| page.ends[place])
        .collect();
    marks.dedup();
    let room = frame.head.len() + page.bytes.len() + frame.tail.len() + 2 * MARK.len() + 2;
    let mut body = Vec::with_capacity(room);
    body.extend_from_slice(&frame.head);
    let mut copied = 0;
    for end in marks {
        body.extend_from_slice(&page.bytes[copied..end - 1]);
        body.extend_from_slice(MARK);
        copied = end;
    }
    body.extend_from_slice(&page.bytes[copied..]);
    if page.role.is_some() {
        body.extend_from_slice(b"]}");
    }
    body.extend_from_slice(&frame.tail);
    body
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
