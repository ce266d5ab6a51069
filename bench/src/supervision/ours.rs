//! The `supervisors` crate.

use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use supervisors::{Backoff, ChildRef, ChildSpec, DynamicRef, DynamicSpec, Strategy, Supervisor, SupervisorSpec};
use tokio::sync::mpsc;

use super::{
    ACTORS, Begun, RESTARTS, Row, STORM, Times, block_on, resident_bytes,
    storm::{Storm, print_storms},
};

pub(crate) enum Order {
    Panic,
    Ping(RpcReplyPort<u64>),
}

/// Tells whoever listens that it is up.
pub(crate) struct Child {
    pub(crate) up: Option<mpsc::Sender<ActorRef<Order>>>,
}

impl Actor for Child {
    type Msg = Order;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Order>, (): ()) -> Result<u64, ActorProcessingErr> {
        if let Some(up) = &self.up {
            let _ = up.try_send(me);
        }
        Ok(0)
    }

    async fn handle(&self, _: ActorRef<Order>, order: Order, served: &mut u64) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Panic => panic!("asked to"),
            Order::Ping(reply) => {
                *served += 1;
                let _ = reply.send(*served);
            }
        }
        Ok(())
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// From the panic's order to the first answer of the restarted child.
pub(crate) fn restart() {
    block_on(async {
        let (up, mut ups) = mpsc::channel(4);
        let child = ChildSpec::actor("child", move |_| (Child { up: Some(up.clone()) }, ())).backoff(Backoff::none());
        let address = child.address::<Order>();
        let root = SupervisorSpec::new(Strategy::OneForOne)
            .intensity(u32::MAX, SECOND)
            .child(child);
        let root = Supervisor::start("root", root).await.expect("the tree to start");
        let mut current = ups.recv().await.expect("a child");
        let mut times = Times::default();
        for round in 0..RESTARTS + 1_000 {
            let before = Instant::now();
            let _ = current.cast(Order::Panic);
            current = ups.recv().await.expect("the next incarnation");
            let _ = ractor::call!(current, Order::Ping).expect("an answer");
            if round >= 1_000 {
                times.push(before.elapsed());
            }
        }
        times.print("panic to restarted child's answer", "supervisors");
        // The same through the stable address, which is what an application holds.
        let mut times = Times::default();
        for _ in 0..RESTARTS {
            let before = Instant::now();
            let _ = address.cast(Order::Panic);
            let _ = ups.recv().await;
            while address.call(Order::Ping, SECOND).await.is_err() {
                tokio::task::yield_now().await;
            }
            times.push(before.elapsed());
        }
        times.print("  the same through its ChildRef", "supervisors");
        root.shutdown().await;
    });
}

/// A list of children, started in order and stopped in reverse order, one by one.
pub(crate) fn many_static() {
    block_on(async {
        let children = (0..ACTORS).map(|n| ChildSpec::actor(n.to_string(), |_| (Child { up: None }, ())));
        let before_bytes = resident_bytes();
        let before = Begun::now();
        let root = SupervisorSpec::new(Strategy::OneForOne).children(children);
        let root = Supervisor::start("root", root).await.expect("the tree to start");
        let start = before.end();
        let bytes = resident_bytes() - before_bytes;
        assert_eq!(root.count_children().await.expect("a count").active, ACTORS);
        let before = Begun::now();
        root.shutdown().await;
        Row {
            who: "supervisors, static",
            number: ACTORS,
            start,
            bytes,
            stop: before.end(),
        }
        .print();
    });
}

async fn dynamic(number: usize) -> Row {
    let spec = DynamicSpec::actor(|_, _: u64| (Child { up: None }, ()));
    let handle: DynamicRef<u64, Order> = spec.handle();
    let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::dynamic("pool", spec));
    let root = Supervisor::start("root", root).await.expect("the tree to start");
    let before_bytes = resident_bytes();
    let before = Begun::now();
    for n in 0..number {
        handle.start_child(n.to_string(), n as u64).await.expect("a child");
    }
    let start = before.end();
    let bytes = resident_bytes() - before_bytes;
    let before = Begun::now();
    root.shutdown().await;
    Row {
        who: "supervisors, dynamic",
        number,
        start,
        bytes,
        stop: before.end(),
    }
}

/// Children by request, one after the other, stopped all at once.
pub(crate) fn many_dynamic() {
    block_on(async { dynamic(ACTORS).await.print() });
}

/// The same with a hundredth of them: each should cost about as much.
pub(crate) fn few_dynamic() {
    block_on(async {
        dynamic(1_000).await;
        dynamic(1_000).await.print();
    });
}

/// Many children panic at once; how long do calls to their siblings take meanwhile?
pub(crate) fn storm() {
    block_on(async {
        let mut storms = Vec::new();
        for _ in 0..50 {
            let (up, mut ups) = mpsc::channel(STORM * 2);
            let specs = (0..STORM).map(|n| {
                let up = up.clone();
                ChildSpec::actor(n.to_string(), move |_| (Child { up: Some(up.clone()) }, ())).backoff(Backoff::none())
            });
            let specs: Vec<_> = specs.collect();
            let addresses: Vec<ChildRef<Order>> = specs.iter().map(ChildSpec::address).collect();
            let sibling = ChildSpec::actor("sibling", |_| (Child { up: None }, ()));
            let calm = sibling.address::<Order>();
            let root = SupervisorSpec::new(Strategy::OneForOne)
                .intensity(u32::MAX, SECOND)
                .children(specs)
                .child(sibling);
            let root = Supervisor::start("root", root).await.expect("the tree to start");
            for _ in 0..STORM {
                ups.recv().await.expect("a child");
            }
            let storm = Storm::watch(move || {
                let calm = calm.clone();
                async move { calm.call(Order::Ping, SECOND).await.expect("the sibling serves") }
            });
            for address in &addresses {
                address.cast(Order::Panic).expect("a child to crash");
            }
            for _ in 0..STORM {
                ups.recv().await.expect("the next incarnation");
            }
            storms.push(storm.end().await);
            root.shutdown().await;
        }
        print_storms(storms, "supervisors");
    });
}
