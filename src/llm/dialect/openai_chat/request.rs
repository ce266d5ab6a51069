//! Requests of the Chat Completions dialect.
//!
//! Refuses to know: HTTP. Invariant: every tool message answers a call of the assistant message before it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::conversation::{Arguments, CallRequest, KeptBlock, Message, ModelRequest};
use crate::domain::request_options::{RequestOptions, ToolChoice};
use crate::llm::dialect::gathered::kept_for;
use crate::llm::wire::memo::{Frame, Hand, Memo, Page, Sheet};
use crate::llm::wire::names::Names;
use crate::llm::wire::{ids, instruction};

/// The dialect's name, for kept parts and memos.
pub const NAME: &str = "openai";

#[derive(Serialize)]
struct SentFrame<'r> {
    model: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<SentTool<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'r [Arc<str>],
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum SentMessage<'r> {
    System {
        content: &'r str,
    },
    User {
        content: &'r str,
    },
    Assistant {
        content: Option<&'r str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<&'r RawValue>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<SentCall<'r>>,
    },
    Tool {
        tool_call_id: &'r str,
        content: Cow<'r, str>,
    },
}

#[derive(Serialize)]
struct SentCall<'r> {
    id: &'r str,
    r#type: &'static str,
    function: SentFunction,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<&'r RawValue>,
}

#[derive(Serialize)]
struct SentFunction {
    name: String,
    arguments: String,
}

#[derive(Serialize)]
struct SentTool<'r> {
    r#type: &'static str,
    function: SentDeclaration<'r>,
}

#[derive(Serialize)]
struct SentDeclaration<'r> {
    name: String,
    description: Cow<'r, str>,
    parameters: &'r Value,
}

/// What some servers want back: a member of the message, or of the call that it came with.
#[derive(Deserialize)]
struct KeptMember<'k> {
    #[serde(borrow, default)]
    reasoning_content: Option<&'k RawValue>,
    #[serde(borrow, default)]
    extra_content: Option<&'k RawValue>,
}

/// The request body.
pub fn write_request(request: &ModelRequest, hand: &Hand, memo: &Memo) -> Vec<u8> {
    memo.write(hand, request, |names| frame(request, hand, names), write_message, join)
}

fn frame(request: &ModelRequest, hand: &Hand, names: &Names) -> Frame {
    let tools = request.tools().map(|(name, description, parameters)| SentTool {
        r#type: "function",
        function: SentDeclaration {
            name: names.to_wire(name),
            description,
            parameters,
        },
    });
    let none = RequestOptions::default();
    let options = request.options.as_deref().unwrap_or(&none);
    let has_tools = request.tools().next().is_some();
    let response_format = request.output_schema.as_ref().map(|schema| {
        let name = Names::default().to_wire(schema["title"].as_str().unwrap_or("answer"));
        json!({ "type": "json_schema", "json_schema": { "name": name, "schema": &**schema, "strict": false } })
    });
    let frame = SentFrame {
        model: &hand.model_id,
        // The vendor's present name of the ceiling; compatible servers know only the older one.
        max_completion_tokens: hand.vendor.then_some(request.output_tokens_max),
        max_tokens: (!hand.vendor).then_some(request.output_tokens_max),
        stream: hand.stream.then_some(true),
        stream_options: hand.stream.then(|| json!({ "include_usage": true })),
        tools: tools.collect(),
        response_format,
        tool_choice: match &options.choice {
            _ if !has_tools => None,
            ToolChoice::Auto => None,
            ToolChoice::None => Some("none".into()),
            ToolChoice::Required => Some("required".into()),
            ToolChoice::Tool(name) => Some(json!({ "type": "function", "function": { "name": names.to_wire(name) } })),
        },
        parallel_tool_calls: options.parallel.filter(|_| has_tools),
        temperature: options.temperature,
        top_p: options.top_p,
        stop: &options.stop,
    };
    let mut head = serde_json::to_vec(&frame).expect("texts, numbers and values with text keys can be written");
    head.pop();
    head.extend_from_slice(br#","messages":["#);
    let system = instruction::system(request);
    if !system.is_empty() {
        write(&mut head, &SentMessage::System { content: &system });
    }
    Frame {
        head,
        tail: b"]}".to_vec(),
    }
}

fn write(bytes: &mut Vec<u8>, message: &SentMessage<'_>) {
    serde_json::to_writer(bytes, message).expect("texts and values with text keys can be written");
}

/// Adds a message with a comma before it.
fn add(page: &mut Page, message: &SentMessage<'_>) {
    page.bytes.push(b',');
    write(&mut page.bytes, message);
}

fn write_message(page: &mut Page, place: usize, message: &Message, names: &Names) {
    match message {
        Message::User(text) => add(page, &SentMessage::User { content: text }),
        Message::Assistant { text, calls, kept } => write_said(page, place, (text, calls, kept), names),
        Message::Results(results) => {
            let open = std::mem::take(&mut page.open);
            for (result, id) in results.iter().zip(&open) {
                let message = SentMessage::Tool {
                    tool_call_id: id,
                    content: if result.is_error {
                        format!("Error: {}", result.content).into()
                    } else {
                        Cow::Borrowed(&*result.content)
                    },
                };
                add(page, &message);
            }
        }
    }
}

fn write_said(page: &mut Page, place: usize, said: (&str, &[CallRequest], &[KeptBlock]), names: &Names) {
    let (text, calls, kept) = said;
    let ids = calls
        .iter()
        .enumerate()
        .map(|(index, call)| ids::sendable(&call.id, place, index));
    let open: Vec<String> = ids.collect();
    let kept = kept_for(kept, NAME).filter_map(|(before, json)| {
        let member: Option<KeptMember<'_>> = serde_json::from_str(json.get()).ok();
        member.map(|member| (before, member))
    });
    let kept: Vec<(u32, KeptMember<'_>)> = kept.collect();
    let first_call = u32::from(!text.is_empty());
    let tool_calls = calls.iter().zip(&open).enumerate().map(|(index, (call, id))| SentCall {
        id,
        r#type: "function",
        function: SentFunction {
            name: names.to_wire(&call.skill),
            // Malformed arguments went out with an error as their result; the history stays valid.
            arguments: match &call.arguments {
                Arguments::Object(value) => value.to_string(),
                Arguments::Malformed { .. } => "{}".to_owned(),
            },
        },
        extra_content: kept
            .iter()
            .find_map(|(before, member)| member.extra_content.filter(|_| *before == first_call + index as u32)),
    });
    let message = SentMessage::Assistant {
        content: (calls.is_empty() || !text.is_empty()).then_some(text),
        reasoning_content: kept.iter().find_map(|(_, member)| member.reasoning_content),
        tool_calls: tool_calls.collect(),
    };
    add(page, &message);
    page.open = open;
}

fn join(sheet: &Sheet) -> Vec<u8> {
    let (frame, page) = (&sheet.frame, &sheet.page);
    // Every message brings the comma before it, which the first one of all must not have.
    let is_first = frame.head.ends_with(b"[");
    let messages = page.bytes.get(usize::from(is_first)..).unwrap_or(&[]);
    [&frame.head, messages, &frame.tail].concat()
}
