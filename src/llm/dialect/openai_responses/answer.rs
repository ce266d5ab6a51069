//! Answers of the Responses dialect, whole and in pieces.
//!
//! Refuses to know: HTTP. Invariants: items are told apart by their place in the output; a call is known by its
//! `call_id`; events and items of a kind that is not known here are skipped; encrypted reasoning is kept as it was
//! received; a stream without its closing event is no answer.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::conversation::{ModelAnswer, ModelRequest, Stop};
use crate::llm::dialect::failure::{ended, malformed, reported};
use crate::llm::dialect::gathered::{Gathered, Heard, text_of, tokens_of};
use crate::llm::model::AskError;
use crate::llm::wire::sse::SseEvent;
use crate::llm::wire::surrogate;

use super::request::NAME;

/// A whole response, and the one that an event carries.
#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow, default)]
    status: Option<&'b RawValue>,
    #[serde(borrow, default)]
    model: Option<&'b RawValue>,
    #[serde(borrow, default)]
    output: Option<Vec<&'b RawValue>>,
    #[serde(borrow, default)]
    usage: Option<&'b RawValue>,
    #[serde(borrow, default)]
    error: Option<&'b RawValue>,
    #[serde(borrow, default)]
    incomplete_details: Option<&'b RawValue>,
}

/// An event; its members are those of all kinds.
#[derive(Deserialize)]
struct Event<'e> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'e, str>,
    #[serde(default)]
    output_index: u64,
    #[serde(borrow, default)]
    delta: Option<&'e RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'e RawValue>,
    #[serde(borrow, default)]
    item: Option<&'e RawValue>,
    #[serde(borrow, default)]
    response: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct Item<'i> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'i, str>,
    #[serde(borrow, default)]
    call_id: Option<&'i RawValue>,
    #[serde(borrow, default)]
    id: Option<&'i RawValue>,
    #[serde(borrow, default)]
    name: Option<&'i RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'i RawValue>,
    #[serde(borrow, default)]
    content: Option<&'i RawValue>,
    #[serde(borrow, default)]
    encrypted_content: Option<&'i RawValue>,
}

#[derive(Deserialize)]
struct Part<'p> {
    #[serde(borrow, default)]
    text: Option<&'p RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'p RawValue>,
}

#[derive(Deserialize)]
struct Used<'u> {
    #[serde(borrow, default)]
    input_tokens: Option<&'u RawValue>,
    #[serde(borrow, default)]
    output_tokens: Option<&'u RawValue>,
    #[serde(borrow, default)]
    input_tokens_details: Option<&'u RawValue>,
}

#[derive(Deserialize)]
struct Cached<'u> {
    #[serde(borrow, default)]
    cached_tokens: Option<&'u RawValue>,
    #[serde(borrow, default)]
    cache_write_tokens: Option<&'u RawValue>,
}

/// Reads an answer in pieces.
#[derive(Debug)]
pub struct Reader {
    gathered: Gathered,
    items: Vec<(u64, Open)>,
    is_complete: bool,
}

/// What is known of an item.
#[derive(Debug)]
struct Open {
    /// The place of the call, when it is one.
    call: Option<usize>,
    /// Where it stands among the visible parts.
    before: u32,
    /// Text came in pieces.
    has_text: bool,
    is_done: bool,
}

/// Reads the response body.
pub fn read_answer(body: &str, request: &ModelRequest, heard: &mut Heard<'_>) -> Result<ModelAnswer, AskError> {
    let repaired;
    let (text, body): (&str, Body<'_>) = if let Ok(parsed) = serde_json::from_str(body) {
        (body, parsed)
    } else {
        repaired = surrogate::repair(body);
        let parsed = serde_json::from_str(&repaired);
        let parsed = parsed.map_err(|error| malformed("the answer is not a response").because(error))?;
        (&repaired, parsed)
    };
    if body.error.is_some() {
        return Err(reported(&serde_json::from_str(text).unwrap_or(Value::Null)));
    }
    if body.output.is_none() {
        return Err(malformed("the answer has no output"));
    }
    let mut reader = Reader::new(request);
    reader.close(&body, heard)?;
    reader.finish(request)
}

impl Reader {
    /// A reader at the beginning of a stream.
    pub fn new(request: &ModelRequest) -> Self {
        Self {
            gathered: Gathered::new(request),
            items: Vec::new(),
            is_complete: false,
        }
    }

    /// Takes the next event; true when it was the last one.
    pub fn event(&mut self, event: &SseEvent, heard: &mut Heard<'_>) -> Result<bool, AskError> {
        let data = event.data.trim();
        // Proxies add the end of the other dialect.
        if data == "[DONE]" || data.is_empty() {
            return Ok(false);
        }
        match serde_json::from_str(data) {
            Ok(parsed) => self.take(data, &event.name, &parsed, heard),
            Err(error) => {
                let data = surrogate::repair(data);
                match serde_json::from_str(&data) {
                    Ok(parsed) => self.take(&data, &event.name, &parsed, heard),
                    Err(_) if !event.name.is_empty() && !event.name.starts_with("response.") => Ok(false),
                    Err(_) => Err(malformed("an event of the answer is not JSON").because(error)),
                }
            }
        }
    }

    fn take(&mut self, data: &str, name: &str, event: &Event<'_>, heard: &mut Heard<'_>) -> Result<bool, AskError> {
        let kind = if event.kind.is_empty() { name } else { &event.kind };
        match kind {
            "response.created" | "response.in_progress" => {
                let response = event
                    .response
                    .map(|response| serde_json::from_str::<Body<'_>>(response.get()));
                if let Some(Ok(response)) = response {
                    self.head(&response);
                }
            }
            "response.output_item.added" => {
                if let Some(item) = event.item {
                    self.begin(event.output_index, &read_item(item)?, heard)?;
                }
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                if kind == "response.refusal.delta" {
                    self.gathered.stop = Stop::Refused;
                }
                if let Some(delta) = event.delta {
                    self.gathered.text(delta.get(), heard)?;
                    self.open(event.output_index).has_text = true;
                }
            }
            "response.function_call_arguments.delta" => {
                if let (Some(delta), Some(place)) = (event.delta, self.open(event.output_index).call) {
                    self.gathered.arguments(place, delta.get(), heard)?;
                }
            }
            "response.function_call_arguments.done" => {
                if let (Some(arguments), Some(place)) = (event.arguments, self.open(event.output_index).call) {
                    self.gathered.whole_arguments(place, arguments.get(), heard)?;
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                if let Some(delta) = event.delta {
                    self.gathered.thinking(delta.get(), heard)?;
                }
            }
            "response.output_text.done" | "response.content_part.done" | "response.reasoning_summary_text.done" => {
                self.gathered.end_block(heard);
            }
            "response.output_item.done" => {
                if let Some(item) = event.item {
                    self.end(event.output_index, item, heard)?;
                }
            }
            "response.completed" | "response.incomplete" => {
                let response = event
                    .response
                    .map(|response| serde_json::from_str::<Body<'_>>(response.get()));
                match response {
                    Some(Ok(response)) => self.close(&response, heard)?,
                    _ => self.is_complete = true,
                }
                return Ok(true);
            }
            "response.failed" => {
                let whole: Value = serde_json::from_str(data).unwrap_or(Value::Null);
                return Err(reported(&whole["response"]));
            }
            "error" => return Err(reported(&serde_json::from_str(data).unwrap_or(Value::Null))),
            _ => {}
        }
        Ok(false)
    }

    /// The complete answer, when the closing event has come.
    pub fn finish(self, request: &ModelRequest) -> Result<ModelAnswer, AskError> {
        if !self.is_complete {
            return Err(ended());
        }
        Ok(self.gathered.answer(request))
    }

    fn open(&mut self, index: u64) -> &mut Open {
        let known = self.items.iter().rposition(|(known, _)| *known == index);
        let place = known.unwrap_or_else(|| {
            let open = Open {
                call: None,
                before: self.gathered.parts(),
                has_text: false,
                is_done: false,
            };
            self.items.push((index, open));
            self.items.len() - 1
        });
        &mut self.items[place].1
    }

    fn begin(&mut self, index: u64, item: &Item<'_>, heard: &mut Heard<'_>) -> Result<(), AskError> {
        self.open(index);
        if item.kind == "function_call" && self.open(index).call.is_none() {
            // The `id` of the item is not the call's, but better than none.
            let id = text_of(item.call_id)
                .filter(|id| !id.is_empty())
                .or_else(|| text_of(item.id));
            let name = text_of(item.name).unwrap_or_default();
            let place = self.gathered.open_call(&id.unwrap_or_default(), &name, heard)?;
            self.open(index).call = Some(place);
        }
        Ok(())
    }

    /// Takes a complete item: what its pieces did not bring, and what is kept of it.
    fn end(&mut self, index: u64, raw: &RawValue, heard: &mut Heard<'_>) -> Result<(), AskError> {
        let item = read_item(raw)?;
        self.begin(index, &item, heard)?;
        if std::mem::replace(&mut self.open(index).is_done, true) {
            return Ok(());
        }
        match &*item.kind {
            "message" if !self.open(index).has_text => self.content(item.content, heard)?,
            "function_call" => {
                if let (Some(place), Some(arguments)) = (self.open(index).call, item.arguments) {
                    self.gathered.whole_arguments(place, arguments.get(), heard)?;
                }
            }
            // Without its encrypted form it means something only to a provider that stored it.
            "reasoning" if item.encrypted_content.is_some() => {
                let before = self.open(index).before;
                self.gathered.keep(NAME, before, raw.get())?;
            }
            _ => {}
        }
        self.gathered.end_block(heard);
        Ok(())
    }

    /// The parts of a message that came as a whole, or its text.
    fn content(&mut self, content: Option<&RawValue>, heard: &mut Heard<'_>) -> Result<(), AskError> {
        let Some(content) = content else { return Ok(()) };
        if content.get().starts_with('"') {
            return self.gathered.text(content.get(), heard);
        }
        let parts: Vec<Part<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
        for part in &parts {
            if let Some(text) = part.text {
                self.gathered.text(text.get(), heard)?;
            }
            if let Some(refusal) = part.refusal {
                self.gathered.stop = Stop::Refused;
                self.gathered.text(refusal.get(), heard)?;
            }
        }
        Ok(())
    }

    fn head(&mut self, body: &Body<'_>) {
        if let Some(model) = text_of(body.model) {
            self.gathered.answered_by = model;
        }
    }

    /// Takes the complete response. Items that were told before are known already.
    fn close(&mut self, body: &Body<'_>, heard: &mut Heard<'_>) -> Result<(), AskError> {
        self.head(body);
        // Places count from 0 in both; a stream that told any item told them all.
        if self.items.iter().all(|(_, open)| !open.is_done) {
            for (index, item) in body.output.iter().flatten().enumerate() {
                self.end(index as u64, item, heard)?;
            }
        }
        if text_of(body.status).as_deref() == Some("incomplete") {
            let details = body.incomplete_details.map_or("", RawValue::get);
            self.gathered.stop = if details.contains("content_filter") {
                Stop::Refused
            } else {
                Stop::Length
            };
        }
        if let Some(Ok(used)) = body.usage.map(|usage| serde_json::from_str::<Used<'_>>(usage.get())) {
            let told = &mut self.gathered.told;
            (told.input, told.output) = (tokens_of(used.input_tokens), tokens_of(used.output_tokens));
            let cached = used
                .input_tokens_details
                .map(|cached| serde_json::from_str::<Cached<'_>>(cached.get()));
            if let Some(Ok(cached)) = cached {
                told.cache_read = tokens_of(cached.cached_tokens);
                told.cache_write = tokens_of(cached.cache_write_tokens);
            }
        }
        self.is_complete = true;
        Ok(())
    }
}

fn read_item(raw: &RawValue) -> Result<Item<'_>, AskError> {
    serde_json::from_str(raw.get()).map_err(|error| malformed("an item of the answer is no object").because(error))
}
