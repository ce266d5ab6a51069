//! `openclaw quickstart`: set up, start, do a real task on this folder, show the result, keep serving.

use std::fmt::Write as _;

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::cli::arguments::QuickstartArguments;
use crate::cli::client::{Client, Request, Target};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::follow::follow;
use crate::cli::output::{Output, Tone};
use crate::cli::seam::DaemonSeam;
use crate::cli::set_up::set_up;
use crate::cli::view::{RunView, read, show_run, show_timeline};
use crate::daemon::config::{Loaded, Place};

/// The first task that a person sees done.
const TASK: &str = "review this folder and write REVIEW.md";
/// The file that it makes.
const FILE: &str = "REVIEW.md";
/// Its least size in bytes: a file with a heading alone is not a review.
const FILE_BYTES_MIN: u64 = 200;

/// Starts the daemon in this process, unless one runs on this home already, and does the task through its gateway.
pub async fn run(
    context: &mut Context,
    daemon: &impl DaemonSeam,
    arguments: &QuickstartArguments,
) -> Result<Exit, CliError> {
    let folder = std::env::current_dir().map_err(|source| CliError::Io {
        verb: "find",
        what: "the current folder".into(),
        source,
    })?;
    context.set_flag("--port", "gateway.port", arguments.port.map(|port| port.to_string()));
    if let Some(client) = running(context).await {
        context.output.note(&format!(
            "a daemon runs at {} already; the task goes there",
            client.url()
        ));
        return work(&client, &mut context.output, &folder).await;
    }
    let done = set_up(context, daemon, &[])?;
    for path in &done.made {
        context.output.note(&format!("made {}", path.display()));
    }
    let loaded = load(context)?;
    let (ready, is_ready) = oneshot::channel();
    let home = context.home.clone();
    let serving = daemon.serve(&home, loaded, ready);
    tokio::pin!(serving);
    let ready = tokio::select! {
        result = &mut serving => {
            result?;
            return Ok(Exit::Unknown);
        }
        ready = is_ready => ready,
    };
    let Ok(ready) = ready else {
        // The start failed; its error comes from the daemon itself.
        serving.await?;
        return Ok(Exit::Unknown);
    };
    let client = Client::new(&Target {
        url: ready.gateway,
        key: context.home.read_operator_key()?,
        tls_dir: Some(context.home.tls_dir()),
    })?;
    let operators = Client::of_operator(&context.home, &context.overrides, Some(&ready.admin), None)?;
    context.output.note(&format!("ready at {}", client.url()));
    let worked = tokio::select! {
        // Ended from outside (Ctrl-C) before the task did; the run goes on at the next start.
        result = &mut serving => {
            result?;
            return Ok(Exit::Unknown);
        }
        worked = work(&client, &mut context.output, &folder) => worked,
    };
    if arguments.once || worked.is_err() {
        // The stop is a request like any other, so the daemon ends as it does in service: in order.
        let nothing = json!({});
        let request = Request::post("/admin/v1/stop", &nothing);
        let stopped = tokio::select! {
            result = &mut serving => {
                result?;
                return worked;
            }
            stopped = operators.send(&request) => stopped,
        };
        let exit = worked?;
        stopped?;
        serving.await?;
        return Ok(exit);
    }
    context
        .output
        .note(&format!("serving at {}; Ctrl-C ends", client.url()));
    serving.await?;
    Ok(Exit::Done)
}

/// The configuration; with any free port when nobody chose one and the default belongs to another program.
fn load(context: &mut Context) -> Result<Loaded, CliError> {
    let loaded = context.load()?;
    let gateway = &loaded.config.gateway;
    let port = loaded.settings.get(&["gateway", "port"]);
    let is_chosen = port.is_some_and(|setting| setting.origin != Place::Default);
    let listening = std::net::TcpListener::bind((gateway.bind, gateway.port));
    match listening {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !is_chosen => {}
        _ => return Ok(loaded),
    }
    let port = gateway.port;
    context
        .output
        .note(&format!("port {port} is used by another program; a free one is taken"));
    context.set_flag("quickstart", "gateway.port", Some("0".to_owned()));
    context.load()
}

/// A client of the daemon that runs on this home, when one answers.
async fn running(context: &Context) -> Option<Client> {
    if !context.home.daemon_file().exists() {
        return None;
    }
    let client = context.client().ok()?;
    client.send(&Request::get("/v1/status")).await.ok()?;
    Some(client)
}

/// Submits the task, shows its course, its result, the file and the time line.
pub async fn work(client: &Client, output: &mut Output, folder: &Path) -> Result<Exit, CliError> {
    let body = json!({
        "task": TASK,
        "workspace": folder,
        "checks": [{ "type": "file", "path": FILE, "fresh": true, "min_bytes": FILE_BYTES_MIN }],
        "origin": "cli",
    });
    let accepted = client.send(&Request::post("/v1/runs", &body)).await?;
    let run: RunView = read(client, "/v1/runs", &accepted)?;
    output.note(&format!("{}: {TASK}", run.id));
    let (view, value) = follow(client, output, &run.id).await?;
    let path = format!("/v1/runs/{}/timeline", view.id);
    let timeline = client.send(&Request::get(&path)).await?;
    let file = folder.join(FILE);
    let bytes = std::fs::metadata(&file).map(|found| found.len()).ok();
    let document = json!({
        "run": value,
        "file": bytes.map(|bytes| json!({ "path": file, "bytes": bytes })),
        "timeline": timeline["entries"],
    });
    output.result(&document, |output| show(output, &view, &timeline, &file, bytes));
    Ok(Exit::of_status(&view.status))
}

fn show(output: &Output, view: &RunView, timeline: &Value, file: &Path, bytes: Option<u64>) -> String {
    let heading = |text: &str| output.paint(Tone::Strong, text);
    let mut text = format!(
        "\n{}\n\n{}\n{}",
        show_run(output, view),
        heading("Time line"),
        show_timeline(timeline)
    );
    if let Some(bytes) = bytes {
        let _ = writeln!(text, "\n{} {} ({bytes} bytes)", heading("File"), file.display());
    }
    text
}
