//! The body of `POST /v1/chat/completions`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::conversation::{CallRequest, CallResult, Message};
use crate::domain::request_options::{ClientTool, RequestOptions, ToolChoice};
use crate::gateway::error::ApiError;
use crate::llm::wire::arguments;

use super::body::{Asked, Members, check_tools, open, push_result, settle, text_of, tool, unsupported, wrong};

/// What is read.
const READ: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
];
/// What changes nothing in what is answered, or is for the agent's own configuration to say.
const PASSED_OVER: &[&str] = &[
    "metadata",
    "store",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "seed",
    "reasoning_effort",
    "verbosity",
    "prediction",
];
/// What is taken with the value that it has by itself, and refused with any other.
const REFUSED: &[&str] = &[
    "n",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "frequency_penalty",
    "presence_penalty",
    "modalities",
    "audio",
    "functions",
    "function_call",
    "web_search_options",
    "moderation",
];

/// Reads it.
pub fn read(body: &Value) -> Result<Asked, ApiError> {
    let members = Members::of(body)?;
    members.only(&[READ, PASSED_OVER, REFUSED])?;
    members.not("n", &[json!(1)], "one answer is given for a request")?;
    let not_said = "how likely tokens are is not said here";
    members.not("logprobs", &[json!(false)], not_said)?;
    members.not("top_logprobs", &[json!(0)], not_said)?;
    members.not("logit_bias", &[json!({})], "not every model behind an agent has it")?;
    for name in ["frequency_penalty", "presence_penalty"] {
        members.not(name, &[json!(0), json!(0.0)], "not every model behind an agent has it")?;
    }
    members.not("modalities", &[json!(["text"])], "agents answer in text")?;
    members.not("audio", &[], "agents answer in text")?;
    members.not("web_search_options", &[], "agents search with their own skills")?;
    members.not("moderation", &[], "agents have their own rules")?;
    members.not("functions", &[json!([])], "use `tools`")?;
    members.not("function_call", &[], "use `tool_choice`")?;

    let mut system: Vec<String> = Vec::new();
    let mut messages: Vec<Message> = Vec::new();
    for (index, item) in members.list("messages")?.iter().enumerate() {
        message(&format!("messages[{index}]"), item, &mut system, &mut messages)?;
    }
    let is_opened = open(&mut messages, !system.is_empty());
    settle("messages", &mut messages)?;
    let stream = members.flag("stream")?.unwrap_or(false);
    let mut stream_usage = false;
    if let Some(options) = members.get("stream_options") {
        let options = Members::at("stream_options", options)?;
        options.only(&[&["include_usage", "include_obfuscation"]])?;
        if !stream {
            return Err(wrong("stream_options", "is for requests with `stream`"));
        }
        stream_usage = options.flag("include_usage")?.unwrap_or(false);
    }
    let tools = tools(&members)?;
    let options = RequestOptions {
        choice: choice(&members, &tools)?,
        tools: tools.into(),
        parallel: members.flag("parallel_tool_calls")?,
        temperature: members.number("temperature", 0.0, 2.0)?,
        top_p: members.number("top_p", 0.0, 1.0)?,
        stop: members.stop("stop")?,
    };
    let newer = members.tokens("max_completion_tokens")?;
    Ok(Asked {
        model: members.needed_text("model")?.to_owned(),
        system: system.join("\n\n"),
        rules: Vec::new(),
        messages,
        is_opened,
        options,
        output_tokens_max: newer.or(members.tokens("max_tokens")?),
        schema: members
            .get("response_format")
            .map(|format| schema("response_format", format, |format| &format["json_schema"]))
            .transpose()?
            .flatten(),
        stream,
        stream_usage,
        repeated: json!({}),
        store: false,
        background: false,
        previous: None,
    })
}

/// The schema of a format of the answer. `inner` finds where name and schema stand.
pub(super) fn schema(
    place: &str,
    format: &Value,
    inner: impl Fn(&Value) -> &Value,
) -> Result<Option<Arc<Value>>, ApiError> {
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Arc::new(json!({ "type": "object" })))),
        Some("json_schema") => match &inner(format)["schema"] {
            schema @ Value::Object(_) if jsonschema::validator_for(schema).is_ok() => {
                Ok(Some(Arc::new(schema.clone())))
            }
            _ => Err(wrong(place, "expected a JSON Schema in `schema`")),
        },
        _ => Err(unsupported(
            format!("{place}.type"),
            "expected text, json_object or json_schema",
        )),
    }
}

fn message(place: &str, item: &Value, system: &mut Vec<String>, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let members = Members::at(place, item)?;
    let content = format!("{place}.content");
    match members.needed_text("role")? {
        "system" | "developer" => system.push(text_of(&content, members.get("content"), &["text"])?),
        "user" => {
            let text = text_of(&content, members.get("content"), &["text"])?;
            messages.push(Message::User(text.into()));
        }
        "assistant" => {
            members.not("audio", &[], "agents answer in text")?;
            members.not("function_call", &[], "use `tool_calls`")?;
            let mut text = text_of(&content, members.get("content"), &["text", "refusal"])?;
            text.push_str(members.text("refusal")?.unwrap_or(""));
            let mut calls = Vec::new();
            for (index, call) in members.list("tool_calls")?.iter().enumerate() {
                let at = format!("{place}.tool_calls[{index}]");
                let call = Members::at(&at, call)?;
                if call.text("type")?.is_some_and(|kind| kind != "function") {
                    return Err(unsupported(call.place("type"), "calls are of type `function`"));
                }
                let function = call
                    .get("function")
                    .ok_or_else(|| wrong(call.place("function"), "expected an object"))?;
                let function = Members::at(&call.place("function"), function)?;
                calls.push(CallRequest {
                    id: call.needed_text("id")?.into(),
                    skill: function.needed_text("name")?.into(),
                    arguments: arguments::parse(function.text("arguments")?.unwrap_or(""), false),
                });
            }
            messages.push(Message::Assistant {
                text: text.into(),
                calls,
                kept: Arc::new([]),
            });
        }
        "tool" => push_result(
            messages,
            CallResult {
                id: members.needed_text("tool_call_id")?.into(),
                content: text_of(&content, members.get("content"), &["text"])?.into(),
                is_error: false,
            },
        ),
        role => {
            let role = crate::domain::text::preview(role, 40);
            let message = format!("expected system, developer, user, assistant or tool, found `{role}`");
            return Err(wrong(members.place("role"), message));
        }
    }
    Ok(())
}

fn tools(members: &Members<'_>) -> Result<Vec<ClientTool>, ApiError> {
    let mut tools = Vec::new();
    for (index, item) in members.list("tools")?.iter().enumerate() {
        let place = format!("tools[{index}]");
        let item = Members::at(&place, item)?;
        if item.needed_text("type")? != "function" {
            return Err(unsupported(
                item.place("type"),
                "the client's tools are of type `function`",
            ));
        }
        let at = item.place("function");
        let function = item.get("function").ok_or_else(|| wrong(&*at, "expected an object"))?;
        let function = Members::at(&at, function)?;
        let name = function.needed_text("name")?;
        tools.push(tool(
            &at,
            name,
            function.text("description")?,
            function.get("parameters"),
        )?);
    }
    check_tools("tools", &tools)?;
    Ok(tools)
}

fn choice(members: &Members<'_>, tools: &[ClientTool]) -> Result<ToolChoice, ApiError> {
    let Some(choice) = members.get("tool_choice") else {
        return Ok(ToolChoice::Auto);
    };
    named_choice("tool_choice", choice, &choice["function"]["name"], tools)
}

/// A choice in one word, or of one function.
pub(super) fn named_choice(
    place: &str,
    choice: &Value,
    name: &Value,
    tools: &[ClientTool],
) -> Result<ToolChoice, ApiError> {
    match choice.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::None),
        Some("required") => return Ok(ToolChoice::Required),
        _ => {}
    }
    if choice["type"] != "function" {
        return Err(unsupported(place, "expected auto, none, required or one function"));
    }
    let name = name.as_str().unwrap_or("");
    if !tools.iter().any(|tool| &*tool.name == name) {
        return Err(wrong(place, "names no tool of this request"));
    }
    Ok(ToolChoice::Tool(name.into()))
}
