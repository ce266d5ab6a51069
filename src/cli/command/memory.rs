//! `openclaw memory …`: keeps texts and finds them again.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::arguments::{MemoryCommand, MemoryPart};
use crate::cli::client::{Client, Method, Request};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::memory_part::{names, path};
use crate::cli::output::{harmless, one_line, table};

/// Does one of them.
pub async fn run(context: &mut Context, command: MemoryCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    match command {
        MemoryCommand::Put {
            part,
            key,
            text,
            tag,
            importance,
            source,
            expires,
        } => {
            let mut body = json!({ "text": text.join(" "), "tags": tag, "importance": importance });
            if let Some(source) = source {
                body["source"] = source.into();
            }
            if let Some(expires) = expires {
                body["expires_in_s"] = expires.div_ceil(1_000).into();
            }
            put(context, &client, &part, key.as_deref(), &body).await
        }
        MemoryCommand::Get { part, key, history } => get(context, &client, &part, &key, history).await,
        MemoryCommand::Query {
            part,
            text,
            limit,
            tag,
            source,
            since,
            until,
            tokens,
            explain,
        } => {
            let now = jiff::Timestamp::now();
            let mut body = json!({
                "query": text.join(" "), "limit": limit, "tags": tag, "source": source, "tokens_max": tokens,
                "since_ms": since.map(|since| since.ms(now)), "until_ms": until.map(|until| until.ms(now)),
                "explain": explain,
            });
            for (name, value) in names(&part)? {
                body[name] = value.into();
            }
            body["scope"] = part.scope.as_str().into();
            query(context, &client, &body, explain).await
        }
        MemoryCommand::Forget { part, key, id } => forget(context, &client, &part, key.as_deref(), id).await,
        MemoryCommand::List {
            part,
            after,
            limit,
            state,
        } => list(context, &client, &part, after, limit, &state).await,
        MemoryCommand::Upkeep(_) => unreachable!("dispatched to a file of its own"),
    }
}

async fn put(
    context: &mut Context,
    client: &Client,
    part: &MemoryPart,
    key: Option<&str>,
    body: &Value,
) -> Result<Exit, CliError> {
    let path = path(part, key, "")?;
    let method = if key.is_some() { Method::PUT } else { Method::POST };
    let request = Request {
        method,
        ..Request::post(&path, body)
    };
    let value = client.send(&request).await?;
    context.output.result(&value, |_| match (key, value["id"].as_u64()) {
        // Without a key its number is all that names it.
        (None, Some(id)) => format!("kept as #{id}\n"),
        _ => "kept\n".into(),
    });
    Ok(Exit::Done)
}

async fn get(
    context: &mut Context,
    client: &Client,
    part: &MemoryPart,
    key: &str,
    history: bool,
) -> Result<Exit, CliError> {
    let path = path(part, Some(key), &format!("history={history}"))?;
    let value = client.send(&Request::get(&path)).await?;
    context.output.result(&value, |_| {
        let mut text = format!("{}\n", harmless(value["text"].as_str().unwrap_or_default()));
        for earlier in value["history"].as_array().into_iter().flatten() {
            let said = one_line(earlier["text"].as_str().unwrap_or_default(), 200);
            let _ = writeln!(
                text,
                "  version {}, until #{} took its place: {said}",
                earlier["version"], earlier["newer"]
            );
        }
        text
    });
    Ok(Exit::Done)
}

async fn forget(
    context: &mut Context,
    client: &Client,
    part: &MemoryPart,
    key: Option<&str>,
    id: Option<u64>,
) -> Result<Exit, CliError> {
    let id = id.map_or(String::new(), |id| format!("id={id}"));
    let path = path(part, key, &id)?;
    let request = Request {
        method: Method::DELETE,
        ..Request::get(&path)
    };
    let value = client.send(&request).await?;
    context.output.result(&value, |_| "forgotten\n".into());
    Ok(Exit::Done)
}

async fn query(context: &mut Context, client: &Client, body: &Value, explain: bool) -> Result<Exit, CliError> {
    let value = client.send(&Request::post("/v1/memory/query", body)).await?;
    let entries = entries(client, "/v1/memory/query", &value)?;
    let found = !entries.is_empty();
    context.output.result(&value, |_| {
        let mut text = String::new();
        if let Some(why) = value["words_alone"]["why"].as_str() {
            let code = value["words_alone"]["code"].as_str().unwrap_or_default();
            let _ = writeln!(text, "compared by words alone ({code}): {}", one_line(why, 200));
        }
        if !found {
            text.push_str("nothing was found\n");
            return text;
        }
        for entry in entries {
            let _ = writeln!(
                text,
                "{:.3}  {}",
                entry["score"].as_f64().unwrap_or(0.0),
                heading(entry)
            );
            let _ = writeln!(
                text,
                "       {}",
                one_line(entry["text"].as_str().unwrap_or_default(), 200)
            );
            if explain {
                let parts = entry["score_parts"].as_object();
                let parts = parts
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| format!("{name} {value}"));
                let _ = writeln!(text, "       {}", parts.collect::<Vec<_>>().join(", "));
            }
        }
        text
    });
    Ok(Exit::Done)
}

async fn list(
    context: &mut Context,
    client: &Client,
    part: &MemoryPart,
    after: Option<u64>,
    limit: u32,
    state: &str,
) -> Result<Exit, CliError> {
    let after = after.map_or(String::new(), |after| format!("&after={after}"));
    let path = path(part, None, &format!("limit={limit}&state={state}{after}"))?;
    let value = client.send(&Request::get(&path)).await?;
    let entries = entries(client, &path, &value)?;
    context.output.result(&value, |_| {
        if entries.is_empty() {
            return "nothing is kept\n".into();
        }
        let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
        let mut text = table(&["ID", "KEY", "TEXT"], &rows);
        if let Some(next) = value["next"].as_u64() {
            let _ = writeln!(text, "more: --after {next}");
        }
        text
    });
    Ok(Exit::Done)
}

fn row(entry: &Value) -> Vec<String> {
    vec![
        entry["id"].to_string(),
        heading(entry),
        one_line(entry["text"].as_str().unwrap_or_default(), 80),
    ]
}

fn entries<'value>(client: &Client, path: &str, value: &'value Value) -> Result<&'value Vec<Value>, CliError> {
    let list = value["entries"].as_array();
    list.ok_or_else(|| client.protocol(path, "the list of entries is missing"))
}

fn heading(entry: &Value) -> String {
    let key = entry["key"]
        .as_str()
        .map_or_else(|| format!("#{}", entry["id"]), |key| one_line(key, 60));
    let key = match entry["state"].as_str() {
        Some("archived") => format!("{key} [archived]"),
        _ => key,
    };
    let from = entry["sources"].as_array().into_iter().flatten();
    let from: Vec<String> = from
        .filter_map(|source| source["by"].as_str())
        .map(|by| one_line(by, 40))
        .collect();
    format!("{key} ({})", from.join(", "))
}
