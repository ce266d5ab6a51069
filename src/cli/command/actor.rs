//! `openclaw actor …`: ends, suspends and resumes parts of the running daemon by their path in its tree.

use serde_json::json;

use crate::cli::arguments::ActorCommand;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::memory_part::encode;
use crate::cli::output::one_line;

/// Longest path that is shown.
const SHOWN: usize = 128;

/// Asks the daemon to do it.
pub async fn run(context: &mut Context, command: ActorCommand) -> Result<Exit, CliError> {
    let (path, word, done) = match &command {
        ActorCommand::Kill { path } => (path, "kill", "killed; its supervisor does what it does after a crash"),
        ActorCommand::Restart { path } => (path, "restart", "ends after its message and is started again"),
        ActorCommand::Suspend { path } => (path, "suspend", "suspended until `openclaw actor resume`"),
        ActorCommand::Resume { path } => (path, "resume", "runs again"),
    };
    let address = format!("/admin/v1/actors/{}/{word}", encode(path));
    let value = context.admin()?.send(&Request::post(&address, &json!({}))).await?;
    context
        .output
        .result(&value, |_| format!("{}: {done}", one_line(path, SHOWN)));
    Ok(Exit::Done)
}
