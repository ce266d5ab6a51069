//! `openclaw agent …`: defines agents and looks at them.

use std::fmt::Write as _;

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::arguments::AgentCommand;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::operator_files::write;
use crate::cli::output::{harmless, one_line, table};
use crate::daemon::config::{DaemonFile, file, load};
use crate::domain::agent::{AgentDefinition, Role};
use crate::domain::code;
use crate::domain::name::{AgentName, ModelAlias, SkillName};

/// Does one of them.
pub async fn run(context: &mut Context, command: AgentCommand) -> Result<Exit, CliError> {
    match command {
        AgentCommand::Create {
            name,
            model,
            role,
            prompt_file,
        } => create(context, &name, &model, role.as_deref(), prompt_file.as_deref()),
        AgentCommand::List => list(context).await,
        AgentCommand::Show { name } => show(context, &name).await,
        AgentCommand::Stats { name } => stats(context, name.as_ref()).await,
    }
}

fn create(
    context: &mut Context,
    name: &AgentName,
    model: &ModelAlias,
    role: Option<&str>,
    prompt_file: Option<&Path>,
) -> Result<Exit, CliError> {
    context.require_home()?;
    let loaded = context.load()?;
    if !loaded.config.models.contains_key(model) {
        let known: Vec<&str> = loaded.config.models.keys().map(ModelAlias::as_str).collect();
        return Err(CliError::refused(
            code::MODEL_NOT_CONFIGURED,
            format!("no model has the alias `{model}`; known are {}", known.join(", ")),
            format!("`openclaw config set models.{model}.provider openai` begins a new one"),
        ));
    }
    let path = context.home.agents_dir().join(format!("{name}.toml"));
    if path.exists() {
        return Err(CliError::refused(
            code::EXISTS,
            format!("{} is there already", path.display()),
            "edit the file, or take another name",
        ));
    }
    let role = role.and_then(Role::from_word).or(Role::from_word(name.as_str()));
    let role = role.unwrap_or(Role::Executor);
    let mut made = Vec::new();
    if let Some(from) = prompt_file {
        let prompt = prompt(from)?;
        let to = context.home.prompts_dir().join(format!("{name}.md"));
        // The prompt may be in place already; any other text there is the operator's and stays.
        if read_prompt(&to)?.is_some_and(|present| present != prompt) {
            return Err(CliError::refused(
                code::EXISTS,
                format!("{} is there already and has another text", to.display()),
                "leave out --prompt-file to use it, or remove it first",
            ));
        }
        if !to.exists() {
            write(&to, &prompt)?;
            made.push(to);
        }
    }
    let text = format!(
        "# What is not set here is taken from [agent] in openclaw.toml.\n\
         # The prompt is prompts/{name}.md when that file is there, else the one of the role.\n\
         name = \"{name}\"\nrole = \"{}\"\nmodel = \"{model}\"\n",
        role.as_str()
    );
    write(&path, &text)?;
    made.push(path);
    // Another file may define an agent of this name; then the new files would keep the daemon from starting.
    if let Err(error) = load(&context.home, &context.overrides) {
        for path in &made {
            let _ = std::fs::remove_file(path);
        }
        return Err(error.into());
    }
    let running = matches!(DaemonFile::read(&context.home), Ok(Some(_)));
    let value = json!({
        "agent": { "name": name.as_str(), "role": role.as_str(), "model": model.as_str() },
        "made": made,
        "restart_needed": running,
    });
    context.output.result(&value, |_| {
        let mut text = String::new();
        for path in &made {
            let _ = writeln!(text, "made {}", path.display());
        }
        let _ = writeln!(text, "{name} asks {model}, as {}", role.as_str());
        if running {
            text.push_str("a running daemon picks it up on reload or restart\n");
        }
        text
    });
    Ok(Exit::Done)
}

fn prompt(from: &Path) -> Result<String, CliError> {
    let text = read_prompt(from)?;
    text.filter(|text| !text.trim().is_empty()).ok_or_else(|| {
        CliError::usage(
            format!("{} is not there or empty", from.display()),
            "--prompt-file names a text file with the agent's prompt",
        )
    })
}

fn read_prompt(path: &Path) -> Result<Option<String>, CliError> {
    Ok(file::read_text(path, crate::daemon::config::prompt::PROMPT_BYTES_MAX)?)
}

/// The daemon's answer; none when there is no daemon, so that the files must do.
async fn ask(context: &Context, path: &str) -> Result<Option<Value>, CliError> {
    let answer = match context.client() {
        Ok(client) => client.send(&Request::get(path)).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(value) => Ok(Some(value)),
        // A named address is meant: the files of this home say nothing about it.
        Err(CliError::Unreachable { .. }) if context.global.url.is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn list(context: &mut Context) -> Result<Exit, CliError> {
    let value = if let Some(value) = ask(context, "/v1/agents").await? {
        value
    } else {
        let agents = context.load()?.config.agents;
        context.output.note("no daemon runs; this is what the files say");
        json!({ "agents": agents.iter().map(describe).collect::<Vec<_>>() })
    };
    let agents = value["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = agents.iter().map(|agent| {
        let text = |name: &str| one_line(agent[name].as_str().unwrap_or("-"), 64);
        let number = |name: &str| agent[name].as_u64().map_or("-".into(), |number| number.to_string());
        vec![
            text("name"),
            text("role"),
            text("model"),
            text("prompt_version"),
            number("active"),
            number("concurrency"),
            number("tokens_today"),
            number("tokens_daily_max"),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let headings = [
        "AGENT",
        "ROLE",
        "MODEL",
        "PROMPT",
        "ACTIVE",
        "AT ONCE",
        "TOKENS TODAY",
        "DAILY LIMIT",
    ];
    context.output.result(&value, |_| table(&headings, &rows));
    Ok(Exit::Done)
}

async fn show(context: &mut Context, name: &AgentName) -> Result<Exit, CliError> {
    let answer = ask(context, &format!("/v1/agents/{name}")).await?;
    let value = if let Some(value) = answer {
        value
    } else {
        let agents = context.load()?.config.agents;
        let Some(agent) = agents.iter().find(|agent| agent.name == *name) else {
            let known: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
            return Err(CliError::refused(
                code::AGENT_NOT_FOUND,
                format!("no agent is named `{name}`; known are {}", known.join(", ")),
                format!("`openclaw agent create {name} --model offline` makes one"),
            ));
        };
        let mut value = describe(agent);
        value["prompt"] = (&*agent.prompt).into();
        value
    };
    context.output.result(&value, |_| {
        let mut text = String::new();
        for (name, member) in value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "prompt")
        {
            let shown = match member {
                Value::Null => "-".into(),
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let _ = writeln!(text, "{name:<18} {}", one_line(&shown, 400));
        }
        if let Some(prompt) = value["prompt"].as_str() {
            let _ = writeln!(text, "\n{}", harmless(prompt).trim_end());
        }
        text
    });
    Ok(Exit::Done)
}

/// Figures of one agent with its parts, or one line for each agent. Only a running daemon has them.
async fn stats(context: &mut Context, name: Option<&AgentName>) -> Result<Exit, CliError> {
    let client = context.client()?;
    let get = async |name: &str| client.send(&Request::get(&format!("/v1/agents/{name}/stats"))).await;
    if let Some(name) = name {
        let value = get(name.as_str()).await?;
        context.output.result(&value, |_| show_stats(&value));
        return Ok(Exit::Done);
    }
    let agents = client.send(&Request::get("/v1/agents")).await?;
    let mut all = Vec::new();
    for agent in agents["agents"].as_array().into_iter().flatten() {
        all.push(get(agent["name"].as_str().unwrap_or_default()).await?);
    }
    let value = json!({ "agents": all });
    context.output.result(&value, |_| {
        let width = all
            .iter()
            .map(|agent| agent["agent"].as_str().map_or(0, str::len))
            .max();
        all.iter().fold(String::new(), |mut text, agent| {
            let _ = writeln!(text, "{}", stats_line(&agent["agent"], agent, width.unwrap_or(0)));
            text
        })
    });
    Ok(Exit::Done)
}

/// `coder  p50 1.2s  p95 4.2s  tokens 12k  success 96%  cost $0.12  turns 31`
fn stats_line(name: &Value, figures: &Value, width: usize) -> String {
    let name = one_line(name.as_str().unwrap_or("-"), 64);
    let mut line = format!("{name:<width$}");
    for metric in ["p50", "p95", "tokens", "success", "cost", "turns"] {
        let shown = figures["metrics"][metric].as_str().unwrap_or("-");
        let _ = write!(line, "  {metric} {}", one_line(shown, 32));
    }
    line
}

fn show_stats(value: &Value) -> String {
    let mut text = stats_line(&value["agent"], value, 0);
    text.push('\n');
    for (heading, member, list) in [("prompts", "prompt_version", "prompts"), ("models", "model", "models")] {
        let rows = value[list].as_array().map(Vec::as_slice).unwrap_or_default();
        if !rows.is_empty() {
            let _ = writeln!(text, "\n{heading}");
        }
        let width = rows
            .iter()
            .map(|row| row[member].as_str().map_or(1, str::len))
            .max()
            .unwrap_or(0);
        for row in rows {
            let _ = writeln!(text, "  {}", stats_line(&row[member], row, width));
        }
    }
    text
}

/// The members that the gateway gives too; what only a running daemon knows is null.
fn describe(agent: &AgentDefinition) -> Value {
    json!({
        "name": agent.name.as_str(),
        "role": agent.role.as_str(),
        "model": agent.model.as_str(),
        "skills": agent.skills.iter().map(SkillName::as_str).collect::<Vec<_>>(),
        "concurrency": agent.concurrency,
        "active": null,
        "prompt_version": &*agent.prompt_version,
        "tokens_today": null,
        "tokens_daily_max": agent.daily_max.tokens,
    })
}
