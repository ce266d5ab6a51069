//! Actors for the tests: they do what they are told and leave a trace.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a test stops where its assumption fails, and uses its part of these"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use supervisors::{
    Backoff, ChildInfo, ChildRef, ChildSpec, ChildStatus, DynamicSpec, ExitReason, Report, StartContext, Strategy,
    Supervisor, SupervisorRef, SupervisorSpec,
};

/// What has happened, in order.
#[derive(Clone, Default)]
pub struct Log {
    events: Arc<Mutex<Vec<String>>>,
    facts: Arc<Mutex<Vec<String>>>,
}

impl Log {
    pub fn push(&self, event: impl Into<String>) {
        self.events.lock().unwrap().push(event.into());
    }

    pub fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    pub fn clear(&self) {
        self.events.lock().unwrap().clear();
        self.facts.lock().unwrap().clear();
    }

    pub fn facts(&self) -> Vec<String> {
        self.facts.lock().unwrap().clone()
    }

    pub fn sink(&self) -> Arc<dyn Fn(&Report) + Send + Sync> {
        let facts = Arc::clone(&self.facts);
        Arc::new(move |report| {
            let subject = report
                .child
                .as_ref()
                .map_or(report.supervisor.as_str(), |id| id.as_str());
            facts.lock().unwrap().push(format!("{subject} {}", report.fact.name()));
        })
    }
}

pub enum Worker {
    Ping(RpcReplyPort<u64>),
    Panic,
    Fail,
    /// Stop with this reason.
    Exit(Option<&'static str>),
}

pub struct WorkerActor {
    id: String,
    incarnation: u64,
    log: Log,
}

impl Actor for WorkerActor {
    type Msg = Worker;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Worker>, (): ()) -> Result<(), ActorProcessingErr> {
        self.log.push(format!("start {} {}", self.id, self.incarnation));
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Worker>, message: Worker, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match message {
            Worker::Ping(reply) => drop(reply.send(self.incarnation)),
            Worker::Panic => {
                self.log.push(format!("panic {} {}", self.id, self.incarnation));
                panic!("asked to");
            }
            Worker::Fail => return Err("asked to fail".into()),
            Worker::Exit(reason) => me.stop(reason.map(str::to_owned)),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Worker>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.log.push(format!("stop {} {}", self.id, self.incarnation));
        Ok(())
    }
}

pub fn make(context: &StartContext, log: &Log) -> (WorkerActor, ()) {
    let actor = WorkerActor {
        id: context.id().to_string(),
        incarnation: context.incarnation(),
        log: log.clone(),
    };
    (actor, ())
}

pub fn worker(id: &str, log: &Log) -> ChildSpec {
    let log = log.clone();
    ChildSpec::actor(id, move |context| make(&context, &log))
}

/// Waits for a level, with a bound; time is paused, so this costs nothing.
pub async fn eventually(level: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if level() {
            return;
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
    }
    panic!("the level was not reached");
}

/// What a start is to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPlan {
    Fail,
    Panic,
    Ignore,
    /// Never comes to an end.
    Hang,
}

/// How a child is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Normal,
    Shutdown,
    ShutdownWith,
    Panic,
    Error,
    Odd,
    Kill,
}

impl How {
    pub const ORDERLY: [Self; 3] = [Self::Normal, Self::Shutdown, Self::ShutdownWith];
    pub const ABNORMAL: [Self; 4] = [Self::Panic, Self::Error, Self::Odd, Self::Kill];
}

#[derive(Default)]
struct Script {
    /// What the next starts come to; when it is empty they succeed.
    starts: Vec<StartPlan>,
    /// Every start fails until this is lifted.
    always: Option<StartPlan>,
    /// How long `post_stop` takes.
    stop_takes: Duration,
}

/// A child for the tests: its specification, its address, and a script for its starts.
#[derive(Clone)]
pub struct Kid {
    pub id: String,
    pub at: ChildRef<Order>,
    spec: ChildSpec,
    script: Arc<Mutex<Script>>,
}

pub enum Order {
    Ping(RpcReplyPort<u64>),
    End(How),
    /// Leave the supervisor.
    Unlink,
}

struct KidActor {
    id: String,
    incarnation: u64,
    log: Log,
    script: Arc<Mutex<Script>>,
}

impl Actor for KidActor {
    type Msg = Order;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Order>, (): ()) -> Result<(), ActorProcessingErr> {
        let plan = {
            let mut script = self.script.lock().unwrap();
            if script.starts.is_empty() {
                script.always
            } else {
                Some(script.starts.remove(0))
            }
        };
        match plan {
            None => {
                self.log.push(format!("+{}", self.id));
                Ok(())
            }
            Some(StartPlan::Fail) => Err("start refused".into()),
            Some(StartPlan::Panic) => panic!("start panicked"),
            Some(StartPlan::Ignore) => Err(Box::new(supervisors::Ignore)),
            Some(StartPlan::Hang) => std::future::pending().await,
        }
    }

    async fn handle(&self, me: ActorRef<Order>, order: Order, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Ping(reply) => drop(reply.send(self.incarnation)),
            Order::End(How::Normal) => me.stop(None),
            Order::End(How::Shutdown) => me.stop(Some("shutdown".into())),
            Order::End(How::ShutdownWith) => me.stop(Some("shutdown: term".into())),
            Order::End(How::Odd) => me.stop(Some("odd".into())),
            Order::End(How::Kill) => me.kill(),
            Order::End(How::Error) => return Err("asked to fail".into()),
            Order::End(How::Panic) => panic!("asked to panic"),
            Order::Unlink => {
                if let Some(supervisor) = me.try_get_supervisor() {
                    me.unlink(supervisor);
                }
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Order>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        let takes = self.script.lock().unwrap().stop_takes;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        self.log.push(format!("-{}", self.id));
        Ok(())
    }
}

impl Kid {
    pub fn new(id: &str, log: &Log) -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let spec = {
            let (log, script) = (log.clone(), Arc::clone(&script));
            ChildSpec::actor(id, move |context: StartContext| {
                let (id, incarnation) = (context.id().to_string(), context.incarnation());
                (
                    KidActor {
                        id,
                        incarnation,
                        log: log.clone(),
                        script: Arc::clone(&script),
                    },
                    (),
                )
            })
            .backoff(Backoff::none())
        };
        Self {
            id: id.to_owned(),
            at: spec.address(),
            spec,
            script,
        }
    }

    pub fn spec(&self) -> ChildSpec {
        self.spec.clone()
    }

    /// The next starts come to this.
    pub fn starts(&self, plans: impl IntoIterator<Item = StartPlan>) -> &Self {
        self.script.lock().unwrap().starts.extend(plans);
        self
    }

    /// Every start from now on comes to this.
    pub fn always(&self, plan: impl Into<Option<StartPlan>>) -> &Self {
        self.script.lock().unwrap().always = plan.into();
        self
    }

    pub fn stop_takes(&self, time: Duration) -> &Self {
        self.script.lock().unwrap().stop_takes = time;
        self
    }

    /// Lets it end, and everything that follows from that happen.
    pub async fn end(&self, how: How) {
        self.send_end(how);
        settle().await;
    }

    pub fn send_end(&self, how: How) {
        end(&self.at, how);
    }
}

pub fn end(at: &ChildRef<Order>, how: How) {
    if how == How::Kill {
        at.get().expect("a child to kill").kill();
    } else {
        at.cast(Order::End(how)).expect("a child to end");
    }
}

/// A dynamic supervisor of such children; the script is shared by all of them.
pub fn dynamic(log: &Log) -> (DynamicSpec<String, Order>, Kid) {
    let kid = Kid::new("template", log);
    let spec = {
        let (log, script) = (log.clone(), Arc::clone(&kid.script));
        DynamicSpec::actor(move |context: StartContext, _arg: String| {
            let (id, incarnation) = (context.id().to_string(), context.incarnation());
            (
                KidActor {
                    id,
                    incarnation,
                    log: log.clone(),
                    script: Arc::clone(&script),
                },
                (),
            )
        })
        .backoff(Backoff::none())
    };
    (spec, kid)
}

/// Lets everything happen that can happen now: paused time only moves when nothing else is to be done.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// The children as one line: `a#1` runs in its first incarnation, `b:down` does not run.
pub async fn which(supervisor: &SupervisorRef) -> String {
    match supervisor.which_children().await {
        Ok(children) => children.iter().map(line).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

fn line(child: &ChildInfo) -> String {
    match child.status {
        ChildStatus::Running => format!("{}#{}", child.id, child.incarnation),
        status => format!("{}:{}", child.id, status.as_str()),
    }
}

/// The counts as (specs, active, supervisors, workers).
pub async fn count(supervisor: &SupervisorRef) -> (usize, usize, usize, usize) {
    let counts = supervisor.count_children().await.unwrap();
    (counts.specs, counts.active, counts.supervisors, counts.workers)
}

/// A static supervisor of these children that bears `restarts` in an hour.
pub fn tree(strategy: Strategy, restarts: u32, children: impl IntoIterator<Item = ChildSpec>) -> SupervisorSpec {
    SupervisorSpec::new(strategy)
        .intensity(restarts, Duration::from_secs(3600))
        .children(children)
}

pub async fn start(spec: SupervisorSpec) -> SupervisorRef {
    Supervisor::start("sup", spec).await.expect("the tree to start")
}

/// Tells whether the supervisor ended in an orderly way, as one that gave up does.
pub fn gave_up(supervisor: &SupervisorRef) -> bool {
    supervisor.cell().is_none()
        && supervisor.last_exit() == Some(ExitReason::ShutdownWith("restart intensity reached".into()))
}
