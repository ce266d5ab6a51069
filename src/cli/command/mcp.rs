//! `openclaw mcp …`: servers of the Model Context Protocol in the configuration, and whether they work.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use supervisors::{ChildSpec, Strategy, Supervisor, SupervisorSpec};

use crate::cli::arguments::McpCommand;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{harmless, one_line, show_value, table};
use crate::daemon::adapters::mcp_server;
use crate::daemon::config::file::{self, FILE_BYTES_MAX};
use crate::daemon::config::mcp::{McpSettings, McpWay};
use crate::daemon::config::model::Stored;
use crate::daemon::config::{Config, edit, load};
use crate::daemon::programs::{self, egress, network};
use crate::domain::code;
use crate::domain::name::ServerName;
use crate::runtime::entropy::Entropy;
use crate::skills::catalogue::Catalogue;
use crate::skills::mcp::handle::McpHandle;
use crate::skills::mcp::layer::{layer, links};
use crate::skills::mcp::memo::Memo;
use crate::skills::mcp::server::ServerParts;
use crate::skills::mcp::shared::{ServerState, Shared};
use crate::skills::process::runner::ProcessRunner;

/// Time beyond the server's own start time that a test waits.
const MARGIN: Duration = Duration::from_secs(5);

/// Does one of them.
pub async fn run(context: &mut Context, command: McpCommand) -> Result<Exit, CliError> {
    match command {
        McpCommand::Add {
            name,
            url,
            bearer,
            class,
            tool,
            command,
        } => {
            let list = |items: &[String]| {
                let items: toml_edit::Array = items.iter().map(String::as_str).collect();
                items.to_string()
            };
            let mut keys = Vec::new();
            keys.extend(url.map(|url| ("url", url)));
            if !command.is_empty() {
                keys.push(("command", list(&command)));
            }
            keys.extend(bearer.map(|bearer| ("bearer", bearer)));
            keys.extend(class.map(|class| ("class", class)));
            if !tool.is_empty() {
                keys.push(("tools", list(&tool)));
            }
            add(context, &name, &keys)
        }
        McpCommand::List => list(context).await,
        McpCommand::Test { name } => test(context, &name).await,
        McpCommand::Restart { name } => restart(context, &name).await,
    }
}

fn add(context: &mut Context, name: &ServerName, keys: &[(&str, String)]) -> Result<Exit, CliError> {
    context.require_home()?;
    let known = context.load()?.config.mcp;
    if known.iter().any(|server| server.name == *name) {
        return Err(CliError::refused(
            code::EXISTS,
            format!("a server `{name}` is there already"),
            format!("`openclaw config set mcp.{name}.… VALUE` changes it"),
        ));
    }
    let path = context.home.config_file();
    let before = file::read_text(&path, FILE_BYTES_MAX)?;
    let set = |(key, value): &(&str, String)| edit::set(&path, &format!("mcp.{name}.{key}"), value).map(drop);
    let loaded = keys
        .iter()
        .try_for_each(set)
        .and_then(|()| load(&context.home, &context.overrides));
    if let Err(error) = loaded {
        // Half a server would keep the daemon from starting.
        let restored = match &before {
            Some(text) => file::replace(&path, text.as_bytes(), 0o644),
            None => std::fs::remove_file(&path),
        };
        restored.map_err(|source| CliError::Io {
            verb: "restore",
            what: path.display().to_string(),
            source,
        })?;
        return Err(error.into());
    }
    let value = json!({ "name": name.as_str(), "file": path, "skills": format!("mcp.{name}.*") });
    context.output.result(&value, |_| {
        format!(
            "added {name} to {}; its tools are mcp.{name}.* after the next start of the daemon\n\
             `openclaw mcp test {name}` tries it now\n",
            path.display()
        )
    });
    Ok(Exit::Done)
}

async fn list(context: &mut Context) -> Result<Exit, CliError> {
    let answer = match context.client() {
        Ok(client) => client.send(&Request::get("/v1/mcp")).await,
        Err(error) => Err(error),
    };
    let value = match answer {
        Ok(value) => value,
        Err(CliError::Unreachable { .. }) if context.global.url.is_none() => {
            let servers = context.load()?.config.mcp;
            context.output.note("no daemon runs; this is what the files say");
            json!({ "servers": servers.iter().map(describe).collect::<Vec<_>>() })
        }
        Err(error) => return Err(error),
    };
    let servers = value["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = servers.iter().map(|server| {
        let text = |name: &str| match &server[name] {
            Value::Null => "-".to_owned(),
            other => one_line(&show_value(other), 90),
        };
        let tools = server["tools"].as_array();
        let tools = tools.map_or("-".to_owned(), |tools| tools.len().to_string());
        vec![
            text("name"),
            text("transport"),
            text("state"),
            text("protocol"),
            tools,
            text("reason"),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let headings = ["SERVER", "TRANSPORT", "STATE", "PROTOCOL", "TOOLS", "REASON"];
    context.output.result(&value, |_| table(&headings, &rows));
    Ok(Exit::Done)
}

async fn restart(context: &mut Context, name: &ServerName) -> Result<Exit, CliError> {
    let path = format!("/v1/mcp/{name}/restart");
    let value = context.client()?.send(&Request::post(&path, &json!({}))).await?;
    context.output.result(&value, |_| {
        format!("{name} is started again; `openclaw mcp list` shows how it is\n")
    });
    Ok(Exit::Done)
}

fn describe(server: &McpSettings) -> Value {
    let transport = match server.way {
        McpWay::Command(_) => "stdio",
        McpWay::Url(..) => "http",
    };
    json!({ "name": server.name.as_str(), "transport": transport, "state": null, "protocol": null, "tools": null })
}

/// Starts the server in this process, beside one that a daemon may have, and stops it again.
async fn test(context: &mut Context, name: &ServerName) -> Result<Exit, CliError> {
    context.require_home()?;
    let config = context.load()?.config;
    let servers = &config.mcp;
    let Some(settings) = servers.iter().find(|server| server.name == *name) else {
        let known: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        return Err(CliError::refused(
            code::MCP_NOT_FOUND,
            format!("no server is named `{name}`; known are {}", known.join(", ")),
            format!("`openclaw mcp add {name} -- PROGRAM ARGUMENTS` adds one"),
        ));
    };
    let server = mcp_server(settings, &context.home, &programs::path(), &Stored::default());
    let limit = server.start_timeout + MARGIN;
    let report = probe(context, &config, &Shared::new(server, Vec::new()), limit).await?;
    let ready = report["state"] == "ready";
    context.output.result(&report, |_| {
        let mut text = format!("{name} is {}", show_value(&report["state"]));
        if let Some(reason) = report["reason"].as_str() {
            let _ = write!(text, ": {}", harmless(reason));
        }
        if let Some(protocol) = report["protocol"].as_str() {
            let _ = write!(text, ", revision {}", harmless(protocol));
        }
        text.push('\n');
        for tool in report["tools"].as_array().into_iter().flatten() {
            let own = harmless(&show_value(&tool["name"]));
            let _ = writeln!(text, "  {} ({own})", show_value(&tool["skill"]));
        }
        text
    });
    Ok(if ready { Exit::Done } else { Exit::Failed })
}

async fn probe(context: &Context, config: &Config, shared: &Arc<Shared>, limit: Duration) -> Result<Value, CliError> {
    let (links, tasks) = links(1);
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| CliError::Daemon {
        step: "start the server",
        code: code::MCP_UNAVAILABLE,
        hint: None,
        source: error,
    };
    let runner = ProcessRunner::new(None, config.sandbox.clone());
    // A proxy beside that of a daemon that may run.
    let socket = std::env::temp_dir().join(format!("openclaw-{:032x}.sock", Entropy::system().u128()));
    let network = network(config).map_err(|error| failed(error.into()))?;
    let egress = egress(socket.clone(), config, network, Entropy::system(), &Stored::default());
    let (egress, egress_layer) = egress.map_err(|error| failed(error.into()))?;
    runner.open_egress(egress);
    let parts = ServerParts {
        tasks,
        runner,
        keeper: "/proc/self/exe".into(),
        // Another name than the daemon's: what it runs is not to be taken for a leftover of this one.
        home: format!(
            "{} tested by {}",
            context.home.state_dir().display(),
            std::process::id()
        ),
        catalogue: Arc::new(ArcSwap::from_pointee(Catalogue::empty())),
        memo: Memo::new(&context.home.mcp_dir()),
    };
    let servers = layer(links, &parts, std::slice::from_ref(shared));
    let both = SupervisorSpec::new(Strategy::RestForOne)
        .child(ChildSpec::supervisor("egress", egress_layer))
        .child(ChildSpec::supervisor("mcp", servers));
    let tree = Supervisor::start("mcp-test", both).await;
    let tree = tree.map_err(|error| failed(error.into()))?;
    let mut watch = shared.watch();
    let decided = watch.wait_for(|state| !matches!(state, ServerState::Starting));
    // What has not decided by then is shown as it is.
    tokio::time::timeout(limit, decided).await.ok();
    let report = McpHandle::new([Arc::clone(shared)]).reports().remove(0);
    tree.shutdown().await;
    std::fs::remove_file(socket).ok();
    let tools = report.tools.iter();
    let tools = tools.map(|(tool, skill)| json!({ "name": tool, "skill": skill }));
    Ok(json!({
        "name": report.name.as_str(), "transport": report.way, "state": report.state, "reason": report.reason,
        "protocol": report.revision, "tools": tools.collect::<Vec<_>>(),
    }))
}
