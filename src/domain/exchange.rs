//! What a client of a vendor's protocol asks: a conversation of its own, with tools of its own, that one agent answers.
//!
//! It is kept beside the journal of the run that answers it, because everything in it came with the acceptance and
//! none of it ever changes.

use std::sync::Arc;

use serde_json::Value;

use super::conversation::Message;
use super::request_options::RequestOptions;

/// Bytes of the texts of one exchange, over all its messages and tools.
pub const EXCHANGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Messages of one exchange.
pub const EXCHANGE_MESSAGES_MAX: usize = 10_000;

/// The protocol that the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// OpenAI's Chat Completions.
    OpenAiChat,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Anthropic's Messages.
    Anthropic,
}

impl Face {
    /// Every face, for tables and tests.
    pub const ALL: [Self; 3] = [Self::OpenAiChat, Self::OpenAiResponses, Self::Anthropic];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiResponses => "openai-responses",
            Self::Anthropic => "anthropic",
        }
    }

    /// The face of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|face| face.as_str() == word)
    }
}

/// One request of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// The protocol.
    pub face: Face,
    /// The model as the client named it: an agent, or a configured model.
    pub model: Arc<str>,
    /// Whether a model was named and not an agent: then the agent's own prompt and skills are left out.
    pub is_bare: bool,
    /// The client's rules.
    pub system: Arc<str>,
    /// The conversation; what came before it by reference included.
    pub messages: Arc<Vec<Message>>,
    /// The first message that came with this request.
    pub own_from: u32,
    /// What is asked of the model.
    pub options: Arc<RequestOptions>,
    /// Ceiling of each answer in tokens.
    pub output_tokens_max: Option<u32>,
    /// Members of the request that the answer repeats, and the rules among the items of the conversation, which it does
    /// not.
    pub repeated: Arc<Value>,
    /// Whether the answer may be asked for again later.
    pub is_stored: bool,
    /// Whether the client does not wait for the answer.
    pub is_background: bool,
}

/// Events of an answer that were kept together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The place of the last fact of the journal that they tell of.
    pub through: u64,
    /// Whether the last of them ends the answer.
    pub is_end: bool,
    /// Each as JSON text.
    pub events: Vec<String>,
}
