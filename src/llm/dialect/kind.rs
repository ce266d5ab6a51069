//! The dialects behind one face: which one a provider speaks, and what is different about asking in it.
//!
//! Refuses to know: HTTP beyond a path. A new dialect is a new variant here and a folder beside this file.

use crate::domain::conversation::{ModelAnswer, ModelRequest};
use crate::llm::config::Provider;
use crate::llm::model::AskError;
use crate::llm::wire::memo::{Hand, Memo};
use crate::llm::wire::sse::SseEvent;

use super::gathered::Heard;
use super::{anthropic, openai_chat, openai_responses};

/// A way to spell requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Chat Completions.
    OpenAiChat,
    /// OpenAI's Responses.
    OpenAiResponses,
}

impl Dialect {
    /// Every dialect, for tables and tests.
    pub const ALL: [Self; 3] = [Self::Anthropic, Self::OpenAiChat, Self::OpenAiResponses];

    /// What a provider speaks; none for the model inside this program.
    pub fn of(provider: Provider) -> Option<Self> {
        match provider {
            Provider::Offline => None,
            Provider::OpenAiChat => Some(Self::OpenAiChat),
            Provider::OpenAiResponses => Some(Self::OpenAiResponses),
            Provider::Anthropic => Some(Self::Anthropic),
        }
    }

    /// The stable word, under which parts of an answer are kept for the next request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => anthropic::NAME,
            Self::OpenAiChat => openai_chat::NAME,
            Self::OpenAiResponses => openai_responses::NAME,
        }
    }

    /// Where requests go, under an address without a slash at its end.
    pub fn url(self, base: &str) -> String {
        match self {
            // People write the address with and without the version.
            Self::Anthropic => format!("{}/v1/messages", base.strip_suffix("/v1").unwrap_or(base)),
            Self::OpenAiChat => format!("{base}/chat/completions"),
            Self::OpenAiResponses => format!("{base}/responses"),
        }
    }

    /// The body of a request. What the memo remembers is not written again.
    pub fn write_request(self, request: &ModelRequest, hand: &Hand, memo: &Memo) -> Vec<u8> {
        match self {
            Self::Anthropic => anthropic::write_request(request, hand, memo),
            Self::OpenAiChat => openai_chat::write_request(request, hand, memo),
            Self::OpenAiResponses => openai_responses::write_request(request, hand, memo),
        }
    }

    /// Reads an answer that came as a whole.
    pub fn read_answer(
        self,
        body: &str,
        request: &ModelRequest,
        heard: &mut Heard<'_>,
    ) -> Result<ModelAnswer, AskError> {
        match self {
            Self::Anthropic => anthropic::read_answer(body, request, heard),
            Self::OpenAiChat => openai_chat::read_answer(body, request, heard),
            Self::OpenAiResponses => openai_responses::read_answer(body, request, heard),
        }
    }

    /// Begins to read an answer that comes in pieces.
    pub fn reader(self, request: &ModelRequest) -> Reader {
        match self {
            Self::Anthropic => Reader::Anthropic(anthropic::Reader::new(request)),
            Self::OpenAiChat => Reader::OpenAiChat(openai_chat::Reader::new(request)),
            Self::OpenAiResponses => Reader::OpenAiResponses(openai_responses::Reader::new(request)),
        }
    }
}

/// Reads an answer in pieces.
#[derive(Debug)]
pub enum Reader {
    /// Of a message.
    Anthropic(anthropic::Reader),
    /// Of a chat completion.
    OpenAiChat(openai_chat::Reader),
    /// Of a response.
    OpenAiResponses(openai_responses::Reader),
}

impl Reader {
    /// Takes the next event; true when it was the last one and nothing more has to be read.
    pub fn event(&mut self, event: &SseEvent, heard: &mut Heard<'_>) -> Result<bool, AskError> {
        match self {
            Self::Anthropic(reader) => reader.event(event, heard),
            Self::OpenAiChat(reader) => reader.event(event, heard),
            Self::OpenAiResponses(reader) => reader.event(event, heard),
        }
    }

    /// The complete answer.
    ///
    /// **Errors**: class `Transport` when the closing event has not come.
    pub fn finish(self, request: &ModelRequest) -> Result<ModelAnswer, AskError> {
        match self {
            Self::Anthropic(reader) => reader.finish(request),
            Self::OpenAiChat(reader) => reader.finish(request),
            Self::OpenAiResponses(reader) => reader.finish(request),
        }
    }
}
