//! Answers as chat completions, whole and in chunks.

use serde_json::{Value, json};

use crate::domain::conversation::{Arguments, CallRequest, Stop, Usage};
use crate::domain::id::RunId;

use super::told::{Ending, How, Say, Told};

/// Stands between the texts of two turns.
const BETWEEN: &str = "\n\n";

/// The arguments of a call as JSON text: what is malformed is never handed over.
pub(super) fn arguments(call: &CallRequest) -> String {
    match &call.arguments {
        Arguments::Object(value) => value.to_string(),
        Arguments::Malformed { .. } => "{}".to_owned(),
    }
}

/// The digits of a run's id, for the ids of what it answers.
pub fn digits(run: RunId) -> String {
    let text = run.to_string();
    text.split_once('_')
        .map_or_else(String::new, |(_, digits)| digits.to_owned())
}

fn reason(ending: &Ending, has_calls: bool) -> &'static str {
    match (&ending.how, ending.stop) {
        (How::Refused(_), _) | (_, Stop::Refused) => "content_filter",
        _ if has_calls => "tool_calls",
        (_, Stop::Length) => "length",
        _ => "stop",
    }
}

fn usage(usage: Usage) -> Value {
    json!({ "prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.total(),
            "prompt_tokens_details": { "cached_tokens": usage.cache_read, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0 } })
}

/// A whole answer.
pub fn whole(run: RunId, model: &str, told: &Told, ending: &Ending) -> Value {
    let calls = told.calls.iter().map(|call| {
        json!({ "id": &*call.id, "type": "function",
                "function": { "name": &*call.skill, "arguments": arguments(call) } })
    });
    let calls: Vec<Value> = calls.collect();
    let text = told.texts.join(BETWEEN);
    let refusal = match &ending.how {
        How::Refused(reason) if text.is_empty() => json!(&**reason),
        _ => Value::Null,
    };
    let is_silent = text.is_empty() && (!calls.is_empty() || !refusal.is_null());
    let mut message = json!({ "role": "assistant", "content": text, "refusal": refusal, "annotations": [] });
    if is_silent {
        message["content"] = Value::Null;
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    json!({
        "id": format!("chatcmpl-{}", digits(run)),
        "object": "chat.completion",
        "created": run.made_at().0 / 1000,
        "model": model,
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": reason(ending, !told.calls.is_empty()) }],
        "usage": usage(ending.usage),
        "service_tier": "default",
        "system_fingerprint": null,
    })
}

/// Writes chunks, each as the text of one event.
#[derive(Debug)]
pub struct Chunks {
    head: Value,
    with_usage: bool,
    calls: usize,
    /// Whether a text is complete: another one is set apart from it.
    is_between: bool,
}

impl Chunks {
    /// Of this run. `with_usage`: the last chunk has no choice and the usage.
    pub fn new(run: RunId, model: &str, with_usage: bool) -> Self {
        let head = json!({
            "id": format!("chatcmpl-{}", digits(run)),
            "object": "chat.completion.chunk",
            "created": run.made_at().0 / 1000,
            "model": model,
            "service_tier": "default",
            "system_fingerprint": null,
        });
        Self {
            head,
            with_usage,
            calls: 0,
            is_between: false,
        }
    }

    fn chunk(&self, delta: &Value, reason: Option<&str>) -> String {
        let mut chunk = self.head.clone();
        chunk["choices"] = json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason }]);
        if self.with_usage {
            chunk["usage"] = Value::Null;
        }
        format!("data: {chunk}\n\n")
    }

    /// What comes first.
    pub fn begin(&self) -> String {
        self.chunk(&json!({ "role": "assistant", "content": "", "refusal": null }), None)
    }

    /// What is told, but for a text that is dropped and an end without an answer, which are errors here.
    pub fn say(&mut self, say: &Say) -> String {
        match say {
            Say::Text(text) => {
                let between = if std::mem::take(&mut self.is_between) {
                    BETWEEN
                } else {
                    ""
                };
                self.chunk(&json!({ "content": format!("{between}{text}") }), None)
            }
            Say::EndText => {
                self.is_between = true;
                String::new()
            }
            Say::Dropped | Say::Anew => String::new(),
            Say::Calls(calls) => {
                let mut chunks = String::new();
                for call in calls {
                    let index = self.calls;
                    self.calls += 1;
                    let begun = json!({ "index": index, "id": &*call.id, "type": "function",
                        "function": { "name": &*call.skill, "arguments": "" } });
                    chunks.push_str(&self.chunk(&json!({ "tool_calls": [begun] }), None));
                    let argued = json!({ "index": index, "function": { "arguments": arguments(call) } });
                    chunks.push_str(&self.chunk(&json!({ "tool_calls": [argued] }), None));
                }
                chunks
            }
            Say::End(ending) => {
                let mut chunks = String::new();
                if let How::Refused(reason) = &ending.how {
                    chunks.push_str(&self.chunk(&json!({ "refusal": &**reason }), None));
                }
                chunks.push_str(&self.chunk(&json!({}), Some(reason(ending, self.calls > 0))));
                if self.with_usage {
                    let mut last = self.head.clone();
                    last["choices"] = json!([]);
                    last["usage"] = usage(ending.usage);
                    chunks.push_str("data: ");
                    chunks.push_str(&last.to_string());
                    chunks.push_str("\n\n");
                }
                chunks.push_str("data: [DONE]\n\n");
                chunks
            }
        }
    }
}
