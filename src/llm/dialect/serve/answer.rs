//! Our answer written as a provider's, in one document.
//!
//! Refuses to know: HTTP. Invariant: what is written here is read back by the dialects as the same answer.

use serde_json::{Value, json};

use crate::domain::conversation::{Arguments, ModelAnswer, Stop, Usage};
use crate::llm::wire::names;

/// The arguments to show: what was malformed was never an object.
pub(super) fn shown(arguments: &Arguments) -> Value {
    match arguments {
        Arguments::Object(value) => (**value).clone(),
        Arguments::Malformed { .. } => json!({}),
    }
}

pub(super) fn openai_chat_reason(answer: &ModelAnswer) -> &'static str {
    match answer.stop {
        Stop::Length => "length",
        Stop::Refused => "content_filter",
        Stop::End | Stop::Paused if answer.calls.is_empty() => "stop",
        Stop::End | Stop::Paused => "tool_calls",
    }
}

pub(super) fn openai_chat_usage(usage: Usage) -> Value {
    json!({ "prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.total(),
            "prompt_tokens_details": { "cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write } })
}

pub(super) fn anthropic_reason(answer: &ModelAnswer) -> &'static str {
    match answer.stop {
        Stop::Length => "max_tokens",
        Stop::Refused => "refusal",
        Stop::Paused => "pause_turn",
        Stop::End if answer.calls.is_empty() => "end_turn",
        Stop::End => "tool_use",
    }
}

pub(super) fn anthropic_usage(usage: Usage) -> Value {
    // There, cached tokens are counted beside the others.
    let fresh = usage
        .input
        .saturating_sub(usage.cache_read)
        .saturating_sub(usage.cache_write);
    json!({ "input_tokens": fresh, "cache_read_input_tokens": usage.cache_read,
            "cache_creation_input_tokens": usage.cache_write, "output_tokens": usage.output })
}

/// Writes the answer as a chat completion. `created_s` is Unix time.
pub fn write_openai_chat(answer: &ModelAnswer, id: &str, created_s: u64) -> Value {
    let calls: Vec<Value> = answer
        .calls
        .iter()
        .map(|call| {
            json!({ "id": &*call.id, "type": "function", "function": {
                "name": names::encode(&call.skill), "arguments": shown(&call.arguments).to_string() } })
        })
        .collect();
    let mut message = json!({ "role": "assistant", "content": &*answer.text, "refusal": null });
    if !calls.is_empty() {
        if answer.text.is_empty() {
            message["content"] = Value::Null;
        }
        message["tool_calls"] = calls.into();
    }
    let reason = openai_chat_reason(answer);
    json!({
        "id": id,
        "object": "chat.completion",
        "created": created_s,
        "model": &*answer.answered_by,
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": reason }],
        "usage": openai_chat_usage(answer.usage),
    })
}

/// Writes the answer as a message.
pub fn write_anthropic(answer: &ModelAnswer, id: &str) -> Value {
    let mut content = Vec::new();
    if !answer.text.is_empty() {
        content.push(json!({ "type": "text", "text": &*answer.text }));
    }
    content.extend(answer.calls.iter().map(|call| {
        let name = names::encode(&call.skill);
        json!({ "type": "tool_use", "id": &*call.id, "name": name, "input": shown(&call.arguments) })
    }));
    json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": &*answer.answered_by,
        "content": content,
        "stop_reason": anthropic_reason(answer),
        "stop_sequence": null,
        "usage": anthropic_usage(answer.usage),
    })
}

/// Writes the answer as a response. `created_s` is Unix time.
pub fn write_openai_responses(answer: &ModelAnswer, id: &str, created_s: u64) -> Value {
    let mut output = Vec::new();
    if !answer.text.is_empty() || answer.calls.is_empty() {
        output.push(openai_responses_message_of(&format!("{id}_message"), &answer.text));
    }
    output.extend(answer.calls.iter().enumerate().map(|(index, call)| {
        let item = format!("{id}_{index}");
        openai_responses_call(
            &item,
            &call.id,
            &names::encode(&call.skill),
            &shown(&call.arguments).to_string(),
        )
    }));
    let mut response = openai_responses_head(id, created_s, &answer.answered_by);
    let (status, details) = match answer.stop {
        Stop::Length => ("incomplete", json!({ "reason": "max_output_tokens" })),
        Stop::Refused => ("incomplete", json!({ "reason": "content_filter" })),
        Stop::End | Stop::Paused => ("completed", Value::Null),
    };
    response["status"] = status.into();
    response["incomplete_details"] = details;
    response["output"] = output.into();
    response["usage"] = json!({
        "input_tokens": answer.usage.input, "output_tokens": answer.usage.output, "total_tokens": answer.usage.total(),
        "input_tokens_details": { "cached_tokens": answer.usage.cache_read, "cache_write_tokens": answer.usage.cache_write },
    });
    response
}

/// A response that has only begun.
pub(super) fn openai_responses_head(id: &str, created_s: u64, model: &str) -> Value {
    json!({ "id": id, "object": "response", "created_at": created_s, "status": "in_progress", "model": model,
            "error": null, "incomplete_details": null, "output": [], "usage": null, "store": false })
}

pub(super) fn openai_responses_message_of(item: &str, text: &str) -> Value {
    json!({ "type": "message", "id": item, "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }] })
}

pub(super) fn openai_responses_call(item: &str, id: &str, name: &str, arguments: &str) -> Value {
    json!({ "type": "function_call", "id": item, "call_id": id, "name": name, "arguments": arguments,
            "status": "completed" })
}
