//! `openclaw init`: makes the home.

use std::fmt::Write as _;

use serde_json::json;

use crate::cli::arguments::InitArguments;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::seam::DaemonSeam;
use crate::cli::set_up::set_up;

/// Makes what is missing and says what it made.
pub fn run(context: &mut Context, daemon: &impl DaemonSeam, arguments: &InitArguments) -> Result<Exit, CliError> {
    let was_there = context.home.exists();
    let mut values = Vec::new();
    // A file that is there keeps its address unless another one is asked for.
    if arguments.gateway && !was_there {
        values.push(("gateway.bind", "\"127.0.0.1\"".to_owned()));
    }
    match arguments.port {
        Some(port) => values.push(("gateway.port", port.to_string())),
        None if arguments.gateway && !was_there => values.push(("gateway.port", "8080".to_owned())),
        None => {}
    }
    let done = set_up(context, daemon, &values)?;
    context.load()?;
    let home = &context.home;
    let value = json!({
        "config": home.config_dir(),
        "state": home.state_dir(),
        "made": done.made,
        "changed": done.changed.iter().map(|(key, old, new)| json!({ "key": key, "old": old, "new": new })).collect::<Vec<_>>(),
    });
    let mut text = String::new();
    if done.made.is_empty() && done.changed.is_empty() {
        text = format!("nothing to do: {} is set up already\n", home.config_dir().display());
    } else {
        for path in &done.made {
            let _ = writeln!(text, "made     {}", path.display());
        }
        for (key, old, new) in &done.changed {
            let _ = writeln!(text, "changed  {key}: {old} → {new}");
        }
        text.push_str("next: `openclaw start`, then `openclaw run \"…\" --follow`\n");
    }
    context.output.result(&value, |_| text);
    Ok(Exit::Done)
}
