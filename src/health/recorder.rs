//! Makes an incident of every restart that supervisors make by themselves. The same child again is the same incident,
//! until it has been quiet for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;

use crate::domain::id::IncidentId;
use crate::domain::incident::{Incident, IncidentChange};
use crate::domain::time::UtcMillis;
use crate::runtime::timer::Timer;
use crate::storage::batch::{Batch, Op};

use super::parts::HealthInside;

/// Restarts that wait to be written; what comes beyond is in the counters of metrics alone.
pub const WAITING_MAX: usize = 1_024;
/// Restarts are gathered for this long: a storm costs one write each time.
const GATHER: Duration = Duration::from_secs(1);
/// Without another one for this long, an incident of restarts has ended.
pub const QUIET_MS: u64 = 15 * 60 * 1_000;

/// How the names of all incidents of restarts begin.
const NAMED: &str = "restart:";

/// A restart, as a supervisor told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restarted {
    /// The supervisor's path in the tree.
    pub supervisor: Arc<str>,
    /// What kind of child.
    pub kind: Arc<str>,
    /// Why the last incarnation ended, in one line.
    pub reason: Arc<str>,
}

/// What the recorder is told.
#[derive(Debug)]
pub enum RecorderMessage {
    /// Write what has been told.
    GatherDue,
}

/// The actor.
pub struct Recorder {
    /// What it shares with its layer.
    pub inside: HealthInside,
    /// What supervisors have told.
    pub told: Arc<tokio::sync::Mutex<mpsc::Receiver<Restarted>>>,
}

/// What it holds.
pub struct RecorderState {
    /// Open incidents by fingerprint, with the last time that they were seen.
    open: BTreeMap<Arc<str>, (IncidentId, UtcMillis)>,
    timer: Timer,
}

fn fingerprint(of: &Restarted) -> Arc<str> {
    format!("{NAMED}{}/{}", of.supervisor, of.kind).into()
}

impl Actor for Recorder {
    type Msg = RecorderMessage;
    type State = RecorderState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<RecorderMessage>, (): ()) -> Result<RecorderState, ActorProcessingErr> {
        let open = self.inside.parts.store.open_incidents_under(NAMED)?;
        let open = open
            .into_iter()
            .map(|(of, id, seen)| (format!("{NAMED}{of}").into(), (id, seen)));
        Ok(RecorderState {
            open: open.collect(),
            timer: Timer::after(&myself, GATHER, || RecorderMessage::GatherDue),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<RecorderMessage>,
        RecorderMessage::GatherDue: RecorderMessage,
        state: &mut RecorderState,
    ) -> Result<(), ActorProcessingErr> {
        let mut gathered: BTreeMap<Arc<str>, (Restarted, u64)> = BTreeMap::new();
        {
            let mut told = self.told.lock().await;
            while let Ok(restarted) = told.try_recv() {
                let (last, times) = gathered
                    .entry(fingerprint(&restarted))
                    .or_insert_with(|| (restarted.clone(), 0));
                *last = restarted;
                *times += 1;
            }
        }
        if !gathered.is_empty() {
            self.write(state, gathered).await?;
        }
        state.timer = Timer::after(&myself, GATHER, || RecorderMessage::GatherDue);
        Ok(())
    }
}

impl Recorder {
    async fn write(
        &self,
        state: &mut RecorderState,
        gathered: BTreeMap<Arc<str>, (Restarted, u64)>,
    ) -> Result<(), ActorProcessingErr> {
        let parts = &self.inside.parts;
        let now = parts.clock.now();
        state.open.retain(|_, (_, seen)| now.since(*seen) < QUIET_MS);
        let mut ops = Vec::new();
        for (fingerprint, (restarted, times)) in gathered {
            if let Some((id, seen)) = state.open.get_mut(&fingerprint) {
                *seen = now;
                let change = IncidentChange::Seen {
                    at: now,
                    times,
                    evidence: restarted.reason,
                };
                ops.push(Op::IncidentChange(*id, change));
                continue;
            }
            let Restarted {
                supervisor,
                kind,
                reason,
            } = restarted;
            let incident = Incident {
                id: IncidentId::new(now, parts.entropy.u128()),
                at: now,
                severity: "warning".into(),
                what: format!("`{kind}` under {supervisor} was restarted").into(),
                why: reason.clone(),
                action: "its supervisor started it anew; it went on from what is on disk".into(),
                run: None,
            };
            let named = IncidentChange::Named {
                fingerprint: fingerprint.clone(),
                evidence: reason,
                quiet_ms: Some(QUIET_MS),
            };
            state.open.insert(fingerprint, (incident.id, now));
            let id = incident.id;
            ops.extend([Op::IncidentOpen(incident), Op::IncidentChange(id, named)]);
            if times > 1 {
                let change = IncidentChange::Seen {
                    at: now,
                    times: times - 1,
                    evidence: "several at once".into(),
                };
                ops.push(Op::IncidentChange(id, change));
            }
        }
        parts.committer.commit(Batch::ops(ops)).await?;
        Ok(())
    }
}
