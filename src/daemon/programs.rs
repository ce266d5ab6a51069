//! What programs of skills are confined by: the sandbox that is tried at the start, and their way to the network.
//!
//! Part of the composition. Invariant: whatever is missing for the sandbox is said loudly at each start.

use std::io;
use std::sync::Arc;

use supervisors::SupervisorSpec;

use crate::domain::code;
use crate::runtime::entropy::Entropy;
use crate::skills;
use crate::skills::egress::Egress;
use crate::skills::egress::secret::EgressSecret;
use crate::skills::network::NetworkPolicy;
use crate::skills::process::runner::ProcessRunner;
use crate::skills::sandbox::policy::SandboxMode;
use crate::skills::sandbox::report::SandboxReport;

use super::config::model::Stored;
use super::config::{Config, Home};

/// Why programs have no proxy.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// A secret for programs cannot be used.
    #[error("read skills.secrets: {reason}")]
    Secret {
        /// Why.
        reason: String,
    },
    /// The proxy cannot be listened at.
    #[error("listen for programs at {path}")]
    Listen {
        /// The socket.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The proxy by which programs reach the network, and the branch that serves it.
pub(super) fn egress(
    home: &Home,
    config: &Config,
    network: NetworkPolicy,
    entropy: Entropy,
    stored: &Stored,
) -> Result<(Egress, SupervisorSpec), EgressError> {
    let secrets = config.program_secrets.iter().filter_map(|secret| {
        // A secret that is not there is said where it is missed: the request goes out without it.
        let value = secret.value.resolve(|name| std::env::var(name).ok(), stored);
        let value =
            value.map_err(|error| tracing::warn!(secret = secret.name, %error, "a secret for programs is missing"));
        Some((secret, value.ok()?))
    });
    let secrets = secrets.map(|(secret, value)| {
        EgressSecret::new(&secret.server, &secret.header, &value).map_err(|error| EgressError::Secret {
            reason: format!("{}: {error}", secret.name),
        })
    });
    let secrets = secrets.collect::<Result<_, _>>()?;
    let socket = home.state_dir().join("egress.sock");
    let egress = Egress::new(socket.clone(), network, secrets, entropy);
    let layer = skills::egress::layer(&egress).map_err(|source| EgressError::Listen {
        path: socket.display().to_string(),
        source,
    })?;
    Ok((egress, layer))
}

/// Tries the sandbox before the first program and says what it is worth.
pub(super) async fn try_sandbox(runner: &ProcessRunner) -> Arc<SandboxReport> {
    let report = runner.sandbox().await;
    let (level, mode) = (report.level().as_str(), report.mode.as_str());
    match report.mode {
        SandboxMode::On if report.refusal().is_none() => tracing::info!(level, "programs are confined"),
        SandboxMode::On => {
            let code = code::SANDBOX_REFUSED.id;
            tracing::error!(code, reasons = ?report.reasons(), "programs cannot be confined here and are not started");
        }
        _ => {
            let reasons = report.reasons();
            tracing::error!(
                mode,
                level,
                ?reasons,
                "skills.sandbox is not on: programs can reach more than their workspace"
            );
        }
    }
    Arc::new(report.clone())
}
