//! The floors: ractor with a supervisor written by hand, and tokio tasks without actors.

use std::time::Instant;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};

use super::{
    ACTORS, Begun, RESTARTS, Row, STORM, Times, block_on,
    ours::{Child, Order},
    resident_bytes,
    storm::{Storm, print_storms},
};

/// Restarts its one child whatever happens: no limits, no order, no waiting for what it held.
struct ByHand(Option<mpsc::Sender<ActorRef<Order>>>);

impl Actor for ByHand {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        if self.0.is_some() {
            Actor::spawn_linked(None, Child { up: self.0.clone() }, (), me.get_cell()).await?;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if matches!(event, SupervisionEvent::ActorFailed(..)) {
            Actor::spawn_linked(None, Child { up: self.0.clone() }, (), me.get_cell()).await?;
        }
        Ok(())
    }
}

pub(crate) fn ractor_restart() {
    block_on(async {
        let (up, mut ups) = mpsc::channel(4);
        let (root, joined) = Actor::spawn(None, ByHand(Some(up)), ()).await.expect("a supervisor");
        let mut current = ups.recv().await.expect("a child");
        let mut times = Times::default();
        for round in 0..RESTARTS + 1_000 {
            let before = Instant::now();
            let _ = current.cast(Order::Panic);
            current = ups.recv().await.expect("the next one");
            let _ = ractor::call!(current, Order::Ping).expect("an answer");
            if round >= 1_000 {
                times.push(before.elapsed());
            }
        }
        times.print("panic to restarted child's answer", "ractor by hand");
        root.stop(None);
        let _ = joined.await;
    });
}

/// The least a storm can cost on ractor: nothing is decided, everybody is started again at once.
pub(crate) fn ractor_storm() {
    block_on(async {
        let mut storms = Vec::new();
        for _ in 0..50 {
            let (up, mut ups) = mpsc::channel(STORM * 2);
            let (root, joined) = Actor::spawn(None, ByHand(Some(up.clone())), ())
                .await
                .expect("a supervisor");
            // Its own child is one of them.
            for _ in 1..STORM {
                let child = Child { up: Some(up.clone()) };
                Actor::spawn_linked(None, child, (), root.get_cell())
                    .await
                    .expect("a child");
            }
            let calm = Actor::spawn_linked(None, Child { up: None }, (), root.get_cell()).await;
            let (calm, _) = calm.expect("a sibling");
            let mut children = Vec::with_capacity(STORM);
            for _ in 0..STORM {
                children.push(ups.recv().await.expect("a child"));
            }
            let storm = Storm::watch(move || {
                let calm = calm.clone();
                async move { ractor::call!(calm, Order::Ping).expect("the sibling serves") }
            });
            for child in &children {
                child.cast(Order::Panic).expect("a child to crash");
            }
            for _ in 0..STORM {
                ups.recv().await.expect("the next one");
            }
            storms.push(storm.end().await);
            root.stop(None);
            let _ = joined.await;
        }
        print_storms(storms, "ractor by hand");
    });
}

enum TaskOrder {
    Panic,
    Ping(oneshot::Sender<u64>),
}

async fn task(mut orders: mpsc::Receiver<TaskOrder>) {
    let mut served = 0;
    while let Some(order) = orders.recv().await {
        match order {
            TaskOrder::Panic => panic!("asked to"),
            TaskOrder::Ping(reply) => {
                served += 1;
                let _ = reply.send(served);
            }
        }
    }
}

pub(crate) fn tokio_restart() {
    block_on(async {
        let (up, mut ups) = mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let (sender, orders) = mpsc::channel(16);
                let running = tokio::spawn(task(orders));
                if up.send(sender).await.is_err() || running.await.is_ok() {
                    return;
                }
            }
        });
        let mut current = ups.recv().await.expect("a task");
        let mut times = Times::default();
        for round in 0..RESTARTS + 1_000 {
            let before = Instant::now();
            let _ = current.send(TaskOrder::Panic).await;
            current = ups.recv().await.expect("the next one");
            let (reply, answer) = oneshot::channel();
            let _ = current.send(TaskOrder::Ping(reply)).await;
            let _ = answer.await.expect("an answer");
            if round >= 1_000 {
                times.push(before.elapsed());
            }
        }
        times.print("panic to restarted child's answer", "tokio by hand");
    });
}

pub(crate) fn ractor_many() {
    block_on(async {
        let (root, joined) = Actor::spawn(None, ByHand(None), ()).await.expect("a supervisor");
        let mut children = Vec::with_capacity(ACTORS);
        let before_bytes = resident_bytes();
        let before = Begun::now();
        for _ in 0..ACTORS {
            let spawned = Actor::spawn_linked(None, Child { up: None }, (), root.get_cell()).await;
            children.push(spawned.expect("a child"));
        }
        let start = before.end();
        let bytes = resident_bytes() - before_bytes;
        let before = Begun::now();
        // In order, one by one, as a supervisor must.
        for (child, joined) in children.into_iter().rev() {
            child.stop(None);
            let _ = joined.await;
        }
        Row {
            who: "ractor alone, in order",
            number: ACTORS,
            start,
            bytes,
            stop: before.end(),
        }
        .print();
        root.stop(None);
        let _ = joined.await;
    });
}

pub(crate) fn tokio_many() {
    block_on(async {
        let mut children = Vec::with_capacity(ACTORS);
        let before_bytes = resident_bytes();
        let before = Begun::now();
        for _ in 0..ACTORS {
            let (sender, orders) = mpsc::channel(16);
            children.push((sender, tokio::spawn(task(orders))));
        }
        let start = before.end();
        let bytes = resident_bytes() - before_bytes;
        let before = Begun::now();
        for (sender, joined) in children.into_iter().rev() {
            drop(sender);
            let _ = joined.await;
        }
        Row {
            who: "tokio alone, in order",
            number: ACTORS,
            start,
            bytes,
            stop: before.end(),
        }
        .print();
    });
}
