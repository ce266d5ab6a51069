//! What a client of a vendor's protocol asks: a conversation of its own, with tools of its own, that one agent answers.
//!
//! It is kept beside the journal of the run that answers it, because everything in it came with the acceptance and
//! none of it ever changes.

use std::sync::Arc;

use serde_json::Value;

use super::conversation::Message;

/// Bytes of the texts of one exchange, over all its messages and tools.
pub const EXCHANGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Messages of one exchange.
pub const EXCHANGE_MESSAGES_MAX: usize = 10_000;
/// Tools of one exchange.
pub const CLIENT_TOOLS_MAX: usize = 128;
/// Sequences at which an answer ends.
pub const STOP_SEQUENCES_MAX: usize = 16;

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

/// A tool that the client has and makes the calls of.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientTool {
    /// Its name, as the client wrote it.
    pub name: Arc<str>,
    /// What it does.
    pub description: Arc<str>,
    /// JSON Schema of its arguments.
    pub schema: Arc<Value>,
}

/// Whether the model has to call a tool. It holds for the first turn of an answer only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// It must not.
    None,
    /// It must call one.
    Required,
    /// It must call this one.
    Tool(Arc<str>),
}

/// What a client asks of the model beside the conversation. What is none is left to the provider.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestOptions {
    /// Tools that the client makes the calls of.
    pub tools: Arc<[ClientTool]>,
    /// Whether one has to be called.
    pub choice: ToolChoice,
    /// Whether several may be called in one turn.
    pub parallel: Option<bool>,
    /// Randomness of the answer.
    pub temperature: Option<f64>,
    /// The share of likely tokens that is drawn from.
    pub top_p: Option<f64>,
    /// Texts before which the answer ends.
    pub stop: Arc<[Arc<str>]>,
}

impl RequestOptions {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same for a later turn: a call was made, so none is forced any more.
    #[must_use]
    pub fn without_choice(&self) -> Self {
        let choice = match self.choice {
            ToolChoice::None => ToolChoice::None,
            _ => ToolChoice::Auto,
        };
        Self { choice, ..self.clone() }
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
    /// Members of the request that the answer repeats.
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

/// Cuts a text before the first of the sequences; none when it has none of them.
pub fn cut_at<'text>(text: &'text str, stop: &[Arc<str>]) -> Option<&'text str> {
    let places = stop.iter().filter(|sequence| !sequence.is_empty());
    let first = places.filter_map(|sequence| text.find(&**sequence)).min()?;
    Some(&text[..first])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_before_the_first_sequence() {
        let check = |text: &str, stop: &[&str], expected: Option<&str>| {
            let stop: Vec<Arc<str>> = stop.iter().map(|text| Arc::from(*text)).collect();
            assert_eq!(cut_at(text, &stop), expected, "{text} {stop:?}");
        };
        check("one two three", &["three", "two"], Some("one "));
        check("one", &["two"], None);
        check("one", &[""], None);
        check("é!", &["!"], Some("é"));
    }

    #[test]
    fn a_choice_holds_for_one_turn_and_a_ban_for_all() {
        let check = |choice: ToolChoice, expected: ToolChoice| {
            let options = RequestOptions {
                choice,
                ..RequestOptions::default()
            };
            assert_eq!(options.without_choice().choice, expected);
        };
        check(ToolChoice::Required, ToolChoice::Auto);
        check(ToolChoice::Tool("x".into()), ToolChoice::Auto);
        check(ToolChoice::None, ToolChoice::None);
    }
}
