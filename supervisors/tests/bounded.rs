//! Bounded work, in paused time: admission in front of mailboxes, and supervised tasks.

#![expect(clippy::disallowed_methods, reason = "cases stand for callers outside of the tree")]
#![allow(clippy::unwrap_used, reason = "a test stops where its assumption fails")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use supervisors::{Admission, ChildSpec, Overloaded, Strategy, TaskExit, TaskSupervisor};
use support::{settle, start, tree, which};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn admission_bounds_what_waits_and_forgets_what_is_dropped() {
    let admission = Admission::new(2);
    let first = admission.try_admit().unwrap();
    let _second = admission.admit(SECOND).await.unwrap();
    let before = Instant::now();
    assert_eq!(
        admission.admit(3 * SECOND).await.unwrap_err(),
        Overloaded { capacity: 2 }
    );
    assert_eq!(before.elapsed(), 3 * SECOND);
    let waiting = tokio::spawn({
        let admission = admission.clone();
        async move { admission.admit(SECOND).await.is_ok() }
    });
    settle().await;
    drop(first);
    assert!(waiting.await.unwrap());
    assert_eq!((admission.depth(), admission.capacity()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn permits_in_a_mailbox_come_back_with_the_crash() {
    struct Hoarder;
    impl ractor::Actor for Hoarder {
        type Msg = supervisors::Permit;
        type State = Vec<supervisors::Permit>;
        type Arguments = ();
        async fn pre_start(
            &self,
            _: ractor::ActorRef<Self::Msg>,
            (): (),
        ) -> Result<Self::State, ractor::ActorProcessingErr> {
            Ok(Vec::new())
        }
        async fn handle(
            &self,
            _: ractor::ActorRef<Self::Msg>,
            permit: supervisors::Permit,
            state: &mut Self::State,
        ) -> Result<(), ractor::ActorProcessingErr> {
            state.push(permit);
            if state.len() == 3 {
                std::future::pending().await
            } else {
                Ok(())
            }
        }
    }
    let admission = Admission::new(10);
    let spec = ChildSpec::actor("hoarder", |_| (Hoarder, ())).gauge(&admission);
    let at = spec.address::<supervisors::Permit>();
    let root = start(tree(Strategy::OneForOne, 9, [spec])).await;
    for _ in 0..10 {
        at.cast(admission.try_admit().unwrap()).unwrap();
    }
    settle().await;
    assert_eq!(
        root.snapshot()
            .await
            .unwrap()
            .find("sup/hoarder")
            .unwrap()
            .mailbox_depth,
        Some(10)
    );
    at.get().unwrap().kill();
    settle().await;
    assert_eq!((admission.depth(), at.incarnation()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_task_supervisor_goes_on_when_it_takes_tasks() {
    let supervisor = TaskSupervisor::new(10);
    let tasks = supervisor.handle();
    let waits = |tasks: &supervisors::Tasks| {
        let tasks = tasks.clone();
        tokio::spawn(async move { tasks.open().await })
    };
    let early = waits(&tasks);
    settle().await;
    assert!(!early.is_finished(), "nothing runs yet");
    let root = start(tree(Strategy::OneForOne, 9, [ChildSpec::tasks("tasks", supervisor)])).await;
    tokio::time::timeout(SECOND, early).await.unwrap().unwrap();
    tokio::time::timeout(SECOND, tasks.open())
        .await
        .expect("at once while it runs");
    root.shutdown().await;
    let late = waits(&tasks);
    settle().await;
    assert!(!late.is_finished(), "it has gone");
}

#[tokio::test(start_paused = true)]
async fn killing_the_task_supervisor_cancels_its_tasks_and_it_comes_back() {
    let supervisor = TaskSupervisor::new(10);
    let tasks = supervisor.handle();
    let spec = ChildSpec::tasks("tasks", supervisor);
    let root = start(tree(Strategy::OneForOne, 9, [spec])).await;
    let told = Arc::new(AtomicUsize::new(0));
    let gone = Arc::new(AtomicBool::new(false));
    for _ in 0..5 {
        struct Gone(Arc<AtomicBool>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (told, gone, held) = (Arc::clone(&told), Arc::clone(&gone), Gone(Arc::clone(&gone)));
        let work = async move {
            let _held = held;
            std::future::pending::<()>().await;
        };
        tasks
            .spawn("work", work, move |exit| {
                assert_eq!(exit, TaskExit::Cancelled);
                assert!(
                    gone.load(Ordering::SeqCst),
                    "the future is dropped before its end is told"
                );
                told.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
    }
    settle().await;
    root.which_children().await.unwrap()[0].cell.as_ref().unwrap().kill();
    settle().await;
    assert_eq!((told.load(Ordering::SeqCst), tasks.running()), (5, 0));
    assert_eq!(which(&root).await, "tasks#2");
    tasks
        .spawn("again", async {}, |_| {
            panic!("an exit function that panics is contained")
        })
        .unwrap();
    settle().await;
    assert_eq!((tasks.running(), which(&root).await), (0, "tasks#2".into()));
}

#[tokio::test(start_paused = true)]
async fn tasks_with_a_grace_outlive_a_kill_and_have_time_at_a_stop() {
    let supervisor = TaskSupervisor::with_grace(10, SECOND);
    let tasks = supervisor.handle();
    let root = start(tree(Strategy::OneForOne, 9, [ChildSpec::tasks("tasks", supervisor)])).await;
    let ends = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = |name: &'static str| {
        let ends = Arc::clone(&ends);
        move |exit| ends.lock().unwrap().push((name, exit))
    };
    let mut leave = tasks.winding_down();
    let leaves = async move { drop(leave.wait_for(|leave| *leave).await) };
    tasks.spawn("leaves", leaves, told("leaves")).unwrap();
    tasks.spawn("stays", std::future::pending(), told("stays")).unwrap();
    settle().await;
    root.which_children().await.unwrap()[0].cell.as_ref().unwrap().kill();
    settle().await;
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!((tasks.running(), which(&root).await), (2, "tasks#2".into()));
    assert_eq!(*ends.lock().unwrap(), [], "the next incarnation has taken them over");
    tasks.spawn("new", async {}, told("new")).unwrap();
    settle().await;
    assert_eq!(ends.lock().unwrap().pop(), Some(("new", TaskExit::Done(()))));
    let before = tokio::time::Instant::now();
    root.shutdown().await;
    assert_eq!(before.elapsed().as_secs(), 1, "the grace, and no more");
    let told = ends.lock().unwrap().clone();
    assert_eq!(told, [("leaves", TaskExit::Done(())), ("stays", TaskExit::Cancelled)]);
}

#[tokio::test(start_paused = true)]
async fn tasks_whose_supervisor_does_not_come_back_are_cancelled_when_their_grace_is_over() {
    let supervisor = TaskSupervisor::with_grace(10, SECOND);
    let tasks = supervisor.handle();
    let spec = ChildSpec::tasks("tasks", supervisor).restart(supervisors::Restart::Temporary);
    let root = start(tree(Strategy::OneForOne, 9, [spec])).await;
    let cancelled = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&cancelled);
    let exit = move |exit| told.store(exit == TaskExit::Cancelled, Ordering::SeqCst);
    tasks.spawn("stays", std::future::pending::<()>(), exit).unwrap();
    settle().await;
    root.which_children().await.unwrap()[0].cell.as_ref().unwrap().kill();
    settle().await;
    assert!(!cancelled.load(Ordering::SeqCst));
    tokio::time::sleep(SECOND + SECOND / 10).await;
    assert!(cancelled.load(Ordering::SeqCst), "{} run", tasks.running());
}
