//! How a supervisor and its children start.

use std::time::Duration;

use supervisors::{
    ApiError, AutoShutdown, ChildSpec, ExitReason, Restart, Shutdown, SpecError, StartError, Started, StartedChild,
    Strategy, Supervisor, SupervisorSpec,
};

use crate::support::{Kid, Log, StartPlan, count, dynamic, settle, start, tree, which};

pub async fn sup_start_normal() {
    let root = start(SupervisorSpec::new(Strategy::OneForOne)).await;
    assert_eq!(which(&root).await, "");
    assert_eq!(root.shutdown().await, ExitReason::Shutdown);
}

pub async fn sup_start_ignore_init() {
    let nothing = ChildSpec::custom("inner", |_| async { Ok(Started::Ignore) });
    let root = start(tree(Strategy::OneForOne, 1, [nothing])).await;
    assert_eq!(which(&root).await, "inner:down");
    assert_eq!(root.shutdown().await, ExitReason::Shutdown);
}

pub async fn sup_start_ignore_child() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    a.starts([StartPlan::Ignore]);
    let root = start(tree(Strategy::OneForOne, 1, [a.spec(), b.spec()])).await;
    assert_eq!(which(&root).await, "a:down b#1");
    assert_eq!(count(&root).await, (2, 1, 0, 2));
    let again = Kid::new("c", &log);
    again.starts([StartPlan::Ignore]);
    assert!(matches!(
        root.start_child(again.spec()).await,
        Ok(StartedChild::Ignored)
    ));
    assert_eq!(which(&root).await, "a:down b#1 c:down");
}

pub async fn sup_start_ignore_temporary_child() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    a.starts([StartPlan::Ignore]);
    let root = start(tree(
        Strategy::OneForOne,
        1,
        [a.spec().restart(Restart::Temporary), b.spec()],
    ))
    .await;
    assert_eq!(which(&root).await, "b#1");
    assert_eq!(count(&root).await, (1, 1, 0, 1));
}

pub async fn sup_start_ignore_temporary_child_start_child() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    a.starts([StartPlan::Ignore]);
    let root = start(SupervisorSpec::new(Strategy::OneForOne)).await;
    let started = root.start_child(a.spec().restart(Restart::Temporary)).await;
    assert!(matches!(started, Ok(StartedChild::Ignored)));
    root.start_child(b.spec()).await.unwrap();
    assert_eq!(which(&root).await, "b#1");
}

pub async fn sup_start_ignore_temporary_child_start_child_simple() {
    ignored_dynamic(Restart::Temporary).await;
}

pub async fn sup_start_ignore_permanent_child_start_child_simple() {
    ignored_dynamic(Restart::Permanent).await;
}

async fn ignored_dynamic(restart: Restart) {
    let (spec, script) = dynamic(&Log::default());
    let children = spec.handle();
    let root = start(tree(
        Strategy::OneForOne,
        1,
        [ChildSpec::dynamic("pool", spec.restart(restart))],
    ))
    .await;
    script.starts([StartPlan::Ignore]);
    assert!(matches!(
        children.start_child("a", String::new()).await,
        Err(ApiError::Ignored)
    ));
    children.start_child("b", String::new()).await.unwrap();
    assert_eq!(which(&children.supervisor()).await, "b#1");
    assert_eq!(children.count(), 1);
    assert_eq!(root.shutdown().await, ExitReason::Shutdown);
    assert_eq!(children.supervisor().last_exit(), Some(ExitReason::Shutdown));
}

pub async fn sup_start_error_return() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(1, Duration::ZERO)
        .child(a.spec());
    let error = Supervisor::start("sup", spec).await.unwrap_err();
    assert!(matches!(error, StartError::Spec(SpecError::ZeroPeriod)));
    assert_eq!(log.events(), Vec::<String>::new());
}

pub async fn sup_start_fail() {
    let log = Log::default();
    let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
    c.starts([StartPlan::Panic]);
    let spec = tree(Strategy::OneForOne, 1, [a.spec(), b.spec(), c.spec()]);
    let handle = spec.handle();
    let error = Supervisor::start("sup", spec).await.unwrap_err();
    let StartError::Child { id, source } = error else {
        panic!("{error:?}")
    };
    assert_eq!(id, "c");
    assert!(matches!(*source, StartError::Panicked(text) if text == "start panicked"));
    assert_eq!(log.events(), ["+a", "+b", "-b", "-a"]);
    assert!(handle.cell().is_none());
    // A panic in the function that makes the actor counts as well.
    let spec = ChildSpec::actor("d", move |_| -> (ractor_stub::Never, ()) { panic!("no actor") });
    let error = Supervisor::start("sup", tree(Strategy::OneForOne, 1, [spec]))
        .await
        .unwrap_err();
    assert!(matches!(error.root_cause(), StartError::Panicked(text) if text == "no actor"));
}

mod ractor_stub {
    pub struct Never;
    impl ractor::Actor for Never {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ractor::ActorRef<()>, (): ()) -> Result<(), ractor::ActorProcessingErr> {
            Ok(())
        }
    }
}

pub async fn sup_start_child_returns_error() {
    let log = Log::default();
    let root = start(SupervisorSpec::new(Strategy::OneForOne)).await;
    for plan in [StartPlan::Fail, StartPlan::Panic] {
        let a = Kid::new("a", &log);
        a.starts([plan]);
        let error = root.start_child(a.spec()).await.unwrap_err();
        match plan {
            StartPlan::Fail => assert!(matches!(error, ApiError::Start(StartError::Failed(_))), "{error:?}"),
            _ => assert!(matches!(error, ApiError::Start(StartError::Panicked(_))), "{error:?}"),
        }
        assert_eq!(which(&root).await, "");
    }
    // The same id is free afterwards.
    root.start_child(Kid::new("a", &log).spec()).await.unwrap();
    assert_eq!(which(&root).await, "a#1");
}

pub async fn sup_start_restart_child_returns_error() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(tree(Strategy::OneForOne, 1, [a.spec()])).await;
    root.terminate_child("a").await.unwrap();
    a.starts([StartPlan::Fail]);
    assert!(matches!(
        root.restart_child("a").await,
        Err(ApiError::Start(StartError::Failed(_)))
    ));
    settle().await;
    assert_eq!(which(&root).await, "a:down");
    root.restart_child("a").await.unwrap();
    assert_eq!(which(&root).await, "a#3");
}

pub async fn sup_start_child_returns_error_simple() {
    let (spec, script) = dynamic(&Log::default());
    let children = spec.handle();
    let _root = start(tree(Strategy::OneForOne, 1, [ChildSpec::dynamic("pool", spec)])).await;
    script.starts([StartPlan::Fail]);
    let error = children.start_child("a", String::new()).await.unwrap_err();
    assert!(matches!(error, ApiError::Start(StartError::Failed(_))));
    assert_eq!(which(&children.supervisor()).await, "");
    assert_eq!(children.count(), 0);
}

pub async fn sup_start_map() {
    let log = Log::default();
    let inner = SupervisorSpec::new(Strategy::OneForOne);
    let root = start(tree(
        Strategy::default(),
        1,
        [Kid::new("a", &log).spec(), ChildSpec::supervisor("inner", inner)],
    ))
    .await;
    let a = root.get_spec("a").await.unwrap();
    assert_eq!(a.policy().restart, Restart::Permanent);
    assert_eq!(a.policy().shutdown, Shutdown::Timeout(Duration::from_secs(5)));
    assert!(!a.policy().significant);
    assert_eq!(
        root.get_spec("inner").await.unwrap().policy().shutdown,
        Shutdown::Infinity
    );
    assert!(matches!(root.get_spec("nobody").await, Err(ApiError::NotFound(id)) if id == "nobody"));
    let flags = root.flags().await.unwrap();
    assert_eq!(
        (flags.strategy, flags.auto_shutdown),
        (Strategy::OneForOne, AutoShutdown::Never)
    );
    let defaults = start(SupervisorSpec::new(Strategy::default()))
        .await
        .flags()
        .await
        .unwrap()
        .intensity;
    assert_eq!((defaults.restarts, defaults.period), (1, Duration::from_secs(5)));
}

pub async fn sup_start_map_simple() {
    let (spec, _) = dynamic(&Log::default());
    let children = spec.handle();
    let _root = start(tree(Strategy::OneForOne, 1, [ChildSpec::dynamic("pool", spec)])).await;
    for id in ["a", "b"] {
        children.start_child(id, String::new()).await.unwrap();
        let spec = children.supervisor().get_spec(id).await.unwrap();
        assert!(!spec.policy().significant);
        assert_eq!(spec.policy().restart, Restart::Permanent);
    }
    assert!(matches!(
        children.supervisor().get_spec("c").await,
        Err(ApiError::NotFound(_))
    ));
}

pub async fn sup_start_map_faulty_specs() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let nameless = tree(Strategy::OneForOne, 1, [a.spec(), Kid::new("", &log).spec()]);
    assert!(matches!(
        Supervisor::start("sup", nameless).await,
        Err(StartError::Spec(SpecError::EmptyId))
    ));
    let twice = tree(Strategy::OneForOne, 1, [a.spec(), b.spec(), a.spec()]);
    let error = Supervisor::start("sup", twice).await.unwrap_err();
    assert!(matches!(error, StartError::Spec(SpecError::DuplicateId(id)) if id == "a"));
    // A nested supervisor's faults surface in the same way, and nothing before it stays up.
    let inner = tree(Strategy::OneForOne, 1, [b.spec(), b.spec()]);
    let outer = tree(
        Strategy::OneForOne,
        1,
        [a.spec(), ChildSpec::supervisor("inner", inner)],
    );
    let error = Supervisor::start("sup", outer).await.unwrap_err();
    assert!(matches!(error.root_cause(), StartError::Spec(SpecError::DuplicateId(id)) if id == "b"));
    assert_eq!(log.events(), ["+a", "-a"]);
}

pub async fn faulty_application_shutdown() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    b.always(StartPlan::Fail);
    let inner = tree(Strategy::OneForOne, 1, [a.spec(), b.spec()]);
    let outer = tree(Strategy::OneForOne, 1, [ChildSpec::supervisor("inner", inner)]);
    let error = Supervisor::start("app", outer).await.unwrap_err();
    assert_eq!(error.to_string(), "child inner did not start");
    let StartError::Failed(cause) = error.root_cause() else {
        panic!("{error:?}")
    };
    assert_eq!(cause.to_string(), "start refused");
    assert_eq!(log.events(), ["+a", "-a"]);
}
