//! Actors for the tests: they do what they are told and leave a trace.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use supervisors::{ChildSpec, Report, StartContext};

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
