//! `openclaw stop`: tells the daemon to stop and waits until it has.

use std::time::Duration;

use serde_json::json;

use crate::cli::arguments::StopArguments;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};

/// Pause between two looks.
const LOOK_MS: u64 = 50;

/// Asks, then waits until nobody answers any more.
pub async fn run(context: &mut Context, arguments: &StopArguments) -> Result<Exit, CliError> {
    let client = context.client()?;
    let operators = context.admin()?;
    operators.send(&Request::post("/admin/v1/stop", &json!({}))).await?;
    let gone = async {
        while !matches!(
            client.send(&Request::get("/livez")).await,
            Err(CliError::Unreachable { .. })
        ) {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    };
    if tokio::time::timeout(Duration::from_millis(arguments.timeout), gone)
        .await
        .is_err()
    {
        return Err(CliError::TimedOut {
            what: "the end of the daemon".into(),
            ms: arguments.timeout,
        });
    }
    context.output.result(&json!({ "stopped": true }), |_| "stopped".into());
    Ok(Exit::Done)
}
