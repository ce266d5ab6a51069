//! Answers of the Messages dialect, whole and in pieces.
//!
//! Refuses to know: HTTP. Invariants: events, blocks and deltas of a kind that is not known here are skipped; thinking
//! is kept as it was received; usage replaces what was told before, because it is cumulative; a stream without its
//! last event is no answer.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::conversation::{ModelAnswer, ModelRequest, Stop};
use crate::llm::dialect::failure::{ended, malformed, reported};
use crate::llm::dialect::gathered::{Gathered, Heard, inner_of, text_of, tokens_of};
use crate::llm::model::AskError;
use crate::llm::wire::sse::SseEvent;
use crate::llm::wire::surrogate;

use super::request::NAME;

/// A whole message, and the one that begins a stream.
#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow, default)]
    content: Option<Vec<&'b RawValue>>,
    #[serde(borrow, default)]
    model: Option<&'b RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'b RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'b RawValue>,
    #[serde(borrow, default)]
    error: Option<&'b RawValue>,
}

/// An event; its members are those of all kinds.
#[derive(Deserialize)]
struct Event<'e> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'e, str>,
    #[serde(default)]
    index: u64,
    #[serde(borrow, default)]
    message: Option<&'e RawValue>,
    #[serde(borrow, default)]
    content_block: Option<&'e RawValue>,
    #[serde(borrow, default)]
    delta: Option<Piece<'e>>,
    #[serde(borrow, default)]
    usage: Option<&'e RawValue>,
}

/// A delta of a block or of the message.
#[derive(Deserialize)]
struct Piece<'e> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'e, str>,
    #[serde(borrow, default)]
    text: Option<&'e RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'e RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'e RawValue>,
    #[serde(borrow, default)]
    signature: Option<&'e RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct Block<'e> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'e, str>,
    #[serde(borrow, default)]
    text: Option<&'e RawValue>,
    #[serde(borrow, default)]
    id: Option<&'e RawValue>,
    #[serde(borrow, default)]
    name: Option<&'e RawValue>,
    #[serde(borrow, default)]
    input: Option<&'e RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'e RawValue>,
    #[serde(borrow, default)]
    signature: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct Used<'e> {
    #[serde(borrow, default, rename = "input_tokens")]
    input: Option<&'e RawValue>,
    #[serde(borrow, default, rename = "cache_creation_input_tokens")]
    cache_write: Option<&'e RawValue>,
    #[serde(borrow, default, rename = "cache_read_input_tokens")]
    cache_read: Option<&'e RawValue>,
    #[serde(borrow, default, rename = "output_tokens")]
    output: Option<&'e RawValue>,
}

/// What the provider counts apart and we together.
#[derive(Debug, Default)]
struct Counted {
    fresh: Option<u64>,
    cache_write: Option<u64>,
    cache_read: Option<u64>,
    output: Option<u64>,
}

/// Reads an answer in pieces.
#[derive(Debug)]
pub struct Reader {
    gathered: Gathered,
    counted: Counted,
    open: Vec<(u64, Open)>,
    has_begun: bool,
    is_complete: bool,
}

/// A block that has begun.
#[derive(Debug)]
enum Open {
    Text,
    Call(usize),
    /// The literals of thinking and signature as they came, without quotes, and the place among the visible parts.
    Thinking {
        thinking: String,
        signature: String,
        before: u32,
        /// The whole block, as long as nothing was added to it.
        whole: Option<String>,
    },
    Other,
}

/// Reads the response body.
pub fn read_answer(body: &str, request: &ModelRequest, heard: &mut Heard<'_>) -> Result<ModelAnswer, AskError> {
    let repaired;
    let body: Body<'_> = if let Ok(body) = serde_json::from_str(body) {
        body
    } else {
        repaired = surrogate::repair(body);
        serde_json::from_str(&repaired).map_err(|error| malformed("the answer is not a message").because(error))?
    };
    if let Some(error) = body.error {
        return Err(reported(&serde_json::from_str(error.get()).unwrap_or(Value::Null)));
    }
    let Some(blocks) = &body.content else {
        return Err(malformed("the answer has no content"));
    };
    let mut reader = Reader::new(request);
    for (index, block) in blocks.iter().enumerate() {
        reader.begin(index as u64, block, heard)?;
        reader.end(index as u64, heard)?;
    }
    reader.head(&body);
    (reader.has_begun, reader.is_complete) = (true, true);
    reader.finish(request)
}

impl Reader {
    /// A reader at the beginning of a stream.
    pub fn new(request: &ModelRequest) -> Self {
        Self {
            gathered: Gathered::new(request),
            counted: Counted::default(),
            open: Vec::new(),
            has_begun: false,
            is_complete: false,
        }
    }

    /// Takes the next event; true when it was the last one.
    pub fn event(&mut self, event: &SseEvent, heard: &mut Heard<'_>) -> Result<bool, AskError> {
        match serde_json::from_str(&event.data) {
            Ok(parsed) => self.take(event, &parsed, heard),
            Err(error) => match serde_json::from_str(&surrogate::repair(&event.data)) {
                Ok(parsed) => self.take(event, &parsed, heard),
                Err(_) if !is_known(&event.name) => Ok(false),
                Err(_) => Err(malformed("an event of the answer is not JSON").because(error)),
            },
        }
    }

    fn take(&mut self, event: &SseEvent, parsed: &Event<'_>, heard: &mut Heard<'_>) -> Result<bool, AskError> {
        let kind: &str = if parsed.kind.is_empty() {
            &event.name
        } else {
            &parsed.kind
        };
        match kind {
            "message_start" => {
                let message = parsed
                    .message
                    .map(|message| serde_json::from_str::<Body<'_>>(message.get()));
                if let Some(Ok(message)) = message {
                    self.head(&message);
                }
                self.has_begun = true;
            }
            "content_block_start" => {
                if let Some(block) = parsed.content_block {
                    self.begin(parsed.index, block, heard)?;
                }
            }
            "content_block_delta" => {
                if let Some(piece) = &parsed.delta {
                    self.piece(parsed.index, piece, heard)?;
                }
            }
            "content_block_stop" => self.end(parsed.index, heard)?,
            "message_delta" => {
                if let Some(piece) = &parsed.delta {
                    self.stop(piece.stop_reason);
                }
                self.count(parsed.usage);
            }
            "message_stop" => {
                self.is_complete = true;
                return Ok(true);
            }
            "error" => return Err(reported(&serde_json::from_str(&event.data).unwrap_or(Value::Null))),
            // Pings, and what is to come.
            _ => {}
        }
        Ok(false)
    }

    /// The complete answer, when the last event has come.
    pub fn finish(mut self, request: &ModelRequest) -> Result<ModelAnswer, AskError> {
        if !self.is_complete {
            return Err(ended());
        }
        if !self.has_begun {
            return Err(malformed("the answer has no message"));
        }
        let Counted {
            fresh,
            cache_write,
            cache_read,
            output,
        } = self.counted;
        let told = &mut self.gathered.told;
        // The provider's figure leaves cached tokens out; ours has them in.
        told.input = fresh.map(|fresh| {
            fresh
                .saturating_add(cache_write.unwrap_or(0))
                .saturating_add(cache_read.unwrap_or(0))
        });
        (told.cache_read, told.cache_write, told.output) = (cache_read, cache_write, output);
        Ok(self.gathered.answer(request))
    }

    fn head(&mut self, body: &Body<'_>) {
        if let Some(model) = text_of(body.model) {
            self.gathered.answered_by = model;
        }
        self.stop(body.stop_reason);
        self.count(body.usage);
    }

    fn stop(&mut self, reason: Option<&RawValue>) {
        match text_of(reason).as_deref() {
            Some("max_tokens" | "model_context_window_exceeded") => self.gathered.stop = Stop::Length,
            Some("refusal") => self.gathered.stop = Stop::Refused,
            Some("pause_turn") => self.gathered.stop = Stop::Paused,
            _ => {}
        }
    }

    /// Takes each figure that is given in the place of the earlier one.
    fn count(&mut self, usage: Option<&RawValue>) {
        let Some(Ok(used)) = usage.map(|usage| serde_json::from_str::<Used<'_>>(usage.get())) else {
            return;
        };
        let counted = &mut self.counted;
        for (own, given) in [
            (&mut counted.fresh, used.input),
            (&mut counted.cache_write, used.cache_write),
            (&mut counted.cache_read, used.cache_read),
            (&mut counted.output, used.output),
        ] {
            // Compatible servers send 0 for what they told already.
            match tokens_of(given) {
                Some(0) if own.is_some() => {}
                Some(tokens) => *own = Some(tokens),
                None => {}
            }
        }
    }

    fn begin(&mut self, index: u64, raw: &RawValue, heard: &mut Heard<'_>) -> Result<(), AskError> {
        let block: Block<'_> =
            serde_json::from_str(raw.get()).map_err(|error| malformed("a block is no object").because(error))?;
        let open = match &*block.kind {
            "text" => {
                if let Some(text) = block.text {
                    self.gathered.text(text.get(), heard)?;
                }
                Open::Text
            }
            "tool_use" => {
                let (id, name) = (
                    text_of(block.id).unwrap_or_default(),
                    text_of(block.name).unwrap_or_default(),
                );
                let place = self.gathered.open_call(&id, &name, heard)?;
                // In a stream this is an empty object, and the arguments follow.
                if let Some(input) = block.input.filter(|input| !is_empty_object(input)) {
                    self.gathered.arguments(place, input.get(), heard)?;
                }
                Open::Call(place)
            }
            "thinking" => {
                let mut thinking = String::new();
                let mut signature = String::new();
                if let Some(literal) = block.thinking {
                    thinking.push_str(inner_of(literal));
                    self.gathered.thinking(literal.get(), heard)?;
                }
                if let Some(literal) = block.signature {
                    signature.push_str(inner_of(literal));
                }
                Open::Thinking {
                    thinking,
                    signature,
                    before: self.gathered.parts(),
                    whole: Some(raw.get().to_owned()),
                }
            }
            "redacted_thinking" => {
                let before = self.gathered.parts();
                self.gathered.keep(NAME, before, raw.get())?;
                Open::Other
            }
            _ => Open::Other,
        };
        self.open.push((index, open));
        Ok(())
    }

    fn piece(&mut self, index: u64, piece: &Piece<'_>, heard: &mut Heard<'_>) -> Result<(), AskError> {
        let Some((_, open)) = self.open.iter_mut().rev().find(|(known, _)| *known == index) else {
            return Ok(());
        };
        match (open, &*piece.kind) {
            (Open::Text, "text_delta") => {
                if let Some(text) = piece.text {
                    self.gathered.text(text.get(), heard)?;
                }
            }
            (Open::Call(place), "input_json_delta") => {
                let place = *place;
                if let Some(json) = piece.partial_json {
                    self.gathered.arguments(place, json.get(), heard)?;
                }
            }
            (Open::Thinking { thinking, whole, .. }, "thinking_delta") => {
                *whole = None;
                if let Some(literal) = piece.thinking {
                    thinking.push_str(inner_of(literal));
                    self.gathered.thinking(literal.get(), heard)?;
                }
            }
            (Open::Thinking { signature, whole, .. }, "signature_delta") => {
                *whole = None;
                if let Some(literal) = piece.signature {
                    signature.push_str(inner_of(literal));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, index: u64, heard: &mut Heard<'_>) -> Result<(), AskError> {
        let Some(place) = self.open.iter().rposition(|(known, _)| *known == index) else {
            return Ok(());
        };
        let (_, open) = self.open.remove(place);
        self.gathered.end_block(heard);
        // Thinking that nobody signed is refused by the provider when it comes back.
        if let Open::Thinking {
            thinking,
            signature,
            before,
            whole,
        } = open
            && !signature.is_empty()
        {
            let joined = || format!(r#"{{"type":"thinking","thinking":"{thinking}","signature":"{signature}"}}"#);
            let json = whole.unwrap_or_else(joined);
            self.gathered.keep(NAME, before, &json)?;
        }
        Ok(())
    }
}

/// Whether the vendor has events of this name.
fn is_known(name: &str) -> bool {
    name.is_empty()
        || matches!(
            name,
            "message_start"
                | "content_block_start"
                | "content_block_delta"
                | "content_block_stop"
                | "message_delta"
                | "message_stop"
                | "error"
        )
}

fn is_empty_object(raw: &RawValue) -> bool {
    let raw = raw.get();
    raw.starts_with('{') && raw[1..raw.len() - 1].trim().is_empty()
}
