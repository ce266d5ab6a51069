//! Live change of flags and specifications.

use std::time::Duration;

use supervisors::{
    ApiError, AutoShutdown, ChildSpec, ExitReason, Flags, Restart, Shutdown, SpecError, Strategy, SupervisorRef,
};

use crate::support::{How, Kid, Log, dynamic, end, settle, start, tree, which};

fn is_down(supervisor: &SupervisorRef) -> bool {
    supervisor.cell().is_none() && supervisor.last_exit() == Some(ExitReason::Shutdown)
}

async fn set_mode(root: &SupervisorRef, mode: AutoShutdown) {
    let flags = Flags {
        auto_shutdown: mode,
        ..root.flags().await.unwrap()
    };
    root.update(flags, None).await.unwrap();
    assert_eq!(root.flags().await.unwrap().auto_shutdown, mode);
}

/// A supervisor in this mode with two significant children, where the mode allows them.
async fn pair(mode: AutoShutdown) -> (SupervisorRef, Kid, Kid) {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let significant = mode != AutoShutdown::Never;
    let specs = [&a, &b].map(|kid| kid.spec().restart(Restart::Temporary).significant(significant));
    (
        start(tree(Strategy::OneForOne, 1, specs).auto_shutdown(mode)).await,
        a,
        b,
    )
}

fn significant(id: &str) -> (ChildSpec, Kid) {
    let kid = Kid::new(id, &Log::default());
    (kid.spec().restart(Restart::Temporary).significant(true), kid)
}

pub async fn significant_upgrade_never_any() {
    let (root, a, _) = pair(AutoShutdown::Never).await;
    let (spec, c) = significant("c");
    assert!(matches!(root.start_child(spec.clone()).await, Err(ApiError::Spec(_))));
    set_mode(&root, AutoShutdown::AnySignificant).await;
    root.start_child(spec).await.unwrap();
    a.end(How::Normal).await;
    assert_eq!(
        which(&root).await,
        "b#1 c#1",
        "the old children are still not significant"
    );
    c.end(How::Normal).await;
    assert!(is_down(&root));
}

pub async fn significant_upgrade_any_never() {
    let (root, a, b) = pair(AutoShutdown::AnySignificant).await;
    set_mode(&root, AutoShutdown::Never).await;
    a.end(How::Normal).await;
    assert_eq!(which(&root).await, "b#1");
    let error = root.start_child(significant("c").0).await.unwrap_err();
    assert!(matches!(error, ApiError::Spec(SpecError::SignificantWithoutAutoShutdown(id)) if id == "c"));
    b.end(How::Normal).await;
    assert_eq!(which(&root).await, "");
}

pub async fn significant_upgrade_never_all() {
    let (root, ..) = pair(AutoShutdown::Never).await;
    set_mode(&root, AutoShutdown::AllSignificant).await;
    let ((c_spec, c), (d_spec, d)) = (significant("c"), significant("d"));
    root.start_child(c_spec).await.unwrap();
    root.start_child(d_spec).await.unwrap();
    c.end(How::Normal).await;
    assert_eq!(which(&root).await, "a#1 b#1 d#1");
    d.end(How::Normal).await;
    assert!(is_down(&root));
}

pub async fn significant_upgrade_all_never() {
    let (root, a, b) = pair(AutoShutdown::AllSignificant).await;
    a.end(How::Normal).await;
    set_mode(&root, AutoShutdown::Never).await;
    b.end(How::Normal).await;
    assert_eq!(which(&root).await, "");
}

pub async fn significant_upgrade_any_all() {
    let (root, a, b) = pair(AutoShutdown::AnySignificant).await;
    set_mode(&root, AutoShutdown::AllSignificant).await;
    settle().await;
    assert_eq!(which(&root).await, "a#1 b#1");
    a.end(How::Normal).await;
    assert_eq!(which(&root).await, "b#1");
    b.end(How::Normal).await;
    assert!(is_down(&root));
}

pub async fn significant_upgrade_all_any() {
    let (root, a, b) = pair(AutoShutdown::AllSignificant).await;
    a.end(How::Normal).await;
    set_mode(&root, AutoShutdown::AnySignificant).await;
    settle().await;
    assert_eq!(which(&root).await, "b#1", "a change of mode alone shuts nothing down");
    b.end(How::Normal).await;
    assert!(is_down(&root));
}

pub async fn significant_upgrade_child() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let specs = [a.spec().restart(Restart::Transient), b.spec()];
    let root = start(tree(Strategy::OneForOne, 9, specs).auto_shutdown(AutoShutdown::AnySignificant)).await;
    // Illegal: permanent and significant. Nothing changes.
    let error = root
        .update(None, Some(vec![b.spec().significant(true)]))
        .await
        .unwrap_err();
    assert!(matches!(error, ApiError::Spec(SpecError::SignificantPermanent(id)) if id == "b"));
    assert!(!root.get_spec("b").await.unwrap().policy().significant);
    // On ...
    let on = a.spec().restart(Restart::Transient).significant(true);
    root.update(None, Some(vec![on, b.spec()])).await.unwrap();
    assert!(root.get_spec("a").await.unwrap().policy().significant);
    // ... and off again, which the running child obeys.
    root.update(None, Some(vec![a.spec().restart(Restart::Transient), b.spec()]))
        .await
        .unwrap();
    a.end(How::Normal).await;
    assert_eq!(which(&root).await, "a:down b#1");
    root.restart_child("a").await.unwrap();
    let on = a.spec().restart(Restart::Transient).significant(true);
    root.update(None, Some(vec![on, b.spec()])).await.unwrap();
    a.end(How::Normal).await;
    assert!(is_down(&root));
}

pub async fn code_change() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(tree(Strategy::OneForOne, 1, [a.spec()])).await;
    let old = root.flags().await.unwrap();
    let mut new = old;
    new.intensity.restarts = 5;
    new.strategy = Strategy::OneForAll;
    root.update(new, None).await.unwrap();
    assert_eq!(root.flags().await.unwrap(), new);
    // Bad flags, or bad specs with good flags, leave everything as it was.
    let mut bad = old;
    bad.intensity.period = Duration::ZERO;
    assert!(matches!(
        root.update(bad, None).await,
        Err(ApiError::Spec(SpecError::ZeroPeriod))
    ));
    let twice = vec![a.spec(), a.spec()];
    assert!(matches!(
        root.update(old, Some(twice)).await,
        Err(ApiError::Spec(SpecError::DuplicateId(_)))
    ));
    assert_eq!(root.flags().await.unwrap(), new);
    for _ in 0..5 {
        a.end(How::Panic).await;
    }
    assert_eq!(which(&root).await, "a#6");
}

pub async fn code_change_map() {
    let log = Log::default();
    let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
    let root = start(tree(Strategy::RestForOne, 9, [a.spec(), b.spec()])).await;
    // A new list: c first, a changed, b missing.
    let changed = Kid::new("a", &log);
    let new_a = changed.spec().shutdown(Shutdown::Brutal);
    root.update(None, Some(vec![c.spec(), new_a])).await.unwrap();
    assert_eq!(
        which(&root).await,
        "c:down a#1 b#1",
        "new ones wait, missing ones go to the end"
    );
    assert_eq!(root.get_spec("a").await.unwrap().policy().shutdown, Shutdown::Brutal);
    // Addresses of the old and of the new specification both lead to the child, before and after its restart.
    assert_eq!((a.at.incarnation(), changed.at.incarnation()), (1, 1));
    assert!(changed.at.is_up());
    a.end(How::Panic).await;
    assert_eq!(
        which(&root).await,
        "c:down a#2 b#2",
        "rest_for_one follows the new order"
    );
    assert_eq!((a.at.incarnation(), changed.at.incarnation()), (2, 2));
    root.restart_child("c").await.unwrap();
    assert_eq!(which(&root).await, "c#1 a#2 b#2");
    log.clear();
    root.shutdown().await;
    assert_eq!(log.events(), ["-b", "-c"], "the brutal one goes without a word");
}

pub async fn code_change_simple() {
    let (spec, _) = dynamic(&Log::default());
    let children = spec.handle();
    let _root = start(tree(Strategy::OneForOne, 1, [ChildSpec::dynamic("pool", spec)])).await;
    let sup = children.supervisor();
    let a = Kid::new("a", &Log::default());
    for list in [
        vec![],
        vec![a.spec()],
        vec![a.spec(), Kid::new("b", &Log::default()).spec()],
    ] {
        assert!(matches!(
            sup.update(None, Some(list)).await,
            Err(ApiError::Spec(SpecError::DynamicSpecs))
        ));
    }
    let mut flags = sup.flags().await.unwrap();
    flags.intensity.restarts = 7;
    sup.update(flags, None).await.unwrap();
    assert_eq!(sup.flags().await.unwrap().intensity.restarts, 7);
}

pub async fn code_change_simple_map() {
    let (log, new_log) = (Log::default(), Log::default());
    let (spec, _) = dynamic(&log);
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.intensity(9, Duration::from_secs(1)));
    let _root = start(tree(Strategy::OneForOne, 1, [pool])).await;
    let a = children.start_child("a", String::new()).await.unwrap();
    let (template, _) = dynamic(&new_log);
    children
        .update_template(template.shutdown(Shutdown::Brutal).max_children(2))
        .await
        .unwrap();
    assert_eq!(new_log.events(), Vec::<String>::new());
    children.start_child("b", String::new()).await.unwrap();
    assert!(matches!(
        children.start_child("c", String::new()).await,
        Err(ApiError::TooManyChildren(2))
    ));
    assert_eq!(new_log.events(), ["+b"]);
    end(&a, How::Panic);
    settle().await;
    assert_eq!(new_log.events(), ["+b", "+a"], "a restart uses the new template too");
    assert_eq!(
        children.supervisor().get_spec("a").await.unwrap().policy().shutdown,
        Shutdown::Brutal
    );
}
