//! `openclaw cron …`: schedules, their ledger, and what did not run.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::automation::zone::is_zone;
use crate::cli::arguments::{CronAddArguments, CronCommand};
use crate::cli::client::{Client, Method, Request};
use crate::cli::context::Context;
use crate::cli::duration::parse_ms;
use crate::cli::error::{CliError, Exit};
use crate::cli::operator_files::{self, is_ours_to_write};
use crate::cli::output::{harmless, one_line, table};
use crate::daemon::config::document::Source;
use crate::daemon::config::schedule::to_toml;
use crate::domain::code;
use crate::domain::name::ScheduleName;
use crate::domain::schedule::document::{read_schedule, write_schedule};
use crate::domain::time::UtcMillis;
use crate::runtime::clock::{Clock, rfc3339};

/// Rows of `cron missed` for each schedule.
const MISSED_MAX: usize = 100;

/// Does one of them.
pub async fn run(context: &mut Context, command: CronCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    match command {
        CronCommand::Add(arguments) => add(context, &client, &arguments).await,
        CronCommand::List => list(context, &client).await,
        CronCommand::Show { name, next } => {
            let value = client
                .send(&Request::get(&format!("/v1/schedules/{name}?next={next}")))
                .await?;
            context.output.result(&value, |_| shown(&value));
            Ok(Exit::Done)
        }
        CronCommand::Run { name } => {
            let value = post(&client, &name, "run", &json!({})).await?;
            context.output.result(&value, |_| {
                format!(
                    "slot {} of {name}; `openclaw cron slots {name}` shows what becomes of it\n",
                    text(&value, "slot")
                )
            });
            Ok(Exit::Done)
        }
        CronCommand::Pause { name, reason } => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
            let value = post(&client, &name, "pause", &body).await?;
            context.output.result(&value, |_| {
                format!("{name} is paused; its slots are skipped until `openclaw cron resume {name}`\n")
            });
            Ok(Exit::Done)
        }
        CronCommand::Resume { name } => {
            let value = post(&client, &name, "resume", &json!({})).await?;
            context
                .output
                .result(&value, |_| format!("{name} goes on; next at {}\n", next_of(&value)));
            Ok(Exit::Done)
        }
        CronCommand::Remove { name } => {
            let path = format!("/v1/schedules/{name}");
            let request = Request {
                method: Method::DELETE,
                ..Request::get(&path)
            };
            let value = match client.send(&request).await {
                Err(error) if may_write(context, &error)? => {
                    operator_files::remove(&file(context, &name))?;
                    client.send(&request).await?
                }
                answer => answer?,
            };
            context
                .output
                .result(&value, |_| format!("{name} is removed; its ledger stays\n"));
            Ok(Exit::Done)
        }
        CronCommand::Slots { name, state, limit } => {
            let state = state.map(|state| format!("&state={state}")).unwrap_or_default();
            let path = format!("/v1/schedules/{name}/slots?limit={limit}{state}");
            let value = client.send(&Request::get(&path)).await?;
            context
                .output
                .result(&value, |output| rows(output, &value["slots"], None));
            Ok(Exit::Done)
        }
        CronCommand::Missed { name } => missed(context, &client, name.as_ref()).await,
        CronCommand::Backfill { name, from, to } => {
            let now = Clock::system().now();
            let mut body = json!({ "from": time(&from, now) });
            if let Some(to) = to {
                body["to"] = time(&to, now).into();
            }
            let value = post(&client, &name, "backfill", &body).await?;
            context
                .output
                .result(&value, |_| match value["queued"].as_array().map_or(0, Vec::len) {
                    0 => "every slot of this time has run\n".into(),
                    some => format!("{some} slots run one after another; `openclaw cron slots {name}` shows them\n"),
                });
            Ok(Exit::Done)
        }
    }
}

async fn post(client: &Client, name: &ScheduleName, what: &str, body: &Value) -> Result<Value, CliError> {
    client
        .send(&Request::post(&format!("/v1/schedules/{name}/{what}"), body))
        .await
}

/// A time as it was written, or a while ago.
fn time(text: &str, now: UtcMillis) -> String {
    match parse_ms(text) {
        Ok(ms) => rfc3339(UtcMillis(now.0.saturating_sub(ms))),
        Err(_) => text.to_owned(),
    }
}

fn text<'value>(value: &'value Value, name: &str) -> &'value str {
    value[name].as_str().unwrap_or("-")
}

fn next_of(value: &Value) -> String {
    let next = value["next"].get(0).map(|next| text(next, "local"));
    next.unwrap_or("never").to_owned()
}

fn document(arguments: &CronAddArguments) -> Result<Map<String, Value>, CliError> {
    let mut fields = Map::new();
    if let Some(file) = &arguments.file {
        let read = Source::read(file)?.ok_or_else(|| CliError::Io {
            verb: "read",
            what: file.display().to_string(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        if let Value::Object(read) = read.to_json() {
            fields = read;
        }
    }
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    let own = |text: &Option<String>| text.clone().map(Value::from);
    put("cron", own(&arguments.expression));
    put("timezone", own(&arguments.timezone));
    put("overlap", own(&arguments.overlap));
    put("catch_up", own(&arguments.catch_up));
    put("jitter", own(&arguments.jitter));
    put("deadline", own(&arguments.deadline));
    put("task", own(&arguments.task));
    put("agent", arguments.agent.as_ref().map(|agent| agent.as_str().into()));
    put("skill", arguments.skill.as_ref().map(|skill| skill.as_str().into()));
    put("pipeline", own(&arguments.pipeline));
    put("profile", own(&arguments.profile));
    put("path", own(&arguments.path));
    if let Some(text) = &arguments.args {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| CliError::usage(format!("--args is no JSON: {error}"), "--args takes an object"))?;
        put("arguments", Some(value));
    }
    if !arguments.command.is_empty() {
        put("command", Some(arguments.command.iter().map(String::as_str).collect()));
    }
    let env = arguments.env.iter().map(|pair| {
        let pair = pair.split_once('=');
        pair.map(|(name, value)| (name.to_owned(), Value::from(value)))
            .ok_or_else(|| CliError::usage("--env is not NAME=VALUE", "give --env once for each variable"))
    });
    let env: Map<String, Value> = env.collect::<Result<_, _>>()?;
    if !env.is_empty() {
        put("env", Some(env.into()));
    }
    if !arguments.expect.is_empty() {
        put(
            "outputs",
            Some(arguments.expect.iter().map(|path| json!({ "path": path })).collect()),
        );
    }
    if let Some(folder) = &arguments.workspace {
        let folder = std::fs::canonicalize(folder).map_err(|source| CliError::Io {
            verb: "find",
            what: folder.display().to_string(),
            source,
        })?;
        put("workspace", Some(folder.display().to_string().into()));
    }
    Ok(fields)
}

async fn add(context: &mut Context, client: &Client, arguments: &CronAddArguments) -> Result<Exit, CliError> {
    let fields = document(arguments)?;
    let path = format!("/v1/schedules?dry_run={}", arguments.dry_run);
    let body = named(&arguments.name, fields.clone());
    let value = match client.send(&Request::post(&path, &body)).await {
        Err(error) if may_write(context, &error)? => save_here(context, client, arguments, fields, error).await?,
        answer => answer?,
    };
    context.output.result(&value, |_| shown(&value));
    Ok(Exit::Done)
}

fn named(name: &ScheduleName, mut fields: Map<String, Value>) -> Value {
    fields.insert("name".into(), name.as_str().into());
    fields.into()
}

fn file(context: &Context, name: &ScheduleName) -> PathBuf {
    context.home.schedules_dir().join(format!("{name}.toml"))
}

/// Whether the daemon has checked everything and may not write to the schedules.
fn may_write(context: &Context, refused: &CliError) -> Result<bool, CliError> {
    is_ours_to_write(context, refused, code::HOME_FILE, "OPENCLAW_URL")
}

/// Writes the file of a schedule that the daemon has checked, as the daemon would write it, and has the daemon take it:
/// it takes a file that says what it is asked for.
async fn save_here(
    context: &mut Context,
    client: &Client,
    arguments: &CronAddArguments,
    fields: Map<String, Value>,
    refused: CliError,
) -> Result<Value, CliError> {
    let (name, file) = (&arguments.name, file(context, &arguments.name));
    let defaults = context.load()?.config.schedule_defaults;
    let Ok(schedule) = read_schedule(name.clone(), &fields.into(), &defaults, &is_zone) else {
        return Err(refused);
    };
    // Something else stands there, which the daemon has said.
    if file.exists() {
        return Err(refused);
    }
    let document = write_schedule(&schedule);
    operator_files::write(&file, &to_toml(&document))?;
    let Value::Object(fields) = document else {
        return Err(refused);
    };
    let saved = client.send(&Request::post("/v1/schedules", &named(name, fields))).await;
    if saved.is_err() {
        operator_files::remove(&file)?;
    }
    saved
}

async fn list(context: &mut Context, client: &Client) -> Result<Exit, CliError> {
    let value = client.send(&Request::get("/v1/schedules")).await?;
    context.output.result(&value, |output| {
        let schedules = value["schedules"].as_array().into_iter().flatten();
        let lines: Vec<Vec<String>> = schedules
            .map(|schedule| {
                let last = &schedule["last"];
                let state = if schedule["paused"].is_null() {
                    text(last, "state")
                } else {
                    "paused"
                };
                vec![
                    text(schedule, "name").to_owned(),
                    one_line(text(schedule, "cron"), 40),
                    text(schedule, "timezone").to_owned(),
                    text(schedule, "starts").to_owned(),
                    next_of(schedule),
                    output.status(state),
                ]
            })
            .collect();
        if lines.is_empty() {
            return "no schedules; `openclaw cron add` makes one\n".into();
        }
        table(&["name", "cron", "zone", "starts", "next", "last"], &lines)
    });
    Ok(Exit::Done)
}

/// What did not run, of one schedule or of all; 1 when there is something.
async fn missed(context: &mut Context, client: &Client, name: Option<&ScheduleName>) -> Result<Exit, CliError> {
    let names: Vec<String> = if let Some(name) = name {
        vec![name.to_string()]
    } else {
        let value = client.send(&Request::get("/v1/schedules")).await?;
        let all = value["schedules"].as_array().into_iter().flatten();
        all.map(|schedule| text(schedule, "name").to_owned()).collect()
    };
    let mut found = Vec::new();
    for name in names {
        for state in ["missed", "failed"] {
            let path = format!("/v1/schedules/{name}/slots?state={state}&limit={MISSED_MAX}");
            let value = client.send(&Request::get(&path)).await?;
            for row in value["slots"].as_array().into_iter().flatten() {
                let mut row = row.clone();
                row["schedule"] = name.as_str().into();
                found.push(row);
            }
        }
    }
    found.sort_by(|one, other| text(other, "slot").cmp(text(one, "slot")));
    let exit = if found.is_empty() { Exit::Done } else { Exit::Failed };
    let value = json!({ "slots": found });
    context.output.result(&value, |output| match exit {
        Exit::Done => "nothing was missed and nothing failed\n".into(),
        _ => rows(output, &value["slots"], Some("schedule")),
    });
    Ok(exit)
}

fn rows(output: &crate::cli::output::Output, slots: &Value, first: Option<&str>) -> String {
    let lines = slots.as_array().into_iter().flatten().map(|row| {
        let count = row["count"].as_u64().unwrap_or(1);
        let slot = match count {
            1 => text(row, "slot").to_owned(),
            more => format!("{more} from {} to {}", text(row, "first"), text(row, "slot")),
        };
        let mut line: Vec<String> = first.map(|name| text(row, name).to_owned()).into_iter().collect();
        line.extend([
            slot,
            output.status(text(row, "state")),
            text(row, "run").to_owned(),
            one_line(text(row, "why"), 120),
        ]);
        line
    });
    let lines: Vec<Vec<String>> = lines.collect();
    let mut headings: Vec<&str> = first.into_iter().collect();
    headings.extend(["slot", "state", "run", "why"]);
    table(&headings, &lines)
}

fn shown(value: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "{name:<10} {}", harmless(text));
    };
    line("name", text(value, "name"));
    line(
        "cron",
        &format!("{} ({})", text(value, "cron"), text(value, "timezone")),
    );
    let starts = text(value, "starts");
    let what = match starts {
        "command" => {
            let argv = value["command"].as_array().into_iter().flatten();
            argv.map(|part| part.as_str().unwrap_or_default())
                .collect::<Vec<_>>()
                .join(" ")
        }
        "agent" => format!(
            "{}: {}",
            value["agent"].as_str().unwrap_or("planner"),
            one_line(text(value, "task"), 200)
        ),
        other => text(value, other).to_owned(),
    };
    line("starts", &format!("{starts} {what}"));
    let resolved = &value["resolved"];
    if resolved.is_object() {
        line(
            "program",
            resolved["program"]
                .as_str()
                .unwrap_or_else(|| text(resolved, "problem")),
        );
        line("PATH", text(resolved, "path"));
    }
    line(
        "policies",
        &format!(
            "overlap {}, catch up {}, jitter {}, deadline {}",
            text(value, "overlap"),
            text(value, "catch_up"),
            text(value, "jitter"),
            text(value, "deadline")
        ),
    );
    for output in value["outputs"].as_array().into_iter().flatten() {
        line("expects", text(output, "path"));
    }
    if value["paused"].is_object() {
        line(
            "paused",
            &format!(
                "since {}: {}",
                text(&value["paused"], "since"),
                text(&value["paused"], "why")
            ),
        );
    }
    if value["last"].is_object() {
        let last = &value["last"];
        line(
            "last",
            &format!(
                "{} {} {}",
                text(last, "slot"),
                text(last, "state"),
                one_line(text(last, "why"), 120)
            ),
        );
    }
    for next in value["next"].as_array().into_iter().flatten() {
        line("next", text(next, "local"));
    }
    out
}
