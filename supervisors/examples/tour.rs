//! A small tree: a store, a group of sessions that need it, and tasks. Things go wrong, and the tree is drawn in between.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use supervisors::{
    ChildSpec, DynamicSpec, Report, Restart, SnapshotStrategy, Strategy, Supervisor, SupervisorRef, SupervisorSpec,
    TaskSupervisor, TreeSnapshot,
};

struct Talker;

enum Say {
    Hello(RpcReplyPort<String>),
    Panic,
}

impl Actor for Talker {
    type Msg = Say;
    type State = String;
    type Arguments = String;

    async fn pre_start(&self, _: ActorRef<Say>, name: String) -> Result<String, ActorProcessingErr> {
        Ok(name)
    }

    async fn handle(&self, _: ActorRef<Say>, say: Say, name: &mut String) -> Result<(), ActorProcessingErr> {
        match say {
            Say::Hello(reply) => drop(reply.send(format!("hello from {name}"))),
            Say::Panic => panic!("{name} was asked to"),
        }
        Ok(())
    }
}

fn draw(line: &TreeSnapshot, depth: usize) {
    let strategy = line.strategy.map_or("", SnapshotStrategy::as_str);
    println!(
        "{:indent$}{:<12} {:<10} #{} {strategy}",
        "",
        line.id,
        line.status.as_str(),
        line.incarnation,
        indent = depth * 2
    );
    for child in &line.children {
        draw(child, depth + 1);
    }
}

async fn show(title: &str, root: &SupervisorRef) {
    println!("\n{title}");
    if let Ok(tree) = root.snapshot().await {
        draw(&tree, 1);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = ChildSpec::actor("store", |_| (Talker, String::from("the store")));
    let store_address = store.address::<Say>();

    let sessions = DynamicSpec::actor(|_, user: String| (Talker, user))
        .restart(Restart::Transient)
        .max_children(100);
    let session_handle = sessions.handle();

    let tasks = TaskSupervisor::new(16);
    let task_handle = tasks.handle();

    let root = SupervisorSpec::new(Strategy::RestForOne)
        .intensity(2, Duration::from_secs(60))
        .child(store)
        .child(ChildSpec::dynamic("sessions", sessions))
        .child(ChildSpec::tasks("tasks", tasks))
        .report_to(Arc::new(|report: &Report| {
            let child = report.child.as_ref().map_or("", |id| id.as_str());
            println!("  · {}/{child} {}", report.supervisor, report.fact.name());
        }));
    let root = Supervisor::start("root", root).await?;

    let ada = session_handle.start_child("ada", "Ada".into()).await?;
    println!("{}", ada.call(Say::Hello, Duration::from_secs(1)).await?);
    task_handle.spawn("greet", async { "hello from a task" }, |exit| println!("{exit:?}"))?;
    show("all is well", &root).await;

    ada.cast(Say::Panic)?;
    while ada.incarnation() < 2 || !ada.is_up() {
        tokio::task::yield_now().await;
    }
    println!("{}", ada.call(Say::Hello, Duration::from_secs(1)).await?);
    show("Ada's session crashed: only it was restarted", &root).await;

    store_address.cast(Say::Panic)?;
    while store_address.incarnation() < 2 || root.count_children().await?.active < 3 {
        tokio::task::yield_now().await;
    }
    show(
        "the store crashed: what stands on it was restarted too, and dynamic children are gone",
        &root,
    )
    .await;

    println!("\nroot ended: {}", root.shutdown().await);
    Ok(())
}
