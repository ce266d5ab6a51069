//! The rival with a supervisor built in: `kameo`, with its own restarts, references and stop.
//!
//! What it does differently from ours, and the figures beside each other do not say: a start returns before the child has
//! come up (so all are awaited here at the end), a stop tells all children at once instead of one by one in reverse order,
//! and a restart does not back off.

use std::time::Duration;

use kameo::{
    Actor,
    actor::{ActorRef, Spawn},
    error::Infallible,
    message::{Context, Message},
};
use tokio::sync::mpsc;

use super::{
    ACTORS, Begun, RESTARTS, Row, STORM, Times, block_on, resident_bytes,
    storm::{Storm, print_storms},
};

struct Root;

impl Actor for Root {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

/// Tells whoever listens that it is up.
type Up = Option<mpsc::Sender<ActorRef<Child>>>;

struct Child {
    served: u64,
}

impl Actor for Child {
    type Args = Up;
    type Error = Infallible;

    async fn on_start(up: Up, me: ActorRef<Self>) -> Result<Self, Infallible> {
        if let Some(up) = up {
            let _ = up.try_send(me);
        }
        Ok(Self { served: 0 })
    }
}

struct Panic;

impl Message<Panic> for Child {
    type Reply = ();

    async fn handle(&mut self, _: Panic, _: &mut Context<Self, ()>) {
        panic!("asked to")
    }
}

struct Ping;

impl Message<Ping> for Child {
    type Reply = u64;

    async fn handle(&mut self, _: Ping, _: &mut Context<Self, u64>) -> u64 {
        self.served += 1;
        self.served
    }
}

async fn start(root: &ActorRef<Root>, up: Up) -> ActorRef<Child> {
    Child::supervise(root, up)
        .restart_limit(u32::MAX, Duration::from_secs(1))
        .spawn()
        .await
}

async fn stop(root: ActorRef<Root>) {
    let _ = root.stop_gracefully().await;
    root.wait_for_shutdown().await;
}

/// From the panic's order to the first answer of the restarted child.
pub(crate) fn restart() {
    block_on(async {
        let (up, mut ups) = mpsc::channel(4);
        let root = Root::spawn(());
        start(&root, Some(up)).await;
        let mut current = ups.recv().await.expect("a child");
        let mut times = Times::default();
        for round in 0..RESTARTS + 1_000 {
            let before = std::time::Instant::now();
            let _ = current.tell(Panic).await;
            current = ups.recv().await.expect("the next incarnation");
            let _ = current.ask(Ping).await.expect("an answer");
            if round >= 1_000 {
                times.push(before.elapsed());
            }
        }
        times.print("panic to restarted child's answer", "kameo");
        stop(root).await;
    });
}

pub(crate) fn many() {
    block_on(async {
        let root = Root::spawn(());
        root.wait_for_startup().await;
        let mut children = Vec::with_capacity(ACTORS);
        let before_bytes = resident_bytes();
        let before = Begun::now();
        for _ in 0..ACTORS {
            children.push(start(&root, None).await);
        }
        for child in &children {
            child.wait_for_startup().await;
        }
        let start = before.end();
        let bytes = resident_bytes() - before_bytes;
        let before = Begun::now();
        stop(root).await;
        Row {
            who: "kameo, stop all at once",
            number: ACTORS,
            start,
            bytes,
            stop: before.end(),
        }
        .print();
    });
}

pub(crate) fn storm() {
    block_on(async {
        let mut storms = Vec::new();
        for _ in 0..50 {
            let (up, mut ups) = mpsc::channel(STORM * 2);
            let root = Root::spawn(());
            let mut children = Vec::with_capacity(STORM);
            for _ in 0..STORM {
                children.push(start(&root, Some(up.clone())).await);
            }
            let calm = start(&root, None).await;
            for _ in 0..STORM {
                ups.recv().await.expect("a child");
            }
            let storm = Storm::watch(move || {
                let calm = calm.clone();
                async move { calm.ask(Ping).await.expect("the sibling serves") }
            });
            for child in &children {
                child.tell(Panic).await.expect("a child to crash");
            }
            for _ in 0..STORM {
                ups.recv().await.expect("the next incarnation");
            }
            storms.push(storm.end().await);
            stop(root).await;
        }
        print_storms(storms, "kameo");
    });
}
