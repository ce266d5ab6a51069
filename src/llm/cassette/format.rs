//! The file: lines of JSON that people can read and compare.
//!
//! **Shape**: the first line is `{"cassette":1,"task":…}`. Each further line is one answered request, in the order in
//! which the answers came: `step`, `attempt`, `turn`; `request`, its name; `head`, what all requests of the conversation
//! share; `messages`, those that the earlier lines of the same attempt have not told, from number `after`; `answer`.
//! **Limits**: [`CASSETTE_BYTES_MAX`] bytes.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::conversation::{Arguments, CallRequest, KeptBlock, ModelAnswer, Stop, Usage};
use crate::domain::fact::Attempt;
use crate::domain::limits::CASSETTE_BYTES_MAX;
use crate::domain::name::StepId;
use crate::domain::text::preview;
use crate::domain::traffic::{RequestHash, Traffic};

use super::canon::Canon;
use super::recorder::Told;

/// The form that is written.
const VERSION: u64 = 1;

/// Why a text is no cassette that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CassetteError {
    /// It is too long.
    #[error("the cassette has {bytes} bytes, at most {CASSETTE_BYTES_MAX} are accepted")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Its first line does not say what it is.
    #[error("the cassette does not begin with a line like {{\"cassette\":1}}")]
    Header,
    /// A newer program wrote it.
    #[error("the cassette has form {found}; this program knows form {VERSION}")]
    Version {
        /// Its form.
        found: u64,
    },
    /// A line cannot be used.
    #[error("line {line} of the cassette: {reason}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
}

/// One answered request.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Which attempt asked.
    pub attempt: Attempt,
    /// In which turn.
    pub turn: u32,
    /// The request's name.
    pub request: RequestHash,
    /// What all requests of the conversation share.
    pub head: Value,
    /// Messages of the conversation that earlier lines have told.
    pub after: usize,
    /// The messages after those.
    pub messages: Vec<Told>,
    /// The answer, with marks for what belongs to a run.
    pub answer: Value,
}

/// Writes the first line.
pub fn write_header(canon: &Canon, task: &str) -> String {
    let task = preview(&canon.text(task), 300);
    format!("{}\n", json!({ "cassette": VERSION, "task": task }))
}

/// Writes one answered request.
pub fn write_line(canon: &Canon, traffic: &Traffic, answer: &ModelAnswer) -> String {
    let note: Value = serde_json::from_str(&traffic.note).unwrap_or_default();
    let mut answer = write_answer(answer);
    strings(&mut answer, &|text| canon.portable(text).into_owned());
    let line = json!({
        "step": traffic.attempt.step.as_str(),
        "attempt": traffic.attempt.number,
        "turn": traffic.turn,
        "request": blake3::Hash::from_bytes(traffic.request).to_hex().as_str(),
        "head": note["head"],
        "after": note["after"],
        "messages": note["messages"],
        "answer": answer,
    });
    format!("{line}\n")
}

/// Reads a whole cassette and checks all of it.
pub fn read(text: &str) -> Result<Vec<Line>, CassetteError> {
    if text.len() > CASSETTE_BYTES_MAX {
        return Err(CassetteError::TooLong { bytes: text.len() });
    }
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let header = lines
        .next()
        .and_then(|(_, line)| serde_json::from_str::<Value>(line).ok());
    match header.as_ref().and_then(|header| header["cassette"].as_u64()) {
        None => return Err(CassetteError::Header),
        Some(VERSION) => {}
        Some(found) => return Err(CassetteError::Version { found }),
    }
    let read = |(index, line): (usize, &str)| {
        let failed = |reason: String| CassetteError::Line {
            line: index + 1,
            reason,
        };
        let value: Value = serde_json::from_str(line).map_err(|error| failed(error.to_string()))?;
        read_line(value).ok_or_else(|| failed("a member is missing or has another form".into()))
    };
    lines.map(read).collect()
}

fn read_line(mut value: Value) -> Option<Line> {
    let messages = value["messages"].as_array()?.iter().map(|message| {
        Some(Told {
            role: message["role"].as_str()?.into(),
            digest: message["digest"].as_str()?.into(),
            text: message["text"].as_str()?.into(),
        })
    });
    let line = Line {
        attempt: Attempt {
            step: StepId::new(value["step"].as_str()?).ok()?,
            number: u32::try_from(value["attempt"].as_u64()?).ok()?,
        },
        turn: u32::try_from(value["turn"].as_u64()?).ok()?,
        request: *blake3::Hash::from_hex(value["request"].as_str()?).ok()?.as_bytes(),
        after: usize::try_from(value["after"].as_u64()?).ok()?,
        messages: messages.collect::<Option<_>>()?,
        head: value["head"].take(),
        answer: value["answer"].take(),
    };
    read_answer(&line.answer)?;
    Some(line)
}

/// An answer as JSON.
fn write_answer(answer: &ModelAnswer) -> Value {
    let calls = answer.calls.iter().map(|call| match &call.arguments {
        Arguments::Object(value) => json!({ "id": &*call.id, "skill": &*call.skill, "arguments": **value }),
        Arguments::Malformed { reason, preview } => {
            json!({ "id": &*call.id, "skill": &*call.skill, "malformed": &**reason, "preview": &**preview })
        }
    });
    let kept = answer.kept.iter();
    let kept = kept.map(|block| json!({ "dialect": &*block.dialect, "before": block.before, "json": &*block.json }));
    let usage = answer.usage;
    json!({
        "text": &*answer.text,
        "calls": calls.collect::<Vec<_>>(),
        "stop": match answer.stop {
            Stop::End => "end",
            Stop::Length => "length",
            Stop::Refused => "refused",
            Stop::Paused => "paused",
        },
        "usage": {
            "input": usage.input, "cache_read": usage.cache_read, "cache_write": usage.cache_write,
            "output": usage.output, "estimated": usage.estimated,
        },
        "answered_by": &*answer.answered_by,
        "kept": kept.collect::<Vec<_>>(),
    })
}

/// Reads what [`write_answer`] wrote.
fn read_answer(value: &Value) -> Option<ModelAnswer> {
    let text = |value: &Value| value.as_str().map(Arc::<str>::from);
    let calls = value["calls"].as_array()?.iter().map(|call| {
        let arguments = match (&call["arguments"], text(&call["malformed"])) {
            (Value::Object(object), _) => Arguments::Object(Arc::new(Value::Object(object.clone()))),
            (_, Some(reason)) => Arguments::Malformed {
                reason,
                preview: text(&call["preview"]).unwrap_or_else(|| "".into()),
            },
            _ => return None,
        };
        Some(CallRequest {
            id: text(&call["id"])?,
            skill: text(&call["skill"])?,
            arguments,
        })
    });
    let kept = value["kept"].as_array().into_iter().flatten().map(|block| {
        Some(KeptBlock {
            dialect: text(&block["dialect"])?,
            before: u32::try_from(block["before"].as_u64()?).ok()?,
            json: text(&block["json"])?,
        })
    });
    let usage = &value["usage"];
    let tokens = |name: &str| usage[name].as_u64().unwrap_or(0);
    Some(ModelAnswer {
        text: text(&value["text"])?,
        calls: calls.collect::<Option<_>>()?,
        stop: match value["stop"].as_str()? {
            "end" => Stop::End,
            "length" => Stop::Length,
            "refused" => Stop::Refused,
            "paused" => Stop::Paused,
            _ => return None,
        },
        usage: Usage {
            input: tokens("input"),
            cache_read: tokens("cache_read"),
            cache_write: tokens("cache_write"),
            output: tokens("output"),
            estimated: usage["estimated"].as_bool().unwrap_or(false),
        },
        answered_by: text(&value["answered_by"])?,
        kept: kept.collect::<Option<_>>()?,
    })
}

impl Line {
    /// The answer as it is in a run.
    pub fn answer_in(&self, canon: &Canon) -> ModelAnswer {
        let mut answer = self.answer.clone();
        strings(&mut answer, &|text| canon.restore(text));
        read_answer(&answer).expect("the line was checked when it was read")
    }
}

/// Changes every text within a value; names of members stay.
fn strings(value: &mut Value, change: &dyn Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| strings(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|field| strings(field, change)),
        _ => {}
    }
}
