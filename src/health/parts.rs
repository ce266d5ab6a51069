//! What health stands on, handed in once by the composition root.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use supervisors::Tasks;

use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::runtime::telemetry::Telemetry;
use crate::storage::store::Store;

use super::alerts::channel::Channel;
use super::alerts::decision::Policy;
use super::check::Check;
use super::export::exporter::ExportParts;

/// Everything below that health uses.
#[derive(Clone)]
pub struct HealthParts {
    /// Tells the time.
    pub clock: Clock,
    /// For ids.
    pub entropy: Entropy,
    /// Reads.
    pub store: Store,
    /// Writes.
    pub committer: Committer,
    /// Counts.
    pub telemetry: Telemetry,
    /// What is checked, as configured now.
    pub checking: Arc<ArcSwap<Checking>>,
    /// When people are told.
    pub policy: Policy,
    /// How people are told.
    pub channels: Arc<[Channel]>,
    /// This machine, for messages.
    pub host: Arc<str>,
    /// How long incidents are kept, in milliseconds.
    pub keep_ms: u64,
    /// What a collector is told, where there is one.
    pub export: Option<ExportParts>,
}

/// What is checked, and how often; replaced as a whole when the configuration changes.
#[derive(Clone)]
pub struct Checking {
    /// What is checked.
    pub checks: Arc<[Check]>,
    /// Between two rounds.
    pub interval: Duration,
    /// Failures in a row that are an incident.
    pub failures: u32,
}

/// What the actors of the layer share.
#[derive(Clone)]
pub struct HealthInside {
    /// Everything below.
    pub parts: HealthParts,
    /// Where checks run.
    pub checking: Tasks,
    /// Where messages are sent.
    pub sending: Tasks,
}
