//! The first things one does with a tree.

#![allow(clippy::unwrap_used, reason = "a test stops where its assumption fails")]

mod support;

use std::{sync::Arc, time::Duration};

use supervisors::{
    Admission, ApiError, Backoff, CallError, ChildKind, ChildSpec, ChildStatus, DynamicSpec, ExitReason, Restart,
    Strategy, Supervisor, SupervisorSpec, TaskExit, TaskRefused, TaskSupervisor,
};
use support::{Log, Worker, eventually, worker};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_crashed_child_is_back_under_the_same_address() {
    let log = Log::default();
    let spec = worker("a", &log);
    let a = spec.address::<Worker>();
    let root = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(3, SECOND)
        .child(spec)
        .report_to(log.sink());
    let root = Supervisor::start("root", root).await.unwrap();
    assert_eq!(a.incarnation(), 1);
    assert_eq!(a.call(Worker::Ping, SECOND).await, Ok(1));
    a.cast(Worker::Panic).unwrap();
    eventually(|| a.incarnation() == 2 && a.is_up()).await;
    assert_eq!(a.call(Worker::Ping, SECOND).await, Ok(2));
    assert_eq!(root.shutdown().await, ExitReason::Shutdown);
    assert!(matches!(a.call(Worker::Ping, SECOND).await, Err(CallError::Down(_))));
    assert_eq!(log.events(), ["start a 1", "panic a 1", "start a 2", "stop a 2"]);
    assert_eq!(
        log.facts(),
        ["a started", "a exited", "a restarting", "a started", "a exited"]
    );
}

/// A child that looks for itself where others would look for it, in its very first message.
struct Narcissus {
    mirror: std::sync::Arc<std::sync::OnceLock<supervisors::DynamicRef<u32, ()>>>,
    seen: tokio::sync::mpsc::UnboundedSender<bool>,
}

impl ractor::Actor for Narcissus {
    type Msg = ();
    type State = u32;
    type Arguments = u32;

    async fn pre_start(&self, myself: ractor::ActorRef<()>, number: u32) -> Result<u32, ractor::ActorProcessingErr> {
        myself.cast(())?;
        Ok(number)
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<()>,
        (): (),
        number: &mut u32,
    ) -> Result<(), ractor::ActorProcessingErr> {
        let found = self.mirror.get().unwrap().get(number.to_string());
        self.seen.send(found.is_some_and(|child| child.is_up())).ok();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_is_found_at_its_address_from_its_first_message_on() {
    let mirror = Arc::new(std::sync::OnceLock::new());
    let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
    let for_children = mirror.clone();
    let spec = DynamicSpec::actor(move |_, number| {
        let (mirror, seen) = (for_children.clone(), seen.clone());
        (Narcissus { mirror, seen }, number)
    });
    let children = spec.handle();
    mirror.set(children.clone()).ok();
    let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::dynamic("children", spec));
    let root = Supervisor::start("root", root).await.unwrap();
    for number in 0..500 {
        children.start_child(number.to_string(), number).await.unwrap();
        assert_eq!(told.recv().await, Some(true), "child {number} did not find itself");
    }
    root.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_tree_starts_in_order_and_stops_in_reverse() {
    let log = Log::default();
    let inner = SupervisorSpec::new(Strategy::RestForOne)
        .child(worker("b", &log))
        .child(worker("c", &log));
    let nested = inner.handle();
    let root = SupervisorSpec::new(Strategy::OneForOne)
        .child(worker("a", &log))
        .child(ChildSpec::supervisor("inner", inner))
        .child(worker("d", &log));
    let root = Supervisor::start("root", root).await.unwrap();
    assert_eq!(nested.path().as_str(), "root/inner");
    let snapshot = root.snapshot().await.unwrap();
    let paths: Vec<_> = snapshot.walk().iter().map(|line| line.path.as_str()).collect();
    assert_eq!(
        paths,
        ["root", "root/a", "root/inner", "root/inner/b", "root/inner/c", "root/d"]
    );
    assert_eq!(snapshot.find("root/inner").unwrap().kind, ChildKind::Supervisor);
    assert_eq!(snapshot.find("root/inner/b").unwrap().status, ChildStatus::Running);
    root.shutdown().await;
    assert_eq!(
        log.events(),
        [
            "start a 1",
            "start b 1",
            "start c 1",
            "start d 1",
            "stop d 1",
            "stop c 1",
            "stop b 1",
            "stop a 1"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_root_that_gives_up_can_be_observed() {
    let log = Log::default();
    let spec = worker("a", &log).backoff(Backoff::none());
    let a = spec.address::<Worker>();
    let root = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(1, SECOND)
        .child(spec);
    let root = Supervisor::start("root", root).await.unwrap();
    let ended = root.wait();
    a.cast(Worker::Panic).unwrap();
    eventually(|| a.incarnation() == 2 && a.is_up()).await;
    a.cast(Worker::Panic).unwrap();
    assert_eq!(
        ended.await,
        ExitReason::ShutdownWith("restart intensity reached".into())
    );
    assert!(matches!(root.count_children().await, Err(ApiError::Down)));
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_are_found_by_their_key() {
    let log = Log::default();
    let sessions = {
        let log = log.clone();
        DynamicSpec::actor(move |context, _name: String| support::make(&context, &log))
            .restart(Restart::Transient)
            .intensity(5, SECOND)
            .max_children(2)
    };
    let handle = sessions.handle();
    let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::dynamic("sessions", sessions));
    let root = Supervisor::start("root", root).await.unwrap();
    let ada = handle.start_child("ada", "Ada".into()).await.unwrap();
    let error = handle.start_child("ada", "Ada".into()).await.unwrap_err();
    assert!(matches!(error, ApiError::AlreadyStarted { .. }));
    handle.start_or_get("bob", "Bob".into()).await.unwrap();
    assert!(matches!(
        handle.start_child("eve", "Eve".into()).await,
        Err(ApiError::TooManyChildren(2))
    ));
    assert_eq!(handle.count(), 2);
    ada.cast(Worker::Panic).unwrap();
    eventually(|| ada.incarnation() == 2 && ada.is_up()).await;
    assert_eq!(handle.get("ada").unwrap().call(Worker::Ping, SECOND).await, Ok(2));
    handle.terminate_child("ada").await.unwrap();
    assert!(handle.get("ada").is_none());
    ada.cast(Worker::Panic).unwrap_err();
    assert_eq!(handle.which().await.unwrap().len(), 1);
    root.shutdown().await;
    assert_eq!(handle.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn tasks_tell_their_end_exactly_once() {
    let supervisor = TaskSupervisor::new(2);
    let tasks = supervisor.handle();
    assert!(matches!(tasks.spawn("early", async {}, |_| ()), Err(TaskRefused::Down)));
    let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::tasks("tasks", supervisor));
    let root = Supervisor::start("root", root).await.unwrap();
    let (sender, mut exits) = tokio::sync::mpsc::channel(8);
    let tell = |name: &'static str| {
        let sender = sender.clone();
        move |exit: TaskExit<u32>| sender.try_send((name, exit)).unwrap()
    };
    tasks.spawn("sum", async { 2 }, tell("sum")).unwrap();
    assert_eq!(exits.recv().await, Some(("sum", TaskExit::Done(2))));
    tasks.spawn("bug", async { panic!("oops") }, tell("bug")).unwrap();
    assert_eq!(exits.recv().await, Some(("bug", TaskExit::Panicked("oops".into()))));
    let slow = tasks.spawn("slow", std::future::pending(), tell("slow")).unwrap();
    let _other = tasks.spawn("other", std::future::pending(), tell("other")).unwrap();
    assert!(matches!(
        tasks.spawn("more", async { 0 }, tell("more")),
        Err(TaskRefused::Overloaded { capacity: 2 })
    ));
    slow.cancel();
    assert_eq!(exits.recv().await, Some(("slow", TaskExit::Cancelled)));
    assert_eq!(tasks.running(), 1);
    root.shutdown().await;
    assert_eq!(exits.recv().await, Some(("other", TaskExit::Cancelled)));
    assert!(exits.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_gauge_shows_how_deep_a_mailbox_is() {
    let log = Log::default();
    let admission = Admission::new(10);
    let root = SupervisorSpec::new(Strategy::OneForOne).child(worker("a", &log).gauge(&admission));
    let root = Supervisor::start("root", root).await.unwrap();
    let permits: Vec<_> = (0..3).map(|_| admission.try_admit().unwrap()).collect();
    assert_eq!(
        root.snapshot().await.unwrap().find("root/a").unwrap().mailbox_depth,
        Some(3)
    );
    drop(permits);
    assert_eq!(
        root.snapshot().await.unwrap().find("root/a").unwrap().mailbox_depth,
        Some(0)
    );
}

#[tokio::test(start_paused = true)]
async fn reports_carry_path_and_reason() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = {
        let seen = Arc::clone(&seen);
        Arc::new(move |report: &supervisors::Report| {
            seen.lock()
                .unwrap()
                .push(format!("{} {:?}", report.supervisor, report.fact));
        })
    };
    let log = Log::default();
    let spec = worker("b", &log);
    let b = spec.address::<Worker>();
    let inner = SupervisorSpec::new(Strategy::OneForOne).child(spec);
    let root = SupervisorSpec::new(Strategy::OneForOne)
        .child(ChildSpec::supervisor("inner", inner))
        .report_to(sink);
    let root = Supervisor::start("root", root).await.unwrap();
    b.cast(Worker::Panic).unwrap();
    eventually(|| b.incarnation() == 2 && b.is_up()).await;
    root.shutdown().await;
    let seen = seen.lock().unwrap().join("\n");
    assert!(
        seen.contains(r#"root/inner Exited { reason: Panicked("asked to"), asked: false }"#),
        "{seen}"
    );
}
