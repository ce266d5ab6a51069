//! Answers of models.

use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::domain::conversation::{Arguments, CallRequest, KeptBlock, ModelAnswer, Stop, Usage};

use super::reading::{Reason, json};

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct AnswerRecord {
    text: String,
    calls: Vec<CallRecord>,
    stop: u8,
    input: u64,
    output: u64,
    estimated: bool,
    answered_by: String,
}

/// What an answer has beyond the first layout.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Default)]
pub(super) struct AnswerExtras {
    cache_read: u64,
    cache_write: u64,
    kept: Vec<(String, u32, String)>,
}

impl From<&ModelAnswer> for AnswerExtras {
    fn from(answer: &ModelAnswer) -> Self {
        let kept = answer.kept.iter();
        let kept = kept.map(|block| (block.dialect.to_string(), block.before, block.json.to_string()));
        Self {
            cache_read: answer.usage.cache_read,
            cache_write: answer.usage.cache_write,
            kept: kept.collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct CallRecord {
    id: String,
    skill: String,
    arguments: ArgumentsRecord,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) enum ArgumentsRecord {
    Object(String),
    Malformed { reason: String, preview: String },
}

impl From<&CallRequest> for CallRecord {
    fn from(call: &CallRequest) -> Self {
        Self {
            id: call.id.to_string(),
            skill: call.skill.to_string(),
            arguments: match &call.arguments {
                Arguments::Object(value) => ArgumentsRecord::Object(value.to_string()),
                Arguments::Malformed { reason, preview } => ArgumentsRecord::Malformed {
                    reason: reason.to_string(),
                    preview: preview.to_string(),
                },
            },
        }
    }
}

impl CallRecord {
    pub(super) fn into_domain(self) -> Result<CallRequest, Reason> {
        let arguments = match self.arguments {
            ArgumentsRecord::Object(text) => Arguments::Object(Arc::new(json(&text)?)),
            ArgumentsRecord::Malformed { reason, preview } => Arguments::Malformed {
                reason: reason.into(),
                preview: preview.into(),
            },
        };
        Ok(CallRequest {
            id: self.id.into(),
            skill: self.skill.into(),
            arguments,
        })
    }
}

impl From<&ModelAnswer> for AnswerRecord {
    fn from(answer: &ModelAnswer) -> Self {
        Self {
            text: answer.text.to_string(),
            calls: answer.calls.iter().map(CallRecord::from).collect(),
            stop: match answer.stop {
                Stop::End => 0,
                Stop::Length => 1,
                Stop::Refused => 2,
                Stop::Paused => 3,
            },
            input: answer.usage.input,
            output: answer.usage.output,
            estimated: answer.usage.estimated,
            answered_by: answer.answered_by.to_string(),
        }
    }
}

impl AnswerRecord {
    pub(super) fn into_domain(self, extras: AnswerExtras) -> Result<ModelAnswer, Reason> {
        let kept = extras.kept.into_iter().map(|(dialect, before, json)| KeptBlock {
            dialect: dialect.into(),
            before,
            json: json.into(),
        });
        let calls = self.calls.into_iter().map(CallRecord::into_domain);
        Ok(ModelAnswer {
            text: self.text.into(),
            calls: calls.collect::<Result<_, Reason>>()?,
            stop: match self.stop {
                0 => Stop::End,
                1 => Stop::Length,
                2 => Stop::Refused,
                3 => Stop::Paused,
                other => return Err(format!("stop {other} is not known")),
            },
            usage: Usage {
                input: self.input,
                cache_read: extras.cache_read,
                cache_write: extras.cache_write,
                output: self.output,
                estimated: self.estimated,
            },
            answered_by: self.answered_by.into(),
            kept: kept.collect(),
        })
    }
}
