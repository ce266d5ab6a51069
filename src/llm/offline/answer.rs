//! The offline model as a function: request in, answer out.
//!
//! Invariants: the answer depends on the request alone; it has calls or text, never both; every call names a skill
//! that is offered.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::conversation::{ModelAnswer, ModelRequest, Stop, Usage};
use crate::domain::text;
use crate::llm::estimate;

use super::session::{Flow, Pending, Session};
use super::{executor, planner, shape};

/// Answers a request.
pub fn answer(request: &ModelRequest) -> ModelAnswer {
    let session = Session::read(request);
    let (said, calls) = match conclude(&session) {
        Ok(said) => (said, Vec::new()),
        Err(Pending(wanted)) => (String::new(), session.requests(wanted)),
    };
    let bytes_max = (request.output_tokens_max as usize).saturating_mul(4);
    let stop = if said.len() > bytes_max {
        Stop::Length
    } else {
        Stop::End
    };
    let mut answer = ModelAnswer {
        text: text::cut(&said, bytes_max).into(),
        calls,
        stop,
        usage: Usage::default(),
        answered_by: "offline".into(),
        kept: Arc::new([]),
    };
    answer.usage = Usage {
        input: estimate::request_tokens(request),
        output: estimate::answer_tokens(&answer).min(u64::from(request.output_tokens_max)),
        cache_read: 0,
        cache_write: 0,
        estimated: false,
    };
    answer
}

fn conclude(session: &Session<'_>) -> Flow<String> {
    let schema = session.request.output_schema.as_deref();
    if let Some(schema) = schema
        && schema["title"] == "plan"
    {
        return Ok(planner::plan(session).to_string());
    }
    let value = executor::run(session)?;
    Ok(match schema {
        Some(schema) => shape::fit(schema, value).to_string(),
        None if session.is_brief => value.to_string(),
        // Somebody chats: the words alone, when there are words.
        None => match value.get("answer").and_then(Value::as_str) {
            Some(words) => words.to_owned(),
            None => value.to_string(),
        },
    })
}
