//! `openclaw health`: what the checks of the daemon say.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Output, one_line};

/// How long a round may take, in milliseconds.
const ROUND_MS: u64 = 120_000;

/// Makes a round of checks, or shows the last one. The exit is 1 when one fails.
pub async fn run(context: &mut Context, last: bool) -> Result<Exit, CliError> {
    let client = context.client()?;
    let body = json!({});
    let value = if last {
        client.send(&Request::get("/v1/health")).await?
    } else {
        let request = Request {
            wait_ms: ROUND_MS,
            ..Request::post("/v1/health", &body)
        };
        client.send(&request).await?
    };
    let all_good = value["checks"]
        .as_object()
        .is_some_and(|checks| checks.values().all(|check| check["good"] == true));
    context.output.result(&value, |output| show(output, &value));
    Ok(if all_good { Exit::Done } else { Exit::Failed })
}

fn show(output: &Output, value: &Value) -> String {
    let mut text = String::new();
    for (name, check) in value["checks"].as_object().into_iter().flatten() {
        let state = if check["good"] == true { "good" } else { "finding" };
        let seen = one_line(check["seen"].as_str().unwrap_or("-"), 300);
        let _ = writeln!(text, "{name:<14} {} {seen}", output.status(state));
        if let Some(action) = check["action"].as_str() {
            let _ = writeln!(text, "{:<14} hint: {}", "", one_line(action, 300));
        }
    }
    text
}
