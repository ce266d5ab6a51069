//! `openclaw doctor`: looks at this installation and says what is wrong and what to do.
//!
//! Needs no daemon; of one that runs it makes the checks too. Each check is one function; a check that cannot be made says so instead of passing.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::arguments::DoctorArguments;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::found::State;
use crate::cli::home_check::look;
use crate::cli::model_check::{ModelCheck, check_models};
use crate::cli::offline::daemon_runs;
use crate::cli::output::{Output, one_line};
use crate::daemon::config::{Config, ConfigError};
use crate::domain::fault::in_one_line;
use crate::runtime::panicking::{text_of, was_in_the_store};
use crate::runtime::room::watcher::disk_of;
use crate::skills::sandbox::policy::SandboxMode;
use crate::skills::sandbox::report::{SandboxLevel, SandboxReport};
use crate::skills::sandbox::self_test::self_test;
use crate::storage::error::StoreError;
use crate::storage::review::{StoreReview, review_file, review_unrepaired};

/// How long a round of the daemon's own checks may take, in milliseconds.
const ROUND_MS: u64 = 120_000;
/// What to do about a store that is damaged.
const RESTORE: &str = "copy the state folder away, then `openclaw backup list` and `openclaw backup restore`";

/// One check.
#[derive(Debug)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found, one line each.
    found: Vec<String>,
    /// What to do; empty when there is nothing to do.
    hint: &'static str,
    /// More for programs.
    detail: Value,
}

/// Runs all checks. The exit code is the worst: 2 for one that could not be made comes before 1 for a finding.
pub async fn run(context: &mut Context, arguments: &DoctorArguments) -> Result<Exit, CliError> {
    let loaded = context.load().map(|loaded| loaded.config);
    let config = loaded.as_ref().ok();
    // Without a configuration programs are confined, as they are by default.
    let mode = config.map_or(SandboxMode::On, |config| config.sandbox.mode);
    // The running binary, as the daemon would start it.
    let mut checks = vec![
        configuration(&loaded),
        sandbox(&self_test(Path::new("/proc/self/exe"), mode)),
    ];
    if arguments.models {
        checks.push(match config {
            Some(config) => models(config).await,
            None => unchecked("models", "the configuration cannot be used", "mend it first"),
        });
    }
    checks.push(home_files(context, arguments.fix));
    checks.push(disk(context, config.map(|config| config.store_free_min)));
    checks.push(match daemon_runs(context) {
        Ok(true) => daemon(context).await,
        Ok(false) => store(context),
        Err(error) => unchecked(
            "daemon",
            &one_line(&error.to_string(), 400),
            "`openclaw status` says more",
        ),
    });
    let exit = State::exit_of(checks.iter().map(|check| check.state));
    let each = checks.iter().map(|check| {
        json!({
            "name": check.name, "state": check.state.as_str(), "found": check.found, "hint": check.hint,
            "detail": check.detail,
        })
    });
    let value = json!({ "checks": each.collect::<Vec<_>>() });
    context.output.result(&value, |output| show(output, &checks));
    Ok(exit)
}

/// A check that could not be made.
fn unchecked(name: &'static str, why: &str, hint: &'static str) -> Check {
    Check {
        name,
        state: State::Unchecked,
        found: vec![why.to_owned()],
        hint,
        detail: Value::Null,
    }
}

/// The files of the home. With `mend`, what can be mended is shown and then done.
fn home_files(context: &mut Context, mend: bool) -> Check {
    let home = &context.home;
    if !home.exists() && !home.state_dir().exists() {
        return Check {
            name: "home",
            state: State::Finding,
            found: vec![format!("there is none at {}", home.config_dir().display())],
            hint: "`openclaw init` makes one; --home or OPENCLAW_HOME names another",
            detail: Value::Null,
        };
    }
    let fixes = look(home);
    let mut found = Vec::new();
    let mut is_good = true;
    for fix in &fixes {
        found.push(fix.wrong.clone());
        if !mend {
            found.push(format!("fix: {}", fix.done));
            is_good = false;
            continue;
        }
        context.output.note(&format!("fixing: {}", fix.done));
        match fix.make() {
            Ok(()) => found.push(format!("fixed: {}", fix.done)),
            Err(error) => {
                found.push(format!("not fixed: {error}"));
                is_good = false;
            }
        }
    }
    Check {
        name: "home",
        state: if is_good { State::Good } else { State::Finding },
        found,
        hint: if is_good {
            ""
        } else {
            "`openclaw doctor --fix` does that"
        },
        detail: fixes
            .iter()
            .map(|fix| json!({ "wrong": fix.wrong, "fix": fix.done }))
            .collect(),
    }
}

fn disk(context: &Context, free_min: Option<u64>) -> Check {
    let free_min = free_min.unwrap_or_default();
    let (state, found) = match disk_of(context.home.state_dir()) {
        Ok(disk) if disk.free < free_min => (
            State::Finding,
            format!(
                "{} MiB are free, store.minFreeBytes asks for {}",
                disk.free >> 20,
                free_min >> 20
            ),
        ),
        Ok(disk) => (State::Good, format!("{} MiB are free", disk.free >> 20)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (State::Good, "there is no state yet".into()),
        Err(error) => (State::Unchecked, error.to_string()),
    };
    Check {
        name: "disk",
        state,
        found: vec![found],
        hint: if state == State::Finding {
            "make room; see OC-2020 (`ops/errors/OC-2020.md`)"
        } else {
            ""
        },
        detail: Value::Null,
    }
}

/// The checks of the running daemon, made now.
async fn daemon(context: &Context) -> Check {
    let body = json!({});
    let request = Request {
        wait_ms: ROUND_MS,
        ..Request::post("/v1/health", &body)
    };
    let asked = async { context.client()?.send(&request).await };
    let round = match asked.await {
        Ok(round) => round,
        Err(error) => {
            return Check {
                name: "daemon",
                state: State::Unchecked,
                found: vec![one_line(&error.to_string(), 400)],
                hint: "`openclaw status` says how it is",
                detail: Value::Null,
            };
        }
    };
    let mut found = Vec::new();
    for (name, check) in round["checks"].as_object().into_iter().flatten() {
        if check["good"] != true {
            let text = |field: &str| one_line(check[field].as_str().unwrap_or("-"), 300);
            found.push(format!("{name}: {}; {}", text("seen"), text("action")));
        }
    }
    let is_good = found.is_empty();
    if is_good {
        found.push(format!(
            "{} checks are good",
            round["checks"].as_object().map_or(0, serde_json::Map::len)
        ));
    }
    Check {
        name: "daemon",
        state: if is_good { State::Good } else { State::Finding },
        found,
        hint: if is_good {
            ""
        } else {
            "`openclaw incident list --open` shows since when"
        },
        detail: round,
    }
}

/// Reads a store, also one that a kill left: only the next start may repair that, so it is read as if it had.
fn read_store(path: &Path) -> Result<(StoreReview, &'static str), StoreError> {
    match review_file(path) {
        Err(error) if error.is_unrepaired() => {
            let review = review_unrepaired(path)?;
            Ok((review, "; its last process was killed, and the next start repairs it"))
        }
        read => Ok((read?, "")),
    }
}

/// The store of a home on which no daemon runs.
fn store(context: &Context) -> Check {
    let path = context.home.store_file();
    let good = |found: String| (State::Good, vec![found], "");
    // What is damaged in the middle of a page has the store's library panic: that is a finding as well.
    let read = AssertUnwindSafe(|| path.exists().then(|| read_store(&path)));
    let (state, found, hint) = match std::panic::catch_unwind(read) {
        Err(panic) if was_in_the_store() => (State::Finding, vec![one_line(&text_of(&*panic), 300)], RESTORE),
        Err(panic) => std::panic::resume_unwind(panic),
        Ok(None) => good("there is none yet".into()),
        Ok(Some(Ok((review, after)))) if review.is_sound() => good(format!("{} rows read{after}", review.rows)),
        Ok(Some(Ok((review, _)))) => (State::Finding, review.findings, RESTORE),
        Ok(Some(Err(error))) => {
            let why = one_line(&in_one_line(&error), 300);
            if error.is_damage() {
                (State::Finding, vec![format!("damaged: {why}")], RESTORE)
            } else {
                let hint = "run it as the user of the daemon, with no other command on this home";
                (State::Unchecked, vec![why], hint)
            }
        }
    };
    Check {
        name: "store",
        state,
        found,
        hint,
        detail: Value::Null,
    }
}

/// That it loads is the check; what is wrong with it is said as every command says it.
fn configuration(loaded: &Result<Config, CliError>) -> Check {
    let (state, found, hint) = match loaded {
        Ok(config) => (
            State::Good,
            vec![format!(
                "{} agents, {} models",
                config.agents.len(),
                config.models.len()
            )],
            "",
        ),
        Err(error) => {
            let is_wrong = matches!(
                error,
                CliError::Config(ConfigError::Values(_) | ConfigError::Syntax { .. })
            );
            let state = if is_wrong { State::Finding } else { State::Unchecked };
            let text = error.to_text();
            let lines = text.lines().map(|line| one_line(line, 400));
            (state, lines.collect(), "`openclaw config validate` looks at it alone")
        }
    };
    Check {
        name: "config",
        state,
        found,
        hint,
        detail: Value::Null,
    }
}

/// Every configured model, asked once. A built-in alias that no agent uses may well have no key.
async fn models(config: &Config) -> Check {
    let checked = match check_models(config).await {
        Ok(checked) => checked,
        Err(error) => {
            return Check {
                name: "models",
                state: State::Unchecked,
                found: vec![error.to_string()],
                hint: "`openclaw config list` shows the models",
                detail: Value::Null,
            };
        }
    };
    let is_used = |check: &ModelCheck| config.agents.iter().any(|agent| agent.model.as_str() == check.alias);
    let failed = checked.iter().any(|check| check.failure.is_some() && is_used(check));
    let lines = checked.iter().map(|check| {
        let ModelCheck {
            alias, provider, ms, ..
        } = check;
        match &check.failure {
            None => format!("{alias} ({provider}): ok in {ms} ms"),
            Some(why) if is_used(check) => format!("{alias} ({provider}): {}", one_line(why, 400)),
            Some(why) => format!("{alias} ({provider}), which no agent uses: {}", one_line(why, 400)),
        }
    });
    let detail = checked.iter().map(|check| {
        json!({
            "alias": check.alias, "provider": check.provider, "id": check.id, "ok": check.failure.is_none(),
            "why": check.failure, "ms": check.ms, "used": is_used(check),
        })
    });
    Check {
        name: "models",
        state: if failed { State::Finding } else { State::Good },
        found: lines.collect(),
        hint: if failed {
            "the keys are those of this shell; a daemon that is started elsewhere has its own"
        } else {
            ""
        },
        detail: detail.collect(),
    }
}

fn sandbox(report: &SandboxReport) -> Check {
    let level = report.level();
    let (state, hint) = match (report.mode, level) {
        (SandboxMode::On, SandboxLevel::Refused) if report.controls.is_empty() => (
            State::Unchecked,
            "programs are not started: see OC-5010 (`ops/errors/OC-5010.md`)",
        ),
        (SandboxMode::On, SandboxLevel::Refused) => (
            State::Finding,
            "programs are not started: see OC-5010 (`ops/errors/OC-5010.md`)",
        ),
        (SandboxMode::On, SandboxLevel::NoNamespaces) => (
            State::Good,
            "let the daemon make user namespaces, if programs are to reach the network",
        ),
        (SandboxMode::On, _) => (State::Good, ""),
        _ => (
            State::Finding,
            "`openclaw config set skills.sandbox on` confines programs again",
        ),
    };
    let mut found = vec![format!("programs: {}, {}", report.mode.as_str(), level.as_str())];
    found.extend(report.reasons());
    Check {
        name: "sandbox",
        state,
        found,
        hint,
        detail: report.to_json(),
    }
}

fn show(output: &Output, checks: &[Check]) -> String {
    let mut shown = String::new();
    for check in checks {
        let _ = writeln!(shown, "{:<8} {}", check.name, output.status(check.state.as_str()));
        for line in &check.found {
            let _ = writeln!(shown, "         {line}");
        }
        if !check.hint.is_empty() {
            let _ = writeln!(shown, "         hint: {}", check.hint);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skills::sandbox::report::Control;

    #[test]
    fn only_a_sandbox_that_holds_and_is_on_is_good() {
        let check = |mode: SandboxMode, failure: Option<&str>, state: State| {
            let report = SandboxReport {
                mode,
                namespaces: true,
                network: true,
                cgroup: None,
                controls: failure
                    .map(|failure| Control {
                        name: "x".to_owned(),
                        failure: failure.to_owned(),
                    })
                    .into_iter()
                    .collect(),
                notes: Vec::new(),
            };
            assert_eq!(sandbox(&report).state, state, "{report:?}");
        };
        check(SandboxMode::On, Some(""), State::Good);
        check(SandboxMode::On, Some("possible"), State::Finding);
        check(SandboxMode::On, None, State::Unchecked);
        check(SandboxMode::Permissive, Some(""), State::Finding);
        check(SandboxMode::Off, None, State::Finding);
    }
}
