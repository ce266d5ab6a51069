//! Requests of the Responses dialect.
//!
//! Refuses to know: HTTP. Invariants: nothing is stored at the provider and nothing there is referred to; an output
//! answers its call by `call_id`, the `id` of an item is never sent except within a kept item; kept items go back
//! byte for byte where they were.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::conversation::{Arguments, CallRequest, KeptBlock, Message, ModelRequest};
use crate::domain::request_options::{RequestOptions, ToolChoice};
use crate::llm::dialect::gathered::kept_for;
use crate::llm::wire::memo::{Frame, Hand, Memo, Page, Sheet};
use crate::llm::wire::names::Names;
use crate::llm::wire::{ids, instruction};

/// The dialect's name, for kept parts and memos.
pub const NAME: &str = "openai-responses";

#[derive(Serialize)]
struct SentFrame<'r> {
    model: &'r str,
    store: bool,
    max_output_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    include: &'static [&'static str],
    #[serde(skip_serializing_if = "String::is_empty")]
    instructions: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<SentTool<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
}

#[derive(Serialize)]
struct SentTool<'r> {
    r#type: &'static str,
    name: String,
    description: Cow<'r, str>,
    parameters: &'r Value,
    strict: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SentItem<'r> {
    Message {
        role: &'static str,
        content: &'r str,
    },
    FunctionCall {
        call_id: &'r str,
        name: String,
        arguments: String,
    },
    FunctionCallOutput {
        call_id: &'r str,
        output: Cow<'r, str>,
    },
}

/// The request body.
pub fn write_request(request: &ModelRequest, hand: &Hand, memo: &Memo) -> Vec<u8> {
    memo.write(hand, request, |names| frame(request, hand, names), write_message, join)
}

fn frame(request: &ModelRequest, hand: &Hand, names: &Names) -> Frame {
    let none = RequestOptions::default();
    let options = request.options.as_deref().unwrap_or(&none);
    let has_tools = request.tools().next().is_some();
    let tools = request.tools().map(|(name, description, parameters)| SentTool {
        r#type: "function",
        name: names.to_wire(name),
        description,
        parameters,
        // Strict schemas must be closed and name every member as required; skills are checked here instead.
        strict: false,
    });
    let text = request.output_schema.as_ref().map(|schema| {
        let name = Names::default().to_wire(schema["title"].as_str().unwrap_or("answer"));
        json!({ "format": { "type": "json_schema", "name": name, "schema": &**schema, "strict": false } })
    });
    let frame = SentFrame {
        model: &hand.model_id,
        store: false,
        max_output_tokens: request.output_tokens_max,
        stream: hand.stream.then_some(true),
        // What a reasoning model thought comes back only in this form when nothing is stored.
        include: if reasons(&hand.model_id) {
            &["reasoning.encrypted_content"]
        } else {
            &[]
        },
        instructions: instruction::system(request),
        tools: tools.collect(),
        text,
        // This dialect knows no sequences at which an answer ends; who asks for them is told so before.
        tool_choice: match &options.choice {
            _ if !has_tools => None,
            ToolChoice::Auto => None,
            ToolChoice::None => Some("none".into()),
            ToolChoice::Required => Some("required".into()),
            ToolChoice::Tool(name) => Some(json!({ "type": "function", "name": names.to_wire(name) })),
        },
        parallel_tool_calls: options.parallel.filter(|_| has_tools),
        temperature: options.temperature,
        top_p: options.top_p,
    };
    let mut head = serde_json::to_vec(&frame).expect("texts, numbers and values with text keys can be written");
    head.pop();
    head.extend_from_slice(br#","input":["#);
    Frame {
        head,
        tail: b"]}".to_vec(),
    }
}

/// Whether a model may reason. The vendor refuses the request for encrypted reasoning from those that do not, which
/// are the older ones; models of the future are taken to reason.
fn reasons(model_id: &str) -> bool {
    let name = model_id.rsplit('/').next().unwrap_or(model_id);
    let older = ["gpt-3", "gpt-4", "chatgpt-", "gpt-5-chat"];
    !older.iter().any(|prefix| name.starts_with(prefix)) && !name.ends_with("-chat-latest")
}

fn add(page: &mut Page, item: &(impl Serialize + ?Sized)) {
    page.bytes.push(b',');
    serde_json::to_writer(&mut page.bytes, item).expect("texts and values with text keys can be written");
}

fn write_message(page: &mut Page, place: usize, message: &Message, names: &Names) {
    match message {
        Message::User(text) => add(
            page,
            &SentItem::Message {
                role: "user",
                content: text,
            },
        ),
        Message::Assistant { text, calls, kept } => write_said(page, place, (text, calls, kept), names),
        Message::Results(results) => {
            let open = std::mem::take(&mut page.open);
            for (result, id) in results.iter().zip(&open) {
                let item = SentItem::FunctionCallOutput {
                    call_id: id,
                    output: if result.is_error {
                        format!("Error: {}", result.content).into()
                    } else {
                        Cow::Borrowed(&*result.content)
                    },
                };
                add(page, &item);
            }
        }
    }
}

fn write_said(page: &mut Page, place: usize, said: (&str, &[CallRequest], &[KeptBlock]), names: &Names) {
    let (text, calls, kept) = said;
    let mut kept = kept_for(kept, NAME).peekable();
    let mut keep_up_to = |page: &mut Page, part: u32| {
        while let Some((_, json)) = kept.next_if(|(before, _)| *before <= part) {
            add(page, json);
        }
    };
    let mut part = 0;
    keep_up_to(page, part);
    if !text.is_empty() || calls.is_empty() {
        let item = SentItem::Message {
            role: "assistant",
            content: text,
        };
        add(page, &item);
        part += 1;
    }
    page.open.clear();
    for (index, call) in calls.iter().enumerate() {
        keep_up_to(page, part);
        part += 1;
        let id = ids::sendable(&call.id, place, index);
        let item = SentItem::FunctionCall {
            call_id: &id,
            name: names.to_wire(&call.skill),
            // Malformed arguments went out with an error as their result; the history stays valid.
            arguments: match &call.arguments {
                Arguments::Object(value) => value.to_string(),
                Arguments::Malformed { .. } => "{}".to_owned(),
            },
        };
        add(page, &item);
        page.open.push(id);
    }
    // A kept item after the last part belongs to nothing that follows, and the provider refuses one without it.
}

fn join(sheet: &Sheet) -> Vec<u8> {
    let (frame, page) = (&sheet.frame, &sheet.page);
    // Every item brings the comma before it, which the first one must not have.
    let items = page.bytes.get(1..).unwrap_or(&[]);
    [&frame.head, items, &frame.tail].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_that_reason_are_asked_for_it() {
        let check = |id: &str, expected: bool| assert_eq!(reasons(id), expected, "{id}");
        check("gpt-5.1", true);
        check("o3-mini", true);
        check("openai/gpt-oss-20b", true);
        check("gpt-4o-mini", false);
        check("openai/gpt-4.1", false);
        check("gpt-5-chat-latest", false);
        check("gpt-5.2-chat-latest", false);
    }
}
