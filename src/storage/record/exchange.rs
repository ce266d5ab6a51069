//! What clients of vendors' protocols asked, and the events that were shown to them.

use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::domain::conversation::{CallResult, KeptBlock, Message};
use crate::domain::exchange::{Exchange, Face, Shown};
use crate::domain::request_options::{ClientTool, RequestOptions, ToolChoice};

use super::answer::CallRecord;
use super::reading::{Reason, json, word};

/// One request of a client.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct ExchangeRecord {
    face: String,
    model: String,
    is_bare: bool,
    system: String,
    messages: Vec<MessageRecord>,
    own_from: u32,
    tools: Vec<(String, String, String)>,
    choice: ChoiceRecord,
    parallel: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    stop: Vec<String>,
    output_tokens_max: Option<u32>,
    repeated: String,
    is_stored: bool,
    is_background: bool,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum ChoiceRecord {
    Auto,
    None,
    Required,
    Tool(String),
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum MessageRecord {
    User(String),
    Assistant {
        text: String,
        calls: Vec<CallRecord>,
        kept: Vec<(String, u32, String)>,
    },
    Results(Vec<(String, String, bool)>),
}

/// Events of an answer in the order of their numbers, from the number in the key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ShownRecord {
    /// The place of the last fact of the journal that they tell of.
    pub through: u64,
    /// Whether the last of them ends the answer.
    pub is_end: bool,
    /// Each as JSON text.
    pub events: Vec<String>,
}

impl From<&Shown> for ShownRecord {
    fn from(shown: &Shown) -> Self {
        Self {
            through: shown.through,
            is_end: shown.is_end,
            events: shown.events.clone(),
        }
    }
}

impl From<&Message> for MessageRecord {
    fn from(message: &Message) -> Self {
        match message {
            Message::User(text) => Self::User(text.to_string()),
            Message::Assistant { text, calls, kept } => Self::Assistant {
                text: text.to_string(),
                calls: calls.iter().map(CallRecord::from).collect(),
                kept: kept
                    .iter()
                    .map(|block| (block.dialect.to_string(), block.before, block.json.to_string()))
                    .collect(),
            },
            Message::Results(results) => Self::Results(
                results
                    .iter()
                    .map(|result| (result.id.to_string(), result.content.to_string(), result.is_error))
                    .collect(),
            ),
        }
    }
}

impl MessageRecord {
    fn into_domain(self) -> Result<Message, Reason> {
        Ok(match self {
            Self::User(text) => Message::User(text.into()),
            Self::Assistant { text, calls, kept } => {
                let kept = kept.into_iter().map(|(dialect, before, json)| KeptBlock {
                    dialect: dialect.into(),
                    before,
                    json: json.into(),
                });
                Message::Assistant {
                    text: text.into(),
                    calls: calls
                        .into_iter()
                        .map(CallRecord::into_domain)
                        .collect::<Result<_, Reason>>()?,
                    kept: kept.collect(),
                }
            }
            Self::Results(results) => {
                let results = results.into_iter().map(|(id, content, is_error)| CallResult {
                    id: id.into(),
                    content: content.into(),
                    is_error,
                });
                Message::Results(results.collect())
            }
        })
    }
}

impl From<&Exchange> for ExchangeRecord {
    fn from(exchange: &Exchange) -> Self {
        let options = &exchange.options;
        let tools = options.tools.iter();
        let tools = tools.map(|tool| {
            let schema = tool.schema.to_string();
            (tool.name.to_string(), tool.description.to_string(), schema)
        });
        Self {
            face: exchange.face.as_str().to_owned(),
            model: exchange.model.to_string(),
            is_bare: exchange.is_bare,
            system: exchange.system.to_string(),
            messages: exchange.messages.iter().map(MessageRecord::from).collect(),
            own_from: exchange.own_from,
            tools: tools.collect(),
            choice: match &options.choice {
                ToolChoice::Auto => ChoiceRecord::Auto,
                ToolChoice::None => ChoiceRecord::None,
                ToolChoice::Required => ChoiceRecord::Required,
                ToolChoice::Tool(name) => ChoiceRecord::Tool(name.to_string()),
            },
            parallel: options.parallel,
            temperature: options.temperature,
            top_p: options.top_p,
            stop: options.stop.iter().map(ToString::to_string).collect(),
            output_tokens_max: exchange.output_tokens_max,
            repeated: exchange.repeated.to_string(),
            is_stored: exchange.is_stored,
            is_background: exchange.is_background,
        }
    }
}

impl ExchangeRecord {
    /// The same whose answer is not to be asked for any more.
    #[must_use]
    pub fn forgotten(self) -> Self {
        Self {
            is_stored: false,
            ..self
        }
    }

    /// Reads it back.
    pub fn into_domain(self) -> Result<Exchange, Reason> {
        let messages = self.messages.into_iter().map(MessageRecord::into_domain);
        let tools = self.tools.into_iter().map(|(name, description, schema)| {
            Ok(ClientTool {
                name: name.into(),
                description: description.into(),
                schema: Arc::new(json(&schema)?),
            })
        });
        let options = RequestOptions {
            tools: tools.collect::<Result<_, Reason>>()?,
            choice: match self.choice {
                ChoiceRecord::Auto => ToolChoice::Auto,
                ChoiceRecord::None => ToolChoice::None,
                ChoiceRecord::Required => ToolChoice::Required,
                ChoiceRecord::Tool(name) => ToolChoice::Tool(name.into()),
            },
            parallel: self.parallel,
            temperature: self.temperature,
            top_p: self.top_p,
            stop: self.stop.into_iter().map(Arc::from).collect(),
        };
        Ok(Exchange {
            face: word(&self.face, Face::from_word)?,
            model: self.model.into(),
            is_bare: self.is_bare,
            system: self.system.into(),
            messages: Arc::new(messages.collect::<Result<_, Reason>>()?),
            own_from: self.own_from,
            options: Arc::new(options),
            output_tokens_max: self.output_tokens_max,
            repeated: Arc::new(json(&self.repeated)?),
            is_stored: self.is_stored,
            is_background: self.is_background,
        })
    }
}
