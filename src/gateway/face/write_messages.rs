//! Answers as messages, whole and as events.

use serde_json::{Value, json};

use crate::domain::conversation::{Arguments, CallRequest, Stop, Usage};
use crate::domain::id::RunId;

use super::told::{Ending, How, Say, Told};
use super::write_chat::{arguments, digits};

fn reason(ending: &Ending, has_calls: bool) -> &'static str {
    match (&ending.how, ending.stop) {
        (How::Refused(_), _) | (_, Stop::Refused) => "refusal",
        _ if has_calls => "tool_use",
        (_, Stop::Length) => "max_tokens",
        _ => "end_turn",
    }
}

fn usage(usage: Usage) -> Value {
    // There, cached tokens are counted beside the others.
    let cached = usage.cache_read.saturating_add(usage.cache_write);
    json!({ "input_tokens": usage.input.saturating_sub(cached), "cache_read_input_tokens": usage.cache_read,
            "cache_creation_input_tokens": usage.cache_write, "output_tokens": usage.output })
}

fn head(run: RunId, model: &str) -> Value {
    json!({ "id": format!("msg_{}", digits(run)), "type": "message", "role": "assistant", "model": model,
            "content": [], "stop_reason": null, "stop_sequence": null })
}

fn tool_use(call: &CallRequest) -> Value {
    let input = match &call.arguments {
        Arguments::Object(value) => (**value).clone(),
        Arguments::Malformed { .. } => json!({}),
    };
    json!({ "type": "tool_use", "id": &*call.id, "name": &*call.skill, "input": input })
}

/// A whole answer.
pub fn whole(run: RunId, model: &str, told: &Told, ending: &Ending) -> Value {
    let texts = told.texts.iter();
    let texts = texts.map(|text| json!({ "type": "text", "text": text, "citations": null }));
    let content: Vec<Value> = texts.chain(told.calls.iter().map(tool_use)).collect();
    let mut message = head(run, model);
    message["content"] = content.into();
    message["stop_reason"] = reason(ending, !told.calls.is_empty()).into();
    message["usage"] = usage(ending.usage);
    message
}

/// Writes events.
#[derive(Debug)]
pub struct Events {
    run: RunId,
    model: String,
    input_tokens: u64,
    is_open: bool,
    blocks: usize,
    calls: usize,
}

impl Events {
    /// Of this run; the estimated tokens of the request are said at the beginning and corrected at the end.
    pub fn new(run: RunId, model: &str, input_tokens: u64) -> Self {
        Self {
            run,
            model: model.to_owned(),
            input_tokens,
            is_open: false,
            blocks: 0,
            calls: 0,
        }
    }

    fn event(kind: &str, mut members: Value) -> String {
        members["type"] = kind.into();
        format!("event: {kind}\ndata: {members}\n\n")
    }

    /// What comes first.
    pub fn begin(&self) -> String {
        let mut message = head(self.run, &self.model);
        message["usage"] = json!({ "input_tokens": self.input_tokens, "output_tokens": 0,
            "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0 });
        Self::event("message_start", json!({ "message": message }))
    }

    fn begin_block(&self, block: &Value) -> String {
        Self::event(
            "content_block_start",
            json!({ "index": self.blocks, "content_block": block }),
        )
    }

    fn end_block(&mut self) -> String {
        let event = Self::event("content_block_stop", json!({ "index": self.blocks }));
        self.blocks += 1;
        self.is_open = false;
        event
    }

    /// What is told, but for a text that is dropped and an end without an answer, which are errors here.
    pub fn say(&mut self, say: &Say) -> String {
        let mut events = String::new();
        match say {
            Say::Text(text) => {
                if !self.is_open {
                    self.is_open = true;
                    events.push_str(&self.begin_block(&json!({ "type": "text", "text": "", "citations": null })));
                }
                let delta = json!({ "type": "text_delta", "text": &**text });
                events.push_str(&Self::event(
                    "content_block_delta",
                    json!({ "index": self.blocks, "delta": delta }),
                ));
            }
            Say::EndText if self.is_open => events.push_str(&self.end_block()),
            Say::EndText | Say::Dropped | Say::Anew => {}
            Say::Calls(calls) => {
                for call in calls {
                    self.calls += 1;
                    let mut begun = tool_use(call);
                    begun["input"] = json!({});
                    events.push_str(&self.begin_block(&begun));
                    let delta = json!({ "type": "input_json_delta", "partial_json": arguments(call) });
                    events.push_str(&Self::event(
                        "content_block_delta",
                        json!({ "index": self.blocks, "delta": delta }),
                    ));
                    events.push_str(&self.end_block());
                }
            }
            Say::End(ending) => {
                if self.is_open {
                    events.push_str(&self.end_block());
                }
                let delta = json!({ "stop_reason": reason(ending, self.calls > 0), "stop_sequence": null });
                let members = json!({ "delta": delta, "usage": usage(ending.usage) });
                events.push_str(&Self::event("message_delta", members));
                events.push_str(&Self::event("message_stop", json!({})));
            }
        }
        events
    }
}
