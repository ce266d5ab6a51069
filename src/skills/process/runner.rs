//! The daemon's end: starts a shim for each program, keeps its pipe open, and reads its one report.

use crate::domain::fault::Fault;

/// Says which step of running a program failed, before or beside the program itself.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The shim could not be started.
    #[error("failed to start the shim {program}")]
    StartShim {
        /// The shim's program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The order could not be handed to the shim.
    #[error("failed to hand the order to the shim")]
    SendOrder(#[source] std::io::Error),
    /// The shim's report could not be read.
    #[error("failed to read the shim's report")]
    ReadReport(#[source] std::io::Error),
    /// The shim ended without a report, or with one that cannot be understood.
    #[error("failed to understand the shim's report: {reason}")]
    BadReport {
        /// What it said.
        reason: String,
    },
    /// The shim itself failed.
    #[error("failed within the shim: {reason}")]
    Shim {
        /// What it said.
        reason: String,
    },
    /// The shim did not report in time.
    #[error("failed to hear from the shim within {limit_ms} ms")]
    Silent {
        /// The limit.
        limit_ms: u64,
    },
}

impl ProcessError {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::StartShim { .. } | Self::SendOrder(_) | Self::ReadReport(_) | Self::Shim { .. } => Fault::Unavailable,
            Self::BadReport { .. } => Fault::Bug,
            Self::Silent { .. } => Fault::TimedOut,
        }
    }
}
