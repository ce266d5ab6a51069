//! `openclaw audit`: what was changed of trust and configuration, by whom, and whether the log still holds.

use serde_json::{Value, json};

use crate::cli::arguments::AuditArguments;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{one_line, table};
use crate::domain::code;

/// Shows or checks it.
pub async fn run(context: &mut Context, arguments: &AuditArguments) -> Result<Exit, CliError> {
    let client = context.admin()?;
    if arguments.verify {
        let value = client
            .send(&Request::post("/admin/v1/audit/verify", &json!({})))
            .await?;
        return verified(context, &value);
    }
    let before = arguments.before.map(|seq| format!("&before={seq}")).unwrap_or_default();
    let path = format!("/admin/v1/audit?limit={}{before}", arguments.limit);
    let value = client.send(&Request::get(&path)).await?;
    let text = |value: &Value| one_line(value.as_str().unwrap_or("-"), 80);
    let rows = value["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = rows.iter().map(|row| {
        let mut cells = vec![row["seq"].to_string()];
        cells.extend(["at", "action", "object", "actor", "detail"].map(|name| text(&row[name])));
        cells
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let headings = ["ROW", "AT", "ACTION", "OBJECT", "BY", "DETAIL"];
    context.output.result(&value, |_| table(&headings, &rows));
    Ok(Exit::Done)
}

fn verified(context: &mut Context, value: &Value) -> Result<Exit, CliError> {
    if value["sound"] == true {
        let (rows, checkpoints) = (value["rows"].as_u64().unwrap_or(0), value["checkpoints"].to_string());
        context.output.result(value, |_| {
            format!("sound: {rows} rows, {checkpoints} signed checkpoints")
        });
        return Ok(Exit::Done);
    }
    let message = match value["broken"]["seq"].as_u64() {
        Some(seq) => {
            let what = one_line(value["broken"]["what"].as_str().unwrap_or("-"), 200);
            format!("the audit log is not what was written: row {seq}: {what}")
        }
        None => format!(
            "{} lines of the checkpoints are not signed by this key",
            value["forged_checkpoints"]
        ),
    };
    Err(CliError::refused(
        code::AUDIT_BROKEN,
        message,
        "rows before it hold; compare them with the checkpoints in your logs, and keep the file for inspection",
    ))
}
