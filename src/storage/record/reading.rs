//! From the texts in records back to domain values; a text that is none of them is damage.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::handoff::Finding;
use crate::domain::plan::Plan;
use crate::domain::plan_document::read_plan;

/// Why a record is not a fact; the caller adds which record.
pub(super) type Reason = String;

pub(super) fn named<N: std::str::FromStr>(text: &str) -> Result<N, Reason>
where
    N::Err: std::fmt::Display,
{
    text.parse().map_err(|error: N::Err| error.to_string())
}

pub(super) fn word<T>(text: &str, of: fn(&str) -> Option<T>) -> Result<T, Reason> {
    of(text).ok_or_else(|| format!("the word `{text}` is not known"))
}

pub(super) fn json(text: &str) -> Result<Value, Reason> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

pub(super) fn schema(text: Option<String>) -> Result<Option<Arc<Value>>, Reason> {
    text.map(|text| json(&text).map(Arc::new)).transpose()
}

pub(super) fn findings_text(findings: Vec<Finding>) -> Reason {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

pub(super) fn plan(text: &str) -> Result<Arc<Plan>, Reason> {
    read_plan(&json(text)?).map(Arc::new).map_err(findings_text)
}

pub(super) fn texts(items: &[Arc<str>]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

pub(super) fn arcs(items: Vec<String>) -> Vec<Arc<str>> {
    items.into_iter().map(Arc::from).collect()
}
