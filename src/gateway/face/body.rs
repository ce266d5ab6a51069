//! What the vendors' request bodies have in common, read.
//!
//! Refuses to know: HTTP, and which agent answers. **Invariant**: what is not understood is refused with its place; a
//! member is passed over only when its list says that it changes nothing here.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::code;
use crate::domain::conversation::{CallResult, ConversationError, Message, check_history};
use crate::domain::exchange::{EXCHANGE_BYTES_MAX, EXCHANGE_MESSAGES_MAX};
use crate::domain::request_options::{CLIENT_TOOLS_MAX, ClientTool, RequestOptions, STOP_SEQUENCES_MAX};
use crate::gateway::error::ApiError;
use crate::llm::estimate::message_cost;
use crate::llm::wire::names;

use super::rules::Rule;

/// Characters of a tool's name, as it goes to a provider.
const TOOL_NAME_CHARS_MAX: usize = 64;

/// What the user says where a client lets the assistant begin.
const BEGINS: &str = "(the conversation begins)";

/// A request, whichever protocol it came in.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The model as the client named it.
    pub model: String,
    /// The client's rules for this request.
    pub system: String,
    /// Its rules for the conversation from here on.
    pub rules: Vec<Rule>,
    /// The conversation of the request itself.
    pub messages: Vec<Message>,
    /// Whether the first message is not the client's; see [`open`].
    pub is_opened: bool,
    /// What is asked of the model.
    pub options: RequestOptions,
    /// Ceiling of each answer in tokens.
    pub output_tokens_max: Option<u32>,
    /// Schema of the answer.
    pub schema: Option<Arc<Value>>,
    /// Whether the answer comes as a stream.
    pub stream: bool,
    /// Whether a stream of chunks ends with the usage.
    pub stream_usage: bool,
    /// Members that the answer repeats.
    pub repeated: Value,
    /// Whether the answer may be asked for again.
    pub store: bool,
    /// Whether nobody waits.
    pub background: bool,
    /// The response that this one goes on from.
    pub previous: Option<String>,
}

/// The members of a body.
pub struct Members<'b> {
    map: &'b Map<String, Value>,
    prefix: String,
}

/// A refusal of what is wrong at a place.
pub fn wrong(at: impl Into<String>, message: impl Into<String>) -> ApiError {
    ApiError::invalid(message).at(at)
}

/// A refusal of what is not done here.
pub fn unsupported(at: impl Into<String>, message: impl Into<String>) -> ApiError {
    ApiError::new(code::PARAMETER_UNSUPPORTED, message).at(at)
}

impl<'b> Members<'b> {
    /// Of the whole body.
    pub fn of(body: &'b Value) -> Result<Self, ApiError> {
        Self::at("", body)
    }

    /// Of an object at a place; the place of the body is empty.
    pub fn at(place: &str, value: &'b Value) -> Result<Self, ApiError> {
        let map = value
            .as_object()
            .ok_or_else(|| wrong(if place.is_empty() { "body" } else { place }, "expected an object"))?;
        let prefix = if place.is_empty() {
            String::new()
        } else {
            format!("{place}.")
        };
        Ok(Self { map, prefix })
    }

    /// The place of a member.
    pub fn place(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A member that is there and not null.
    pub fn get(&self, name: &str) -> Option<&'b Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Refuses members that are in none of the lists.
    pub fn only(&self, lists: &[&[&str]]) -> Result<(), ApiError> {
        let known = |name: &str| lists.iter().any(|list| list.contains(&name));
        match self.map.keys().find(|name| !known(name)) {
            None => Ok(()),
            Some(name) => {
                let shown = crate::domain::text::preview(name, 80);
                Err(unsupported(self.place(&shown), format!("unknown parameter: `{shown}`")))
            }
        }
    }

    /// Refuses a member unless it has a value that changes nothing.
    pub fn not(&self, name: &str, harmless: &[Value], why: &str) -> Result<(), ApiError> {
        match self.get(name) {
            Some(value) if !harmless.contains(value) => Err(unsupported(self.place(name), why)),
            _ => Ok(()),
        }
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&'b str>, ApiError> {
        self.get(name)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| wrong(self.place(name), "expected a string"))
            })
            .transpose()
    }

    /// A yes or no.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.get(name)
            .map(|value| {
                value
                    .as_bool()
                    .ok_or_else(|| wrong(self.place(name), "expected true or false"))
            })
            .transpose()
    }

    /// A number within bounds.
    pub fn number(&self, name: &str, from: f64, to: f64) -> Result<Option<f64>, ApiError> {
        self.get(name)
            .map(|value| {
                let number = value.as_f64().filter(|number| (from..=to).contains(number));
                number.ok_or_else(|| wrong(self.place(name), format!("expected a number from {from} to {to}")))
            })
            .transpose()
    }

    /// A count of tokens.
    pub fn tokens(&self, name: &str) -> Result<Option<u32>, ApiError> {
        self.get(name)
            .map(|value| {
                let tokens = value.as_u64().filter(|tokens| *tokens > 0);
                tokens
                    .map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX))
                    .ok_or_else(|| wrong(self.place(name), "expected a whole number above 0"))
            })
            .transpose()
    }

    /// A list; empty when it is not there.
    pub fn list(&self, name: &str) -> Result<&'b [Value], ApiError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(value) => value
                .as_array()
                .map(Vec::as_slice)
                .ok_or_else(|| wrong(self.place(name), "expected a list")),
        }
    }

    /// A text that has to be there.
    pub fn needed_text(&self, name: &str) -> Result<&'b str, ApiError> {
        self.text(name)?.ok_or_else(|| {
            wrong(
                self.place(name),
                format!("missing required parameter: `{}`", self.place(name)),
            )
        })
    }

    /// Texts at which the answer ends: one, or a list.
    pub fn stop(&self, name: &str) -> Result<Arc<[Arc<str>]>, ApiError> {
        let bad = || wrong(self.place(name), "expected strings that are not empty");
        let texts: Vec<Arc<str>> = match self.get(name) {
            None => Vec::new(),
            Some(Value::String(text)) => vec![text.as_str().into()],
            Some(Value::Array(items)) => {
                let items = items.iter().map(|item| item.as_str().map(Arc::from).ok_or_else(bad));
                items.collect::<Result<_, _>>()?
            }
            Some(_) => return Err(bad()),
        };
        if texts.iter().any(|text| text.is_empty()) {
            return Err(bad());
        }
        if texts.len() > STOP_SEQUENCES_MAX {
            return Err(wrong(
                self.place(name),
                format!("at most {STOP_SEQUENCES_MAX} sequences"),
            ));
        }
        Ok(texts.into())
    }
}

/// The text of a content: a string, or parts of which all are text of these kinds.
pub fn text_of(place: &str, content: Option<&Value>, kinds: &[&str]) -> Result<String, ApiError> {
    match content {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                let place = format!("{place}[{index}]");
                let kind = part["type"].as_str().unwrap_or("");
                if !kinds.contains(&kind) {
                    let kind = crate::domain::text::preview(kind, 40);
                    let message = format!("content of type `{kind}` is not taken here; agents read text");
                    return Err(unsupported(format!("{place}.type"), message));
                }
                let said = part["text"].as_str().or_else(|| part["refusal"].as_str());
                text.push_str(said.ok_or_else(|| wrong(format!("{place}.text"), "expected a string"))?);
            }
            Ok(text)
        }
        Some(_) => Err(wrong(place, "expected a string or a list of parts")),
    }
}

/// A tool of the client.
pub fn tool(
    place: &str,
    name: &str,
    description: Option<&str>,
    schema: Option<&Value>,
) -> Result<ClientTool, ApiError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    // Two underscores are spelled otherwise towards providers, which count the characters of that.
    let fits = !name.is_empty() && name.chars().all(is_plain) && names::encode(name).len() <= TOOL_NAME_CHARS_MAX;
    if !fits {
        let message = format!("expected a name of 1 to {TOOL_NAME_CHARS_MAX} characters a-z, A-Z, 0-9, `_` and `-`");
        return Err(wrong(format!("{place}.name"), message));
    }
    let schema = match schema.filter(|schema| !schema.is_null()) {
        None => serde_json::json!({ "type": "object", "properties": {} }),
        Some(schema) if schema.is_object() => schema.clone(),
        Some(_) => return Err(wrong(place, "expected a JSON Schema")),
    };
    Ok(ClientTool {
        name: name.into(),
        description: description.unwrap_or("").into(),
        schema: Arc::new(schema),
    })
}

/// Refuses tools that are too many or have one name.
pub fn check_tools(place: &str, tools: &[ClientTool]) -> Result<(), ApiError> {
    if tools.len() > CLIENT_TOOLS_MAX {
        return Err(wrong(place, format!("at most {CLIENT_TOOLS_MAX} tools")));
    }
    let mut names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(wrong(place, format!("two tools have the name `{}`", pair[0]))),
        None => Ok(()),
    }
}

/// Adds a result to those that are being given.
pub fn push_result(messages: &mut Vec<Message>, result: CallResult) {
    match messages.last_mut() {
        Some(Message::Results(results)) => results.push(result),
        _ => messages.push(Message::Results(vec![result])),
    }
}

/// Checks what rules a conversation has, with those that it took along.
pub fn check_rules(place: &str, rules: &[Rule]) -> Result<(), ApiError> {
    let bytes: usize = rules.iter().map(|rule| rule.text.len()).sum();
    if rules.len() > EXCHANGE_MESSAGES_MAX || bytes > EXCHANGE_BYTES_MAX {
        let message = format!(
            "the conversation has {} rules of {bytes} bytes, at most {EXCHANGE_MESSAGES_MAX} of {EXCHANGE_BYTES_MAX}",
            rules.len()
        );
        return Err(wrong(place, message));
    }
    Ok(())
}

/// Lets a conversation begin with the user, where its client has it begin with the assistant or with rules alone: the
/// protocols of OpenAI know no first speaker, and models are asked by rules of other protocols too. Says whether it
/// had to.
pub fn open(messages: &mut Vec<Message>, has_rules: bool) -> bool {
    let is_open = matches!(messages.first(), Some(Message::User(_)));
    let is_begun = has_rules || messages.iter().any(|said| matches!(said, Message::Assistant { .. }));
    if is_open || !is_begun {
        return false;
    }
    messages.insert(0, Message::User(BEGINS.into()));
    true
}

/// Checks a whole conversation and puts results into the order of their calls.
pub fn settle(place: &str, messages: &mut [Message]) -> Result<(), ApiError> {
    for index in 1..messages.len() {
        let (before, after) = messages.split_at_mut(index);
        if let (Some(Message::Assistant { calls, .. }), Some(Message::Results(results))) =
            (before.last(), after.first_mut())
        {
            results.sort_by_key(|result| calls.iter().position(|call| call.id == result.id));
        }
    }
    if messages.len() > EXCHANGE_MESSAGES_MAX {
        return Err(wrong(place, format!("at most {EXCHANGE_MESSAGES_MAX} messages")));
    }
    let bytes: u64 = messages.iter().map(|message| message_cost(message).0).sum();
    if bytes > EXCHANGE_BYTES_MAX as u64 {
        return Err(wrong(
            place,
            format!("the conversation has {bytes} bytes, at most {EXCHANGE_BYTES_MAX}"),
        ));
    }
    check_history(messages).map_err(|error| {
        let message = match error {
            ConversationError::NoTask => "the conversation has to start with a message of the user".to_owned(),
            ConversationError::NothingToAnswer => {
                "the conversation ends with the assistant's own message: there is nothing to answer".to_owned()
            }
            ConversationError::Unanswered { calls, results, .. } => format!(
                "every call of a tool needs its result right after it: calls {calls:?} are followed by results {results:?}"
            ),
        };
        wrong(place, message)
    })
}
