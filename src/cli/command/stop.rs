//! `openclaw stop`: tells the daemon to stop and waits until it has.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;

use crate::cli::arguments::StopArguments;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::daemon::config::DaemonFile;

/// Asks, then waits until the process has ended. Asking its address instead would start it anew where the service
/// manager keeps its socket.
pub async fn run(context: &mut Context, arguments: &StopArguments) -> Result<Exit, CliError> {
    let operators = context.admin()?;
    // Held before it is asked, so that its number cannot have become another's.
    let daemon = process(context)?;
    operators.send(&Request::post("/admin/v1/stop", &json!({}))).await?;
    if let Some(daemon) = daemon {
        wait(&daemon, arguments.timeout)?;
    }
    context.output.result(&json!({ "stopped": true }), |_| "stopped".into());
    Ok(Exit::Done)
}

/// The process of the daemon of this home. None when it has ended already.
fn process(context: &Context) -> Result<Option<OwnedFd>, CliError> {
    let file = DaemonFile::read(&context.home)?;
    let Some(pid) = file.and_then(|file| Pid::from_raw(file.pid.cast_signed())) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => Ok(Some(process)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(wait_error(error)),
    }
}

/// Blocks until a process has ended: nothing else happens in this one.
fn wait(process: &OwnedFd, limit_ms: u64) -> Result<(), CliError> {
    let limit = Timespec::try_from(Duration::from_millis(limit_ms)).ok();
    let ended = poll(&mut [PollFd::new(process, PollFlags::IN)], limit.as_ref()).map_err(wait_error)?;
    if ended == 0 {
        return Err(CliError::TimedOut {
            what: "the end of the daemon".into(),
            ms: limit_ms,
        });
    }
    Ok(())
}

fn wait_error(error: rustix::io::Errno) -> CliError {
    CliError::Io {
        verb: "wait for",
        what: "the end of the daemon".into(),
        source: error.into(),
    }
}
