//! Supervised execution of calls: each is a task under a supervisor, bounded per skill, with a deadline.
//!
//! Refuses to know: what a call does, and who journals its end. Invariants: an accepted call tells its end exactly
//! once; a cancelled or late call tells it only when nothing of it runs any more (unless the supervisor itself is
//! stopped); a panic ends its own call and nothing else; nothing waits in an unbounded queue.
//!
//! **Limits**: per skill, as many calls at once as its manifest says and [`WAITING_MAX`] that wait for their turn;
//! over all skills, as many as the task supervisor allows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use supervisors::{Admission, TaskExit, TaskRefused, Tasks};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::domain::fault::Fault;
use crate::domain::name::SkillName;

use super::skill::{CallEnd, CallOrder, Skill, SkillError};

/// Calls of one skill that may wait for their turn.
pub const WAITING_MAX: usize = 1024;
/// Time beyond the deadline in which a skill may stop by itself and say so; then it is dropped. A program needs
/// it: it is asked to end, killed after the grace, and its outcome is kept.
pub const MARGIN: Duration = Duration::from_secs(5);

/// How a call ended, as seen from outside the skill.
#[derive(Debug)]
pub enum WorkerEnd {
    /// The skill came to its end.
    Finished(Result<CallEnd, SkillError>),
    /// The skill panicked, with this text: a bug.
    Panicked(String),
    /// It was cancelled by its ticket, or its supervisor was stopped.
    Cancelled,
    /// The skill did not keep its deadline and was dropped; how far it came is not known.
    TimedOut,
}

/// Why a call was not accepted; its `on_end` is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallRefused {
    /// Too many calls of this skill wait already.
    #[error("overloaded: {waiting} calls of {skill} run or wait")]
    SkillOverloaded {
        /// Which skill.
        skill: SkillName,
        /// How many there may be.
        waiting: usize,
    },
    /// Too many calls over all skills.
    #[error("overloaded: {running} calls run or wait")]
    Overloaded {
        /// How many there may be.
        running: usize,
    },
    /// The supervisor of the workers is down at the moment.
    #[error("the skill workers are down")]
    Down,
}

impl CallRefused {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::SkillOverloaded { .. } | Self::Overloaded { .. } => Fault::Overloaded,
            Self::Down => Fault::Unavailable,
        }
    }
}

/// A way to cancel an accepted call. Dropping it lets the call go on.
#[derive(Debug, Clone)]
pub struct CallTicket {
    cancelled: Arc<Notify>,
}

impl CallTicket {
    /// Cancels the call; its end is told when nothing of it runs any more. Without effect on a call that ended.
    pub fn cancel(&self) {
        self.cancelled.notify_one();
    }
}

/// The two bounds of one skill.
#[derive(Debug, Clone)]
struct Lane {
    /// Running and waiting.
    accepted: Admission,
    /// Running.
    running: Admission,
}

/// Where calls are made; cheap to clone.
#[derive(Debug, Clone)]
pub struct Workers {
    tasks: Tasks,
    lanes: Arc<Mutex<HashMap<SkillName, Lane>>>,
    margin: Duration,
}

impl Workers {
    /// Makes calls as tasks of this supervisor.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            tasks,
            lanes: Arc::default(),
            margin: MARGIN,
        }
    }

    /// Accepts a call, to be made as soon as it is its turn. `on_end` is called exactly once for an accepted call,
    /// from its own task; it must not block.
    ///
    /// **Cancel**: by the ticket only.
    pub fn call<E>(&self, skill: Arc<dyn Skill>, order: CallOrder, on_end: E) -> Result<CallTicket, CallRefused>
    where
        E: FnOnce(WorkerEnd) + Send + 'static,
    {
        let name = skill.manifest().name.clone();
        let lane = self.lane(&name, skill.manifest().concurrency);
        let place = lane.accepted.try_admit();
        let place = place.map_err(|full| CallRefused::SkillOverloaded {
            skill: name.clone(),
            waiting: full.capacity,
        })?;
        let cancelled = Arc::new(Notify::new());
        let ticket = CallTicket {
            cancelled: Arc::clone(&cancelled),
        };
        let margin = self.margin;
        let work = async move {
            let _place = place;
            work(skill, order, margin, lane.running, &cancelled).await
        };
        let told = self.tasks.spawn(name.as_str(), work, |exit| {
            on_end(match exit {
                TaskExit::Done(end) => end,
                TaskExit::Panicked(text) => WorkerEnd::Panicked(text),
                TaskExit::Cancelled => WorkerEnd::Cancelled,
            });
        });
        match told {
            Ok(_) => Ok(ticket),
            Err(TaskRefused::Overloaded { capacity }) => Err(CallRefused::Overloaded { running: capacity }),
            Err(_) => Err(CallRefused::Down),
        }
    }

    /// Calls of this skill that run or wait.
    pub fn accepted(&self, skill: &SkillName) -> usize {
        self.lanes().get(skill).map_or(0, |lane| lane.accepted.depth())
    }

    fn lane(&self, name: &SkillName, concurrency: u32) -> Lane {
        let concurrency = concurrency.max(1) as usize;
        let mut lanes = self.lanes();
        match lanes.get(name) {
            // A changed manifest gets new bounds; calls under the old ones run out beside them.
            Some(lane) if lane.running.capacity() == concurrency => lane.clone(),
            _ => {
                let lane = Lane {
                    accepted: Admission::new(concurrency + WAITING_MAX),
                    running: Admission::new(concurrency),
                };
                lanes.insert(name.clone(), lane.clone());
                lane
            }
        }
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, HashMap<SkillName, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn work(
    skill: Arc<dyn Skill>,
    mut order: CallOrder,
    margin: Duration,
    running: Admission,
    cancelled: &Notify,
) -> WorkerEnd {
    let until = Instant::now() + order.deadline;
    let turn = tokio::select! {
        biased;
        () = cancelled.notified() => return WorkerEnd::Cancelled,
        turn = running.admit(order.deadline) => turn,
    };
    let Ok(_turn) = turn else {
        let waited_ms = order.deadline.as_millis() as u64;
        return WorkerEnd::Finished(Err(SkillError::NotStarted { waited_ms }));
    };
    let own_limit = Duration::from_millis(skill.manifest().timeout_ms);
    order.deadline = until.saturating_duration_since(Instant::now()).min(own_limit);
    let (key, limit) = (order.key, order.deadline + margin);
    let dropped = tokio::select! {
        biased;
        // An end that is there already counts for more than a cancellation that comes too late.
        ended = timeout(limit, skill.call(order)) => match ended {
            Ok(end) => return WorkerEnd::Finished(end),
            Err(_) => WorkerEnd::TimedOut,
        },
        () = cancelled.notified() => WorkerEnd::Cancelled,
    };
    skill.settled(key).await;
    dropped
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::BoxFuture;
    use serde_json::json;
    use supervisors::{ChildSpec, Strategy, Supervisor, SupervisorRef, SupervisorSpec, TaskSupervisor};
    use tokio::sync::mpsc;

    use super::*;
    use crate::domain::approval::Approval;
    use crate::domain::effect::{EffectClass, EffectKey};
    use crate::domain::id::RunId;
    use crate::domain::name::StepId;
    use crate::domain::skill::SkillManifest;
    use crate::domain::time::UtcMillis;

    /// Does what the order's arguments say, and counts.
    struct Scripted {
        manifest: SkillManifest,
        running: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        settled: Arc<AtomicUsize>,
        gate: Arc<tokio::sync::Semaphore>,
    }

    struct Leave(Arc<AtomicUsize>);

    impl Drop for Leave {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Skill for Scripted {
        fn manifest(&self) -> &SkillManifest {
            &self.manifest
        }

        fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
            let (running, most, gate) = (
                Arc::clone(&self.running),
                Arc::clone(&self.most),
                Arc::clone(&self.gate),
            );
            Box::pin(async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                let _leave = Leave(running);
                most.fetch_max(now, Ordering::SeqCst);
                assert!(order.arguments["do"] != "panic", "as told");
                if order.arguments["do"] == "hang" {
                    std::future::pending::<()>().await;
                }
                gate.acquire().await.expect("open").forget();
                Ok(CallEnd::ok(order.deadline.as_millis().to_string()))
            })
        }

        fn settled(&self, _: EffectKey) -> BoxFuture<'static, ()> {
            assert!(
                self.running.load(Ordering::SeqCst) < self.manifest.concurrency as usize,
                "dropped before it is settled"
            );
            self.settled.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::ready(()))
        }
    }

    fn scripted(concurrency: u32) -> Arc<Scripted> {
        let manifest = SkillManifest {
            name: SkillName::new("scripted").expect("name"),
            description: "".into(),
            input_schema: Arc::new(json!({"type": "object"})),
            class: EffectClass::Once,
            timeout_ms: 60_000,
            output_bytes_max: 100,
            concurrency,
            approval: Approval::Auto,
            resources: Arc::new([]),
            undo: None,
            examples: Arc::new([]),
        };
        Arc::new(Scripted {
            manifest,
            running: Arc::default(),
            most: Arc::default(),
            settled: Arc::default(),
            gate: Arc::new(tokio::sync::Semaphore::new(0)),
        })
    }

    fn order(what: &str, deadline: Duration) -> CallOrder {
        let (run, step) = (RunId::new(UtcMillis(1), 1), StepId::new("s").expect("id"));
        CallOrder {
            key: EffectKey::derive(run, &step, 1, 0),
            run,
            step,
            arguments: json!({"do": what}),
            workspace: std::path::Path::new("/").into(),
            deadline,
        }
    }

    async fn workers(capacity: usize) -> (Workers, SupervisorRef) {
        let tasks = TaskSupervisor::new(capacity);
        let workers = Workers {
            margin: Duration::from_millis(20),
            ..Workers::new(tasks.handle())
        };
        let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::tasks("workers", tasks));
        (workers, Supervisor::start("root", root).await.expect("started"))
    }

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn every_accepted_call_tells_its_end_once() {
        let (workers, root) = workers(64).await;
        let skill = scripted(1);
        let (told, mut ends) = mpsc::channel(64);
        let call = |what: &str, deadline: Duration| {
            let told = told.clone();
            let on_end = move |end| told.try_send(end).expect("room");
            workers
                .call(skill.clone(), order(what, deadline), on_end)
                .expect("accepted")
        };
        call("panic", LONG);
        assert!(matches!(ends.recv().await, Some(WorkerEnd::Panicked(text)) if text.contains("as told")));
        skill.gate.add_permits(1);
        call("end", LONG);
        let end = ends.recv().await.expect("told");
        assert!(matches!(&end, WorkerEnd::Finished(Ok(_))), "{end:?}");
        call("hang", SHORT);
        assert!(matches!(ends.recv().await, Some(WorkerEnd::TimedOut)));
        let ticket = call("hang", LONG);
        tokio::task::yield_now().await;
        ticket.cancel();
        assert!(matches!(ends.recv().await, Some(WorkerEnd::Cancelled)));
        assert_eq!(
            skill.settled.load(Ordering::SeqCst),
            2,
            "the late and the cancelled one"
        );
        call("hang", LONG);
        tokio::task::yield_now().await;
        root.shutdown().await;
        assert!(matches!(ends.recv().await, Some(WorkerEnd::Cancelled)));
        let refused = workers.call(skill.clone(), order("end", LONG), |_| ());
        assert_eq!(refused.expect_err("down").fault(), Fault::Unavailable);
        drop(told);
        assert!(ends.recv().await.is_none(), "nothing is told twice");
    }

    #[tokio::test]
    async fn a_skill_runs_no_more_calls_at_once_than_it_allows() {
        let (workers, root) = workers(5000).await;
        let skill = scripted(2);
        let (told, mut ends) = mpsc::channel(2000);
        let call = |told: mpsc::Sender<WorkerEnd>| {
            let on_end = move |end| told.try_send(end).expect("room");
            workers.call(skill.clone(), order("end", Duration::from_secs(1)), on_end)
        };
        for _ in 0..(2 + WAITING_MAX) {
            call(told.clone()).expect("accepted");
        }
        let refused = call(told.clone()).expect_err("full");
        assert_eq!(refused.fault(), Fault::Overloaded, "{refused}");
        skill.gate.add_permits(6);
        for _ in 0..6 {
            assert!(matches!(ends.recv().await, Some(WorkerEnd::Finished(Ok(_)))));
        }
        assert_eq!(skill.most.load(Ordering::SeqCst), 2);
        // Two hold their turns past the deadline of all the others.
        let (mut not_started, mut timed_out) = (0, 0);
        for _ in 0..(WAITING_MAX - 4) {
            match ends.recv().await.expect("told") {
                WorkerEnd::Finished(Err(SkillError::NotStarted { .. })) => not_started += 1,
                WorkerEnd::TimedOut => timed_out += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(
            timed_out >= 2 && not_started + timed_out == WAITING_MAX - 4,
            "{not_started} {timed_out}"
        );
        assert_eq!(workers.accepted(&skill.manifest().name), 0);
        root.shutdown().await;
    }

    #[tokio::test]
    async fn a_call_that_waits_can_be_cancelled_and_was_never_made() {
        let (workers, root) = workers(64).await;
        let skill = scripted(1);
        let (told, mut ends) = mpsc::channel(4);
        let call = |what: &str| {
            let told = told.clone();
            let on_end = move |end| told.try_send(end).expect("room");
            workers
                .call(skill.clone(), order(what, LONG), on_end)
                .expect("accepted")
        };
        let first = call("hang");
        tokio::task::yield_now().await;
        let second = call("end");
        tokio::task::yield_now().await;
        second.cancel();
        assert!(matches!(ends.recv().await, Some(WorkerEnd::Cancelled)));
        assert_eq!(skill.settled.load(Ordering::SeqCst), 0);
        first.cancel();
        assert!(matches!(ends.recv().await, Some(WorkerEnd::Cancelled)));
        root.shutdown().await;
    }
}
