//! What only real threads show: actors that block their thread, races for registry names, state that outlives an actor's
//! end by a moment. Every wait is for a level, with a bound.

#![expect(
    clippy::disallowed_methods,
    reason = "bounds on real threads are held against real time"
)]
#![allow(clippy::unwrap_used, reason = "a test stops where its assumption fails")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{
    Backoff, ChildRef, ChildSpec, ChildStatus, Fact, GiveUp, Report, Shutdown, StartContext, Strategy, Supervisor,
    SupervisorSpec,
};
use support::{Kid, Log, tree, which};

/// Waits for a level, at most ten seconds.
async fn level(what: &str, reached: impl Fn() -> bool) {
    let before = Instant::now();
    while !reached() {
        assert!(before.elapsed() < Duration::from_secs(10), "never reached: {what}");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// Keeps a thread busy.
fn burn(time: Duration) {
    let before = Instant::now();
    while before.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Blocks its thread when told to, until it is released from outside.
struct Blocker {
    named: Option<String>,
    log: Log,
}

enum Block {
    Until(mpsc::Receiver<()>, tokio::sync::oneshot::Sender<()>),
}

impl Actor for Blocker {
    type Msg = Block;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Block>, (): ()) -> Result<(), ActorProcessingErr> {
        self.log.push(format!("start as {:?}", self.named));
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Block>, block: Block, (): &mut ()) -> Result<(), ActorProcessingErr> {
        let Block::Until(release, entered) = block;
        let _ = entered.send(());
        let _ = release.recv();
        Ok(())
    }
}

/// Lets an actor block its thread, until what is returned is dropped.
async fn block(at: &ChildRef<Block>) -> mpsc::Sender<()> {
    let (release, blocked) = mpsc::channel();
    let (entered, inside) = tokio::sync::oneshot::channel();
    at.cast(Block::Until(blocked, entered)).unwrap();
    inside.await.unwrap();
    release
}

fn blocker(id: &str, log: &Log) -> (ChildSpec, ChildRef<Block>) {
    let log = log.clone();
    let spec = ChildSpec::actor(id, move |context: StartContext| {
        (
            Blocker {
                named: context.registry_name().map(str::to_owned),
                log: log.clone(),
            },
            (),
        )
    })
    .shutdown(Shutdown::Timeout(Duration::from_millis(20)))
    .backoff(Backoff::none());
    let address = spec.address();
    (spec, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_zombie_is_left_behind_and_its_successor_has_no_name() {
    let log = Log::default();
    let (spec, at) = blocker("z", &log);
    let root = tree(Strategy::OneForOne, 9, [spec.named("the-zombie")]).zombie_after(Duration::from_millis(50));
    let root = Supervisor::start("root", root.report_to(log.sink())).await.unwrap();
    let release = block(&at).await;
    let zombie = at.get().unwrap().get_cell();
    root.terminate_child("z").await.unwrap();
    assert_eq!(which(&root).await, "z:down");
    assert_eq!(root.snapshot().await.unwrap().zombies, 1);
    root.restart_child("z").await.unwrap();
    assert!(at.is_up());
    assert_eq!(
        ractor::registry::where_is("the-zombie").unwrap().get_id(),
        zombie.get_id(),
        "the zombie has the name"
    );
    drop(release);
    level("the end of the zombie", || {
        log.facts().contains(&String::from("z zombie_ended"))
    })
    .await;
    assert_eq!(root.snapshot().await.unwrap().zombies, 0);
    root.terminate_child("z").await.unwrap();
    root.restart_child("z").await.unwrap();
    assert_eq!(
        log.events(),
        [
            "start as Some(\"the-zombie\")",
            "start as None",
            "start as Some(\"the-zombie\")"
        ]
    );
    assert_eq!(at.incarnation(), 3);
    root.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn too_many_zombies_and_the_root_gives_up() {
    let log = Log::default();
    let kids: Vec<_> = ["x", "y", "z"].map(|id| blocker(id, &log)).into();
    let inner = SupervisorSpec::new(Strategy::OneForOne)
        .children(kids.iter().map(|(spec, _)| spec.clone()))
        .zombie_after(Duration::from_millis(20));
    let handle = inner.handle();
    let root = SupervisorSpec::new(Strategy::OneForOne)
        .zombie_limit(2)
        .child(ChildSpec::supervisor("inner", inner));
    let gave_up = Arc::new(AtomicBool::new(false));
    let sink = {
        let gave_up = Arc::clone(&gave_up);
        Arc::new(move |report: &Report| {
            if matches!(
                report.fact,
                Fact::GaveUp {
                    reason: GiveUp::Zombies
                }
            ) {
                gave_up.store(true, Ordering::SeqCst);
            }
        })
    };
    let root = Supervisor::start("root", root.report_to(sink)).await.unwrap();
    let mut releases = Vec::new();
    for (spec, at) in &kids {
        assert!(!gave_up.load(Ordering::SeqCst));
        releases.push(block(at).await);
        let stopped = tokio::time::timeout(Duration::from_secs(10), handle.terminate_child(spec.id())).await;
        stopped.expect("a zombie is left behind").unwrap();
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), root.wait()).await;
    assert_eq!(ended.expect("the root to give up"), GiveUp::Zombies.exit_reason());
    assert!(gave_up.load(Ordering::SeqCst));
    drop(releases);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_that_blocks_its_thread_is_left_behind_too() {
    struct Sleeper;
    impl Actor for Sleeper {
        type Msg = ();
        type State = ();
        type Arguments = Option<mpsc::Receiver<()>>;
        async fn pre_start(&self, _: ActorRef<()>, blocked: Self::Arguments) -> Result<(), ActorProcessingErr> {
            // Let the supervisor go on first: what blocks before the first await blocks whoever starts it.
            tokio::task::yield_now().await;
            if let Some(blocked) = blocked {
                let _ = blocked.recv();
            }
            Ok(())
        }
    }
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Mutex::new(Some(blocked));
    let log = Log::default();
    let spec = ChildSpec::actor("s", move |_| (Sleeper, blocked.lock().unwrap().take()))
        .start_deadline(Duration::from_millis(20))
        .backoff(Backoff::none());
    let root = tree(Strategy::OneForOne, 9, [])
        .zombie_after(Duration::from_millis(20))
        .report_to(log.sink());
    let root = Supervisor::start("root", root).await.unwrap();
    let error = root.start_child(spec.clone()).await.unwrap_err();
    assert!(error.to_string().contains("did not start"), "{error:?}");
    assert_eq!(root.snapshot().await.unwrap().zombies, 1);
    root.start_child(spec).await.unwrap();
    drop(release);
    let before = Instant::now();
    while root.snapshot().await.unwrap().zombies > 0 {
        assert!(before.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    assert_eq!(which(&root).await, "s#1");
    root.shutdown().await;
}

/// Owns something that only one incarnation may have at a time.
struct Owner {
    held: Arc<AtomicUsize>,
    overlaps: Arc<AtomicUsize>,
}

struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        // Long enough for a successor that does not wait to be there first.
        burn(Duration::from_micros(300));
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

enum End {
    Panic,
    Fail,
    Stop,
}

impl Actor for Owner {
    type Msg = End;
    type State = Held;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<End>, (): ()) -> Result<Held, ActorProcessingErr> {
        if self.held.fetch_add(1, Ordering::SeqCst) > 0 {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Held(Arc::clone(&self.held)))
    }

    async fn handle(&self, me: ActorRef<End>, end: End, _: &mut Held) -> Result<(), ActorProcessingErr> {
        match end {
            End::Panic => panic!("asked to"),
            End::Fail => return Err("asked to".into()),
            End::Stop => me.stop(None),
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_next_incarnation_starts_only_when_the_last_one_has_let_go() {
    let (held, overlaps) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let spec = {
        let (held, overlaps) = (Arc::clone(&held), Arc::clone(&overlaps));
        ChildSpec::actor("owner", move |_| {
            (
                Owner {
                    held: Arc::clone(&held),
                    overlaps: Arc::clone(&overlaps),
                },
                (),
            )
        })
        .backoff(Backoff::none())
    };
    let at = spec.address::<End>();
    let root = Supervisor::start("root", tree(Strategy::OneForOne, 1_000, [spec]))
        .await
        .unwrap();
    // Keeps the supervisor awake on another thread, so that it hears of an end while the child is still at it.
    let awake = tokio::spawn({
        let root = root.clone();
        async move { while root.count_children().await.is_ok() {} }
    });
    for round in 1..=200 {
        match round % 4 {
            0 => at.cast(End::Panic).unwrap(),
            1 => at.cast(End::Fail).unwrap(),
            2 => at.cast(End::Stop).unwrap(),
            _ => at.get().unwrap().kill(),
        }
        level("the next incarnation", || at.is_up() && at.incarnation() == round + 1).await;
    }
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
    root.shutdown().await;
    awake.await.unwrap();
    assert_eq!(held.load(Ordering::SeqCst), 0, "a shutdown waits for that as well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_killed_supervisor_left_behind_has_let_go_before_its_successor_starts_anything() {
    let (held, overlaps) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let spec = {
        let (held, overlaps) = (Arc::clone(&held), Arc::clone(&overlaps));
        ChildSpec::actor("owner", move |_| {
            (
                Owner {
                    held: Arc::clone(&held),
                    overlaps: Arc::clone(&overlaps),
                },
                (),
            )
        })
    };
    let at = spec.address::<End>();
    let inner = tree(Strategy::OneForOne, 9, [spec]);
    let handle = inner.handle();
    let inner = ChildSpec::supervisor("inner", inner).backoff(Backoff::none());
    let root = Supervisor::start("root", tree(Strategy::OneForOne, 1_000, [inner]))
        .await
        .unwrap();
    for round in 1..=100 {
        handle.cell().unwrap().kill();
        level("the next incarnation", || at.is_up() && at.incarnation() == round + 1).await;
    }
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
    root.shutdown().await;
}

/// Starts a named actor of its own, which takes its time to end.
struct Parent {
    burst: Duration,
}

struct Grandchild;

impl Actor for Grandchild {
    type Msg = Duration;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Duration>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
    async fn handle(&self, _: ActorRef<Duration>, burst: Duration, (): &mut ()) -> Result<(), ActorProcessingErr> {
        burn(burst);
        Ok(())
    }
}

impl Actor for Parent {
    type Msg = ();
    type State = ActorRef<Duration>;
    type Arguments = ();
    async fn pre_start(&self, me: ActorRef<()>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        let name = Some(String::from("named-grandchild"));
        let (grandchild, _) = Actor::spawn_linked(name, Grandchild, (), me.get_cell()).await?;
        Ok(grandchild)
    }
    async fn handle(&self, _: ActorRef<()>, (): (), grandchild: &mut Self::State) -> Result<(), ActorProcessingErr> {
        grandchild.cast(self.burst)?;
        panic!("asked to");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_still_held_by_the_last_incarnation_is_waited_for_and_costs_nothing() {
    for (burst, brutal) in [
        (Duration::ZERO, false),
        (Duration::from_millis(2), false),
        (Duration::from_millis(2), true),
    ] {
        let log = Log::default();
        let spec = ChildSpec::actor("parent", move |_| (Parent { burst }, ())).backoff(Backoff::none());
        let at = spec.address::<()>();
        let rounds = 60;
        let spec = tree(Strategy::OneForOne, rounds, [spec]).report_to(log.sink());
        let root = Supervisor::start("root", spec).await.unwrap();
        for round in 1..=u64::from(rounds) {
            if brutal {
                at.get().unwrap().kill();
            } else {
                at.cast(()).unwrap();
            }
            level("the next incarnation", || at.is_up() && at.incarnation() == round + 1).await;
        }
        assert!(!log.facts().contains(&String::from("parent start_failed")));
        root.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_supervisor_that_is_stuck_is_drawn_without_children() {
    let log = Log::default();
    let (spec, at) = blocker("slow", &log);
    let a = Kid::new("a", &log);
    let root = Supervisor::start("root", tree(Strategy::OneForOne, 9, [spec, a.spec()]))
        .await
        .unwrap();
    let release = block(&at).await;
    // A child that is stuck does not keep its supervisor from answering.
    let snapshot = root.snapshot().await.unwrap();
    assert_eq!(snapshot.children.len(), 2);
    assert_eq!(snapshot.find("root/slow").unwrap().status, ChildStatus::Running);
    drop(release);
    root.shutdown().await;
}
