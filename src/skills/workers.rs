//! Supervised execution of calls: each is a task under a supervisor, bounded per skill, with a deadline.
//!
//! Refuses to know: what a call does, and who journals its end. Invariants: an accepted call tells its end exactly
//! once; a cancelled or late call tells it only when nothing of it runs any more (unless the supervisor itself is
//! stopped); a panic ends its own call and nothing else; nothing waits in an unbounded queue; two calls that work on
//! the same thing never overlap; a call that has crashed twice is dead.
//!
//! **Limits**: per skill, as many calls at once as its manifest says and [`WAITING_MAX`] that wait for their turn;
//! over all skills, as many as the task supervisor allows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use supervisors::{Admission, Permit, TaskExit, TaskRefused, Tasks};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::domain::effect::Interrupted;
use crate::domain::fault::Fault;
use crate::domain::name::SkillName;

use super::exhaustion::call_patiently;
use super::meter::{LaneDepth, Meter};
use super::poison::{CRASHES_MAX, CallName, Poison};
use super::resource::{self, Resources};
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
    /// The call has crashed its worker so often that it is not made any more.
    DeadLettered {
        /// Names it by skill and arguments.
        call: CallName,
        /// What the worker said last.
        text: String,
    },
    /// It was cancelled by its ticket, or its supervisor was stopped.
    Cancelled {
        /// Whether it had begun, and what it sent to others may be done there all the same.
        lost: bool,
    },
    /// The skill did not keep its deadline and was dropped; how far it came is not known.
    TimedOut,
}

impl WorkerEnd {
    /// The word for figures.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Finished(Ok(end)) if end.outcome.is_error => "error",
            Self::Finished(Ok(_)) => "ok",
            Self::Finished(Err(_)) => "failed",
            Self::Panicked(_) => "crashed",
            Self::TimedOut => "timed_out",
            Self::Cancelled { .. } => "cancelled",
            Self::DeadLettered { .. } => "dead_lettered",
        }
    }
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
    /// The call has crashed its workers before and is not made any more.
    #[error("not made: this call of {skill} crashed its worker {CRASHES_MAX} times: {text} [OC-5035]")]
    DeadLettered {
        /// Which skill.
        skill: SkillName,
        /// What the worker said last.
        text: Arc<str>,
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
            Self::DeadLettered { .. } => Fault::Bug,
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
    resources: Resources,
    poison: Poison,
    meter: Meter,
    margin: Duration,
}

/// Hears how a call ended.
type OnEnd = Box<dyn FnOnce(WorkerEnd) + Send>;

/// One accepted call, over all its tries.
struct Accepted {
    workers: Workers,
    skill: Arc<dyn Skill>,
    order: CallOrder,
    call: CallName,
    running: Admission,
    cancelled: Arc<Notify>,
    until: Instant,
    /// When its turn came first.
    begun: Arc<OnceLock<Instant>>,
    on_end: OnEnd,
    place: Permit,
}

impl Workers {
    /// Makes calls as tasks of this supervisor.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            tasks,
            lanes: Arc::default(),
            resources: Resources::default(),
            poison: Poison::default(),
            meter: Meter::default(),
            margin: MARGIN,
        }
    }

    /// The same with its calls counted and timed.
    #[must_use]
    pub(super) fn metered(mut self, meter: Meter) -> Self {
        self.meter = meter;
        self
    }

    /// The calls that crash their workers.
    pub fn poison(&self) -> &Poison {
        &self.poison
    }

    /// Accepts a call, to be made as soon as it is its turn. `on_end` is called exactly once for an accepted call,
    /// from its own task; it must not block. A call that may be made again is made a second time when it crashes its
    /// worker.
    ///
    /// **Cancel**: by the ticket only.
    pub fn call<E>(&self, skill: Arc<dyn Skill>, order: CallOrder, on_end: E) -> Result<CallTicket, CallRefused>
    where
        E: FnOnce(WorkerEnd) + Send + 'static,
    {
        let name = skill.manifest().name.clone();
        let call = CallName::of(&name, &order.arguments);
        if let Some(text) = self.poison.of_dead(order.run, &call) {
            return Err(CallRefused::DeadLettered { skill: name, text });
        }
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
        let accepted = Accepted {
            workers: self.clone(),
            until: Instant::now() + order.deadline,
            skill,
            order,
            call,
            running: lane.running,
            cancelled,
            begun: Arc::default(),
            on_end: Box::new(on_end),
            place,
        };
        match accepted.start() {
            Ok(()) => Ok(ticket),
            Err(TaskRefused::Overloaded { capacity }) => Err(CallRefused::Overloaded { running: capacity }),
            Err(_) => Err(CallRefused::Down),
        }
    }

    /// Calls of this skill that run or wait.
    pub fn accepted(&self, skill: &SkillName) -> usize {
        self.lanes().get(skill).map_or(0, |lane| lane.accepted.depth())
    }

    /// How many calls of each skill that has been called wait and run.
    pub(super) fn depths(&self) -> Vec<LaneDepth> {
        let lanes = self.lanes();
        let depths = lanes.iter().map(|(skill, lane)| {
            let running = lane.running.depth();
            LaneDepth {
                skill: skill.clone(),
                waiting: lane.accepted.depth().saturating_sub(running),
                running,
            }
        });
        depths.collect()
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

impl Accepted {
    /// Starts one try as a task of its own, so that a crash ends the try and nothing else.
    fn start(self) -> Result<(), TaskRefused> {
        let mut order = self.order.clone();
        order.deadline = self.until.saturating_duration_since(Instant::now());
        let work = work(Try {
            skill: Arc::clone(&self.skill),
            order,
            margin: self.workers.margin,
            resources: self.workers.resources.clone(),
            running: self.running.clone(),
            cancelled: Arc::clone(&self.cancelled),
            begun: Arc::clone(&self.begun),
        });
        let tasks = self.workers.tasks.clone();
        let name = self.skill.manifest().name.clone();
        let spawned = tasks.spawn(name.as_str(), work, move |exit| self.ended(exit));
        spawned.map(drop)
    }

    fn ended(self, exit: TaskExit<WorkerEnd>) {
        let end = match exit {
            TaskExit::Done(WorkerEnd::Finished(Err(SkillError::Thread { source, .. }))) if source.is_panic() => {
                return self.crashed(source.to_string());
            }
            // A server that is lost again and again in the same call is lost for all others too.
            TaskExit::Done(WorkerEnd::Finished(Err(error @ SkillError::ServerLost { .. }))) => {
                let text = error.to_string();
                let times = self.workers.poison.crashed(self.order.run, &self.call, &text);
                if times >= CRASHES_MAX {
                    return self.dead(text);
                }
                WorkerEnd::Finished(Err(error))
            }
            TaskExit::Done(end) => end,
            TaskExit::Panicked(text) => return self.crashed(text),
            TaskExit::Cancelled => WorkerEnd::Cancelled {
                lost: self.begun.get().is_some() && !self.skill.ends_when_cancelled(),
            },
        };
        self.tell(end);
    }

    /// Makes it again when it may be, unless it has crashed often enough.
    fn crashed(self, text: String) {
        let skill = self.skill.manifest().name.clone();
        tracing::error!(%skill, run = %self.order.run, %text, "a call crashed its worker");
        let times = self.workers.poison.crashed(self.order.run, &self.call, &text);
        if times >= CRASHES_MAX {
            return self.dead(text);
        }
        let class = self.skill.class_of(&self.order.arguments);
        let may_repeat = class.when_interrupted() == Interrupted::MakeAgain;
        if !may_repeat || self.until <= Instant::now() {
            return self.tell(WorkerEnd::Panicked(text));
        }
        // The end is told by whoever comes to it; a supervisor that is stopping takes no more tries.
        let told = Arc::new(Mutex::new(Some(self.on_end)));
        let tell = |told: &Mutex<Option<OnEnd>>, end: WorkerEnd| {
            let on_end = told.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(on_end) = on_end {
                on_end(end);
            }
        };
        let next = {
            let told = Arc::clone(&told);
            Self {
                on_end: Box::new(move |end| tell(&told, end)),
                ..self
            }
        };
        if next.start().is_err() {
            tell(&told, WorkerEnd::Panicked(text));
        }
    }

    fn dead(self, text: String) {
        let call = self.call.clone();
        self.tell(WorkerEnd::DeadLettered { call, text });
    }

    fn tell(self, end: WorkerEnd) {
        let lasted = self.begun.get().map(Instant::elapsed);
        self.workers
            .meter
            .ended(&self.skill.manifest().name, end.word(), lasted);
        // Its place is free before anybody hears of its end.
        let Self { on_end, place, .. } = self;
        drop(place);
        on_end(end);
    }
}

/// One try at a call.
struct Try {
    skill: Arc<dyn Skill>,
    order: CallOrder,
    margin: Duration,
    resources: Resources,
    running: Admission,
    cancelled: Arc<Notify>,
    begun: Arc<OnceLock<Instant>>,
}

async fn work(this: Try) -> WorkerEnd {
    let Try {
        skill,
        mut order,
        margin,
        resources,
        running,
        cancelled,
        begun,
    } = this;
    let until = Instant::now() + order.deadline;
    let keys = resource::of(skill.manifest(), &order.arguments, &order.workspace);
    // Things first: whoever holds a turn waits for nothing else, so no two calls wait for each other.
    let turn = async {
        let held = resources.take(keys, order.deadline).await?;
        let left = until.saturating_duration_since(Instant::now());
        Some((held, running.admit(left).await.ok()?))
    };
    let turn = tokio::select! {
        biased;
        () = cancelled.notified() => return WorkerEnd::Cancelled { lost: false },
        turn = turn => turn,
    };
    let Some(_turn) = turn else {
        let waited_ms = order.deadline.as_millis() as u64;
        return WorkerEnd::Finished(Err(SkillError::NotStarted { waited_ms }));
    };
    // A second try counts from the first one.
    let _ = begun.set(Instant::now());
    let own_limit = Duration::from_millis(skill.manifest().timeout_ms);
    order.deadline = until.saturating_duration_since(Instant::now()).min(own_limit);
    let (key, limit) = (order.key, order.deadline + margin);
    let class = skill.class_of(&order.arguments);
    let call = call_patiently(class, order.deadline, |deadline| {
        skill.call(CallOrder {
            deadline,
            ..order.clone()
        })
    });
    let dropped = tokio::select! {
        biased;
        // An end that is there already counts for more than a cancellation that comes too late.
        ended = timeout(limit, call) => match ended {
            Ok(end) => return WorkerEnd::Finished(end),
            Err(_) => WorkerEnd::TimedOut,
        },
        () = cancelled.notified() => WorkerEnd::Cancelled {
            lost: !skill.ends_when_cancelled(),
        },
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
        begun: Arc<AtomicUsize>,
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
            let (running, most, gate, begun) = (
                Arc::clone(&self.running),
                Arc::clone(&self.most),
                Arc::clone(&self.gate),
                Arc::clone(&self.begun),
            );
            Box::pin(async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                let _leave = Leave(running);
                begun.fetch_add(1, Ordering::SeqCst);
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
            begun: Arc::default(),
        })
    }

    /// The same with another name, class and things that its calls work on.
    fn named(name: &str, class: EffectClass, resources: &[&str]) -> Arc<Scripted> {
        let mut skill = Arc::into_inner(scripted(4)).expect("nobody else has it");
        skill.manifest.name = SkillName::new(name).expect("name");
        skill.manifest.class = class;
        skill.manifest.resources = resources.iter().map(|name| (*name).into()).collect();
        Arc::new(skill)
    }

    fn order(what: &str, deadline: Duration) -> CallOrder {
        let (run, step) = (RunId::new(UtcMillis(1), 1), StepId::new("s").expect("id"));
        CallOrder {
            key: EffectKey::derive(run, &step, 1, 0),
            run,
            step,
            arguments: json!({"do": what}),
            workspace: std::path::Path::new("/").into(),
            granted: None,
            agreed: false,
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
        assert!(matches!(ends.recv().await, Some(WorkerEnd::Cancelled { lost: true })));
        assert_eq!(
            skill.settled.load(Ordering::SeqCst),
            2,
            "the late and the cancelled one"
        );
        call("hang", LONG);
        tokio::task::yield_now().await;
        root.shutdown().await;
        assert!(matches!(ends.recv().await, Some(WorkerEnd::Cancelled { lost: true })));
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
        assert!(matches!(ends.recv().await, Some(WorkerEnd::Cancelled { lost: false })));
        assert_eq!(skill.settled.load(Ordering::SeqCst), 0);
        first.cancel();
        assert!(matches!(ends.recv().await, Some(WorkerEnd::Cancelled { lost: true })));
        root.shutdown().await;
    }

    #[tokio::test]
    async fn a_call_that_crashes_its_worker_twice_is_dead_and_others_go_on() {
        let (workers, root) = workers(64).await;
        let call = async |skill: &Arc<Scripted>, what: &str| {
            let (told, ended) = tokio::sync::oneshot::channel();
            let on_end = move |end| drop(told.send(end));
            match workers.call(skill.clone(), order(what, LONG), on_end) {
                Ok(_) => Ok(ended.await.expect("told")),
                Err(refused) => Err(refused),
            }
        };
        let begun = |skill: &Scripted| skill.begun.load(Ordering::SeqCst);
        // What may be made again is, once; then it is dead, also for whoever asks again.
        let reads = named("reads", EffectClass::Read, &[]);
        let end = call(&reads, "panic").await.expect("accepted");
        assert!(
            matches!(&end, WorkerEnd::DeadLettered { text, .. } if text.contains("as told")),
            "{end:?}"
        );
        assert_eq!(begun(&reads), 2);
        let refused = call(&reads, "panic").await.expect_err("dead");
        assert!(matches!(&refused, CallRefused::DeadLettered { .. }), "{refused}");
        assert_eq!((begun(&reads), refused.fault()), (2, Fault::Bug));
        // What may happen once is not made again by the machine; a person who has it made again is told the second
        // time.
        let once = named("once", EffectClass::Once, &[]);
        let end = call(&once, "panic").await.expect("accepted");
        assert!(matches!(end, WorkerEnd::Panicked(_)), "{end:?}");
        assert_eq!(begun(&once), 1);
        let end = call(&once, "panic").await.expect("accepted");
        assert!(matches!(end, WorkerEnd::DeadLettered { .. }), "{end:?}");
        // Another call of the same skill is another call, and every place is free again.
        reads.gate.add_permits(1);
        let end = call(&reads, "end").await.expect("accepted");
        assert!(matches!(end, WorkerEnd::Finished(Ok(_))), "{end:?}");
        assert_eq!(workers.accepted(&reads.manifest.name), 0);
        root.shutdown().await;
    }

    #[tokio::test]
    async fn two_calls_on_the_same_thing_never_overlap_whichever_skills_they_are_of() {
        let (workers, root) = workers(64).await;
        let one = named("one", EffectClass::Once, &["do"]);
        let mut other = Arc::into_inner(named("other", EffectClass::Once, &["do"])).expect("nobody else has it");
        // Both count together.
        (other.running, other.most) = (Arc::clone(&one.running), Arc::clone(&one.most));
        (other.gate, other.begun) = (Arc::clone(&one.gate), Arc::clone(&one.begun));
        let other = Arc::new(other);
        let (told, mut ends) = mpsc::channel(64);
        let call = |skill: &Arc<Scripted>, what: &str| {
            let told = told.clone();
            let on_end = move |end| told.try_send(end).expect("room");
            drop(
                workers
                    .call(skill.clone(), order(what, LONG), on_end)
                    .expect("accepted"),
            );
        };
        for _ in 0..4 {
            call(&one, "same");
            call(&other, "same");
        }
        one.gate.add_permits(8);
        for _ in 0..8 {
            assert!(matches!(ends.recv().await, Some(WorkerEnd::Finished(Ok(_)))));
        }
        assert_eq!(one.most.load(Ordering::SeqCst), 1, "one at a time");
        // Other things are worked on at the same time.
        call(&one, "this");
        call(&other, "that");
        while one.running.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        one.gate.add_permits(2);
        for _ in 0..2 {
            assert!(matches!(ends.recv().await, Some(WorkerEnd::Finished(Ok(_)))));
        }
        root.shutdown().await;
    }
}
