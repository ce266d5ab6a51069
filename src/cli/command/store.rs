//! `openclaw store`: checks the store and makes its file small, with a daemon or without.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::arguments::StoreCommand;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::offline::{LONG_MS, daemon_runs, failed, open_store};
use crate::cli::output::one_line;
use crate::gateway::admin::store::review_view;
use crate::runtime::clock::Clock;
use crate::storage::migration::engine;
use crate::storage::review::{check_pages, review_file};
use crate::storage::table::LAYOUT_VERSION;

/// Runs the command.
pub async fn run(context: &mut Context, command: &StoreCommand) -> Result<Exit, CliError> {
    match command {
        StoreCommand::Verify => verify(context).await,
        StoreCommand::Compact => compact(context).await,
        StoreCommand::Migrate { dry_run } => migrate(context, *dry_run),
    }
}

async fn verify(context: &mut Context) -> Result<Exit, CliError> {
    let value = if daemon_runs(context)? {
        let body = json!({});
        let request = Request {
            wait_ms: LONG_MS,
            ..Request::post("/admin/v1/store/verify", &body)
        };
        context.admin()?.send(&request).await?
    } else {
        context.require_home()?;
        let path = context.home.store_file();
        let pages = check_pages(&path).map_err(|error| failed("check the store", error))?;
        let review = review_file(&path).map_err(|error| failed("read the store", error))?;
        let mut value = review_view(&review);
        value["pages"] = pages.into();
        if !pages {
            value["sound"] = false.into();
        }
        value
    };
    let is_sound = value["sound"] == true;
    context.output.result(&value, |output| {
        let mut text = format!(
            "{}: {} rows read",
            output.status(if is_sound { "good" } else { "finding" }),
            value["rows"]
        );
        if value["pages"] == false {
            text.push_str("\npages were damaged; the store went back to the last state that holds");
        }
        for finding in value["findings"].as_array().into_iter().flatten() {
            text.push('\n');
            text.push_str(&one_line(finding.as_str().unwrap_or_default(), 400));
        }
        if value["findings_more"].as_u64() > Some(0) {
            let _ = write!(text, "\nand {} more", value["findings_more"]);
        }
        text
    });
    Ok(if is_sound { Exit::Done } else { Exit::Failed })
}

async fn compact(context: &mut Context) -> Result<Exit, CliError> {
    let value: Value = if daemon_runs(context)? {
        let body = json!({});
        let request = Request {
            wait_ms: LONG_MS,
            ..Request::post("/admin/v1/store/compact", &body)
        };
        context.admin()?.send(&request).await?
    } else {
        let store = open_store(context)?;
        let done = store
            .compact(u64::MAX)
            .map_err(|error| failed("compact the store", error))?;
        json!({ "bytes_before": done.before, "bytes_after": done.after })
    };
    context.output.result(&value, |_| {
        format!("{} bytes before, {} after", value["bytes_before"], value["bytes_after"])
    });
    Ok(Exit::Done)
}

/// Without a daemon: one that runs has migrated its store when it started.
fn migrate(context: &mut Context, dry_run: bool) -> Result<Exit, CliError> {
    context.require_home()?;
    let path = context.home.store_file();
    let now = Clock::system().now();
    let done = if dry_run {
        engine::plan(&path, now)
    } else {
        engine::migrate(&path, now, &mut |_| ())
    };
    let found = done.map_err(|error| failed("migrate the store", error))?;
    let value = match &found {
        None => json!({ "from": LAYOUT_VERSION, "to": LAYOUT_VERSION, "steps": [], "done": false }),
        Some(plan) => json!({
            "from": plan.from,
            "to": plan.to,
            "steps": plan.steps,
            "needed_bytes": plan.needed_bytes,
            "free_bytes": plan.free_bytes,
            "kept_as": plan.kept_as.display().to_string(),
            "done": !dry_run,
        }),
    };
    context.output.result(&value, |_| {
        let Some(plan) = &found else {
            return format!("the store has layout {LAYOUT_VERSION}, which is this program's: nothing to do");
        };
        let (verb, is_kept) = if dry_run {
            ("would be brought", "would be kept")
        } else {
            ("was brought", "is kept")
        };
        let mut text = format!("the store {verb} from layout {} to {}", plan.from, plan.to);
        for what in &plan.steps {
            let _ = write!(text, "\n  {what}");
        }
        let _ = write!(text, "\nas it was it {is_kept} as {}", plan.kept_as.display());
        if dry_run {
            let (needed, free) = (plan.needed_bytes, plan.free_bytes);
            let _ = write!(text, "\nit needs {needed} bytes of room; {free} are free");
        }
        text
    });
    Ok(Exit::Done)
}
