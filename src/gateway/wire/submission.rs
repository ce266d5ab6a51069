//! The body of `POST /v1/runs`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::capability::{self, CapabilitySet};
use crate::domain::handoff::Finding;
use crate::domain::limits::RUN_DEADLINE_DEFAULT_MS;
use crate::domain::money::MicroUsd;
use crate::domain::name::{AgentName, ModelAlias};
use crate::domain::plan_document::{read_checks, read_plan};
use crate::domain::run::RunSpec;
use crate::domain::time::UtcMillis;
use crate::domain::traffic::Tape;
use crate::gateway::error::ApiError;
use crate::llm::cassette;

/// One submission.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmissionWire {
    /// What is to be done.
    pub task: String,
    /// Who does it alone.
    pub agent: Option<String>,
    /// How it is done.
    pub plan: Option<Value>,
    /// Absolute path of the folder that the run may touch; the daemon's own folder when not given.
    pub workspace: Option<String>,
    /// What decides success.
    #[serde(default)]
    pub checks: Vec<Value>,
    /// Schema of the result.
    pub output_schema: Option<Value>,
    /// Milliseconds from now until it expires.
    pub deadline_ms: Option<u64>,
    /// Tokens that it may use.
    pub tokens_max: Option<u64>,
    /// US dollars that it may cost; a number or a decimal as text, with at most six digits after the point.
    pub max_cost_usd: Option<Value>,
    /// The model of all its agents.
    pub model: Option<String>,
    /// What its calls may touch at most.
    pub capabilities: Option<Vec<String>>,
    /// Where it comes from, in one word.
    pub origin: Option<String>,
    /// Whether its model traffic is kept for a cassette.
    #[serde(default)]
    pub record: bool,
    /// The cassette that answers instead of the models.
    pub replay: Option<String>,
}

impl SubmissionWire {
    /// What it does with its model traffic; takes the cassette out. A run that is replayed is recorded as well.
    pub fn take_tape(&mut self) -> Result<Option<Tape>, ApiError> {
        let Some(cassette) = self.replay.take() else {
            return Ok(self.record.then(Tape::default));
        };
        cassette::format::read(&cassette).map_err(|error| {
            ApiError::new(crate::domain::code::CASSETTE_INVALID, error.to_string())
                .hint("a cassette is what `openclaw run … --record FILE` wrote")
        })?;
        Ok(Some(Tape {
            replay: Some(cassette.into()),
        }))
    }

    /// The spec that is accepted. Its calls may touch what both the submission and the key allow.
    pub fn into_spec(self, now: UtcMillis, of_key: Option<CapabilitySet>) -> Result<RunSpec, ApiError> {
        let wrong = |findings: Vec<Finding>| {
            ApiError::new(
                crate::domain::code::PLAN_REJECTED,
                format!("{} places are wrong", findings.len()),
            )
            .findings(&findings)
            .hint("each entry of details names a place in the body")
        };
        let plan = self.plan.as_ref().map(read_plan).transpose().map_err(wrong)?;
        let checks = read_checks("/checks", &self.checks).map_err(wrong)?;
        let agent = self.agent.map(|name| AgentName::new(&name)).transpose();
        let model = self.model.map(|name| ModelAlias::new(&name)).transpose();
        let own = self.capabilities.as_ref();
        let own = own
            .map(|texts| CapabilitySet::parse(texts.iter().map(String::as_str)))
            .transpose();
        let own = own.map_err(|error| ApiError::invalid(format!("capabilities: {error}")))?;
        let grant = capability::narrower(own, of_key);
        let cost_max = self.max_cost_usd.as_ref().map(dollars).transpose()?;
        if self.workspace.as_deref() == Some("") {
            return Err(ApiError::invalid("the workspace is empty").hint("leave it out for the daemon's own"));
        }
        let origin = match self.origin.as_deref() {
            None => "api",
            Some(word @ ("api" | "cli")) => word,
            Some(_) => return Err(ApiError::invalid("origin is `api` or `cli`")),
        };
        Ok(RunSpec {
            task: self.task.into(),
            agent: agent.map_err(|error| ApiError::invalid(error.to_string()))?,
            plan: plan.map(Arc::new),
            workspace: self.workspace.unwrap_or_default().into(),
            checks,
            output_schema: self.output_schema.map(Arc::new),
            deadline: now.plus_ms(self.deadline_ms.unwrap_or(RUN_DEADLINE_DEFAULT_MS)),
            tokens_max: self.tokens_max,
            cost_max,
            model: model.map_err(|error| ApiError::invalid(error.to_string()))?,
            origin: origin.into(),
            retry_of: None,
            grant,
        })
    }
}

/// An amount as it was written: the shortest text of a JSON number is what the client wrote.
fn dollars(value: &Value) -> Result<MicroUsd, ApiError> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let read = MicroUsd::from_decimal(&text);
    read.ok_or_else(|| {
        ApiError::invalid("max_cost_usd is US dollars such as 0.25, with at most six digits after the point")
    })
}
