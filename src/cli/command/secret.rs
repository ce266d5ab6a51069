//! `openclaw secret …`: values that the daemon keeps sealed.

use std::io::{IsTerminal as _, Read as _};

use serde_json::Value;

use crate::cli::arguments::SecretCommand;
use crate::cli::client::{Method, Request};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{one_line, table};
use crate::identity::secrets::SECRET_BYTES_MAX;

/// Does one of them.
pub async fn run(context: &mut Context, command: SecretCommand) -> Result<Exit, CliError> {
    match command {
        SecretCommand::Set { name } => {
            let value = read_value(context)?;
            let path = format!("/admin/v1/secrets/{name}");
            let request = Request {
                method: Method::PUT,
                raw: Some(&value),
                ..Request::get(&path)
            };
            let answer = context.admin()?.send(&request).await?;
            context.output.result(&answer, |_| {
                format!("kept {name}; \"secret:{name}\" in the configuration names it, from the next start on")
            });
        }
        SecretCommand::List => {
            let value = context.admin()?.send(&Request::get("/admin/v1/secrets")).await?;
            let text = |value: &Value| one_line(value.as_str().unwrap_or("-"), 64);
            let secrets = value["secrets"].as_array().map(Vec::as_slice).unwrap_or_default();
            let rows = secrets
                .iter()
                .map(|secret| vec![text(&secret["name"]), text(&secret["set_at"])]);
            let rows: Vec<Vec<String>> = rows.collect();
            context.output.result(&value, |_| table(&["NAME", "SET"], &rows));
        }
        SecretCommand::Remove { name } => {
            let path = format!("/admin/v1/secrets/{name}");
            let request = Request {
                method: Method::DELETE,
                ..Request::get(&path)
            };
            let answer = context.admin()?.send(&request).await?;
            context.output.result(&answer, |_| format!("removed {name}"));
        }
    }
    Ok(Exit::Done)
}

/// The value from the standard input: a flag would be seen by other users, and kept by the shell.
fn read_value(context: &mut Context) -> Result<String, CliError> {
    let input = std::io::stdin();
    if input.is_terminal() {
        context.output.note("type the value, then Ctrl-D");
    }
    let mut value = String::new();
    let read = input
        .lock()
        .take(SECRET_BYTES_MAX as u64 + 2)
        .read_to_string(&mut value);
    read.map_err(|source| CliError::Io {
        verb: "read",
        what: "the standard input".into(),
        source,
    })?;
    // The end of the last line is not part of it.
    let value = value.strip_suffix('\n').unwrap_or(&value);
    Ok(value.strip_suffix('\r').unwrap_or(value).to_owned())
}
