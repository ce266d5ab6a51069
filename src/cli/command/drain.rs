//! `openclaw drain`: the daemon takes no new runs, and those under way go on.

use serde_json::json;

use crate::cli::arguments::DrainArguments;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};

/// Asks, and says how much is under way.
pub async fn run(context: &mut Context, arguments: &DrainArguments) -> Result<Exit, CliError> {
    let body = json!({ "on": !arguments.off });
    let value = context.admin()?.send(&Request::post("/admin/v1/drain", &body)).await?;
    context.output.result(&value, |_| {
        let active = value["active"].as_u64().unwrap_or(0);
        if value["draining"] == true {
            format!("takes no new runs; {active} are under way")
        } else {
            format!("takes new runs; {active} are under way")
        }
    });
    Ok(Exit::Done)
}
