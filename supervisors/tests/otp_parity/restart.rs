//! What happens when a child ends by itself.

use std::{sync::Arc, time::Duration};

use supervisors::{
    ApiError, ChildSpec, DynamicSpec, Restart, StartError, Started, StartedChild, Strategy, SupervisorSpec,
};

use crate::support::{
    How, Kid, Log, Order, StartPlan, count, dynamic, end, gave_up, settle, start, tree as tree_of, which,
};

pub async fn multiple_restarts() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(
        SupervisorSpec::new(Strategy::OneForOne)
            .intensity(1, Duration::from_secs(1))
            .child(a.spec()),
    )
    .await;
    for round in 2..10 {
        a.end(How::Panic).await;
        assert_eq!(which(&root).await, format!("a#{round}"));
        tokio::time::advance(Duration::from_millis(1500)).await;
    }
}

pub async fn one_for_one() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree_of(Strategy::OneForOne, 1, [a.spec(), b.spec()])).await;
    a.end(How::Panic).await;
    assert_eq!(which(&root).await, "a#2 b#1");
    b.end(How::Panic).await;
    assert!(gave_up(&root));
    assert_eq!(log.events(), ["+a", "+b", "+a", "-a"]);
}

pub async fn one_for_one_escalation() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree_of(Strategy::OneForOne, 4, [a.spec(), b.spec()])).await;
    a.always(StartPlan::Fail);
    a.end(How::Panic).await;
    assert!(gave_up(&root));
    assert_eq!(log.events(), ["+a", "+b", "-b"]);
}

pub async fn one_for_all() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree_of(Strategy::OneForAll, 1, [a.spec(), b.spec()])).await;
    a.end(How::Panic).await;
    assert_eq!(which(&root).await, "a#2 b#2");
    assert_eq!(log.events(), ["+a", "+b", "-b", "+a", "+b"]);
    b.end(How::Panic).await;
    assert!(gave_up(&root));
}

pub async fn one_for_all_escalation() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree_of(Strategy::OneForAll, 4, [a.spec(), b.spec()])).await;
    b.always(StartPlan::Fail);
    a.end(How::Panic).await;
    assert!(gave_up(&root));
    // One restart and four retries, each with `a` stopped again; the fifth is too much.
    let starts = log.events().iter().filter(|event| *event == "+a").count();
    assert_eq!(starts, 1 + 4);
}

pub async fn one_for_all_other_child_fails_restart() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree_of(Strategy::OneForAll, 4, [a.spec(), b.spec()])).await;
    b.starts([StartPlan::Fail, StartPlan::Fail]);
    log.clear();
    a.end(How::Panic).await;
    assert_eq!(log.events(), ["-b", "+a", "-a", "+a", "-a", "+a", "+b"]);
    assert_eq!(which(&root).await, "a#4 b#4");
}

pub async fn simple_one_for_one() {
    let (spec, _) = dynamic(&Log::default());
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.intensity(1, Duration::from_secs(3600))).restart(Restart::Temporary);
    let root = start(tree_of(Strategy::OneForOne, 1, [pool])).await;
    let a = children.start_child("a", String::new()).await.unwrap();
    let b = children.start_child("b", String::new()).await.unwrap();
    end(&a, How::Panic);
    settle().await;
    assert_eq!(which(&children.supervisor()).await, "a#2 b#1");
    end(&b, How::Panic);
    settle().await;
    assert!(gave_up(&children.supervisor()));
    assert_eq!(which(&root).await, "");
}

pub async fn simple_one_for_one_extra() {
    let log = Log::default();
    let spec = {
        let log = log.clone();
        DynamicSpec::<u32, Order>::custom(move |_, arg| {
            let log = log.clone();
            async move {
                let started = ractor::Actor::spawn(None, Plain(log), arg).await;
                let (actor, _) = started.map_err(StartError::failed)?;
                Ok(Started::WithInfo(actor.get_cell(), Box::new(arg)))
            }
        })
    };
    let children = spec.handle();
    let _root = start(tree_of(Strategy::OneForOne, 9, [ChildSpec::dynamic("pool", spec)])).await;
    let a = children.start_child("a", 7).await.unwrap();
    end(&a, How::Panic);
    settle().await;
    assert_eq!(which(&children.supervisor()).await, "a#2");
    assert_eq!(log.events(), ["plain 7", "plain 7"]);
}

struct Plain(Log);

impl ractor::Actor for Plain {
    type Msg = Order;
    type State = ();
    type Arguments = u32;

    async fn pre_start(&self, _: ractor::ActorRef<Order>, arg: u32) -> Result<(), ractor::ActorProcessingErr> {
        self.0.push(format!("plain {arg}"));
        Ok(())
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<Order>,
        _: Order,
        (): &mut (),
    ) -> Result<(), ractor::ActorProcessingErr> {
        panic!("any order is too much")
    }
}

pub async fn simple_one_for_one_escalation() {
    let log = Log::default();
    let (spec, script) = dynamic(&log);
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.intensity(4, Duration::from_secs(3600))).restart(Restart::Temporary);
    let _root = start(tree_of(Strategy::OneForOne, 1, [pool])).await;
    let a = children.start_child("a", String::new()).await.unwrap();
    children.start_child("b", String::new()).await.unwrap();
    script.always(StartPlan::Fail);
    end(&a, How::Panic);
    settle().await;
    assert!(gave_up(&children.supervisor()));
    assert_eq!(log.events(), ["+a", "+b", "-b"]);
}

pub async fn simple_one_for_one_corruption() {
    let (spec, arg) = arc_arg();
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.restart(Restart::Temporary));
    let _root = start(tree_of(Strategy::OneForOne, 1, [pool])).await;
    for id in ["a", "b"] {
        let child = children.start_child(id, Arc::clone(&arg)).await.unwrap();
        assert_eq!(
            Arc::strong_count(&arg),
            1,
            "the argument of a temporary child is not kept"
        );
        end(&child, How::Panic);
        settle().await;
        assert_eq!(children.count(), 0);
    }
}

/// Children that do not keep their argument, so that only the supervisor could.
pub fn arc_arg() -> (DynamicSpec<Arc<()>, Order>, Arc<()>) {
    let spec = DynamicSpec::actor(|_, _: Arc<()>| (Plain(Log::default()), 0));
    (spec.backoff(supervisors::Backoff::none()), Arc::new(()))
}

pub async fn simple_one_for_one_restart_ignore() {
    let (spec, script) = dynamic(&Log::default());
    let children = spec.handle();
    let _root = start(tree_of(Strategy::OneForOne, 1, [ChildSpec::dynamic("pool", spec)])).await;
    let a = children.start_child("a", String::new()).await.unwrap();
    children.start_child("b", String::new()).await.unwrap();
    script.starts([StartPlan::Ignore]);
    end(&a, How::Panic);
    settle().await;
    assert_eq!(which(&children.supervisor()).await, "b#1");
    assert!(children.get("a").is_none());
}

pub async fn rest_for_one() {
    let log = Log::default();
    let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
    let root = start(tree_of(Strategy::RestForOne, 1, [a.spec(), b.spec(), c.spec()])).await;
    log.clear();
    b.end(How::Panic).await;
    assert_eq!(log.events(), ["-c", "+b", "+c"]);
    assert_eq!(which(&root).await, "a#1 b#2 c#2");
    b.end(How::Panic).await;
    assert!(gave_up(&root));
}

pub async fn rest_for_one_escalation() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree_of(Strategy::RestForOne, 4, [a.spec(), b.spec()])).await;
    b.always(StartPlan::Fail);
    a.end(How::Panic).await;
    assert!(gave_up(&root));
    assert_eq!(log.events(), ["+a", "+b", "-b", "+a", "-a"]);
}

pub async fn rest_for_one_other_child_fails_restart() {
    let log = Log::default();
    let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
    let root = start(tree_of(Strategy::RestForOne, 4, [a.spec(), b.spec(), c.spec()])).await;
    b.starts([StartPlan::Fail, StartPlan::Panic]);
    log.clear();
    a.end(How::Panic).await;
    // `a` is restarted once; the retries go on at `b`.
    assert_eq!(log.events(), ["-c", "-b", "+a", "+b", "+c"]);
    assert_eq!(which(&root).await, "a#2 b#4 c#2");
}

/// One child of this type ends in each of these ways; what is then there?
async fn ends(restart: Restart, hows: &[How], expected: &str) {
    for how in hows {
        let log = Log::default();
        let a = Kid::new("a", &log);
        let root = start(tree_of(Strategy::OneForOne, 1, [a.spec().restart(restart)])).await;
        a.end(*how).await;
        assert_eq!(which(&root).await, expected, "{restart:?} {how:?}");
        let running = usize::from(expected == "a#2");
        let known = usize::from(!expected.is_empty());
        assert_eq!(count(&root).await, (known, running, 0, known));
        if expected == "a:down" {
            assert!(matches!(
                root.restart_child("a").await,
                Ok(StartedChild::Running { .. })
            ));
            assert_eq!(which(&root).await, "a#2");
        }
    }
}

const SHUTDOWNS: [How; 2] = [How::Shutdown, How::ShutdownWith];

pub async fn permanent_normal() {
    ends(Restart::Permanent, &[How::Normal], "a#2").await;
}

pub async fn transient_normal() {
    ends(Restart::Transient, &[How::Normal], "a:down").await;
}

pub async fn temporary_normal() {
    ends(Restart::Temporary, &[How::Normal], "").await;
}

pub async fn permanent_shutdown() {
    ends(Restart::Permanent, &SHUTDOWNS, "a#2").await;
}

pub async fn transient_shutdown() {
    ends(Restart::Transient, &SHUTDOWNS, "a:down").await;
}

pub async fn temporary_shutdown() {
    ends(Restart::Temporary, &SHUTDOWNS, "").await;
}

pub async fn permanent_abnormal() {
    ends(Restart::Permanent, &How::ABNORMAL, "a#2").await;
}

pub async fn transient_abnormal() {
    ends(Restart::Transient, &How::ABNORMAL, "a#2").await;
}

pub async fn temporary_abnormal() {
    ends(Restart::Temporary, &How::ABNORMAL, "").await;
}

pub async fn tree_of_three() {
    let log = Log::default();
    let (leaf, side, extra) = (Kid::new("leaf", &log), Kid::new("side", &log), Kid::new("extra", &log));
    let low = tree_of(Strategy::OneForOne, 1, [leaf.spec()]);
    let low_handle = low.handle();
    let middle = tree_of(Strategy::OneForOne, 1, [ChildSpec::supervisor("low", low), side.spec()]);
    let middle_handle = middle.handle();
    let top = start(tree_of(
        Strategy::OneForOne,
        1,
        [ChildSpec::supervisor("middle", middle)],
    ))
    .await;

    // A restart stays local.
    leaf.end(How::Panic).await;
    assert_eq!(which(&low_handle).await, "leaf#2");
    assert_eq!(which(&middle_handle).await, "low#1 side#1");

    // One more and the supervisor is restarted, with its static children only.
    low_handle.start_child(extra.spec()).await.unwrap();
    assert_eq!(which(&low_handle).await, "leaf#2 extra#1");
    leaf.end(How::Panic).await;
    assert_eq!(which(&middle_handle).await, "low#2 side#1");
    assert_eq!(which(&low_handle).await, "leaf#3");
    assert!(!extra.at.is_up());

    // And up to the next level, through handles and addresses made before the start.
    leaf.end(How::Panic).await;
    leaf.end(How::Panic).await;
    assert_eq!(which(&top).await, "middle#2");
    assert_eq!(which(&middle_handle).await, "low#3 side#2");
    assert_eq!(leaf.at.incarnation(), 5);
    assert!(leaf.at.is_up());
}

pub async fn tree() {
    tree_of_three().await;
    // A terminated transient supervisor comes back with its parent.
    let log = Log::default();
    let (leaf, side) = (Kid::new("leaf", &log), Kid::new("side", &log));
    let low = tree_of(Strategy::OneForOne, 1, [leaf.spec()]);
    let middle = tree_of(
        Strategy::OneForOne,
        0,
        [
            ChildSpec::supervisor("low", low).restart(Restart::Transient),
            side.spec(),
        ],
    );
    let middle_handle = middle.handle();
    let top = start(tree_of(
        Strategy::OneForOne,
        1,
        [ChildSpec::supervisor("middle", middle)],
    ))
    .await;
    middle_handle.terminate_child("low").await.unwrap();
    assert_eq!(which(&middle_handle).await, "low:down side#1");
    side.end(How::Panic).await;
    assert_eq!(which(&top).await, "middle#2");
    assert_eq!(which(&middle_handle).await, "low#2 side#2");
}

pub async fn temporary_bystander() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let log = Log::default();
        let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
        let root = start(tree_of(strategy, 10, [a.spec(), b.spec().restart(Restart::Temporary)])).await;
        a.end(How::Panic).await;
        assert_eq!(which(&root).await, "a#2", "{strategy:?}");
        assert_eq!(log.events(), ["+a", "+b", "-b", "+a"]);
        assert!(matches!(root.terminate_child("b").await, Err(ApiError::NotFound(_))));
    }
}

pub async fn hanging_restart_loop() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree_of(Strategy::OneForOne, u32::MAX, [a.spec(), b.spec()])).await;
    a.always(StartPlan::Fail);
    a.send_end(How::Panic);
    busy_until(&root, "a").await;
    assert!(matches!(root.restart_child("a").await, Err(ApiError::Restarting(_))));
    assert!(matches!(root.delete_child("a").await, Err(ApiError::Restarting(_))));
    assert!(matches!(
        root.start_child(a.spec()).await,
        Err(ApiError::AlreadyPresent(_))
    ));
    assert_eq!(count(&root).await, (2, 1, 0, 2));
    assert!(root.get_spec("a").await.is_ok());
    assert!(b.at.is_up());
    // Terminating it ends the loop.
    root.terminate_child("a").await.unwrap();
    assert_eq!(which(&root).await, "a:down b#1");
    a.always(None);
    root.restart_child("a").await.unwrap();
    // And a shutdown overtakes it.
    a.always(StartPlan::Fail);
    a.send_end(How::Panic);
    busy_until(&root, "a").await;
    root.shutdown().await;
    assert!(!b.at.is_up());
}

/// Waits until the child is caught between two restarts; time cannot help here, the loop never rests.
async fn busy_until(root: &supervisors::SupervisorRef, id: &str) {
    for _ in 0..1000 {
        let children = root.which_children().await.unwrap();
        if children
            .iter()
            .any(|child| child.id == *id && child.status == supervisors::ChildStatus::Restarting)
        {
            return;
        }
    }
    panic!("{id} was never seen restarting");
}

pub async fn hanging_restart_loop_rest_for_one() {
    let log = Log::default();
    let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
    let root = start(tree_of(Strategy::RestForOne, u32::MAX, [a.spec(), b.spec(), c.spec()])).await;
    b.always(StartPlan::Fail);
    b.send_end(How::Panic);
    busy_until(&root, "b").await;
    assert_eq!(which(&root).await, "a#1 b:restarting c:down");
    assert_eq!(count(&root).await, (3, 1, 0, 3));
    assert!(matches!(root.restart_child("b").await, Err(ApiError::Restarting(_))));
    assert!(matches!(
        root.start_child(c.spec()).await,
        Err(ApiError::AlreadyPresent(_))
    ));
    root.terminate_child("b").await.unwrap();
    assert_eq!(which(&root).await, "a#1 b:down c:down");
    root.shutdown().await;
    assert_eq!(log.events(), ["+a", "+b", "+c", "-c", "-a"]);
}

pub async fn hanging_restart_loop_simple() {
    let log = Log::default();
    let (spec, script) = dynamic(&log);
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.intensity(u32::MAX, Duration::from_secs(3600)));
    let root = start(tree_of(Strategy::OneForOne, 1, [pool])).await;
    let sup = children.supervisor();
    let a = children.start_child("a", String::new()).await.unwrap();
    children.start_child("b", String::new()).await.unwrap();
    script.always(StartPlan::Fail);
    end(&a, How::Panic);
    busy_until(&sup, "a").await;
    assert_eq!(which(&sup).await, "a:restarting b#1");
    assert_eq!(count(&sup).await, (1, 1, 0, 2));
    assert!(matches!(
        children.start_child("a", String::new()).await,
        Err(ApiError::AlreadyPresent(_))
    ));
    assert!(matches!(sup.restart_child("a").await, Err(ApiError::NotForDynamic)));
    children.terminate_child("a").await.unwrap();
    assert_eq!(which(&sup).await, "b#1");
    let b = children.get("b").unwrap();
    end(&b, How::Kill);
    busy_until(&sup, "b").await;
    root.shutdown().await;
    assert!(!b.is_up());
}
