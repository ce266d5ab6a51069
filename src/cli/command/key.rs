//! `openclaw key …`: API keys.

use serde_json::{Value, json};

use crate::cli::arguments::KeyCommand;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{one_line, table};
use crate::daemon::config::file;
use crate::domain::id::KeyId;
use crate::identity::api_key::ApiKey;

/// Does one of them.
pub async fn run(context: &mut Context, command: KeyCommand) -> Result<Exit, CliError> {
    let client = context.admin()?;
    match command {
        KeyCommand::Create { name, scopes, expires } => {
            let body = json!({ "name": name, "scopes": scopes, "expires_in": expires.map(|ms| ms.div_ceil(1000)) });
            let made = client.send(&Request::post("/admin/v1/keys", &body)).await?;
            show_once(context, &made);
        }
        KeyCommand::List => {
            let value = client.send(&Request::get("/admin/v1/keys")).await?;
            list(context, &value);
        }
        KeyCommand::Rotate { id, overlap } => {
            let path = format!("/admin/v1/keys/{id}/rotate");
            let body = json!({ "overlap": overlap.unwrap_or(0).div_ceil(1000) });
            let rotated = client.send(&Request::post(&path, &body)).await?;
            // Before it is shown: an operator whose own key this was would else be locked out by a broken pipe.
            let is_own = keep_own(context, id, &rotated)?;
            show_once(context, &rotated);
            if is_own {
                let path = context.home.operator_key_file();
                context.output.note(&format!("{} holds the new key", path.display()));
            }
        }
        KeyCommand::Revoke { id } => {
            let path = format!("/admin/v1/keys/{id}/revoke");
            let value = client.send(&Request::post(&path, &json!({}))).await?;
            context.output.result(&value, |_| format!("revoked {id}"));
        }
    }
    Ok(Exit::Done)
}

fn text(value: &Value) -> String {
    one_line(value.as_str().unwrap_or("-"), 64)
}

fn scopes(key: &Value) -> String {
    let scopes = key["scopes"].as_array().into_iter().flatten();
    scopes.map(text).collect::<Vec<_>>().join(" ")
}

fn show_once(context: &mut Context, key: &Value) {
    context.output.result(key, |_| {
        let mut lines = vec![
            format!("key     {}", one_line(key["key"].as_str().unwrap_or("-"), 256)),
            format!("id      {}", text(&key["id"])),
            format!("scopes  {}", scopes(key)),
        ];
        for (name, field) in [("ends", "expires_at"), ("old one until", "overlap_until")] {
            if key[field].is_string() {
                lines.push(format!("{name:<7} {}", text(&key[field])));
            }
        }
        lines.push("it is shown this once: only its hash is kept".into());
        lines.join("\n")
    });
}

/// Keeps the new text when it is the operator's own key that was rotated.
fn keep_own(context: &Context, id: KeyId, rotated: &Value) -> Result<bool, CliError> {
    let own = context
        .home
        .read_operator_key()?
        .and_then(|text| ApiKey::parse(&text).ok());
    let new = rotated["key"].as_str().filter(|text| ApiKey::parse(text).is_ok());
    let (Some(_), Some(new)) = (own.filter(|own| own.id == id), new) else {
        return Ok(false);
    };
    let path = context.home.operator_key_file();
    file::replace(&path, format!("{new}\n").as_bytes(), 0o600).map_err(|source| CliError::Io {
        verb: "write",
        what: path.display().to_string(),
        source,
    })?;
    Ok(true)
}

fn list(context: &mut Context, value: &Value) {
    let keys = value["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = keys.iter().map(|key| {
        vec![
            text(&key["id"]),
            text(&key["name"]),
            text(&key["state"]),
            scopes(key),
            text(&key["last_used_at"]),
            text(&key["expires_at"]),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let headings = ["ID", "NAME", "STATE", "SCOPES", "LAST USED", "EXPIRES"];
    context.output.result(value, |_| table(&headings, &rows));
}
