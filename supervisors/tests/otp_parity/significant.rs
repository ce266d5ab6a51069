//! Significant children and auto-shutdown.

use supervisors::{
    ApiError, AutoShutdown, ChildSpec, ExitReason, Restart, SpecError, Strategy, SupervisorRef, SupervisorSpec,
};

use crate::support::{How, Kid, Log, dynamic, settle, start, tree, which};

const MODES: [AutoShutdown; 2] = [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant];
const ALL: [How; 7] = [
    How::Normal,
    How::Shutdown,
    How::ShutdownWith,
    How::Panic,
    How::Error,
    How::Odd,
    How::Kill,
];

fn is_down(supervisor: &SupervisorRef) -> bool {
    supervisor.cell().is_none() && supervisor.last_exit() == Some(ExitReason::Shutdown)
}

fn pair(mode: AutoShutdown, restart: Restart, significant: bool) -> (SupervisorSpec, Kid, Kid) {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let specs = [&a, &b].map(|kid| kid.spec().restart(restart).significant(significant));
    (tree(Strategy::OneForOne, 100, specs).auto_shutdown(mode), a, b)
}

pub async fn nonsignificant_temporary() {
    for mode in [
        AutoShutdown::Never,
        AutoShutdown::AnySignificant,
        AutoShutdown::AllSignificant,
    ] {
        for how in ALL {
            let (spec, a, b) = pair(mode, Restart::Temporary, false);
            let root = start(spec).await;
            a.end(how).await;
            b.end(how).await;
            assert_eq!(which(&root).await, "", "{mode:?} {how:?}");
        }
        let (spec, ..) = pair(mode, Restart::Temporary, false);
        let root = start(spec).await;
        root.terminate_child("a").await.unwrap();
        root.terminate_child("b").await.unwrap();
        settle().await;
        assert_eq!(which(&root).await, "");
    }
}

pub async fn nonsignificant_transient() {
    for mode in [
        AutoShutdown::Never,
        AutoShutdown::AnySignificant,
        AutoShutdown::AllSignificant,
    ] {
        for how in ALL {
            let (spec, a, b) = pair(mode, Restart::Transient, false);
            let root = start(spec).await;
            a.end(how).await;
            b.end(how).await;
            let expected = if How::ORDERLY.contains(&how) {
                "a:down b:down"
            } else {
                "a#2 b#2"
            };
            assert_eq!(which(&root).await, expected, "{mode:?} {how:?}");
        }
    }
}

pub async fn significant_temporary() {
    for how in ALL {
        let (spec, a, _) = pair(AutoShutdown::AnySignificant, Restart::Temporary, true);
        let root = start(spec).await;
        a.end(how).await;
        assert!(is_down(&root), "{how:?}");

        let (spec, a, b) = pair(AutoShutdown::AllSignificant, Restart::Temporary, true);
        let root = start(spec).await;
        a.end(how).await;
        assert_eq!(which(&root).await, "b#1");
        b.end(how).await;
        assert!(is_down(&root), "{how:?}");
    }
    for mode in MODES {
        let (spec, ..) = pair(mode, Restart::Temporary, true);
        let root = start(spec).await;
        root.terminate_child("a").await.unwrap();
        root.terminate_child("b").await.unwrap();
        settle().await;
        assert_eq!(which(&root).await, "", "terminate_child never shuts down");
    }
}

pub async fn significant_transient() {
    for how in How::ABNORMAL {
        for mode in MODES {
            let (spec, a, b) = pair(mode, Restart::Transient, true);
            let root = start(spec).await;
            a.end(how).await;
            b.end(how).await;
            assert_eq!(which(&root).await, "a#2 b#2", "{mode:?} {how:?}");
        }
    }
    for how in How::ORDERLY {
        let (spec, a, _) = pair(AutoShutdown::AnySignificant, Restart::Transient, true);
        let root = start(spec).await;
        a.end(how).await;
        assert!(is_down(&root), "{how:?}");

        let (spec, a, b) = pair(AutoShutdown::AllSignificant, Restart::Transient, true);
        let root = start(spec).await;
        a.end(how).await;
        assert_eq!(which(&root).await, "a:down b#1");
        b.end(how).await;
        assert!(is_down(&root), "{how:?}");
    }
    for mode in MODES {
        let (spec, ..) = pair(mode, Restart::Transient, true);
        let root = start(spec).await;
        root.terminate_child("a").await.unwrap();
        root.terminate_child("b").await.unwrap();
        settle().await;
        assert_eq!(which(&root).await, "a:down b:down");
    }
}

pub async fn significant_simple() {
    // The flag cannot even be written for dynamic children; what can be written is a supervisor's own auto-shutdown.
    let (spec, _) = dynamic(&Log::default());
    let children = spec.handle();
    let _root = start(tree(Strategy::OneForOne, 1, [ChildSpec::dynamic("pool", spec)])).await;
    let sup = children.supervisor();
    for mode in MODES {
        let mut flags = sup.flags().await.unwrap();
        flags.auto_shutdown = mode;
        assert!(matches!(
            sup.update(flags, None).await,
            Err(ApiError::Spec(SpecError::DynamicAutoShutdown))
        ));
    }
    assert_eq!(sup.flags().await.unwrap().auto_shutdown, AutoShutdown::Never);
}

pub async fn significant_bystander() {
    for mode in MODES {
        for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
            let log = Log::default();
            let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
            let specs = [
                a.spec(),
                b.spec().restart(Restart::Transient).significant(true),
                c.spec().restart(Restart::Temporary).significant(true),
            ];
            let root = start(tree(strategy, 10, specs).auto_shutdown(mode)).await;
            a.end(How::Panic).await;
            let expected = if strategy == Strategy::OneForOne {
                "a#2 b#1 c#1"
            } else {
                "a#2 b#2"
            };
            assert_eq!(which(&root).await, expected, "{mode:?} {strategy:?}");
        }
    }
}

pub async fn significant_escalation() {
    for (significant, expected) in [(true, None), (false, Some("inner:down other#1"))] {
        let log = Log::default();
        let (leaf, other) = (Kid::new("leaf", &log), Kid::new("other", &log));
        let inner = tree(
            Strategy::OneForOne,
            1,
            [leaf.spec().restart(Restart::Transient).significant(true)],
        )
        .auto_shutdown(AutoShutdown::AnySignificant);
        let inner = ChildSpec::supervisor("inner", inner)
            .restart(Restart::Transient)
            .significant(significant);
        let root = tree(Strategy::OneForOne, 1, [inner, other.spec()]).auto_shutdown(AutoShutdown::AnySignificant);
        let root = start(root).await;
        leaf.end(How::Normal).await;
        match expected {
            None => assert!(is_down(&root)),
            Some(expected) => assert_eq!(which(&root).await, expected),
        }
    }
}
