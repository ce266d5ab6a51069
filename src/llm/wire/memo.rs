//! What the requests of one conversation leave behind for the next one: each message is written as JSON once.
//!
//! Refuses to know: any dialect. Invariants: what comes out is what a fresh memo would give; messages are remembered
//! by what they are (the same text in memory, or else an equal one), so a changed beginning is written anew; at most
//! `SHEETS_MAX` dialects are remembered.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::domain::conversation::{Arguments, Message, ModelRequest};
use crate::domain::request_options::RequestOptions;
use crate::domain::skill::SkillManifest;

use super::names::Names;

/// Dialects that are remembered at once: a model and the one that is asked instead of it.
const SHEETS_MAX: usize = 2;

/// Remembers how the messages of a conversation are written. Clones share it.
#[derive(Clone, Default)]
pub struct Memo {
    inner: Arc<Mutex<Inner>>,
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

#[derive(Default)]
struct Inner {
    /// The messages of the last request; they share their texts with the conversation.
    seen: Vec<Message>,
    /// Bytes and parts of the messages up to each.
    tallies: Vec<(u64, u64)>,
    sheets: Vec<Sheet>,
}

/// What is sent beside the messages, without the comma between them and what comes before.
#[derive(Debug, Default)]
pub struct Frame {
    /// Before the messages.
    pub head: Vec<u8>,
    /// After them.
    pub tail: Vec<u8>,
}

/// The messages as written, and what the next one has to know of those before it.
#[derive(Debug, Default)]
pub struct Page {
    /// The bytes; what closes the last message may be left to whoever joins the request.
    pub bytes: Vec<u8>,
    /// Where each message ends.
    pub ends: Vec<usize>,
    /// The role whose content is still open.
    pub role: Option<&'static str>,
    /// The ids under which the calls of the last assistant message were sent.
    pub open: Vec<String>,
}

/// What one dialect wrote for one conversation.
#[derive(Debug)]
pub struct Sheet {
    key: Key,
    names: Names,
    /// Around the messages.
    pub frame: Frame,
    /// The messages.
    pub page: Page,
}

/// All that a frame depends on.
#[derive(Debug)]
struct Key {
    hand: Hand,
    skills: Arc<[SkillManifest]>,
    system: Arc<str>,
    schema: Option<Arc<Value>>,
    output_tokens_max: u32,
    options: Option<Arc<RequestOptions>>,
}

/// Who writes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hand {
    /// The dialect's name.
    pub dialect: &'static str,
    /// The provider's name of the model.
    pub model_id: Arc<str>,
    /// Whether the answer is asked for as a stream.
    pub stream: bool,
    /// Whether the request goes to the vendor itself, who knows the newest fields.
    pub vendor: bool,
}

impl Key {
    fn fits(&self, hand: &Hand, request: &ModelRequest) -> bool {
        let same_schema = match (&self.schema, &request.output_schema) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own == other,
            (None, None) => true,
            _ => false,
        };
        self.hand == *hand
            && (Arc::ptr_eq(&self.skills, &request.skills) || self.skills == request.skills)
            && same_text(&self.system, &request.system)
            && same_schema
            && self.output_tokens_max == request.output_tokens_max
            && self.options == request.options
    }
}

impl Memo {
    /// Joins a request of what is remembered and of what is new in it. `frame` writes what is around the messages,
    /// `message` the message at a place; both are called only for what is not remembered.
    pub fn write<R>(
        &self,
        hand: &Hand,
        request: &ModelRequest,
        frame: impl FnOnce(&Names) -> Frame,
        mut message: impl FnMut(&mut Page, usize, &Message, &Names),
        join: impl FnOnce(&Sheet) -> R,
    ) -> R {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.follow(&request.messages);
        let known = inner.sheets.iter().position(|sheet| sheet.key.fits(hand, request));
        let mut sheet = if let Some(place) = known {
            inner.sheets.remove(place)
        } else {
            inner.sheets.retain(|sheet| sheet.key.hand != *hand);
            let names = Names::of(&request.skills);
            Sheet {
                key: Key {
                    hand: hand.clone(),
                    skills: request.skills.clone(),
                    system: request.system.clone(),
                    schema: request.output_schema.clone(),
                    output_tokens_max: request.output_tokens_max,
                    options: request.options.clone(),
                },
                frame: frame(&names),
                names,
                page: Page::default(),
            }
        };
        for (place, new) in request.messages.iter().enumerate().skip(sheet.page.ends.len()) {
            message(&mut sheet.page, place, new, &sheet.names);
            sheet.page.ends.push(sheet.page.bytes.len());
        }
        let joined = join(&sheet);
        inner.sheets.truncate(SHEETS_MAX - 1);
        inner.sheets.insert(0, sheet);
        joined
    }

    /// The sums over all messages of what `cost` says of one: bytes and parts.
    pub fn tally(&self, messages: &[Message], cost: impl Fn(&Message) -> (u64, u64)) -> (u64, u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.follow(messages);
        let mut sum = inner.tallies.last().copied().unwrap_or_default();
        for message in &messages[inner.tallies.len()..] {
            let (bytes, parts) = cost(message);
            sum = (sum.0 + bytes, sum.1 + parts);
            inner.tallies.push(sum);
        }
        sum
    }
}

impl Inner {
    /// Forgets what the conversation no longer begins with, and takes up what is new.
    fn follow(&mut self, messages: &[Message]) {
        let same = self
            .seen
            .iter()
            .zip(messages)
            .take_while(|(seen, now)| is_same(seen, now));
        let same = same.count();
        if same < self.seen.len() {
            self.seen.truncate(same);
            self.tallies.truncate(same);
            for sheet in &mut self.sheets {
                // How a message is written depends on those before it, so there is no page up to somewhere.
                if sheet.page.ends.len() > same {
                    sheet.page = Page::default();
                }
            }
        }
        self.seen.extend_from_slice(&messages[same..]);
    }
}

/// A pointer is enough for nearly all; equal texts elsewhere are as good.
fn same_text(a: &Arc<str>, b: &Arc<str>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

fn is_same(a: &Message, b: &Message) -> bool {
    match (a, b) {
        (Message::User(a), Message::User(b)) => same_text(a, b),
        (
            Message::Assistant { text, calls, kept },
            Message::Assistant {
                text: other_text,
                calls: other_calls,
                kept: other_kept,
            },
        ) => {
            same_text(text, other_text)
                && (Arc::ptr_eq(kept, other_kept) || kept == other_kept)
                && calls.len() == other_calls.len()
                && calls.iter().zip(other_calls).all(|(a, b)| {
                    let same_arguments = match (&a.arguments, &b.arguments) {
                        (Arguments::Object(a), Arguments::Object(b)) => Arc::ptr_eq(a, b) || a == b,
                        (a, b) => a == b,
                    };
                    same_text(&a.id, &b.id) && same_text(&a.skill, &b.skill) && same_arguments
                })
        }
        (Message::Results(a), Message::Results(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    same_text(&a.content, &b.content) && same_text(&a.id, &b.id) && a.is_error == b.is_error
                })
        }
        _ => false,
    }
}
