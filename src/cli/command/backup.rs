//! `openclaw backup`: backups of the home.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::arguments::BackupCommand;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::offline::{LONG_MS, daemon_runs, failed, open_store};
use crate::cli::output::{one_line, table};
use crate::gateway::admin::store::backup_view;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::storage::backup::create::Places;
use crate::storage::backup::keep;
use crate::storage::backup::making::{self, Terms};
use crate::storage::backup::manifest::verify;
use crate::storage::backup::restore::{self, RestorePlan};

/// Runs the command.
pub async fn run(context: &mut Context, command: BackupCommand) -> Result<Exit, CliError> {
    match command {
        BackupCommand::Create { without_keys } => make(context, !without_keys).await,
        BackupCommand::List => list(context),
        BackupCommand::Verify { backup } => {
            let path = find(context, &backup)?;
            let manifest = verify(&path).map_err(|error| failed("verify the backup", error))?;
            let mut value = backup_view(&path, &manifest);
            value["sound"] = true.into();
            context.output.result(&value, |output| {
                format!(
                    "{}: {} files, {} bytes",
                    output.status("good"),
                    value["files"],
                    value["bytes"]
                )
            });
            Ok(Exit::Done)
        }
        BackupCommand::Restore { backup, yes } => restore(context, &backup, yes),
    }
}

fn places(context: &Context) -> Places {
    Places {
        config: context.home.config_dir().to_path_buf(),
        state: context.home.state_dir().to_path_buf(),
        backups: context.home.backups_dir(),
    }
}

fn find(context: &Context, name: &str) -> Result<std::path::PathBuf, CliError> {
    restore::find(&context.home.backups_dir(), name).map_err(|error| failed("find the backup", error))
}

async fn make(context: &mut Context, keys: bool) -> Result<Exit, CliError> {
    let value = if daemon_runs(context)? {
        let body = json!({ "keys": keys });
        let request = Request {
            wait_ms: LONG_MS,
            ..Request::post("/admin/v1/store/backup", &body)
        };
        context.admin()?.send(&request).await?
    } else {
        let config = context.load()?.config;
        let terms = Terms {
            keys,
            keep: config.backup_keep,
            free_min: config.store_free_min,
        };
        let (store, places) = (open_store(context)?, places(context));
        let made = making::make(&store, &places, terms, Clock::system().now());
        let (made, gone) = made.map_err(|error| failed("make the backup", error))?;
        let mut value = backup_view(&made.path, &made.manifest);
        value["removed"] = gone.iter().map(|path| path.display().to_string()).collect();
        value
    };
    context.output.result(&value, |_| {
        let path = one_line(value["path"].as_str().unwrap_or("-"), 400);
        let mut text = format!("{path}: {} bytes", value["bytes"]);
        if value["keys"] == true {
            text.push_str("\nit holds private keys: keep it as secret as the home");
        }
        for gone in value["removed"].as_array().into_iter().flatten() {
            let _ = write!(text, "\nremoved {}", one_line(gone.as_str().unwrap_or("-"), 400));
        }
        text
    });
    Ok(Exit::Done)
}

fn list(context: &mut Context) -> Result<Exit, CliError> {
    let found = keep::list(&context.home.backups_dir()).map_err(|error| failed("list the backups", error))?;
    let views: Vec<Value> = found
        .iter()
        .map(|(path, manifest)| backup_view(path, manifest))
        .collect();
    let cell = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), |text| one_line(text, 80))
    };
    let rows = views.iter().map(|view| {
        ["name", "made_at", "bytes", "files", "keys"]
            .map(|name| cell(&view[name]))
            .to_vec()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let value = json!({ "backups": views });
    context
        .output
        .result(&value, |_| table(&["NAME", "MADE", "BYTES", "FILES", "KEYS"], &rows));
    Ok(Exit::Done)
}

fn shown(paths: &[std::path::PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn plan_view(path: &Path, plan: &RestorePlan) -> Value {
    json!({
        "backup": backup_view(path, &plan.manifest),
        "replaces": shown(&plan.replaces),
        "adds": shown(&plan.adds),
        "kept_in": plan.kept_in.display().to_string(),
    })
}

fn plan_text(plan: &RestorePlan, done: bool) -> String {
    let mut text = String::new();
    let verb = if done { "replaced" } else { "would replace" };
    for path in shown(&plan.replaces) {
        let _ = writeln!(text, "{verb} {}", one_line(&path, 400));
    }
    let verb = if done { "added" } else { "would add" };
    for path in shown(&plan.adds) {
        let _ = writeln!(text, "{verb} {}", one_line(&path, 400));
    }
    let kept = if done { "is" } else { "would be" };
    if !plan.replaces.is_empty() {
        let _ = writeln!(text, "what was there {kept} kept in {}", plan.kept_in.display());
    }
    text
}

/// Without a yes only what would be done is shown: the exit says that it was not done.
fn restore(context: &mut Context, backup: &str, yes: bool) -> Result<Exit, CliError> {
    let (path, places, now) = (find(context, backup)?, places(context), Clock::system().now());
    if !yes {
        let plan = restore::plan(&path, &places, now).map_err(|error| failed("read the backup", error))?;
        let mut value = plan_view(&path, &plan);
        value["restored"] = false.into();
        context.output.result(&value, |_| {
            format!("{}nothing was done; --yes does it", plan_text(&plan, false))
        });
        return Ok(Exit::Failed);
    }
    let done = restore::restore(&path, &places, now, Entropy::system().u128());
    let done = done.map_err(|error| failed("restore the backup", error))?;
    let mut value = plan_view(&path, &done.plan);
    value["restored"] = true.into();
    value["parked"] = done.parked.into();
    context.output.result(&value, |_| {
        let parked = done.parked;
        format!(
            "{}restored; {parked} runs that were active are parked: `openclaw runs retry` does the work of one anew, \
             `openclaw runs cancel` ends it",
            plan_text(&done.plan, true)
        )
    });
    Ok(Exit::Done)
}
