//! `openclaw status`: whether the daemon runs and how it is.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::duration::show_ms;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Output, Tone, one_line};

/// Shows it; the exit code says whether it is ready.
pub async fn run(context: &mut Context) -> Result<Exit, CliError> {
    let client = context.client()?;
    let value = client.send(&Request::get("/v1/status")).await?;
    let ready = value["ready"].as_bool().unwrap_or_default();
    context.output.result(&value, |output| show(output, &value));
    Ok(if ready { Exit::Done } else { Exit::Failed })
}

/// Mode and level, and why it is not the full one.
fn sandbox(value: &Value, text: &impl Fn(&Value) -> String) -> String {
    let reasons = value["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    let reasons: Vec<String> = reasons.iter().map(text).collect();
    let head = format!("{}, {}", text(&value["mode"]), text(&value["level"]));
    if reasons.is_empty() {
        head
    } else {
        format!("{head} ({})", reasons.join("; "))
    }
}

/// A model's alias, and what keeps it from being asked.
fn show_model(output: &Output, model: &Value) -> String {
    let alias = one_line(model["alias"].as_str().or(model.as_str()).unwrap_or("-"), 64);
    let gate = &model["gate"];
    match gate["state"].as_str() {
        None | Some("closed") => alias,
        Some(state) => {
            let until = gate["until"]
                .as_str()
                .map_or(String::new(), |until| format!(" until {until}"));
            let shown = format!("{}{until}", state.replace('_', "-"));
            format!("{alias} ({})", output.paint(Tone::Odd, &one_line(&shown, 64)))
        }
    }
}

fn show(output: &Output, value: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => one_line(text, 200),
        Value::Null => "-".into(),
        other => one_line(&other.to_string(), 200),
    };
    let state = if value["ready"].as_bool().unwrap_or_default() {
        "ready"
    } else {
        "not ready"
    };
    let models = value["models"].as_array().map(Vec::as_slice).unwrap_or_default();
    let models: Vec<String> = models.iter().map(|model| show_model(output, model)).collect();
    let rows = [
        (
            "daemon",
            format!(
                "{}, version {}, pid {}",
                output.status(state),
                text(&value["version"]),
                text(&value["pid"])
            ),
        ),
        ("up", value["uptime_ms"].as_u64().map_or("-".into(), show_ms)),
        ("gateway", text(&value["gateway"])),
        ("home", text(&value["home"])),
        (
            "runs",
            format!(
                "{} active, {} parked",
                text(&value["runs"]["active"]),
                text(&value["runs"]["parked"])
            ),
        ),
        (
            "store",
            format!(
                "{} bytes, {} commits, {}",
                text(&value["store"]["bytes"]),
                text(&value["store"]["commits"]),
                text(&value["store"]["path"])
            ),
        ),
        ("models", models.join(", ")),
        ("sandbox", sandbox(&value["sandbox"], &text)),
    ];
    let mut shown = String::new();
    for (name, value) in rows {
        let _ = writeln!(shown, "{name:<8} {value}");
    }
    shown
}
