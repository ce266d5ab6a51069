//! Orders from agent to agent.

use bincode::{Decode, Encode};

use crate::domain::failure::FailureClass;
use crate::domain::handoff::{ContextEntry, ContextSource, Handoff, Lesson};
use crate::domain::time::UtcMillis;

use super::reading::{Reason, arcs, json, named, schema, texts, word};

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct HandoffRecord {
    version: u32,
    from: Option<String>,
    to: String,
    task: String,
    context: Vec<(String, ContextRecord)>,
    constraints: Vec<String>,
    deadline: u64,
    output_schema: Option<String>,
    lessons: Vec<LessonRecord>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) enum ContextRecord {
    Literal(String),
    Output { step: String, pointer: String },
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct LessonRecord {
    attempt: u32,
    class: String,
    reason: String,
    tried: Vec<String>,
}

impl From<&Handoff> for HandoffRecord {
    fn from(handoff: &Handoff) -> Self {
        let context = handoff.context.iter().map(|entry| {
            let source = match &entry.source {
                ContextSource::Literal(value) => ContextRecord::Literal(value.to_string()),
                ContextSource::Output { step, pointer } => ContextRecord::Output {
                    step: step.to_string(),
                    pointer: pointer.to_string(),
                },
            };
            (entry.name.to_string(), source)
        });
        let lessons = handoff.lessons.iter().map(|lesson| LessonRecord {
            attempt: lesson.attempt,
            class: lesson.class.as_str().to_owned(),
            reason: lesson.reason.to_string(),
            tried: texts(&lesson.tried),
        });
        Self {
            version: handoff.version,
            from: handoff.from.as_ref().map(ToString::to_string),
            to: handoff.to.to_string(),
            task: handoff.task.to_string(),
            context: context.collect(),
            constraints: texts(&handoff.constraints),
            deadline: handoff.deadline.0,
            output_schema: handoff.output_schema.as_ref().map(ToString::to_string),
            lessons: lessons.collect(),
        }
    }
}

impl HandoffRecord {
    pub(super) fn into_domain(self) -> Result<Handoff, Reason> {
        let context = self.context.into_iter().map(|(name, source)| {
            let source = match source {
                ContextRecord::Literal(text) => ContextSource::Literal(json(&text)?),
                ContextRecord::Output { step, pointer } => ContextSource::Output {
                    step: named(&step)?,
                    pointer: pointer.into(),
                },
            };
            Ok(ContextEntry {
                name: name.into(),
                source,
            })
        });
        let lessons = self.lessons.into_iter().map(|lesson| {
            Ok(Lesson {
                attempt: lesson.attempt,
                class: word(&lesson.class, FailureClass::from_word)?,
                reason: lesson.reason.into(),
                tried: arcs(lesson.tried),
            })
        });
        Ok(Handoff {
            version: self.version,
            from: self.from.map(|name| named(&name)).transpose()?,
            to: named(&self.to)?,
            task: self.task.into(),
            context: context.collect::<Result<_, Reason>>()?,
            constraints: arcs(self.constraints),
            deadline: UtcMillis(self.deadline),
            output_schema: schema(self.output_schema)?,
            lessons: lessons.collect::<Result<_, Reason>>()?,
        })
    }
}
