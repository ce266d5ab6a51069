//! Answers of the Chat Completions dialect, whole and in pieces.
//!
//! Refuses to know: HTTP. Invariants: whether the model wants calls is judged by the calls, never by
//! `finish_reason`; a piece of a call goes to the call that it belongs to, whatever the server does with index, id
//! and name; a stream that says neither why it finished nor that it is done is no answer.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::conversation::{ModelAnswer, ModelRequest, Stop};
use crate::llm::dialect::failure::{ended, malformed, reported};
use crate::llm::dialect::gathered::{Gathered, Heard, inner_of, text_of, tokens_of};
use crate::llm::model::AskError;
use crate::llm::wire::sse::SseEvent;
use crate::llm::wire::surrogate;

use super::request::NAME;

/// A whole completion, or a chunk of one.
#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'b>>>,
    #[serde(borrow, default)]
    usage: Option<&'b RawValue>,
    #[serde(borrow, default)]
    model: Option<&'b RawValue>,
    #[serde(borrow, default)]
    error: Option<&'b RawValue>,
    #[serde(borrow, default)]
    object: Option<&'b RawValue>,
    #[serde(borrow, default)]
    message: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Choice<'b> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    delta: Option<Said<'b>>,
    #[serde(borrow, default)]
    message: Option<Said<'b>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'b RawValue>,
}

#[derive(Deserialize, Default)]
struct Said<'b> {
    #[serde(borrow, default)]
    content: Option<&'b RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'b RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'b RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'b RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Tool<'b>>>,
    #[serde(borrow, default)]
    function_call: Option<Function<'b>>,
}

#[derive(Deserialize)]
struct Tool<'b> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    id: Option<&'b RawValue>,
    #[serde(borrow, default)]
    function: Option<Function<'b>>,
    #[serde(borrow, default)]
    extra_content: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Function<'b> {
    #[serde(borrow, default)]
    name: Option<&'b RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'b RawValue>,
    #[serde(borrow, default)]
    id: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Used<'b> {
    #[serde(borrow, default)]
    prompt_tokens: Option<&'b RawValue>,
    #[serde(borrow, default)]
    completion_tokens: Option<&'b RawValue>,
    #[serde(borrow, default)]
    prompt_tokens_details: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Cached<'b> {
    #[serde(borrow, default)]
    cached_tokens: Option<&'b RawValue>,
    #[serde(borrow, default)]
    cache_write_tokens: Option<&'b RawValue>,
}

/// Reads an answer in pieces.
#[derive(Debug)]
pub struct Reader {
    gathered: Gathered,
    /// For each index of the server: the call that was last opened under it.
    slots: Vec<(u64, usize)>,
    /// The literal of the reasoning without quotes, for servers that want it back.
    reasoning: String,
    /// Members of calls that go back with them.
    extras: Vec<(usize, String)>,
    has_choice: bool,
    has_finished: bool,
    is_done: bool,
}

/// Reads the response body.
pub fn read_answer(body: &str, request: &ModelRequest, heard: &mut Heard<'_>) -> Result<ModelAnswer, AskError> {
    let repaired;
    let body: Body<'_> = if let Ok(body) = serde_json::from_str(body) {
        body
    } else {
        repaired = surrogate::repair(body);
        let parsed = serde_json::from_str(&repaired);
        parsed.map_err(|error| malformed("the answer is not a chat completion").because(error))?
    };
    let mut reader = Reader::new(request);
    reader.is_done = true;
    reader.body(&body, true, heard)?;
    reader.finish(request)
}

impl Reader {
    /// A reader at the beginning of a stream.
    pub fn new(request: &ModelRequest) -> Self {
        Self {
            gathered: Gathered::new(request),
            slots: Vec::new(),
            reasoning: String::new(),
            extras: Vec::new(),
            has_choice: false,
            has_finished: false,
            is_done: false,
        }
    }

    /// Takes the next event; true when it was the last one.
    pub fn event(&mut self, event: &SseEvent, heard: &mut Heard<'_>) -> Result<bool, AskError> {
        let data = event.data.trim();
        if data == "[DONE]" {
            self.is_done = true;
            return Ok(true);
        }
        if data.is_empty() {
            return Ok(false);
        }
        if event.name == "error" {
            return Err(reported(&serde_json::from_str(data).unwrap_or(Value::Null)));
        }
        match serde_json::from_str(data) {
            Ok(body) => self.body(&body, false, heard)?,
            Err(error) => match serde_json::from_str(&surrogate::repair(data)) {
                Ok(body) => self.body(&body, false, heard)?,
                Err(_) => return Err(malformed("an event of the answer is not JSON").because(error)),
            },
        }
        Ok(false)
    }

    /// The complete answer, when its end was told. `[DONE]` may be missing, as some servers leave it out.
    pub fn finish(mut self, request: &ModelRequest) -> Result<ModelAnswer, AskError> {
        if !self.is_done && !self.has_finished {
            return Err(ended());
        }
        if !self.has_choice {
            return Err(malformed("the answer has no choice"));
        }
        let first_call = u32::from(!self.gathered.text_so_far().is_empty());
        if !self.reasoning.is_empty() && self.gathered.call(0).is_some() {
            let json = format!(r#"{{"reasoning_content":"{}"}}"#, self.reasoning);
            self.gathered.keep(NAME, 0, &json)?;
        }
        for (place, extra) in &self.extras {
            let json = format!(r#"{{"extra_content":{extra}}}"#);
            self.gathered.keep(NAME, first_call + *place as u32, &json)?;
        }
        Ok(self.gathered.answer(request))
    }

    fn body(&mut self, body: &Body<'_>, is_whole: bool, heard: &mut Heard<'_>) -> Result<(), AskError> {
        if let Some(error) = body.error {
            let error: Value = serde_json::from_str(error.get()).unwrap_or(Value::Null);
            return Err(reported(&json!({ "error": error })));
        }
        if body.object.is_some_and(|object| object.get() == r#""error""#) {
            return Err(reported(&json!({ "message": text_of(body.message) })));
        }
        if self.gathered.answered_by.is_empty()
            && let Some(model) = text_of(body.model)
        {
            self.gathered.answered_by = model;
        }
        if let Some(Ok(used)) = body.usage.map(|usage| serde_json::from_str::<Used<'_>>(usage.get())) {
            self.count(&used);
        }
        let choices = body.choices.iter().flatten();
        for choice in choices.filter(|choice| choice.index.unwrap_or(0) == 0).take(1) {
            self.has_choice = true;
            if let Some(said) = choice.delta.as_ref().or(choice.message.as_ref()) {
                self.said(said, is_whole, heard)?;
            }
            if let Some(reason) = text_of(choice.finish_reason) {
                self.has_finished = true;
                match reason.as_str() {
                    "length" => self.gathered.stop = Stop::Length,
                    "content_filter" => self.gathered.stop = Stop::Refused,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Some servers send usage with every chunk; the last one counts.
    fn count(&mut self, used: &Used<'_>) {
        let told = &mut self.gathered.told;
        told.input = tokens_of(used.prompt_tokens).or(told.input);
        told.output = tokens_of(used.completion_tokens).or(told.output);
        let cached = used
            .prompt_tokens_details
            .map(|cached| serde_json::from_str::<Cached<'_>>(cached.get()));
        if let Some(Ok(cached)) = cached {
            told.cache_read = tokens_of(cached.cached_tokens).or(told.cache_read);
            told.cache_write = tokens_of(cached.cache_write_tokens).or(told.cache_write);
        }
    }

    fn said(&mut self, said: &Said<'_>, is_whole: bool, heard: &mut Heard<'_>) -> Result<(), AskError> {
        for (reasoning, goes_back) in [(said.reasoning_content, true), (said.reasoning, false)] {
            let Some(literal) = reasoning.filter(|literal| literal.get().starts_with('"')) else {
                continue;
            };
            // A server that sends both sends the same in both.
            if !goes_back && said.reasoning_content.is_some() {
                continue;
            }
            self.gathered.thinking(literal.get(), heard)?;
            if goes_back {
                self.reasoning.push_str(inner_of(literal));
            }
        }
        if let Some(content) = said.content {
            self.content(content, heard)?;
        }
        if let Some(refusal) = said.refusal.filter(|refusal| refusal.get() != r#""""#) {
            self.gathered.stop = Stop::Refused;
            self.gathered.text(refusal.get(), heard)?;
        }
        for tool in said.tool_calls.iter().flatten() {
            let Some(function) = &tool.function else { continue };
            let place = self.function(tool.index.unwrap_or(0), tool.id, function, is_whole, heard)?;
            if let Some(extra) = tool.extra_content {
                self.extras.push((place, extra.get().to_owned()));
            }
        }
        // The older form of one call.
        if let Some(function) = &said.function_call {
            self.function(0, None, function, is_whole, heard)?;
        }
        Ok(())
    }

    /// Text, or the text parts of a list.
    fn content(&mut self, content: &RawValue, heard: &mut Heard<'_>) -> Result<(), AskError> {
        if !content.get().starts_with('[') {
            return self.gathered.text(content.get(), heard);
        }
        let parts: Value = serde_json::from_str(&surrogate::repair(content.get())).unwrap_or(Value::Null);
        for part in parts.as_array().into_iter().flatten() {
            if let Some(words) = part["text"].as_str().or(part["refusal"].as_str()) {
                self.gathered.words(words, heard)?;
            }
        }
        Ok(())
    }

    /// Takes a piece of a call and gives the place of the call that it belongs to.
    fn function(
        &mut self,
        index: u64,
        id: Option<&RawValue>,
        function: &Function<'_>,
        is_whole: bool,
        heard: &mut Heard<'_>,
    ) -> Result<usize, AskError> {
        let id = text_of(id).filter(|id| !id.is_empty()).or_else(|| text_of(function.id));
        let id = id.unwrap_or_default();
        let name = text_of(function.name).unwrap_or_default();
        let arguments = function.arguments.map_or("", RawValue::get);
        let slot = self.slots.iter().rposition(|(known, _)| *known == index);
        let open = slot.map(|slot| self.slots[slot].1).filter(|_| !is_whole);
        let place = match open {
            Some(place) if !self.is_new(place, &id, &name, arguments) => {
                self.gathered.name_call(place, &id, &name);
                place
            }
            _ => {
                let place = self.gathered.open_call(&id, &name, heard)?;
                match slot {
                    Some(slot) => self.slots[slot].1 = place,
                    None => self.slots.push((index, place)),
                }
                place
            }
        };
        if !arguments.is_empty() {
            self.gathered.arguments(place, arguments, heard)?;
        }
        Ok(place)
    }

    /// Whether a piece begins another call than the one that is open under its index. Servers use one index for all
    /// calls, repeat the name or change the id with every piece; no call begins without a name, and none where the
    /// arguments of the open one are not complete, unless it has another name.
    fn is_new(&self, place: usize, id: &str, name: &str, arguments: &str) -> bool {
        let Some((own_id, own_name, own_arguments)) = self.gathered.call(place) else {
            return true;
        };
        let (same_id, same_name) = (id.is_empty() || own_id.is_empty() || id == own_id, name == own_name);
        if name.is_empty() || own_name.is_empty() || (!id.is_empty() && id == own_id) {
            return false;
        }
        let is_complete = || serde_json::from_str::<IgnoredAny>(own_arguments).is_ok();
        match (same_id, same_name) {
            (_, false) => true,
            (false, true) => own_arguments.is_empty() || is_complete(),
            // Without ids, more arguments after complete ones can only be another call's.
            (true, true) => id.is_empty() && !matches!(arguments, "" | "\"\"" | "null") && is_complete(),
        }
    }
}
