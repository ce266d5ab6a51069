//! A run followed to its end: events as they come, then the run as it stands.

use serde_json::{Value, json};

use super::client::{Client, Request};
use super::error::{CliError, Exit};
use super::events::{EventStream, Patience};
use super::output::Output;
use super::progress::Progress;
use super::prompt::Prompt;
use super::view::{RunView, read, show_run};

/// Follows a run from its beginning and gives back how it stands at the end.
pub async fn follow(client: &Client, output: &mut Output, run: &str) -> Result<(RunView, Value), CliError> {
    let mut stream = EventStream::new(client, run, None, Patience::default());
    let mut progress = Progress::new(output);
    let mut prompt = Prompt::new(output);
    loop {
        let told = tokio::select! {
            event = stream.next() => {
                let Some(event) = event? else { break };
                progress.event(output, &event);
                prompt.event(client, run, &event).await?
            }
            line = prompt.line() => prompt.answer(client, run, &line).await,
        };
        if let Some(told) = told {
            progress.note(output, &told);
        }
    }
    progress.finish();
    fetch(client, run).await
}

/// The run as it stands.
pub async fn fetch(client: &Client, run: &str) -> Result<(RunView, Value), CliError> {
    let path = format!("/v1/runs/{run}");
    let value = client.send(&Request::get(&path)).await?;
    Ok((read(client, &path, &value)?, value))
}

/// Follows a run, prints how it ended, and makes its outcome the exit code.
pub async fn follow_and_print(client: &Client, output: &mut Output, run: &str) -> Result<Exit, CliError> {
    let (view, value) = follow(client, output, run).await?;
    output.result(&json!({ "run": value }), |output| {
        format!("\n{}", show_run(output, &view))
    });
    Ok(Exit::of_status(&view.status))
}
