//! What is measured across the layers: gauges that are set when they are read, and restarts as supervisors tell them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::Counter;
use supervisors::{ExitReason, Fact, Report, TreePath};

use crate::agents::handle::AgentsHandle;
use crate::domain::budget::Account;
use crate::domain::time::UtcMillis;
use crate::identity::authority::handle::Authority;
use crate::llm::registry::Models;
use crate::runtime::clock::Clock;
use crate::runtime::telemetry::{
    ACTOR_RESTARTS, BUDGET_COST, BUDGET_TOKENS, CERTIFICATE_EXPIRY, Family, MODEL_ASKING, MODEL_OPEN, PROCESS_FILES,
    PROCESS_MEMORY, PROCESS_START, STORE_BYTES, TOKIO_QUEUE, TOKIO_TASKS, TOKIO_WORKERS, Telemetry,
};
use crate::storage::store::Store;

/// Sets the gauges of budgets, models, store, process and runtime whenever somebody reads the metrics.
pub fn refresh(
    telemetry: &Telemetry,
    clock: Clock,
    agents: AgentsHandle,
    models: Arc<Models>,
    store: Store,
    authority: Authority,
    started_at: UtcMillis,
) {
    let runtime = tokio::runtime::Handle::current();
    telemetry.refresh_with(move |telemetry| {
        for agent in agents.definitions().values().filter(|agent| !agent.daily_max.is_none()) {
            let account = Account::AgentDay(agent.name.clone(), clock.now().day());
            let Ok(balance) = agents.treasury().balance(&account) else {
                continue;
            };
            let used = balance.used();
            if let Some(limit) = agent.daily_max.tokens {
                let gauge = telemetry.gauge(&BUDGET_TOKENS, &[agent.name.as_str()]);
                gauge.set(limit.saturating_sub(used.tokens) as f64);
            }
            if let Some(limit) = agent.daily_max.cost {
                let gauge = telemetry.gauge(&BUDGET_COST, &[agent.name.as_str()]);
                gauge.set(limit.minus(used.cost).0 as f64 / 1_000_000.0);
            }
        }
        for (alias, gate) in models.gates(clock.now()) {
            let open = telemetry.gauge(&MODEL_OPEN, &[alias.as_str()]);
            open.set(f64::from(u8::from(gate.state == "closed")));
            telemetry
                .gauge(&MODEL_ASKING, &[alias.as_str()])
                .set(f64::from(gate.asking));
        }
        let expiry = authority.own_expiry().since(clock.now());
        telemetry.gauge(&CERTIFICATE_EXPIRY, &[]).set(expiry as f64 / 1_000.0);
        telemetry.gauge(&STORE_BYTES, &[]).set(store.file_bytes() as f64);
        let figures = runtime.metrics();
        telemetry.gauge(&TOKIO_WORKERS, &[]).set(figures.num_workers() as f64);
        telemetry.gauge(&TOKIO_TASKS, &[]).set(figures.num_alive_tasks() as f64);
        telemetry
            .gauge(&TOKIO_QUEUE, &[])
            .set(figures.global_queue_depth() as f64);
        telemetry.gauge(&PROCESS_START, &[]).set(started_at.0 as f64 / 1_000.0);
        if let Some(bytes) = resident_bytes() {
            telemetry.gauge(&PROCESS_MEMORY, &[]).set(bytes as f64);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            telemetry.gauge(&PROCESS_FILES, &[]).set(files.count() as f64);
        }
    });
}

/// Source: proc(5), `VmRSS` of `status`, in kB.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    Some(kilobytes * 1024)
}

#[derive(Default)]
struct Restarts {
    counters: Family<Counter>,
    /// Why the last child of each supervisor ended that should not have.
    last: BTreeMap<String, &'static str>,
}

/// Counts restarts.
pub fn restarts(telemetry: Telemetry) -> Arc<dyn Fn(&Report) + Send + Sync> {
    let restarts: Mutex<Restarts> = Mutex::default();
    Arc::new(move |report: &Report| {
        let reason = match &report.fact {
            Fact::Exited { reason, asked: false } if !reason.is_orderly() || !comes_and_goes(&report.supervisor) => {
                Some(word(reason))
            }
            Fact::Started { restarted: true } => None,
            _ => return,
        };
        let mut restarts = restarts.lock().unwrap_or_else(PoisonError::into_inner);
        let supervisor = report.supervisor.as_str();
        if let Some(reason) = reason {
            // There are as many of these as supervisors; their children may be many more, and most end as they should.
            if restarts.last.get(supervisor) != Some(&reason) {
                restarts.last.insert(supervisor.to_owned(), reason);
            }
            return;
        }
        let reason = restarts.last.get(supervisor).copied().unwrap_or("unknown");
        let child = report.child.as_ref().map_or("", |child| child.as_str());
        let kind = kind(&report.supervisor, child);
        let make = |labels: [&str; 3]| telemetry.counter(&ACTOR_RESTARTS, &labels);
        restarts.counters.get([supervisor, kind, reason], make).increment(1);
    })
}

/// Whether a supervisor's children are named after runs.
fn comes_and_goes(supervisor: &TreePath) -> bool {
    !kind(supervisor, "").is_empty()
}

/// What kind of actor a child is. Children that come and go are named after runs, which are no label.
fn kind<'of>(supervisor: &TreePath, child: &'of str) -> &'of str {
    match supervisor.as_str() {
        "root/runs/active" => "run",
        "root/agents/sessions" => "session",
        "root/agents/roster" => "agent",
        _ => child,
    }
}

fn word(reason: &ExitReason) -> &'static str {
    match reason {
        ExitReason::Normal => "normal",
        ExitReason::Shutdown | ExitReason::ShutdownWith(_) => "shutdown",
        ExitReason::Killed => "killed",
        ExitReason::Cancelled => "cancelled",
        ExitReason::Panicked(_) => "panicked",
        ExitReason::Error(_) => "error",
        ExitReason::Stopped(_) => "stopped",
        ExitReason::Unknown => "unknown",
    }
}
