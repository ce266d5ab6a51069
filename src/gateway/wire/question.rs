//! What a run waits for persons to say, and their answers.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::effect::EffectClass;
use crate::domain::id::RunId;
use crate::domain::resolution::Resolution;
use crate::runs::question::{Question, QuestionKind};
use crate::runtime::clock::rfc3339;

/// One open question.
pub fn view(run: RunId, question: &Question) -> Value {
    let mut view = json!({
        "run": run.to_string(),
        "step": question.attempt.step.as_str(),
        "attempt": question.attempt.number,
        "call": question.ordinal,
        "skill": &*question.skill,
        "arguments": question.arguments,
        "asked_at": rfc3339(question.asked_at),
        "seq": question.seq,
    });
    match &question.kind {
        QuestionKind::Approval { hash, until } => {
            view["kind"] = "approval".into();
            view["hash"] = (&**hash).into();
            view["shown"] = (&*question.text).into();
            view["until"] = rfc3339(*until).into();
        }
        QuestionKind::Unknown { key, class, started_at } => {
            view["kind"] = "unknown".into();
            view["evidence"] = (&*question.text).into();
            view["key"] = key.map(|key| key.to_string()).into();
            view["class"] = class.map(EffectClass::as_str).into();
            view["started_at"] = started_at.map(rfc3339).into();
        }
    }
    view
}

/// Body of `POST /v1/runs/{id}/approve`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveWire {
    /// Which question, as it was shown.
    pub hash: String,
    /// Yes or no.
    pub granted: bool,
    /// Why, or the answer to a question in words.
    pub reason: Option<String>,
}

/// Body of `POST /v1/runs/{id}/resolve`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveWire {
    /// `happened`, `not_happened` or `abandoned`.
    pub resolution: String,
    /// For `happened`: what the call gave back.
    pub output: Option<String>,
    /// The step; may be left out when one call is unknown.
    pub step: Option<String>,
    /// The call of the step.
    pub call: Option<u32>,
    /// The question's `seq`: then an answer that comes again late cannot count for a later question.
    pub seq: Option<u64>,
}

impl ResolveWire {
    /// What is said.
    pub fn resolution(&self) -> Option<Resolution> {
        Resolution::from_word(&self.resolution, self.output.as_deref().unwrap_or(""))
    }
}
