//! Requests, specifications, counts, names.

use std::{sync::Arc, time::Duration};

use supervisors::{
    ApiError, AutoShutdown, ChildKind, ChildSpec, Restart, Shutdown, SpecError, StartError, Started, StartedChild,
    Strategy, Supervisor, SupervisorSpec,
};

use crate::{
    restart::arc_arg,
    support::{How, Kid, Log, Order, StartPlan, count, dynamic, end, settle, start, tree, which},
};

const RESTARTS: [Restart; 3] = [Restart::Permanent, Restart::Transient, Restart::Temporary];
const MODES: [AutoShutdown; 3] = [
    AutoShutdown::Never,
    AutoShutdown::AnySignificant,
    AutoShutdown::AllSignificant,
];

pub async fn child_adm() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(SupervisorSpec::new(Strategy::OneForOne)).await;
    assert_eq!(count(&root).await, (0, 0, 0, 0));
    assert!(root.start_child(a.spec()).await.unwrap().cell().is_some());
    let cell = a.at.get().unwrap().get_cell();
    let error = root.start_child(a.spec()).await.unwrap_err();
    assert!(matches!(error, ApiError::AlreadyStarted { cell: running, .. } if running == cell));
    assert!(matches!(root.restart_child("a").await, Err(ApiError::Running(_))));
    assert!(matches!(root.delete_child("a").await, Err(ApiError::Running(_))));
    assert_eq!((which(&root).await, count(&root).await), ("a#1".into(), (1, 1, 0, 1)));

    root.terminate_child("a").await.unwrap();
    assert_eq!(
        (which(&root).await, count(&root).await),
        ("a:down".into(), (1, 0, 0, 1))
    );
    root.terminate_child("a").await.unwrap();
    assert!(matches!(
        root.start_child(a.spec()).await,
        Err(ApiError::AlreadyPresent(_))
    ));
    root.restart_child("a").await.unwrap();
    assert_eq!(which(&root).await, "a#2");

    root.terminate_child("a").await.unwrap();
    root.delete_child("a").await.unwrap();
    assert_eq!(count(&root).await, (0, 0, 0, 0));
    for id in ["a", "nobody"] {
        assert!(matches!(root.terminate_child(id).await, Err(ApiError::NotFound(_))));
        assert!(matches!(root.restart_child(id).await, Err(ApiError::NotFound(_))));
        assert!(matches!(root.delete_child(id).await, Err(ApiError::NotFound(_))));
        assert!(matches!(root.get_spec(id).await, Err(ApiError::NotFound(_))));
    }
    root.shutdown().await;
    assert!(matches!(root.start_child(a.spec()).await, Err(ApiError::Down)));
    assert!(matches!(root.which_children().await, Err(ApiError::Down)));
}

pub async fn child_adm_simple() {
    let (spec, _) = dynamic(&Log::default());
    let children = spec.handle();
    let root = start(tree(Strategy::OneForOne, 1, [ChildSpec::dynamic("pool", spec)])).await;
    let sup = children.supervisor();
    assert_eq!(count(&sup).await, (1, 0, 0, 0));
    let a = children.start_child("a", String::new()).await.unwrap();
    let nameless = children.start_anonymous(String::new()).await.unwrap();
    assert_eq!(nameless.id(), &"#0");
    assert_eq!(
        (which(&sup).await, count(&sup).await),
        ("a#1 #0#1".into(), (1, 2, 0, 2))
    );
    assert!(matches!(sup.restart_child("a").await, Err(ApiError::NotForDynamic)));
    assert!(matches!(sup.delete_child("a").await, Err(ApiError::NotForDynamic)));
    assert!(matches!(
        children.terminate_child("b").await,
        Err(ApiError::NotFound(_))
    ));
    children.terminate_child("a").await.unwrap();
    assert!(matches!(
        children.terminate_child("a").await,
        Err(ApiError::NotFound(_))
    ));
    assert!(!a.is_up());
    assert_eq!(which(&root).await, "pool#1");
    assert!(nameless.is_up());
}

pub async fn extra_return() {
    let log = Log::default();
    let inner = Kid::new("inner", &log);
    let at = inner.at.clone();
    let spec = ChildSpec::custom("a", move |_| {
        let inner = tree(Strategy::OneForOne, 9, [inner.spec()]);
        async move {
            let started = Supervisor::start("free", inner).await?;
            let cell = started.cell().ok_or(StartError::Cancelled)?;
            Ok(Started::WithInfo(cell, Box::new("extra")))
        }
    });
    let root = start(tree(Strategy::OneForOne, 9, [])).await;
    let StartedChild::Running { info, .. } = root.start_child(spec).await.unwrap() else {
        panic!("it runs")
    };
    assert_eq!(*info.unwrap().downcast::<&str>().unwrap(), "extra");
    root.terminate_child("a").await.unwrap();
    let StartedChild::Running { info, cell } = root.restart_child("a").await.unwrap() else {
        panic!("it runs")
    };
    assert!(info.is_some());
    cell.kill();
    settle().await;
    assert_eq!(which(&root).await, "a#3");
    assert!(at.is_up());
}

pub async fn child_specs() {
    let log = Log::default();
    let spec = |id: &str| Kid::new(id, &log).spec();
    let check = |children: Vec<ChildSpec>| tree(Strategy::OneForOne, 1, children).check();
    assert_eq!(check(vec![spec("")]), Err(SpecError::EmptyId));
    assert_eq!(
        check(vec![spec("a"), spec("a")]),
        Err(SpecError::DuplicateId("a".into()))
    );
    assert_eq!(check(vec![spec("a"), spec("b")]), Ok(()));
    for restart in RESTARTS {
        for shutdown in [Shutdown::Brutal, Shutdown::Timeout(Duration::ZERO), Shutdown::Infinity] {
            for kind in [ChildKind::Worker, ChildKind::Supervisor] {
                let child = spec("a").restart(restart).shutdown(shutdown).kind(kind);
                assert_eq!(check(vec![child.clone()]), Ok(()));
                let root = start(SupervisorSpec::new(Strategy::OneForOne)).await;
                root.start_child(child).await.unwrap();
                assert_eq!(count(&root).await.1, 1);
            }
        }
    }
    let root = start(SupervisorSpec::new(Strategy::OneForOne)).await;
    assert!(matches!(
        root.start_child(spec("")).await,
        Err(ApiError::Spec(SpecError::EmptyId))
    ));
}

pub async fn child_specs_map() {
    let log = Log::default();
    for mode in MODES {
        for restart in RESTARTS {
            for significant in [false, true] {
                let child = Kid::new("a", &log).spec().restart(restart).significant(significant);
                let expected = match (significant, restart, mode) {
                    (true, Restart::Permanent, _) => Err(SpecError::SignificantPermanent("a".into())),
                    (true, _, AutoShutdown::Never) => Err(SpecError::SignificantWithoutAutoShutdown("a".into())),
                    _ => Ok(()),
                };
                let spec = tree(Strategy::OneForOne, 1, [child.clone()]).auto_shutdown(mode);
                assert_eq!(spec.check(), expected, "{mode:?} {restart:?} {significant}");
                let root = start(tree(Strategy::OneForOne, 1, []).auto_shutdown(mode)).await;
                assert_eq!(root.start_child(child).await.is_ok(), expected.is_ok());
            }
        }
    }
}

pub async fn sup_flags() {
    // A strategy, an intensity or an auto-shutdown that is none cannot be written down; a period of zero can.
    let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(1, Duration::ZERO);
    assert_eq!(spec.check(), Err(SpecError::ZeroPeriod));
    assert!(matches!(
        Supervisor::start("sup", spec).await,
        Err(StartError::Spec(SpecError::ZeroPeriod))
    ));
    let (pool, _) = dynamic(&Log::default());
    assert_eq!(pool.intensity(1, Duration::ZERO).check(), Err(SpecError::ZeroPeriod));
    for intensity in [0, 1, u32::MAX] {
        assert_eq!(
            SupervisorSpec::new(Strategy::RestForOne)
                .intensity(intensity, Duration::MAX)
                .check(),
            Ok(())
        );
    }
}

pub async fn external_start_no_progress_log() {
    let log = Log::default();
    let restarted = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = {
        let restarted = Arc::clone(&restarted);
        Arc::new(move |report: &supervisors::Report| {
            if let supervisors::Fact::Started { restarted: yes } = report.fact {
                restarted.lock().unwrap().push(yes);
            }
        })
    };
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree(Strategy::OneForOne, 1, [a.spec()]).report_to(sink)).await;
    root.start_child(b.spec()).await.unwrap();
    root.terminate_child("b").await.unwrap();
    root.restart_child("b").await.unwrap();
    assert_eq!(*restarted.lock().unwrap(), [false, false, false]);
    b.end(How::Panic).await;
    assert_eq!(*restarted.lock().unwrap(), [false, false, false, true]);
}

pub async fn count_children() {
    let (spec, _) = dynamic(&Log::default());
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.restart(Restart::Temporary));
    let _root = start(tree(Strategy::OneForOne, 1, [pool])).await;
    let sup = children.supervisor();
    let mut kids = Vec::new();
    for expected in [1_000, 2_000] {
        while kids.len() < expected {
            kids.push(children.start_anonymous(String::new()).await.unwrap());
        }
        assert_eq!(count(&sup).await, (1, expected, 0, expected));
        assert_eq!(
            (children.which().await.unwrap().len(), children.count()),
            (expected, expected)
        );
    }
    for kid in &kids {
        end(kid, How::Kill);
    }
    settle().await;
    assert_eq!(count(&sup).await, (1, 0, 0, 0));
    assert_eq!(children.count(), 0);
}

pub async fn count_children_supervisor() {
    let (spec, _) = dynamic(&Log::default());
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.kind(ChildKind::Supervisor));
    let _root = start(tree(Strategy::OneForOne, 1, [pool])).await;
    let sup = children.supervisor();
    for n in 0..1_000 {
        children.start_child(n.to_string(), String::new()).await.unwrap();
    }
    assert_eq!(count(&sup).await, (1, 1_000, 1_000, 0));
    for n in 0..1_000 {
        children.terminate_child(n.to_string()).await.unwrap();
    }
    assert_eq!(count(&sup).await, (1, 0, 0, 0));
}

pub async fn count_restarting_children() {
    let (spec, script) = dynamic(&Log::default());
    let children = spec.handle();
    // With a backoff, so that the waiting can be seen at leisure.
    let spec = spec
        .backoff(supervisors::Backoff::jitter(
            Duration::from_secs(1),
            Duration::from_secs(1),
        ))
        .intensity(100, Duration::from_secs(3600))
        .seed(3);
    let _root = start(tree(Strategy::OneForOne, 1, [ChildSpec::dynamic("pool", spec)])).await;
    let sup = children.supervisor();
    let mut kids = Vec::new();
    for n in 0..4 {
        kids.push(children.start_child(n.to_string(), String::new()).await.unwrap());
    }
    assert_eq!(count(&sup).await, (1, 4, 0, 4));
    script.always(StartPlan::Fail);
    for (ended, kid) in kids.iter().enumerate() {
        end(kid, How::Panic);
        settle().await;
        assert_eq!(count(&sup).await, (1, 3 - ended, 0, 4));
    }
    script.always(None);
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    assert_eq!(count(&sup).await, (1, 4, 0, 4));
}

pub async fn do_not_save_start_parameters_for_temporary_children() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        for restart in RESTARTS {
            let token = Arc::new(());
            let root = start(tree(strategy, 1, [])).await;
            let spec = {
                let token = Arc::clone(&token);
                ChildSpec::actor("a", move |_| {
                    let _ = &token;
                    (Quiet, ())
                })
            };
            root.start_child(spec.restart(restart)).await.unwrap();
            let kept = Arc::strong_count(&token) > 1;
            assert_eq!(kept, restart != Restart::Temporary, "{strategy:?} {restart:?}");
        }
    }
    for restart in RESTARTS {
        let (spec, arg) = arc_arg();
        let children = spec.handle();
        let _root = start(tree(
            Strategy::OneForOne,
            1,
            [ChildSpec::dynamic("pool", spec.restart(restart))],
        ))
        .await;
        children.start_child("a", Arc::clone(&arg)).await.unwrap();
        assert_eq!(
            Arc::strong_count(&arg) > 1,
            restart != Restart::Temporary,
            "{restart:?}"
        );
    }
}

struct Quiet;

impl ractor::Actor for Quiet {
    type Msg = Order;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ractor::ActorRef<Order>, (): ()) -> Result<(), ractor::ActorProcessingErr> {
        Ok(())
    }
}

pub async fn do_not_save_child_specs_for_temporary_children() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        for restart in RESTARTS {
            for how in [None, Some(How::Normal), Some(How::Panic), Some(How::Kill)] {
                let log = Log::default();
                let a = Kid::new("a", &log);
                let root = start(tree(strategy, 9, [a.spec().restart(restart)])).await;
                match how {
                    None => root.terminate_child("a").await.unwrap(),
                    Some(how) => a.end(how).await,
                }
                let known = root.get_spec("a").await.is_ok();
                assert_eq!(known, restart != Restart::Temporary, "{strategy:?} {restart:?} {how:?}");
            }
        }
    }
}

pub async fn simple_global_supervisor() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let spec = a.spec().named("parity-worker");
    let inner = tree(Strategy::OneForOne, 9, [spec]);
    let inner_handle = inner.handle();
    let root = start(tree(
        Strategy::OneForOne,
        9,
        [ChildSpec::supervisor("inner", inner).named("parity-supervisor")],
    ))
    .await;
    let registered = |name: &str| ractor::registry::where_is(name).map(|cell| cell.get_id());
    for round in 0..3 {
        assert_eq!(
            registered("parity-worker"),
            a.at.get().map(|actor| actor.get_id()),
            "round {round}"
        );
        assert_eq!(
            registered("parity-supervisor"),
            inner_handle.cell().map(|cell| cell.get_id())
        );
        match round {
            0 => a.end(How::Kill).await,
            1 => {
                inner_handle.cell().unwrap().kill();
                settle().await;
            }
            _ => {
                root.terminate_child("inner").await.unwrap();
                assert_eq!(
                    (registered("parity-worker"), registered("parity-supervisor")),
                    (None, None)
                );
                root.restart_child("inner").await.unwrap();
            }
        }
    }
    assert_eq!(registered("parity-worker"), a.at.get().map(|actor| actor.get_id()));
    assert_eq!(a.at.incarnation(), 4);
    root.shutdown().await;
}

pub async fn already_started_outside_supervisor() {
    let (stranger, _) = ractor::Actor::spawn(Some("parity-taken".into()), Quiet, ())
        .await
        .unwrap();
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree(Strategy::OneForOne, 1, [b.spec()])).await;
    let error = root.start_child(a.spec().named("parity-taken")).await.unwrap_err();
    let ApiError::Start(StartError::NameTaken { name, holder }) = error else {
        panic!("{error:?}")
    };
    assert_eq!((name.as_str(), holder), ("parity-taken", Some(stranger.get_cell())));
    assert_eq!(which(&root).await, "b#1");
    stranger.stop(None);
    settle().await;
    root.start_child(a.spec().named("parity-taken")).await.unwrap();
    assert_eq!(which(&root).await, "b#1 a#1");
    root.shutdown().await;
}
