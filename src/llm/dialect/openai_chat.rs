//! OpenAI's Chat Completions, as OpenAI and the many servers that copy it spell it.
//!
//! Refuses to know: HTTP. Invariants: whether the model wants calls is judged by the calls, never by
//! `finish_reason`; every tool message answers a call of the assistant message before it.
//!
//! **Source**: the request and response types of the vendor's own SDKs; known quirks of compatible servers
//! (arguments as an object, empty or repeated ids, no usage, errors in an answer with status 200).

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

// What is sent is written straight from the conversation: a tree of values in between costs a copy of every schema
// and every message in each turn.
#[derive(Serialize)]
struct Sent<'r> {
    model: &'r str,
    messages: Vec<SentMessage<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<SentTool<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum SentMessage<'r> {
    System {
        content: String,
    },
    User {
        content: &'r str,
    },
    Assistant {
        content: Option<&'r str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<SentCall>,
    },
    Tool {
        tool_call_id: String,
        content: Cow<'r, str>,
    },
}

#[derive(Serialize)]
struct SentCall {
    id: String,
    r#type: &'static str,
    function: SentFunction,
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
    description: &'r str,
    parameters: &'r Value,
}

/// The request body. `newest_fields` takes the vendor's present name of the token ceiling; compatible servers know
/// only the older one.
pub fn write_request(request: &ModelRequest, model_id: &str, newest_fields: bool) -> String {
    let names = Names::of(&request.skills);
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    let system = instruction::system(request);
    if !system.is_empty() {
        messages.push(SentMessage::System { content: system });
    }
    let mut open: Vec<String> = Vec::new();
    for (place, message) in request.messages.iter().enumerate() {
        match message {
            Message::User(text) => messages.push(SentMessage::User { content: text }),
            Message::Assistant { text, calls, .. } => {
                open = calls
                    .iter()
                    .enumerate()
                    .map(|(index, call)| ids::sendable(&call.id, place, index))
                    .collect();
                let tool_calls = calls.iter().zip(&open).map(|(call, id)| SentCall {
                    id: id.clone(),
                    r#type: "function",
                    function: SentFunction {
                        name: names.to_wire(&call.skill),
                        // Malformed arguments went out with an error as their result; the history stays valid.
                        arguments: match &call.arguments {
                            Arguments::Object(value) => value.to_string(),
                            Arguments::Malformed { .. } => "{}".to_owned(),
                        },
                    },
                });
                messages.push(SentMessage::Assistant {
                    content: (calls.is_empty() || !text.is_empty()).then_some(&**text),
                    tool_calls: tool_calls.collect(),
                });
            }
            Message::Results(results) => {
                messages.extend(
                    results
                        .iter()
                        .zip(open.drain(..))
                        .map(|(result, id)| SentMessage::Tool {
                            tool_call_id: id,
                            content: if result.is_error {
                                format!("Error: {}", result.content).into()
                            } else {
                                Cow::Borrowed(&*result.content)
                            },
                        }),
                );
            }
        }
    }
    let tools = request.skills.iter().map(|skill| SentTool {
        r#type: "function",
        function: SentDeclaration {
            name: names.to_wire(skill.name.as_str()),
            description: &skill.description,
            parameters: &skill.input_schema,
        },
    });
    let response_format = request.output_schema.as_ref().map(|schema| {
        let name = Names::default().to_wire(schema["title"].as_str().unwrap_or("answer"));
        json!({ "type": "json_schema", "json_schema": { "name": name, "schema": &**schema, "strict": false } })
    });
    let body = Sent {
        model: model_id,
        messages,
        max_completion_tokens: newest_fields.then_some(request.output_tokens_max),
        max_tokens: (!newest_fields).then_some(request.output_tokens_max),
        tools: tools.collect(),
        response_format,
    };
    serde_json::to_string(&body).expect("texts, numbers and values with text keys can be written")
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Used>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    message: Option<Said>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Said {
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Tool>>,
    #[serde(default)]
    function_call: Option<Function>,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<Box<RawValue>>,
    #[serde(default)]
    id: Option<String>,
}

#[derive(Deserialize)]
struct Used {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
}

/// Reads the response body.
pub fn read_answer(body: &str, request: &ModelRequest) -> Result<ModelAnswer, AskError> {
    let body: Body = match serde_json::from_str(body) {
        Ok(body) => body,
        Err(_) => serde_json::from_str(&surrogate::repair(body)).map_err(|error| {
            AskError::unknown(FailureClass::Malformed, "the answer is not a chat completion").because(error)
        })?,
    };
    if let Some(error) = body.error.filter(|error| !error.is_null()) {
        let message = error["message"]
            .as_str()
            .or(error.as_str())
            .unwrap_or("no reason given");
        let reason = format!(
            "the provider reports an error in its answer: {}",
            text::preview(message, 300)
        );
        return Err(AskError::unknown(FailureClass::Overload, reason));
    }
    let Some(choice) = body.choices.into_iter().flatten().next() else {
        return Err(AskError::unknown(FailureClass::Malformed, "the answer has no choice"));
    };
    let said = choice.message.unwrap_or_default();
    let mut stop = match choice.finish_reason.as_deref() {
        Some("length") => Stop::Length,
        Some("content_filter") => Stop::Refused,
        _ => Stop::End,
    };
    let mut words = said.content.map(content_text).unwrap_or_default();
    if let Some(refusal) = said.refusal.filter(|refusal| !refusal.is_empty()) {
        stop = Stop::Refused;
        words.push_str(&refusal);
    }
    let names = Names::of(&request.skills);
    let cut = stop == Stop::Length;
    let tools = said.tool_calls.into_iter().flatten();
    let tools = tools.filter_map(|tool| tool.function.map(|function| (tool.id, function)));
    let older = said.function_call.map(|function| (None, function));
    let mut calls: Vec<CallRequest> = tools
        .chain(older)
        .map(|(id, function)| CallRequest {
            id: id
                .filter(|id| !id.is_empty())
                .or(function.id)
                .unwrap_or_default()
                .into(),
            skill: names.from_wire(function.name.as_deref().unwrap_or("")).into(),
            arguments: read_arguments(function.arguments.as_deref(), cut),
        })
        .collect();
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
    let input = used
        .as_ref()
        .and_then(|used| used.prompt_tokens)
        .filter(|tokens| *tokens > 0);
    let output = used.as_ref().and_then(|used| used.completion_tokens);
    answer.usage = Usage {
        input: input.unwrap_or_else(|| estimate::request_tokens(request)),
        output: output.unwrap_or_else(|| estimate::answer_tokens(&answer)),
        cache_read: 0,
        cache_write: 0,
        estimated: input.is_none() || output.is_none(),
    };
    Ok(answer)
}

/// Text, or the text parts of a list.
fn content_text(content: Value) -> String {
    match content {
        Value::String(text) => text,
        Value::Array(parts) => {
            let texts = parts
                .iter()
                .filter_map(|part| part["text"].as_str().or(part["refusal"].as_str()));
            texts.collect()
        }
        _ => String::new(),
    }
}

/// Arguments are JSON in a string; some servers send the JSON itself.
fn read_arguments(raw: Option<&RawValue>, cut: bool) -> Arguments {
    let Some(raw) = raw.map(RawValue::get) else {
        return arguments::parse("", cut);
    };
    if raw.starts_with('"') {
        let text: Result<String, _> = serde_json::from_str(raw);
        return arguments::parse(&text.unwrap_or_default(), cut);
    }
    arguments::parse(raw, cut)
}

/// The class of an error that the status alone does not tell.
pub fn error_class(body: &Value) -> Option<FailureClass> {
    let error = &body["error"];
    let code = error["code"].as_str().or(error["type"].as_str()).unwrap_or("");
    match code {
        "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" => Some(FailureClass::Budget),
        "content_filter" | "content_policy_violation" => Some(FailureClass::Refusal),
        _ => None,
    }
}
