//! What is said between an agent and its model, independent of any provider's dialect.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::name::ModelAlias;
use super::request_options::RequestOptions;
use super::skill::SkillManifest;

/// One message of a conversation. The system text is not a message; it is part of the [`ModelRequest`].
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The task, a lesson, or a correction.
    User(Arc<str>),
    /// What the model said, with the calls it wants.
    Assistant {
        /// Text; may be empty when there are calls.
        text: Arc<str>,
        /// The calls, in the model's order.
        calls: Vec<CallRequest>,
        /// What goes back to the same provider as it came.
        kept: Arc<[KeptBlock]>,
    },
    /// The results of all calls of the assistant message before it, in the same order: each call has exactly one.
    Results(Vec<CallResult>),
}

/// A part of an answer that means nothing here and must go back byte for byte with the next request of the same
/// conversation: thinking with its signature, encrypted reasoning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBlock {
    /// The dialect that understands it; others leave it out.
    pub dialect: Arc<str>,
    /// How many visible parts (the text, when there is one, then each call) come before it.
    pub before: u32,
    /// The part as JSON text, as it was received.
    pub json: Arc<str>,
}

/// One call that a model wants.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRequest {
    /// The provider's id, sent back with the result.
    pub id: Arc<str>,
    /// The skill's name as the model wrote it; may name no known skill.
    pub skill: Arc<str>,
    /// The arguments, parsed when the block was complete.
    pub arguments: Arguments,
}

/// Arguments as they arrived.
#[derive(Debug, Clone, PartialEq)]
pub enum Arguments {
    /// A JSON object; shared, because a conversation is copied for every request.
    Object(Arc<Value>),
    /// Something else; it is never executed, the model gets the reason as the call's result.
    Malformed {
        /// What is wrong, with the position where known.
        reason: Arc<str>,
        /// The first 200 characters.
        preview: Arc<str>,
    },
}

/// The result of one call, for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct CallResult {
    /// The id of the [`CallRequest`].
    pub id: Arc<str>,
    /// Text for the model.
    pub content: Arc<str>,
    /// Whether the call failed.
    pub is_error: bool,
}

/// Everything a model is asked with.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRequest {
    /// Which configured model.
    pub model: ModelAlias,
    /// The agent's rules: role prompt and constraints.
    pub system: Arc<str>,
    /// The conversation; starts with a user message and ends with a user message or results.
    pub messages: Arc<Vec<Message>>,
    /// The skills offered.
    pub skills: Arc<[SkillManifest]>,
    /// JSON Schema that the final answer must match, if any.
    pub output_schema: Option<Arc<Value>>,
    /// Ceiling of the answer in tokens.
    pub output_tokens_max: u32,
    /// What a client asks of the model beside this, if one does.
    pub options: Option<Arc<RequestOptions>>,
}

impl ModelRequest {
    /// What the model may call, as name, description and schema of the arguments: skills, then the client's tools.
    pub fn tools(&self) -> impl Iterator<Item = (&str, Cow<'_, str>, &Value)> {
        let skills = self.skills.iter();
        let skills = skills.map(|skill| (skill.name.as_str(), skill.told(), &*skill.input_schema));
        let tools = self.options.iter().flat_map(|options| options.tools.iter());
        skills.chain(tools.map(|tool| (&*tool.name, Cow::Borrowed(&*tool.description), &*tool.schema)))
    }
}

/// Why the model stopped. Whether it wants calls is judged by the calls themselves, never by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It was done.
    End,
    /// It reached the token ceiling: text or arguments may be cut.
    Length,
    /// It refused.
    Refused,
    /// The provider paused a long turn: the answer so far goes back and the model goes on.
    Paused,
}

/// Tokens of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    pub input: u64,
    /// Tokens of the request that the provider read from its cache; part of `input`.
    pub cache_read: u64,
    /// Tokens of the request that the provider wrote to its cache; part of `input`.
    pub cache_write: u64,
    /// Tokens of the answer, thinking included.
    pub output: u64,
    /// True when the provider gave no figure and this is an estimate.
    pub estimated: bool,
}

impl Usage {
    /// Request and answer together.
    pub fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelAnswer {
    /// The text.
    pub text: Arc<str>,
    /// The calls it wants, in order.
    pub calls: Vec<CallRequest>,
    /// Why it stopped.
    pub stop: Stop,
    /// What it used.
    pub usage: Usage,
    /// Which model answered, in the provider's words.
    pub answered_by: Arc<str>,
    /// What goes back to the same provider as it came.
    pub kept: Arc<[KeptBlock]>,
}

/// A break of the rule that every call has exactly one result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversationError {
    /// The first message is not the task.
    #[error("the conversation does not start with a user message")]
    NoTask,
    /// Calls without results, or results that fit no call.
    #[error("message {index}: calls {calls:?} are answered by results {results:?}")]
    Unanswered {
        /// Position of the assistant message.
        index: usize,
        /// Ids of its calls.
        calls: Vec<String>,
        /// Ids of the results that follow.
        results: Vec<String>,
    },
    /// The last message is the model's own: there is nothing to answer.
    #[error("the conversation ends with the model's own message")]
    NothingToAnswer,
}

/// Checks a history before any request is built from it: it starts with the task, every call has exactly one
/// result in order, and the last word is not the model's.
pub fn check_history(messages: &[Message]) -> Result<(), ConversationError> {
    check_history_from(messages, 0)
}

/// The same when the messages before `from` are known to be sound, each with the one after it.
pub fn check_history_from(messages: &[Message], from: usize) -> Result<(), ConversationError> {
    if !matches!(messages.first(), Some(Message::User(_))) {
        return Err(ConversationError::NoTask);
    }
    for (index, message) in messages.iter().enumerate().skip(from) {
        let next_results: &[CallResult] = match messages.get(index + 1) {
            Some(Message::Results(results)) => results,
            _ => &[],
        };
        let calls: &[CallRequest] = match message {
            Message::Assistant { calls, .. } => calls,
            _ => &[],
        };
        let paired = calls.len() == next_results.len()
            && calls
                .iter()
                .zip(next_results)
                .all(|(call, result)| call.id == result.id);
        if !paired {
            return Err(ConversationError::Unanswered {
                index,
                calls: calls.iter().map(|call| call.id.to_string()).collect(),
                results: next_results.iter().map(|result| result.id.to_string()).collect(),
            });
        }
    }
    match messages.last() {
        Some(Message::Assistant { .. }) => Err(ConversationError::NothingToAnswer),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(id: &str) -> CallRequest {
        CallRequest {
            id: id.into(),
            skill: "fs.read".into(),
            arguments: Arguments::Object(json!({}).into()),
        }
    }

    fn result(id: &str) -> CallResult {
        CallResult {
            id: id.into(),
            content: "ok".into(),
            is_error: false,
        }
    }

    fn said(calls: &[&str]) -> Message {
        Message::Assistant {
            text: "".into(),
            calls: calls.iter().map(|id| call(id)).collect(),
            kept: Arc::new([]),
        }
    }

    fn results(ids: &[&str]) -> Message {
        Message::Results(ids.iter().map(|id| result(id)).collect())
    }

    #[test]
    fn every_call_needs_exactly_one_result() {
        let task = || Message::User("task".into());
        let check = |messages: &[Message], good: bool| {
            assert_eq!(
                check_history(messages).is_ok(),
                good,
                "{messages:?}: {:?}",
                check_history(messages)
            );
        };
        check(&[task()], true);
        check(&[], false);
        check(&[said(&[])], false);
        check(&[task(), said(&["a", "b"]), results(&["a", "b"])], true);
        check(&[task(), said(&["a", "b"]), results(&["a"])], false);
        check(&[task(), said(&["a"]), results(&["a", "b"])], false);
        check(&[task(), said(&["a"]), results(&["b"])], false);
        check(&[task(), said(&["a"]), task()], false);
        check(&[task(), results(&["a"])], false);
        check(&[task(), said(&[]), task()], true);
        check(&[task(), said(&[])], false);
    }
}
