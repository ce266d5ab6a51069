//! `openclaw start`: the daemon in the foreground.

use tokio::sync::oneshot;

use crate::cli::arguments::StartArguments;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::seam::DaemonSeam;

/// Runs the daemon until it is told to stop. It needs no configuration file: only the state and a key are made when
/// they are missing.
pub async fn run(
    context: &mut Context,
    daemon: &impl DaemonSeam,
    arguments: &StartArguments,
) -> Result<Exit, CliError> {
    context.set_flag("--port", "gateway.port", arguments.port.map(|port| port.to_string()));
    context.set_flag("--log-level", "log.level", arguments.log_level.clone());
    context.home.create_state()?;
    daemon.make_operator_key(&context.home)?;
    let loaded = context.load()?;
    let (ready, mut is_ready) = oneshot::channel();
    let home = context.home.clone();
    let serving = daemon.serve(&home, loaded, ready);
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => {
            result?;
            return Ok(Exit::Done);
        }
        answer = &mut is_ready => if let Ok(ready) = answer {
            context.output.note(&format!("ready at {}", ready.gateway));
        },
    }
    serving.await?;
    Ok(Exit::Done)
}
