//! Tokens of a request before anybody counted them: for reservations, and for answers without usage.
//!
//! Refuses to know: any provider's tokenizer. Invariant: pure, and more text never estimates to fewer tokens.

use std::io;

use serde_json::Value;

use crate::domain::conversation::{Arguments, Message, ModelAnswer, ModelRequest};
use crate::domain::request_options::ClientTool;
use crate::domain::skill::SkillManifest;

use super::wire::memo::Memo;

/// Tokens around a whole request.
const REQUEST_OVERHEAD: u64 = 16;
/// Tokens around one message, call or result.
const PART_OVERHEAD: u64 = 8;
/// Bytes of usual text that make one token.
const BYTES_PER_TOKEN: u64 = 4;

/// Estimated tokens of a text: bytes by four, rounded up.
pub fn text_tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(BYTES_PER_TOKEN)
}

/// What is sent with every request of one conversation, counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    bytes: u64,
    parts: u64,
    output_tokens_max: u64,
}

impl Fixed {
    /// Counts the system text, the skills that are offered and the schema of the answer.
    pub fn of(system: &str, skills: &[SkillManifest], schema: Option<&Value>, output_tokens_max: u32) -> Self {
        let skills_bytes = skills
            .iter()
            .map(|skill| (skill.name.as_str().len() + skill.told().len()) as u64 + json_bytes(&skill.input_schema));
        Self {
            bytes: system.len() as u64 + skills_bytes.sum::<u64>() + schema.map_or(0, json_bytes),
            parts: skills.len() as u64 + u64::from(schema.is_some()),
            output_tokens_max: u64::from(output_tokens_max),
        }
    }

    /// The same with the tools of a client.
    #[must_use]
    pub fn with_tools(self, tools: &[ClientTool]) -> Self {
        let bytes = tools.iter();
        let bytes = bytes.map(|tool| (tool.name.len() + tool.description.len()) as u64 + json_bytes(&tool.schema));
        Self {
            bytes: self.bytes + bytes.sum::<u64>(),
            parts: self.parts + tools.len() as u64,
            ..self
        }
    }

    /// Estimated tokens of a request with these messages.
    pub fn request_tokens(self, messages: &[Message]) -> u64 {
        self.request_tokens_of(messages)
    }

    /// The same, of messages that lie in several places.
    pub fn request_tokens_of<'messages>(self, messages: impl IntoIterator<Item = &'messages Message>) -> u64 {
        let costs = messages.into_iter().map(message_cost);
        self.tokens(costs.fold((0, 0), |sum, cost| (sum.0 + cost.0, sum.1 + cost.1)))
    }

    /// The same, counting only the messages that are new since the memo was last used.
    pub fn request_tokens_remembered(self, messages: &[Message], memo: &Memo) -> u64 {
        self.tokens(memo.tally(messages, message_cost))
    }

    /// Estimated tokens of a request whose messages come to so many bytes and parts.
    pub fn tokens(self, (bytes, parts): (u64, u64)) -> u64 {
        let (bytes, parts) = (self.bytes + bytes, self.parts + parts);
        REQUEST_OVERHEAD + parts * PART_OVERHEAD + bytes.div_ceil(BYTES_PER_TOKEN)
    }

    /// The most that one request can cost, as far as it can be known before: what is sent and the longest answer.
    pub fn ceiling(self, messages: &[Message]) -> u64 {
        self.request_tokens(messages).saturating_add(self.output_tokens_max)
    }

    /// The same, of messages that come to so many bytes and parts.
    pub fn ceiling_of(self, cost: (u64, u64)) -> u64 {
        self.tokens(cost).saturating_add(self.output_tokens_max)
    }

    /// The same, counting only the messages that are new since the memo was last used.
    pub fn ceiling_remembered(self, messages: &[Message], memo: &Memo) -> u64 {
        let tokens = self.request_tokens_remembered(messages, memo);
        tokens.saturating_add(self.output_tokens_max)
    }
}

/// Estimated tokens of messages that come to so many bytes and parts.
pub fn messages_tokens((bytes, parts): (u64, u64)) -> u64 {
    parts * PART_OVERHEAD + bytes.div_ceil(BYTES_PER_TOKEN)
}

/// Bytes and parts of one message.
pub fn message_cost(message: &Message) -> (u64, u64) {
    match message {
        Message::User(text) => (text.len() as u64, 1),
        Message::Assistant { text, calls, kept } => {
            let calls_bytes = calls
                .iter()
                .map(|call| call.skill.len() as u64 + arguments_bytes(&call.arguments));
            let kept_bytes = kept.iter().map(|block| block.json.len() as u64);
            let bytes = text.len() as u64 + calls_bytes.sum::<u64>() + kept_bytes.sum::<u64>();
            (bytes, 1 + calls.len() as u64)
        }
        Message::Results(results) => {
            let bytes = results.iter().map(|result| result.content.len() as u64).sum();
            (bytes, 1 + results.len() as u64)
        }
    }
}

/// Estimated tokens of everything that is sent with a request.
pub fn request_tokens(request: &ModelRequest) -> u64 {
    let schema = request.output_schema.as_deref();
    let fixed = Fixed::of(&request.system, &request.skills, schema, request.output_tokens_max);
    let tools = request.options.as_ref().map(|options| options.tools.clone());
    fixed
        .with_tools(&tools.unwrap_or_default())
        .request_tokens(&request.messages)
}

/// Estimated tokens of an answer.
pub fn answer_tokens(answer: &ModelAnswer) -> u64 {
    let calls = answer.calls.iter().map(|call| {
        PART_OVERHEAD + (call.skill.len() as u64 + arguments_bytes(&call.arguments)).div_ceil(BYTES_PER_TOKEN)
    });
    text_tokens(&answer.text) + calls.sum::<u64>()
}

fn arguments_bytes(arguments: &Arguments) -> u64 {
    match arguments {
        Arguments::Object(value) => json_bytes(value),
        Arguments::Malformed { preview, .. } => preview.len() as u64,
    }
}

/// Counts what would be written, without writing it.
struct Counter(u64);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn json_bytes(value: &Value) -> u64 {
    let mut counter = Counter(0);
    // Neither the counter nor a value with string keys can fail.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::name::ModelAlias;

    fn request(text: &str) -> ModelRequest {
        ModelRequest {
            model: ModelAlias::new("offline").expect("valid"),
            system: "".into(),
            messages: vec![Message::User(text.into())].into(),
            skills: Vec::new().into(),
            output_schema: None,
            output_tokens_max: 100,
            options: None,
        }
    }

    #[test]
    fn the_ceiling_is_what_is_sent_plus_the_longest_answer() {
        assert_eq!(request_tokens(&request("")), 24);
        assert_eq!(request_tokens(&request("abcde")), 26);
        let fixed = Fixed::of("", &[], None, 100);
        assert_eq!(fixed.ceiling(&request("abcde").messages), 126);
    }

    proptest! {
        #[test]
        fn more_text_never_costs_less(text in ".{0,50}", more in ".{0,50}") {
            let longer = format!("{text}{more}");
            prop_assert!(request_tokens(&request(&text)) <= request_tokens(&request(&longer)));
        }
    }
}
