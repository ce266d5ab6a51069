//! `openclaw restart`: ends the daemon of this home and starts it again, where it ran.

use serde_json::json;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::offline::daemon_runs;
use crate::cli::service_manager::{UNIT, runs_home, tool};

/// Who starts the daemon again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The service manager did, and it serves.
    Manager,
    /// This command has to, in the foreground, after it has stopped the one that runs.
    AfterStop,
    /// This command has to: none runs.
    Here,
}

/// Restarts the service, where the daemon is one; says who else has to do it.
pub fn by_manager(context: &mut Context) -> Result<Again, CliError> {
    let named = context.overrides.environment.get("OPENCLAW_ADMIN_URL");
    if context.global.url.is_some() || named.is_some_and(|url| !url.is_empty()) {
        let message = "only the daemon of a home on this machine can be restarted";
        return Err(CliError::usage(message, "leave out --url and OPENCLAW_ADMIN_URL"));
    }
    if !runs_home(context)? {
        let is_running = daemon_runs(context)?;
        return Ok(if is_running { Again::AfterStop } else { Again::Here });
    }
    tool("systemctl", &["restart", UNIT])?;
    let value = json!({ "restarted": true, "by": "systemd" });
    context.output.result(&value, |_| {
        "restarted; `systemctl status openclaw` shows the service".into()
    });
    Ok(Again::Manager)
}
