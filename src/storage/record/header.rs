//! Headers of runs.

use bincode::{Decode, Encode};

use crate::domain::id::RunId;
use crate::domain::name::AgentName;
use crate::domain::run::{RunHeader, RunStatus};
use crate::domain::time::UtcMillis;
use crate::storage::error::StoreError;

/// One row of the list of runs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HeaderRecord {
    status: String,
    task: String,
    agent: Option<String>,
    accepted_at: u64,
    ended_at: Option<u64>,
    tokens: u64,
}

impl From<&RunHeader> for HeaderRecord {
    fn from(header: &RunHeader) -> Self {
        Self {
            status: header.status.as_str().to_owned(),
            task: header.task.to_string(),
            agent: header.agent.as_ref().map(ToString::to_string),
            accepted_at: header.accepted_at.0,
            ended_at: header.ended_at.map(|at| at.0),
            tokens: header.tokens,
        }
    }
}

impl HeaderRecord {
    /// The header of `run`.
    pub fn into_domain(self, run: RunId) -> Result<RunHeader, StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt {
            what: format!("header of {run}"),
            reason,
        };
        Ok(RunHeader {
            run,
            status: RunStatus::from_word(&self.status)
                .ok_or_else(|| corrupt(format!("status `{}` is not known", self.status)))?,
            task: self.task.into(),
            agent: self
                .agent
                .map(|name| AgentName::new(&name))
                .transpose()
                .map_err(|error| corrupt(error.to_string()))?,
            accepted_at: UtcMillis(self.accepted_at),
            ended_at: self.ended_at.map(UtcMillis),
            tokens: self.tokens,
        })
    }
}
