//! `openclaw tls …`: the internal authority and its certificates.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::arguments::TlsCommand;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{one_line, table};
use crate::daemon::config::file;
use crate::daemon::operator_key::ensure_authority;
use crate::identity::authority::files::AuthorityFiles;

/// Does one of them.
pub async fn run(context: &mut Context, command: TlsCommand) -> Result<Exit, CliError> {
    match command {
        TlsCommand::Init => {
            let made = ensure_authority(&context.home).map_err(|error| CliError::Daemon {
                step: "make the internal authority",
                code: error.code(),
                hint: None,
                source: Box::new(error),
            })?;
            let bundle = AuthorityFiles::new(context.home.tls_dir()).bundle_file();
            let value = json!({ "made": made, "bundle": bundle });
            context.output.result(&value, |_| {
                let word = if made { "made" } else { "nothing to do: there is" };
                format!("{word} {}", bundle.display())
            });
        }
        TlsCommand::Show => {
            let value = context.admin()?.send(&Request::get("/admin/v1/tls")).await?;
            show(context, &value);
        }
        TlsCommand::Issue {
            identity,
            life,
            dns,
            output,
        } => {
            let body = json!({ "identity": identity, "life": life.map(|ms| ms.div_ceil(1000)), "dns": dns });
            let issued = context
                .admin()?
                .send(&Request::post("/admin/v1/tls/issue", &body))
                .await?;
            keep(context, &issued, &output)?;
        }
        TlsCommand::Rotate { step } => {
            let body = json!({ "step": step });
            let value = context
                .admin()?
                .send(&Request::post("/admin/v1/tls/rotate", &body))
                .await?;
            show(context, &value);
        }
        TlsCommand::Renew => {
            let value = context
                .admin()?
                .send(&Request::post("/admin/v1/tls/renew", &json!({})))
                .await?;
            show(context, &value);
        }
        TlsCommand::Revoke { serial } => {
            let body = json!({ "serial": serial });
            let value = context
                .admin()?
                .send(&Request::post("/admin/v1/tls/revoke", &body))
                .await?;
            context.output.result(&value, |_| format!("revoked {serial}"));
        }
    }
    Ok(Exit::Done)
}

fn text(value: &Value) -> String {
    one_line(value.as_str().unwrap_or("-"), 64)
}

fn show(context: &mut Context, value: &Value) {
    let certificates = value["certificates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = certificates.iter().map(|certificate| {
        vec![
            text(&certificate["identity"]),
            text(&certificate["serial"]),
            certificate["authority"].to_string(),
            text(&certificate["not_after"]),
            text(&certificate["revoked_at"]),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let headings = ["IDENTITY", "SERIAL", "AUTHORITY", "ENDS", "REVOKED"];
    let (trusted, issuing, next) = (
        value["trusted"].to_string(),
        value["issuing"].to_string(),
        text(&value["next"]),
    );
    context.output.result(value, |_| {
        let after = match next.as_str() {
            "issue" => "; first give internal.pem to every client",
            "drop" => "; first give every client a new certificate",
            _ => "",
        };
        format!(
            "trusted authorities {trusted}, signing {issuing}; `tls rotate` would {next}{after}\n{}",
            table(&headings, &rows)
        )
    });
}

/// Writes certificate and key into one file that only its owner can read.
fn keep(context: &mut Context, issued: &Value, output: &Path) -> Result<(), CliError> {
    let both = format!(
        "{}{}",
        issued["certificate"].as_str().unwrap_or_default(),
        issued["key"].as_str().unwrap_or_default()
    );
    file::replace(output, both.as_bytes(), 0o600).map_err(|source| CliError::Io {
        verb: "write",
        what: output.display().to_string(),
        source,
    })?;
    let shown = json!({
        "identity": issued["identity"], "serial": issued["serial"], "not_after": issued["not_after"], "file": output,
    });
    context.output.result(&shown, |_| {
        format!(
            "{} until {}: certificate and key are in {}",
            text(&issued["identity"]),
            text(&issued["not_after"]),
            output.display()
        )
    });
    Ok(())
}
