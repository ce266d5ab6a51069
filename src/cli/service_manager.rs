//! The service manager, as commands use it: its own tools, and whether it runs the daemon of a home.

use std::path::Path;
use std::process::Command;

use super::context::Context;
use super::error::CliError;
use crate::daemon::config::{DaemonFile, Home};
use crate::daemon::service::units::PATHS;

/// The unit of the daemon.
pub const UNIT: &str = "openclaw.service";

/// Whether the daemon of this home is the service of this machine: its process is in the unit's control group. Where
/// none runs, whether the service would use this home.
pub fn runs_home(context: &Context) -> Result<bool, CliError> {
    let daemon = DaemonFile::read(&context.home)?.filter(DaemonFile::is_alive);
    let Some(daemon) = daemon else {
        return Ok(context.home == Home::of_service(Path::new("/")) && Path::new(PATHS[0]).exists());
    };
    // A process that ended meanwhile is in no group.
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", daemon.pid)).unwrap_or_default();
    Ok(is_of_unit(&groups))
}

fn is_of_unit(groups: &str) -> bool {
    let mut lines = groups.lines();
    lines.any(|line| line.rsplit('/').next() == Some(UNIT))
}

/// Runs a tool of systemd. Its own words go to the terminal.
pub fn tool(program: &str, arguments: &[&str]) -> Result<(), CliError> {
    let line = format!("{program} {}", arguments.join(" "));
    let failed = |source| CliError::Io {
        verb: "run",
        what: line.clone(),
        source,
    };
    let status = Command::new(program).args(arguments).status().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(failed(std::io::Error::other(status.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_the_services_when_its_control_group_is_the_units() {
        let check = |groups: &str, expected: bool| assert_eq!(is_of_unit(groups), expected, "{groups}");
        check("0::/system.slice/openclaw.service\n", true);
        check("1:name=systemd:/system.slice/openclaw.service\n0::/\n", true);
        check("0::/user.slice/user-1000.slice/session-3.scope\n", false);
        check("0::/system.slice/my-openclaw.service\n", false);
        check("0::/system.slice/openclaw.service/child\n", false);
        check("", false);
    }
}
