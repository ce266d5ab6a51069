//! `openclaw runs …`: looks at runs and changes their course.

use std::fmt::Write as _;

use serde_json::json;

use crate::cli::answers::{self, Wanted};
use crate::cli::arguments::RunsCommand;
use crate::cli::cassette;
use crate::cli::client::{Client, Request};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::follow::{fetch, follow_and_print};
use crate::cli::output::one_line;
use crate::cli::view::{RunView, read, runs_table, show_run, show_timeline};
use crate::domain::id::RunId;

/// Does one of them.
pub async fn run(context: &mut Context, command: RunsCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    match command {
        RunsCommand::List { status, limit, cursor } => list(context, &client, status, limit, cursor).await,
        RunsCommand::Show { id, timeline } => show(context, &client, id, timeline).await,
        RunsCommand::Watch { id } => {
            // Says at once when there is no daemon or no such run; the stream itself is patient.
            fetch(&client, &id.to_string()).await?;
            follow_and_print(&client, &mut context.output, &id.to_string()).await
        }
        RunsCommand::Cancel { id, reason } => cancel(context, &client, id, reason).await,
        RunsCommand::Cassette { id, output } => {
            let text = cassette::fetch(&client, &id.to_string()).await?;
            match output {
                Some(file) => cassette::write(&file, &text)?,
                None => context.output.raw(&text),
            }
            Ok(Exit::Done)
        }
        RunsCommand::Approve {
            id,
            step,
            call,
            deny,
            reason,
            hash,
        } => {
            let wanted = Wanted { step, call, hash };
            answers::approve(context, &client, id, &wanted, !deny, reason).await
        }
        RunsCommand::Resolve {
            id,
            step,
            call,
            happened,
            output,
            not_happened,
            abandon: _,
        } => {
            let word = match (happened, not_happened) {
                (true, _) => "happened",
                (_, true) => "not_happened",
                _ => "abandoned",
            };
            let wanted = Wanted { step, call, hash: None };
            answers::resolve(context, &client, id, &wanted, word, output).await
        }
        RunsCommand::Retry { id, follow } => retry(context, &client, id, follow).await,
    }
}

async fn list(
    context: &mut Context,
    client: &Client,
    status: Option<String>,
    limit: u32,
    cursor: Option<String>,
) -> Result<Exit, CliError> {
    let mut path = format!("/v1/runs?limit={limit}");
    for (name, value) in [("status", status), ("cursor", cursor)] {
        if let Some(value) = value {
            let _ = write!(path, "&{name}={}", encode(&value));
        }
    }
    let value = client.send(&Request::get(&path)).await?;
    let runs = value["runs"]
        .as_array()
        .ok_or_else(|| client.protocol(&path, "the list of runs is missing"))?;
    context.output.result(&value, |output| {
        if runs.is_empty() {
            return "no runs".into();
        }
        let mut shown = runs_table(output, runs);
        if let Some(next) = value["next"].as_str() {
            let _ = writeln!(shown, "more: --cursor {}", one_line(next, 200));
        }
        shown
    });
    Ok(Exit::Done)
}

async fn show(context: &mut Context, client: &Client, id: RunId, timeline: bool) -> Result<Exit, CliError> {
    let (view, value) = fetch(client, &id.to_string()).await?;
    let mut document = json!({ "run": value });
    if timeline {
        let path = format!("/v1/runs/{id}/timeline");
        document["timeline"] = client.send(&Request::get(&path)).await?["entries"].take();
    }
    context.output.result(&document, |output| {
        let mut text = show_run(output, &view);
        if timeline {
            text.push('\n');
            text.push_str(&show_timeline(&json!({ "entries": document["timeline"] })));
        }
        text
    });
    Ok(Exit::Done)
}

async fn cancel(context: &mut Context, client: &Client, id: RunId, reason: Option<String>) -> Result<Exit, CliError> {
    let body = match reason {
        Some(reason) => json!({ "reason": reason }),
        None => json!({}),
    };
    let path = format!("/v1/runs/{id}/cancel");
    let value = client.send(&Request::post(&path, &body)).await?;
    let view: RunView = read(client, &path, &value)?;
    context
        .output
        .result(&json!({ "run": value }), |_| match view.status.as_str() {
            "active" => format!("{id} ends as soon as its work has ended"),
            status => format!("{id} is {}", one_line(status, 32)),
        });
    Ok(Exit::Done)
}

async fn retry(context: &mut Context, client: &Client, id: RunId, follow: bool) -> Result<Exit, CliError> {
    let path = format!("/v1/runs/{id}/retry");
    let value = client.send(&Request::post(&path, &json!({}))).await?;
    let view: RunView = read(client, &path, &value)?;
    let new: RunId = view
        .id
        .parse()
        .map_err(|error: crate::domain::id::IdError| client.protocol(&path, error.to_string()))?;
    if follow {
        context.output.note(&format!("{new} accepted"));
        return follow_and_print(client, &mut context.output, &new.to_string()).await;
    }
    context.output.result(&json!({ "run": value }), |_| new.to_string());
    Ok(Exit::Done)
}

/// Percent-encodes everything that may mean something in a query.
fn encode(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte as char);
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
