//! What log lines say of the run that they are of.

use tracing::Span;

use crate::domain::id::RunId;
use crate::domain::name::AgentName;

/// Whatever is logged within it has the run, the agent that works for it and the run's trace id, as a collector of traces
/// knows it. It is there at every level of the log.
pub fn run_span(run: RunId, agent: Option<&AgentName>) -> Span {
    let trace_id = format!("{:032x}", u128::from_be_bytes(run.to_bytes()));
    tracing::error_span!("run", %run, agent = agent.map(tracing::field::display), %trace_id)
}
