//! What is measured across the layers: gauges that are set when they are read, and restarts as supervisors tell them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::Counter;
use supervisors::{ChildKind, ChildStatus, ExitReason, Fact, Report, TreePath, TreeSnapshot};
use tokio::sync::mpsc;

use crate::agents::handle::AgentsHandle;
use crate::automation::handle::AutomationHandle;
use crate::domain::budget::Account;
use crate::domain::memory::{MemoryScope, ShardCount};
use crate::domain::time::UtcMillis;
use crate::health::recorder::Restarted;
use crate::identity::authority::expiry::{CertificateKind, Ending};
use crate::llm::registry::Models;
use crate::memory::handle::MemoryHandle;
use crate::runtime::clock::Clock;
use crate::runtime::own_process::{open_files, resident_bytes};
use crate::runtime::room::handle::Room;
use crate::runtime::telemetry::{
    ACTOR_RESTARTS, ACTORS, BUDGET_COST, BUDGET_TOKENS, CERTIFICATE_EXPIRY, DISK_FREE, DISK_FULL, Family,
    MAILBOX_DEPTH, MEMORY_BYTES, MEMORY_ENTRIES, MEMORY_IN_ARCHIVE, MEMORY_INDEX_BYTES, MEMORY_PARTS, MODEL_ASKING,
    MODEL_OPEN, NODE_UP, PROCESS_FILES, PROCESS_MEMORY, PROCESS_START, SCHEDULE_TICK_AGE, STORE_BYTES, TOKIO_QUEUE,
    TOKIO_TASKS, TOKIO_WORKERS, Telemetry,
};
use crate::storage::store::Store;

use super::rim::Certificates;

/// Sets the time that is left of each kind of certificate: of the next one to end, and for ever where there is none.
fn measure_certificates(telemetry: &Telemetry, endings: &[Ending], now: UtcMillis) {
    for kind in CertificateKind::ALL {
        let next = endings.iter().filter(|ending| ending.kind == kind);
        let left = next.map(|ending| ending.left_ms(now)).min();
        let left = left.map_or(f64::INFINITY, |left| left as f64 / 1_000.0);
        telemetry.gauge(&CERTIFICATE_EXPIRY, &[kind.as_str()]).set(left);
    }
}

/// Sets the gauges of budgets, models, store, process and runtime whenever somebody reads the metrics.
pub fn refresh(
    telemetry: &Telemetry,
    clock: Clock,
    agents: AgentsHandle,
    models: Arc<Models>,
    (store, memory): (Store, MemoryHandle),
    certificates: Certificates,
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
        measure_memory(telemetry, &store, &memory);
        measure_certificates(telemetry, &certificates.endings(), clock.now());
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
        if let Some(files) = open_files() {
            telemetry.gauge(&PROCESS_FILES, &[]).set(files as f64);
        }
    });
}

/// Sums over the parts of each tier; a tier without parts has none, which is also a figure.
fn measure_memory(telemetry: &Telemetry, store: &Store, memory: &MemoryHandle) {
    telemetry.gauge(&MEMORY_PARTS, &[]).set(memory.open_count() as f64);
    let (vectors, graphs) = memory.index_bytes();
    telemetry.gauge(&MEMORY_INDEX_BYTES, &["vectors"]).set(vectors as f64);
    telemetry.gauge(&MEMORY_INDEX_BYTES, &["graphs"]).set(graphs as f64);
    let Ok(counts) = store.memory_shards() else { return };
    for scope in MemoryScope::ALL {
        let own = || counts.iter().filter(|count| count.name.scope == scope);
        let set = |metric, figure: fn(&ShardCount) -> u64| {
            let sum: u64 = own().map(figure).sum();
            telemetry.gauge(metric, &[scope.as_str()]).set(sum as f64);
        };
        set(&MEMORY_ENTRIES, |count| count.live);
        set(&MEMORY_BYTES, |count| count.bytes);
        set(&MEMORY_IN_ARCHIVE, |count| count.archived);
    }
}

/// Sets the gauge of schedules whenever somebody reads the metrics.
pub fn refresh_schedules(telemetry: &Telemetry, automation: AutomationHandle) {
    telemetry.refresh_with(move |telemetry| {
        let age = automation.tick_age().map_or(0.0, |(_, age)| age.as_secs_f64());
        telemetry.gauge(&SCHEDULE_TICK_AGE, &[]).set(age);
    });
}

#[derive(Default)]
struct Restarts {
    counters: Family<Counter>,
    /// Why the last child of each supervisor ended that should not have.
    last: BTreeMap<String, &'static str>,
}

/// Sets the gauges of the disk and of this node whenever somebody reads the metrics.
pub fn refresh_disk(telemetry: &Telemetry, room: Room) {
    telemetry.refresh_with(move |telemetry| {
        let state = room.state();
        telemetry.gauge(&DISK_FREE, &[]).set(state.disk.free as f64);
        telemetry.gauge(&DISK_FULL, &[]).set(f64::from(u8::from(state.is_low)));
        // What can be asked is up; other nodes are set by whoever leases work to them.
        telemetry.gauge(&NODE_UP, &["primary"]).set(1.0);
    });
}

/// The gauges of actors, which know every kind that there was: one that is gone is none and not the last figure.
#[derive(Default)]
pub struct ActorGauges(Mutex<BTreeMap<String, (u64, usize)>>);

impl ActorGauges {
    /// Sets them from a picture of the tree.
    pub fn measure(&self, telemetry: &Telemetry, tree: &TreeSnapshot) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.values_mut().for_each(|figures| *figures = (0, 0));
        let mut left = vec![(tree, String::new())];
        while let Some((node, supervisor)) = left.pop() {
            for child in &node.children {
                left.push((child, node.path.clone()));
            }
            if node.kind == ChildKind::Worker && node.status == ChildStatus::Running {
                let (running, depth) = kinds.entry(kind(&supervisor, &node.id).to_owned()).or_default();
                *running += 1;
                *depth = (*depth).max(node.mailbox_depth.unwrap_or(0));
            }
        }
        for (kind, (running, depth)) in kinds.iter() {
            telemetry.gauge(&ACTORS, &[kind]).set(*running as f64);
            telemetry.gauge(&MAILBOX_DEPTH, &[kind]).set(*depth as f64);
        }
    }
}

/// Counts restarts, and tells of each.
pub fn restarts(telemetry: Telemetry, told: mpsc::Sender<Restarted>) -> Arc<dyn Fn(&Report) + Send + Sync> {
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
        let kind = kind(supervisor, child);
        let make = |labels: [&str; 3]| telemetry.counter(&ACTOR_RESTARTS, &labels);
        restarts.counters.get([supervisor, kind, reason], make).increment(1);
        let restarted = Restarted {
            supervisor: supervisor.into(),
            kind: kind.into(),
            reason: reason.into(),
        };
        // A storm that nobody can write down any more is in the counter above.
        told.try_send(restarted).ok();
    })
}

/// Whether a supervisor's children are named after what comes and goes.
fn comes_and_goes(supervisor: &TreePath) -> bool {
    !kind(supervisor.as_str(), "").is_empty()
}

/// What kind of actor a child is. Children that come and go are named after runs, sessions and what operators made, which
/// are no label.
fn kind<'of>(supervisor: &str, child: &'of str) -> &'of str {
    match supervisor {
        "root/runs/active" => "run",
        "root/agents/sessions" => "session",
        "root/agents/roster" => "agent",
        "root/memory/shards" => "shard",
        "root/automation/schedules" => "schedule",
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use supervisors::Restart;

    use super::*;

    fn node(path: &str, kind: ChildKind, children: Vec<TreeSnapshot>) -> TreeSnapshot {
        TreeSnapshot {
            path: path.to_owned(),
            id: path.rsplit('/').next().unwrap_or_default().to_owned(),
            kind,
            strategy: None,
            status: ChildStatus::Running,
            restart: Restart::Permanent,
            restarts: 0,
            incarnation: 1,
            uptime: Some(Duration::ZERO),
            mailbox_depth: Some(children.len()),
            zombies: 0,
            answered: true,
            children,
        }
    }

    /// A tree whose only worker is here.
    fn tree(path: &str) -> TreeSnapshot {
        let worker = node(path, ChildKind::Worker, Vec::new());
        let supervisor = path.rsplit_once('/').map_or("root", |(supervisor, _)| supervisor);
        let supervisor = node(supervisor, ChildKind::Supervisor, vec![worker]);
        node("root", ChildKind::Supervisor, vec![supervisor])
    }

    #[test]
    fn what_comes_and_goes_is_counted_by_its_kind_and_never_by_its_name_and_what_is_gone_is_none() {
        let telemetry = Telemetry::default();
        let gauges = ActorGauges::default();
        let check = |path: &str, kind: &str| {
            gauges.measure(&telemetry, &tree(path));
            let text = telemetry.render();
            let running: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with("openclaw_actors{") && !line.ends_with(" 0"))
                .collect();
            assert_eq!(running, [format!("openclaw_actors{{kind=\"{kind}\"}} 1")], "{path}");
        };
        check("root/runs/active/run_01", "run");
        check("root/agents/sessions/ses_01", "session");
        check("root/memory/shards/session-af1349b9f5f9a1a6", "shard");
        check("root/automation/schedules/nightly", "schedule");
        check("root/runs/dispatcher", "dispatcher");
    }
}
