//! An answer in the making: what the dialects put in as it arrives, and the listener hears at once.
//!
//! Refuses to know: any dialect. Invariants: the listener hears each piece once, in order, and never a part of a
//! character; arguments are parsed when the answer is complete and not before; no more than [`ANSWER_BYTES_MAX`] are
//! gathered.

use serde_json::value::RawValue;

use crate::domain::conversation::{CallRequest, KeptBlock, ModelAnswer, ModelRequest, Stop, Usage};
use crate::domain::failure::FailureClass;
use crate::llm::estimate;
use crate::llm::model::{AskError, Delta, Listener};
use crate::llm::wire::delta::DeltaJoiner;
use crate::llm::wire::names::Names;
use crate::llm::wire::{arguments, ids, instruction};

use super::failure::malformed;

/// Bytes of text, thinking, calls and kept parts of one answer together.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Passes pieces on and remembers whether there was any.
pub struct Heard<'l> {
    listener: &'l dyn Listener,
    any: bool,
}

impl<'l> Heard<'l> {
    /// Nothing was heard yet.
    pub fn new(listener: &'l dyn Listener) -> Self {
        Self { listener, any: false }
    }

    /// Whether a piece was passed on.
    pub fn any(&self) -> bool {
        self.any
    }

    fn pass(&mut self, delta: Delta) {
        self.any = true;
        self.listener.delta(delta);
    }
}

/// Usage as far as the provider told it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Told {
    pub(super) input: Option<u64>,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_write: Option<u64>,
    pub(super) output: Option<u64>,
}

#[derive(Debug, Default)]
struct OpenCall {
    id: String,
    name: String,
    arguments: String,
    joiner: DeltaJoiner,
}

/// The parts of an answer so far.
#[derive(Debug)]
pub(super) struct Gathered {
    names: Names,
    text: String,
    text_joiner: DeltaJoiner,
    thinking_joiner: DeltaJoiner,
    /// What was decoded last, for pieces that are not kept.
    scratch: String,
    calls: Vec<OpenCall>,
    kept: Vec<KeptBlock>,
    bytes: usize,
    pub(super) stop: Stop,
    pub(super) told: Told,
    pub(super) answered_by: String,
}

impl Gathered {
    pub(super) fn new(request: &ModelRequest) -> Self {
        Self {
            names: Names::of(&request.skills),
            text: String::new(),
            text_joiner: DeltaJoiner::new(),
            thinking_joiner: DeltaJoiner::new(),
            scratch: String::new(),
            calls: Vec::new(),
            kept: Vec::new(),
            bytes: 0,
            stop: Stop::End,
            told: Told::default(),
            answered_by: String::new(),
        }
    }

    /// More text, as the literal that came.
    pub(super) fn text(&mut self, literal: &str, heard: &mut Heard<'_>) -> Result<(), AskError> {
        self.grow(literal.len())?;
        let start = self.text.len();
        let pushed = self.text_joiner.push(literal, &mut self.text);
        pushed.map_err(|error| malformed("a piece of the text is no text").because(error))?;
        if self.text.len() > start {
            heard.pass(Delta::Text(self.text[start..].into()));
        }
        Ok(())
    }

    /// More text, decoded already.
    pub(super) fn words(&mut self, words: &str, heard: &mut Heard<'_>) -> Result<(), AskError> {
        self.grow(words.len())?;
        let start = self.text.len();
        self.text_joiner.push_text(words, &mut self.text);
        if self.text.len() > start {
            heard.pass(Delta::Text(self.text[start..].into()));
        }
        Ok(())
    }

    /// The text so far.
    pub(super) fn text_so_far(&self) -> &str {
        &self.text
    }

    /// A block of text or thinking ends: no half of a character waits any longer.
    pub(super) fn end_block(&mut self, heard: &mut Heard<'_>) {
        let start = self.text.len();
        self.text_joiner.finish(&mut self.text);
        if self.text.len() > start {
            heard.pass(Delta::Text(self.text[start..].into()));
        }
        self.thinking_joiner.finish(&mut self.scratch);
    }

    /// More thinking, as the literal that came; it is heard and not gathered.
    pub(super) fn thinking(&mut self, literal: &str, heard: &mut Heard<'_>) -> Result<(), AskError> {
        self.grow(literal.len())?;
        self.scratch.clear();
        let pushed = self.thinking_joiner.push(literal, &mut self.scratch);
        pushed.map_err(|error| malformed("a piece of the thinking is no text").because(error))?;
        if !self.scratch.is_empty() {
            heard.pass(Delta::Thinking(self.scratch.as_str().into()));
        }
        Ok(())
    }

    /// A call begins. Gives its place.
    pub(super) fn open_call(&mut self, id: &str, name: &str, heard: &mut Heard<'_>) -> Result<usize, AskError> {
        self.grow(id.len() + name.len() + size_of::<OpenCall>())?;
        let place = self.calls.len();
        heard.pass(Delta::CallBegun {
            index: place as u32,
            skill: self.names.from_wire(name).into(),
        });
        self.calls.push(OpenCall {
            id: id.to_owned(),
            name: name.to_owned(),
            ..OpenCall::default()
        });
        Ok(place)
    }

    /// More arguments of a call, as the literal that came. Some servers send the arguments themselves and not their
    /// text; that is taken too.
    pub(super) fn arguments(&mut self, place: usize, raw: &str, heard: &mut Heard<'_>) -> Result<(), AskError> {
        self.grow(raw.len())?;
        let Some(call) = self.calls.get_mut(place) else {
            return Ok(());
        };
        let start = call.arguments.len();
        if raw.starts_with('"') {
            let pushed = call.joiner.push(raw, &mut call.arguments);
            pushed.map_err(|error| malformed("a piece of the arguments is no text").because(error))?;
        } else if raw != "null" {
            call.arguments.push_str(raw);
        }
        if call.arguments.len() > start {
            heard.pass(Delta::CallArguments {
                index: place as u32,
                json: call.arguments[start..].into(),
            });
        }
        Ok(())
    }

    /// Puts the complete arguments of a call in the place of its pieces, when the pieces did not come.
    pub(super) fn whole_arguments(&mut self, place: usize, raw: &str, heard: &mut Heard<'_>) -> Result<(), AskError> {
        match self.calls.get(place) {
            Some(call) if call.arguments.is_empty() => self.arguments(place, raw, heard),
            _ => Ok(()),
        }
    }

    /// Id, name and arguments so far of a call.
    pub(super) fn call(&self, place: usize) -> Option<(&str, &str, &str)> {
        let call = self.calls.get(place)?;
        Some((&call.id, &call.name, &call.arguments))
    }

    /// An id that came later than its call.
    pub(super) fn name_call(&mut self, place: usize, id: &str, name: &str) {
        if let Some(call) = self.calls.get_mut(place) {
            if call.id.is_empty() {
                id.clone_into(&mut call.id);
            }
            if call.name.is_empty() {
                name.clone_into(&mut call.name);
            }
        }
    }

    /// How many visible parts there are so far.
    pub(super) fn parts(&self) -> u32 {
        u32::from(!self.text.is_empty()) + self.calls.len() as u32
    }

    /// Keeps a part for the next request.
    pub(super) fn keep(&mut self, dialect: &'static str, before: u32, json: &str) -> Result<(), AskError> {
        self.grow(json.len())?;
        self.kept.push(KeptBlock {
            dialect: dialect.into(),
            before,
            json: crate::llm::wire::surrogate::repair(json).as_ref().into(),
        });
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), AskError> {
        self.bytes += bytes;
        if self.bytes > ANSWER_BYTES_MAX {
            let reason = format!("the answer has more than {ANSWER_BYTES_MAX} bytes");
            return Err(AskError::unknown(FailureClass::Malformed, reason));
        }
        Ok(())
    }

    /// The complete answer.
    pub(super) fn answer(mut self, request: &ModelRequest) -> ModelAnswer {
        self.text_joiner.finish(&mut self.text);
        let was_cut = self.stop == Stop::Length;
        let names = &self.names;
        let calls = self.calls.into_iter().map(|mut call| {
            call.joiner.finish(&mut call.arguments);
            CallRequest {
                id: call.id.into(),
                skill: names.from_wire(&call.name).into(),
                arguments: arguments::parse(&call.arguments, was_cut),
            }
        });
        let mut calls: Vec<CallRequest> = calls.collect();
        ids::make_unique(request, &mut calls);
        let mut text = self.text;
        if request.output_schema.is_some() && calls.is_empty() {
            text = instruction::unwrap_json(&text).into();
        }
        let mut answer = ModelAnswer {
            text: text.into(),
            calls,
            stop: self.stop,
            usage: Usage::default(),
            answered_by: self.answered_by.into(),
            kept: self.kept.into(),
        };
        let told = self.told;
        let input = told.input.filter(|tokens| *tokens > 0);
        answer.usage = Usage {
            input: input.unwrap_or_else(|| estimate::request_tokens(request)),
            cache_read: told.cache_read.unwrap_or(0),
            cache_write: told.cache_write.unwrap_or(0),
            output: told.output.unwrap_or_else(|| estimate::answer_tokens(&answer)),
            estimated: input.is_none() || told.output.is_none(),
        };
        answer
    }
}

/// The kept parts of a message that a dialect understands, as JSON, with their places.
pub(super) fn kept_for<'k>(
    kept: &'k [KeptBlock],
    dialect: &'static str,
) -> impl Iterator<Item = (u32, &'k RawValue)> + use<'k> {
    kept.iter()
        .filter(move |block| &*block.dialect == dialect)
        .filter_map(|block| {
            // What is no JSON any more would make the whole request unreadable.
            let json: Option<&RawValue> = serde_json::from_str(&block.json).ok();
            json.map(|json| (block.before, json))
        })
}

/// The text of a literal, if it is one.
pub(super) fn text_of(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

/// A number of tokens, if it is one.
pub(super) fn tokens_of(raw: Option<&RawValue>) -> Option<u64> {
    serde_json::from_str(raw?.get()).ok()
}

/// A literal without its quotes, not decoded: what is joined of these keeps every escape as it was received.
pub(super) fn inner_of(literal: &RawValue) -> &str {
    let inner = literal.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or("")
}
