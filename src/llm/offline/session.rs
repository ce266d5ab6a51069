//! What a procedure of the offline model sees: its brief, and skill calls as if they returned at once.
//!
//! A procedure is straight code that runs from its beginning at every turn. A call whose result is in the history
//! gives that result; one that is not there yet ends the procedure with [`Pending`], and the calls become the turn's
//! answer. So there is no state besides the conversation. Refuses to know: what the calls are for.
//! Invariants: the same history gives the same calls; a conversation ends, because after [`TURNS_MAX`] turns every
//! further call counts as failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::agent::Role;
use crate::domain::brief::{self, Brief};
use crate::domain::conversation::{Arguments, CallRequest, Message, ModelRequest};
use crate::domain::json::canonical;
use crate::domain::text::CUT_MARK;

/// Turns with calls in one conversation.
pub(super) const TURNS_MAX: usize = 16;
/// Calls in one turn.
const CALLS_MAX: usize = 16;

/// The calls to be made before a procedure can go on.
#[derive(Debug)]
pub(super) struct Pending(pub(super) Vec<Wanted>);

/// What a procedure gives: its result, or the calls that it waits for.
pub(super) type Flow<T> = Result<T, Pending>;

/// One call that a procedure wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// The skill.
    pub(super) skill: &'static str,
    /// Its arguments, an object.
    pub(super) arguments: Value,
}

/// Makes a wanted call.
pub(super) fn call(skill: &'static str, arguments: Value) -> Wanted {
    Wanted { skill, arguments }
}

/// What one call gave.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// The text as it came.
    pub(super) text: Arc<str>,
    /// Whether it failed, or was never possible.
    pub(super) failed: bool,
}

impl Outcome {
    fn failed(reason: String) -> Self {
        Self {
            text: reason.into(),
            failed: true,
        }
    }

    /// Whether the end of the text is missing.
    pub(super) fn is_cut(&self) -> bool {
        self.text.ends_with(CUT_MARK)
    }

    /// The text without the mark of a cut; nothing when the call failed.
    pub(super) fn content(&self) -> &str {
        if self.failed {
            return "";
        }
        self.text.strip_suffix(CUT_MARK).unwrap_or(&self.text)
    }

    /// The text of a file, and whether its end is missing. A reader that stops early says in its last line, between
    /// brackets, where to go on; that line is not part of the file.
    pub(super) fn file_text(&self) -> (&str, bool) {
        let content = self.content();
        let last = content.lines().next_back().unwrap_or("");
        if last.starts_with("[lines ") && last.ends_with(']') && last.contains("go on with offset") {
            return (&content[..content.len() - last.len()], true);
        }
        (content, self.is_cut())
    }

    /// Whether a reader says that a file is no text.
    pub(super) fn is_binary(&self) -> bool {
        self.text.len() < 64 && self.text.starts_with("binary file, ") && self.text.ends_with(" bytes")
    }

    /// The JSON object that it should be, also when it is an error; empty when it is none.
    pub(super) fn object(&self) -> Map<String, Value> {
        match serde_json::from_str(&self.text) {
            Ok(Value::Object(object)) => object,
            _ => Map::new(),
        }
    }

    /// The items of a list in a JSON object, also out of a text that was cut in the middle, and whether all are there.
    pub(super) fn items(&self, member: &str) -> (Vec<Value>, bool) {
        let mut object = self.object();
        if let Some(Value::Array(items)) = object.remove(member) {
            let truncated = object.get("truncated").and_then(Value::as_bool).unwrap_or(false);
            return (items, !truncated);
        }
        (salvage(self.content(), member), false)
    }
}

/// Reads the items that are whole.
fn salvage(text: &str, member: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let Some(start) = text.find(&format!("\"{member}\"")) else {
        return items;
    };
    let Some(bracket) = text[start..].find('[') else {
        return items;
    };
    let mut rest = &text[start + bracket + 1..];
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match stream.next() {
            Some(Ok(item @ Value::Object(_))) => {
                let end = stream.byte_offset();
                items.push(item);
                rest = &rest[end..];
            }
            _ => return items,
        }
    }
}

/// One conversation as a procedure sees it.
pub(super) struct Session<'r> {
    /// The request.
    pub(super) request: &'r ModelRequest,
    /// What is to be done.
    pub(super) brief: Brief,
    /// Whether the first message was a brief; otherwise somebody is chatting.
    pub(super) is_brief: bool,
    /// The agent's role, when the system text says one.
    pub(super) role: Option<Role>,
    turn: usize,
    known: BTreeMap<(Arc<str>, String), Outcome>,
}

impl<'r> Session<'r> {
    /// Reads a request.
    pub(super) fn read(request: &'r ModelRequest) -> Self {
        let texts: Vec<&Arc<str>> = request
            .messages
            .iter()
            .filter_map(|message| match message {
                Message::User(text) => Some(text),
                _ => None,
            })
            .collect();
        let first = texts.first().map_or("", |text| text);
        let parsed = brief::parse(first);
        let is_brief = parsed.is_some();
        // In a chat the last message is what is wanted now; after a brief, later messages are corrections.
        let brief = match parsed {
            Some(mut brief) => {
                brief.lessons.extend(texts.iter().skip(1).map(|text| (*text).clone()));
                brief
            }
            None => Brief {
                task: texts.last().map_or_else(|| "".into(), |text| (*text).clone()),
                ..Brief::default()
            },
        };
        let mut session = Self {
            request,
            brief,
            is_brief,
            role: role_of(&request.system),
            turn: 0,
            known: BTreeMap::new(),
        };
        session.replay();
        session
    }

    fn replay(&mut self) {
        let mut open: &[CallRequest] = &[];
        for message in self.request.messages.iter() {
            match message {
                Message::Assistant { calls, .. } => {
                    self.turn += 1;
                    open = calls;
                }
                Message::Results(results) => {
                    for (call, result) in open.iter().zip(results) {
                        if let Arguments::Object(arguments) = &call.arguments {
                            let outcome = Outcome {
                                text: result.content.clone(),
                                failed: result.is_error,
                            };
                            self.known.insert((call.skill.clone(), canonical(arguments)), outcome);
                        }
                    }
                }
                Message::User(_) => {}
            }
        }
    }

    /// Whether a skill may be called.
    pub(super) fn offers(&self, skill: &str) -> bool {
        self.request
            .skills
            .iter()
            .any(|manifest| manifest.name.as_str() == skill)
    }

    /// The outcomes of these calls, in their order; those that are not known yet are asked for together.
    pub(super) fn all(&self, wanted: Vec<Wanted>) -> Flow<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(wanted.len());
        let mut missing: Vec<Wanted> = Vec::new();
        for call in wanted {
            let key = (Arc::from(call.skill), canonical(&call.arguments));
            if let Some(outcome) = self.known.get(&key) {
                outcomes.push(outcome.clone());
            } else if !self.offers(call.skill) {
                outcomes.push(Outcome::failed(format!("the skill {} is not offered", call.skill)));
            } else if self.turn >= TURNS_MAX {
                outcomes.push(Outcome::failed(format!("no turn is left for {}", call.skill)));
            } else if !missing.contains(&call) {
                missing.push(call);
            }
        }
        if missing.is_empty() {
            return Ok(outcomes);
        }
        missing.truncate(CALLS_MAX);
        Err(Pending(missing))
    }

    /// The outcome of one call.
    pub(super) fn one(&self, wanted: Wanted) -> Flow<Outcome> {
        let mut outcomes = self.all(vec![wanted])?;
        Ok(outcomes.pop().expect("one call has one outcome"))
    }

    /// The requests of these calls, with ids that are new in this conversation.
    pub(super) fn requests(&self, wanted: Vec<Wanted>) -> Vec<CallRequest> {
        let numbered = wanted.into_iter().enumerate();
        numbered
            .map(|(index, call)| CallRequest {
                id: format!("call_{}_{index}", self.turn + 1).into(),
                skill: call.skill.into(),
                arguments: Arguments::Object(call.arguments.into()),
            })
            .collect()
    }

    /// A named input; a text that is a JSON object counts as that object.
    pub(super) fn input(&self, name: &str) -> Option<Value> {
        let value = self.brief.context.get(name)?;
        if let Value::String(text) = value
            && text.trim_start().starts_with('{')
            && let Ok(object) = serde_json::from_str(text)
        {
            return Some(object);
        }
        Some(value.clone())
    }

    /// A named input that is a text.
    pub(super) fn input_text(&self, name: &str) -> Option<&str> {
        self.brief.context.get(name).and_then(Value::as_str)
    }

    /// The folder that the work is about, relative to the workspace.
    pub(super) fn folder(&self) -> String {
        let folder = self.input_text("folder").unwrap_or(".").trim_end_matches('/');
        if folder.is_empty() {
            ".".to_owned()
        } else {
            folder.to_owned()
        }
    }
}

/// Reads `You are <name>, the <role> agent.`
fn role_of(system: &str) -> Option<Role> {
    let line = system.lines().next()?;
    let (_, rest) = line.split_once(", the ")?;
    let word = rest.split(' ').next()?;
    Role::from_word(word)
}
