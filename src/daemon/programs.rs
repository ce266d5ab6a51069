//! What programs of skills are confined by: the sandbox that is tried at the start, and their way to the network.
//!
//! Part of the composition. Invariant: whatever is missing for the sandbox is said loudly at each start.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use supervisors::SupervisorSpec;

use crate::domain::code;
use crate::runtime::entropy::Entropy;
use crate::skills;
use crate::skills::egress::Egress;
use crate::skills::egress::secret::EgressSecret;
use crate::skills::network::{NetworkPolicy, PolicyError};
use crate::skills::process::runner::ProcessRunner;
use crate::skills::sandbox::policy::SandboxMode;
use crate::skills::sandbox::report::SandboxReport;

use super::config::Config;
use super::config::model::Stored;

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

/// The proxy at this socket by which programs reach the network, and the branch that serves it.
pub fn egress(
    socket: PathBuf,
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
        EgressSecret::new(&secret.name, &secret.server, &secret.header, &value).map_err(|error| EgressError::Secret {
            reason: format!("{}: {error}", secret.name),
        })
    });
    let secrets = secrets.collect::<Result<_, _>>()?;
    let egress = Egress::new(socket.clone(), network, secrets, entropy);
    let layer = skills::egress::layer(&egress).map_err(|source| EgressError::Listen {
        path: socket.display().to_string(),
        source,
    })?;
    Ok((egress, layer))
}

/// Folders that programs are looked for in: the daemon's own, or the usual ones when it has none.
pub fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

/// Which inner addresses may be reached all the same.
pub fn network(config: &Config) -> Result<NetworkPolicy, PolicyError> {
    let allowed: Vec<String> = config.network_allow.iter().map(ToString::to_string).collect();
    NetworkPolicy::parse(allowed.iter().map(String::as_str))
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
