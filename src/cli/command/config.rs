//! `openclaw config …`: reads and changes the configuration.

use serde_json::{Value, json};

use crate::cli::arguments::ConfigCommand;
use crate::cli::client::{Method, Request};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::operator_files::is_ours_to_write;
use crate::cli::output::{Output, Tone, table};
use crate::daemon::config::key::{self, KEYS, Key};
use crate::daemon::config::setting::{Setting, show};
use crate::daemon::config::{ConfigError, DaemonFile, Place, edit};
use crate::domain::code;

/// Does one of them.
pub async fn run(context: &mut Context, command: ConfigCommand) -> Result<Exit, CliError> {
    match command {
        ConfigCommand::Get { key } => get(context, &key),
        ConfigCommand::Set { key, value } => set(context, &key, &value).await,
        ConfigCommand::List => list(context),
        ConfigCommand::Validate => validate(context),
        ConfigCommand::Reload => reload(context).await,
    }
}

fn get(context: &mut Context, dotted: &str) -> Result<Exit, CliError> {
    let (path, key) = edit::lookup(dotted)?;
    let loaded = context.load()?;
    let segments: Vec<&str> = path.iter().map(String::as_str).collect();
    let value = match loaded.settings.get(&segments) {
        Some(setting) => describe(setting),
        None => unset(&key::render_path(&path), key),
    };
    let shown = match &value["value"] {
        Value::Null => "(not set)".into(),
        value => show(value),
    };
    context.output.result(&value, |_| shown);
    Ok(Exit::Done)
}

/// Through the running daemon, which writes it into the audit log; none when there is no daemon that answers. What it
/// has checked and may not write, this command writes.
async fn set_by_daemon(context: &Context, dotted: &str, text: &str) -> Result<Option<Value>, CliError> {
    let is_running = DaemonFile::read(&context.home)?.is_some_and(|daemon| daemon.is_alive());
    if !is_running {
        return Ok(None);
    }
    let body = json!({ "key": dotted, "value": text });
    let request = Request {
        method: Method::PUT,
        body: Some(&body),
        ..Request::get("/admin/v1/config")
    };
    match context.admin()?.send(&request).await {
        Ok(value) => Ok(Some(value)),
        Err(CliError::Unreachable { .. }) => Ok(None),
        Err(error) if is_ours_to_write(context, &error, code::CONFIG_FILE, "OPENCLAW_ADMIN_URL")? => {
            set_here(context, dotted, text).map(Some)
        }
        Err(error) => Err(error),
    }
}

fn set_here(context: &Context, dotted: &str, text: &str) -> Result<Value, CliError> {
    let change = edit::set(&context.home.config_file(), dotted, text)?;
    Ok(json!({
        "key": change.key,
        "old": change.old,
        "new": change.new,
        "file": change.file,
        "live": change.live,
    }))
}

async fn set(context: &mut Context, dotted: &str, text: &str) -> Result<Exit, CliError> {
    // A mistyped key is the likelier fault, so it is named first, and a value that is not allowed then.
    edit::lookup(dotted)?;
    context.require_home()?;
    let by_daemon = set_by_daemon(context, dotted, text).await?;
    let running = by_daemon.is_some();
    let value = match by_daemon {
        Some(value) => value,
        None => set_here(context, dotted, text)?,
    };
    context.output.result(&value, |_| {
        let told = |name: &str| value[name].as_str().unwrap_or("default").to_owned();
        let mut text = format!("{}: {} → {}\n", told("key"), told("old"), told("new"));
        if running && value["live"] == true {
            text.push_str("`openclaw config reload` makes a running daemon take it\n");
        } else if running {
            text.push_str("a running daemon takes it at its next start\n");
        }
        text
    });
    // The value is allowed by itself; what it breaks together with others is said now rather than at the start.
    if let Err(error) = context.load() {
        context
            .output
            .warn(&format!("the configuration as a whole cannot be used yet: {error}"));
    }
    Ok(Exit::Done)
}

fn list(context: &mut Context) -> Result<Exit, CliError> {
    let loaded = context.load()?;
    let mut values: Vec<Value> = loaded.settings.iter().map(describe).collect();
    for key in KEYS.iter().filter(|key| !key.is_pattern()) {
        let segments: Vec<&str> = key.segments().collect();
        if loaded.settings.get(&segments).is_none() {
            values.push(unset(key.path, key));
        }
    }
    values.sort_by(|one, two| one["key"].as_str().cmp(&two["key"].as_str()));
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let document = json!({ "settings": values, "warnings": warnings });
    context.output.result(&document, |output| show_list(output, &values));
    Ok(Exit::Done)
}

fn show_list(output: &Output, values: &[Value]) -> String {
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        other => show(other),
    };
    let rows = values.iter().map(|value| {
        let origin = value["origin"].as_str().unwrap_or_default();
        let tone = if origin == "default" { Tone::Dim } else { Tone::Strong };
        let unit = if value["value"].is_null() {
            ""
        } else {
            value["unit"].as_str().unwrap_or_default()
        };
        vec![
            cell(&value["key"]),
            output.paint(tone, format!("{} {unit}", cell(&value["value"])).trim_end()),
            cell(&value["default"]),
            output.paint(tone, origin),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    table(&["KEY", "VALUE", "DEFAULT", "ORIGIN"], &rows)
}

fn validate(context: &mut Context) -> Result<Exit, CliError> {
    match context.load() {
        Ok(loaded) => {
            let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
            let value = json!({ "valid": true, "errors": [], "warnings": warnings });
            let config = loaded.config;
            context.output.result(&value, |_| {
                format!(
                    "good: {} agents, {} models, {} command skills, {} pipelines, {} warnings",
                    config.agents.len(),
                    config.models.len(),
                    config.command_skills.len(),
                    config.pipelines.len(),
                    warnings.len()
                )
            });
            Ok(Exit::Done)
        }
        // A check said no: that is an answer of this command, not a failure of it.
        Err(CliError::Config(error @ (ConfigError::Values(_) | ConfigError::Syntax { .. }))) => {
            let errors: Vec<Value> = match &error {
                ConfigError::Values(bad) => bad.iter().map(describe_bad).collect(),
                other => vec![json!({ "message": other.to_string() })],
            };
            let value = json!({ "valid": false, "errors": errors, "warnings": [] });
            context.output.json_line(&value);
            if !context.output.is_json() {
                let error = CliError::from(error);
                context.output.error(&error.to_text(), &error.to_json());
            }
            Ok(Exit::Failed)
        }
        Err(error) => Err(error),
    }
}

async fn reload(context: &mut Context) -> Result<Exit, CliError> {
    let body = json!({});
    let request = Request::post("/admin/v1/config/reload", &body);
    let value = context.admin()?.send(&request).await?;
    context.output.result(&value, |_| {
        let list = |name: &str| {
            let names = value[name].as_array().into_iter().flatten().filter_map(Value::as_str);
            names.collect::<Vec<_>>().join("\n  ")
        };
        match (list("applied"), list("at_restart")) {
            (applied, later) if applied.is_empty() && later.is_empty() => "nothing has changed".to_owned(),
            (applied, later) if later.is_empty() => format!("in force now:\n  {applied}"),
            (applied, later) if applied.is_empty() => format!("taken at the next start:\n  {later}"),
            (applied, later) => format!("in force now:\n  {applied}\ntaken at the next start:\n  {later}"),
        }
    });
    Ok(Exit::Done)
}

fn describe_bad(bad: &crate::daemon::config::BadValue) -> Value {
    let (file, line) = match &bad.place {
        Place::File { path, line } => (json!(path), json!(line)),
        _ => (Value::Null, Value::Null),
    };
    json!({
        "file": file,
        "line": line,
        "place": bad.place.to_string(),
        "key": bad.key,
        "found": bad.found,
        "allowed": bad.allowed,
        "message": bad.to_string(),
    })
}

fn describe(setting: &Setting) -> Value {
    let mut value = unset(&setting.name(), setting.key);
    value["value"] = setting.value.clone();
    value["origin"] = setting.origin.to_string().into();
    value
}

fn unset(name: &str, key: &Key) -> Value {
    json!({
        "key": name,
        "value": null,
        "default": key.default_value(),
        "origin": "default",
        "unit": key.unit,
        "live": key.live,
        "doc": key.doc,
    })
}
