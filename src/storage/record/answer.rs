//! Answers of models.

use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::domain::conversation::{Arguments, CallRequest, ModelAnswer, Stop, Usage};

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

impl From<&ModelAnswer> for AnswerRecord {
    fn from(answer: &ModelAnswer) -> Self {
        let calls = answer.calls.iter().map(|call| CallRecord {
            id: call.id.to_string(),
            skill: call.skill.to_string(),
            arguments: match &call.arguments {
                Arguments::Object(value) => ArgumentsRecord::Object(value.to_string()),
                Arguments::Malformed { reason, preview } => ArgumentsRecord::Malformed {
                    reason: reason.to_string(),
                    preview: preview.to_string(),
                },
            },
        });
        Self {
            text: answer.text.to_string(),
            calls: calls.collect(),
            stop: match answer.stop {
                Stop::End => 0,
                Stop::Length => 1,
                Stop::Refused => 2,
            },
            input: answer.usage.input,
            output: answer.usage.output,
            estimated: answer.usage.estimated,
            answered_by: answer.answered_by.to_string(),
        }
    }
}

impl AnswerRecord {
    pub(super) fn into_domain(self) -> Result<ModelAnswer, Reason> {
        let calls = self.calls.into_iter().map(|call| {
            let arguments = match call.arguments {
                ArgumentsRecord::Object(text) => Arguments::Object(Arc::new(json(&text)?)),
                ArgumentsRecord::Malformed { reason, preview } => Arguments::Malformed {
                    reason: reason.into(),
                    preview: preview.into(),
                },
            };
            Ok(CallRequest {
                id: call.id.into(),
                skill: call.skill.into(),
                arguments,
            })
        });
        Ok(ModelAnswer {
            text: self.text.into(),
            calls: calls.collect::<Result<_, Reason>>()?,
            stop: match self.stop {
                0 => Stop::End,
                1 => Stop::Length,
                2 => Stop::Refused,
                other => return Err(format!("stop {other} is not known")),
            },
            usage: Usage {
                input: self.input,
                output: self.output,
                estimated: self.estimated,
            },
            answered_by: self.answered_by.into(),
        })
    }
}
