//! What was accepted.

use bincode::{Decode, Encode};
use serde_json::Value;

use crate::domain::capability::CapabilitySet;
use crate::domain::id::RunId;
use crate::domain::money::MicroUsd;
use crate::domain::plan_document::{read_checks, write_check, write_plan};
use crate::domain::run::RunSpec;
use crate::domain::time::UtcMillis;

use super::reading::{Reason, findings_text, json, named, plan, schema};

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct SpecRecord {
    task: String,
    agent: Option<String>,
    plan: Option<String>,
    workspace: String,
    checks: String,
    output_schema: Option<String>,
    deadline: u64,
    tokens_max: Option<u64>,
    model: Option<String>,
    origin: String,
    retry_of: Option<[u8; 16]>,
}

impl From<&RunSpec> for SpecRecord {
    fn from(spec: &RunSpec) -> Self {
        Self {
            task: spec.task.to_string(),
            agent: spec.agent.as_ref().map(ToString::to_string),
            plan: spec.plan.as_ref().map(|plan| write_plan(plan).to_string()),
            workspace: spec.workspace.to_string(),
            checks: Value::Array(spec.checks.iter().map(write_check).collect()).to_string(),
            output_schema: spec.output_schema.as_ref().map(ToString::to_string),
            deadline: spec.deadline.0,
            tokens_max: spec.tokens_max,
            model: spec.model.as_ref().map(ToString::to_string),
            origin: spec.origin.to_string(),
            retry_of: spec.retry_of.map(RunId::to_bytes),
        }
    }
}

impl SpecRecord {
    /// What was accepted; the limit in money and the grant came later and stand beside the record.
    pub(super) fn into_domain(self, cost_max: Option<u64>, grant: Option<Vec<String>>) -> Result<RunSpec, Reason> {
        let checks = match json(&self.checks)? {
            Value::Array(items) => read_checks("", &items).map_err(findings_text)?,
            other => return Err(format!("checks are not a list: {other}")),
        };
        Ok(RunSpec {
            task: self.task.into(),
            agent: self.agent.map(|name| named(&name)).transpose()?,
            plan: self.plan.map(|text| plan(&text)).transpose()?,
            workspace: self.workspace.into(),
            checks,
            output_schema: schema(self.output_schema)?,
            deadline: UtcMillis(self.deadline),
            tokens_max: self.tokens_max,
            cost_max: cost_max.map(MicroUsd),
            model: self.model.map(|name| named(&name)).transpose()?,
            origin: self.origin.into(),
            retry_of: self.retry_of.map(RunId::from_bytes),
            grant: grant.map(capabilities).transpose()?,
        })
    }
}

fn capabilities(texts: Vec<String>) -> Result<CapabilitySet, Reason> {
    CapabilitySet::parse(texts.iter().map(String::as_str)).map_err(|error| error.to_string())
}
