//! Our answer written as a provider's stream, as it arrives.
//!
//! Refuses to know: HTTP. Invariants: every stream ends with its dialect's closing event; what was not heard before
//! the end is written at the end, so an answer that comes as a whole makes a stream too.

use serde_json::{Value, json};

use crate::domain::conversation::ModelAnswer;
use crate::llm::dialect::kind::Dialect;
use crate::llm::model::Delta;
use crate::llm::wire::names;
use crate::llm::wire::pieces::pieces;

use super::answer::{
    anthropic_reason, anthropic_usage, openai_chat_reason, openai_chat_usage, openai_responses_call,
    openai_responses_head, openai_responses_message_of, shown, write_openai_responses,
};

/// Bytes of the pieces of what comes as a whole.
const PIECE_BYTES: usize = 64;

/// What is being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Text,
    Thinking,
    Call,
}

/// Writes the events of one answer: [`begin`](Self::begin), any pieces, [`end`](Self::end).
#[derive(Debug)]
pub struct Events {
    dialect: Dialect,
    id: String,
    model: String,
    created_s: u64,
    out: String,
    sequence: u64,
    open: Option<Part>,
    /// Blocks or items that have ended.
    ended: usize,
    text: String,
    /// Id, wire name and arguments of each call so far.
    calls: Vec<(String, String, String)>,
}

impl Events {
    /// Events of an answer. `created_s` is Unix time.
    pub fn new(dialect: Dialect, id: &str, model: &str, created_s: u64) -> Self {
        Self {
            dialect,
            id: id.to_owned(),
            model: model.to_owned(),
            created_s,
            out: String::new(),
            sequence: 0,
            open: None,
            ended: 0,
            text: String::new(),
            calls: Vec::new(),
        }
    }

    /// What comes before the first piece.
    pub fn begin(&mut self) -> String {
        match self.dialect {
            Dialect::Anthropic => {
                let message = json!({ "id": self.id, "type": "message", "role": "assistant", "model": self.model,
                    "content": [], "stop_reason": null, "stop_sequence": null,
                    "usage": { "input_tokens": 0, "output_tokens": 0 } });
                self.event("message_start", json!({ "message": message }));
            }
            Dialect::OpenAiChat => self.chunk(&json!({ "role": "assistant", "content": "" }), None),
            Dialect::OpenAiResponses => {
                let response = openai_responses_head(&self.id, self.created_s, &self.model);
                self.event("response.created", json!({ "response": response }));
            }
        }
        std::mem::take(&mut self.out)
    }

    /// A piece.
    pub fn delta(&mut self, delta: &Delta) -> String {
        match delta {
            Delta::Text(text) => self.say(text),
            Delta::Thinking(text) => self.think(text),
            Delta::CallBegun { skill, .. } => {
                let id = format!("call_{}_{}", self.id, self.calls.len());
                self.begin_call(&id, &names::encode(skill));
            }
            Delta::CallArguments { json, .. } => self.argue(json),
        }
        std::mem::take(&mut self.out)
    }

    /// What comes after the last piece: all of the answer that was not told, usage, and the closing event.
    pub fn end(&mut self, answer: &ModelAnswer) -> String {
        if self.text.is_empty() {
            for piece in pieces(&answer.text, PIECE_BYTES) {
                self.say(piece);
            }
        }
        for call in answer.calls.iter().skip(self.calls.len()) {
            self.begin_call(&call.id, &names::encode(&call.skill));
            for piece in pieces(&shown(&call.arguments).to_string(), PIECE_BYTES) {
                self.argue(piece);
            }
        }
        self.close_part();
        match self.dialect {
            Dialect::Anthropic => {
                let delta = json!({ "stop_reason": anthropic_reason(answer), "stop_sequence": null });
                self.event(
                    "message_delta",
                    json!({ "delta": delta, "usage": anthropic_usage(answer.usage) }),
                );
                self.event("message_stop", json!({}));
            }
            Dialect::OpenAiChat => {
                self.chunk(&json!({}), Some(openai_chat_reason(answer)));
                let mut last = self.chunk_head();
                last["choices"] = json!([]);
                last["usage"] = openai_chat_usage(answer.usage);
                self.data(&last);
                self.out.push_str("data: [DONE]\n\n");
            }
            Dialect::OpenAiResponses => {
                let mut response = write_openai_responses(answer, &self.id, self.created_s);
                response["model"] = self.model.as_str().into();
                let kind = if response["status"] == "incomplete" {
                    "response.incomplete"
                } else {
                    "response.completed"
                };
                self.event(kind, json!({ "response": response }));
            }
        }
        std::mem::take(&mut self.out)
    }

    fn say(&mut self, text: &str) {
        self.turn_to(Part::Text);
        self.text.push_str(text);
        match self.dialect {
            Dialect::Anthropic => self.block_delta(json!({ "type": "text_delta", "text": text })),
            Dialect::OpenAiChat => self.chunk(&json!({ "content": text }), None),
            Dialect::OpenAiResponses => self.item_delta("response.output_text.delta", text),
        }
    }

    fn think(&mut self, text: &str) {
        self.turn_to(Part::Thinking);
        match self.dialect {
            Dialect::Anthropic => self.block_delta(json!({ "type": "thinking_delta", "thinking": text })),
            Dialect::OpenAiChat => self.chunk(&json!({ "reasoning_content": text }), None),
            Dialect::OpenAiResponses => self.item_delta("response.reasoning_text.delta", text),
        }
    }

    fn begin_call(&mut self, id: &str, name: &str) {
        self.close_part();
        self.open = Some(Part::Call);
        self.calls.push((id.to_owned(), name.to_owned(), String::new()));
        match self.dialect {
            Dialect::Anthropic => {
                let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                self.event(
                    "content_block_start",
                    json!({ "index": self.ended, "content_block": block }),
                );
            }
            Dialect::OpenAiChat => {
                let function = json!({ "name": name, "arguments": "" });
                let call = json!({ "index": self.calls.len() - 1, "id": id, "type": "function", "function": function });
                self.chunk(&json!({ "tool_calls": [call] }), None);
            }
            Dialect::OpenAiResponses => {
                let mut item = openai_responses_call(&self.item_id(), id, name, "");
                item["status"] = "in_progress".into();
                self.event(
                    "response.output_item.added",
                    json!({ "output_index": self.ended, "item": item }),
                );
            }
        }
    }

    fn argue(&mut self, json: &str) {
        let Some((_, _, arguments)) = self.calls.last_mut() else {
            return;
        };
        arguments.push_str(json);
        match self.dialect {
            Dialect::Anthropic => self.block_delta(json!({ "type": "input_json_delta", "partial_json": json })),
            Dialect::OpenAiChat => {
                let call = json!({ "index": self.calls.len() - 1, "function": { "arguments": json } });
                self.chunk(&json!({ "tool_calls": [call] }), None);
            }
            Dialect::OpenAiResponses => self.item_delta("response.function_call_arguments.delta", json),
        }
    }

    /// Begins a part of text or thinking, unless it is open.
    fn turn_to(&mut self, part: Part) {
        if self.open == Some(part) {
            return;
        }
        self.close_part();
        self.open = Some(part);
        match (self.dialect, part) {
            (Dialect::Anthropic, Part::Text) => {
                let block = json!({ "type": "text", "text": "" });
                self.event(
                    "content_block_start",
                    json!({ "index": self.ended, "content_block": block }),
                );
            }
            (Dialect::Anthropic, _) => {
                let block = json!({ "type": "thinking", "thinking": "", "signature": "" });
                self.event(
                    "content_block_start",
                    json!({ "index": self.ended, "content_block": block }),
                );
            }
            (Dialect::OpenAiResponses, Part::Text) => {
                let item = json!({ "type": "message", "id": self.item_id(), "role": "assistant", "content": [], "status": "in_progress" });
                self.event(
                    "response.output_item.added",
                    json!({ "output_index": self.ended, "item": item }),
                );
            }
            (Dialect::OpenAiResponses, _) => {
                let item = json!({ "type": "reasoning", "id": self.item_id(), "summary": [] });
                self.event(
                    "response.output_item.added",
                    json!({ "output_index": self.ended, "item": item }),
                );
            }
            (Dialect::OpenAiChat, _) => {}
        }
    }

    fn close_part(&mut self) {
        let Some(part) = self.open.take() else { return };
        match self.dialect {
            Dialect::Anthropic => self.event("content_block_stop", json!({ "index": self.ended })),
            Dialect::OpenAiChat => {}
            Dialect::OpenAiResponses => {
                let item = match (part, self.calls.last()) {
                    (Part::Call, Some((id, name, arguments))) => {
                        openai_responses_call(&self.item_id(), id, name, arguments)
                    }
                    (Part::Text, _) => openai_responses_message_of(&self.item_id(), &self.text),
                    _ => json!({ "type": "reasoning", "id": self.item_id(), "summary": [] }),
                };
                self.event(
                    "response.output_item.done",
                    json!({ "output_index": self.ended, "item": item }),
                );
            }
        }
        self.ended += 1;
    }

    fn item_id(&self) -> String {
        format!("{}_{}", self.id, self.ended)
    }

    fn block_delta(&mut self, delta: Value) {
        self.event("content_block_delta", json!({ "index": self.ended, "delta": delta }));
    }

    fn item_delta(&mut self, kind: &str, delta: &str) {
        let members =
            json!({ "output_index": self.ended, "item_id": self.item_id(), "content_index": 0, "delta": delta });
        self.event(kind, members);
    }

    /// An event whose name is its type, too.
    fn event(&mut self, kind: &str, mut members: Value) {
        members["type"] = kind.into();
        if self.dialect == Dialect::OpenAiResponses {
            members["sequence_number"] = self.sequence.into();
            self.sequence += 1;
        }
        self.out.push_str("event: ");
        self.out.push_str(kind);
        self.out.push('\n');
        self.data(&members);
    }

    fn chunk_head(&self) -> Value {
        json!({ "id": self.id, "object": "chat.completion.chunk", "created": self.created_s, "model": self.model })
    }

    fn chunk(&mut self, delta: &Value, reason: Option<&str>) {
        let mut chunk = self.chunk_head();
        chunk["choices"] = json!([{ "index": 0, "delta": delta, "finish_reason": reason, "logprobs": null }]);
        self.data(&chunk);
    }

    fn data(&mut self, data: &Value) {
        self.out.push_str("data: ");
        self.out.push_str(&data.to_string());
        self.out.push_str("\n\n");
    }
}
