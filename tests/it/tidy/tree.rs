//! The root supervisor has its branches in the order of the layers, whatever order it is given them in.

use std::time::Duration;

use openclaw::daemon::layers::{ORDER, root};
use supervisors::{Strategy, Supervisor, SupervisorSpec};

fn branch() -> SupervisorSpec {
    SupervisorSpec::new(Strategy::OneForOne)
}

#[tokio::test]
async fn the_root_supervisor_follows_the_order_of_layers() {
    let layers: Vec<&'static str> = ORDER.iter().flat_map(|group| group.iter().copied()).collect();
    let spec = root(layers.iter().rev().map(|layer| (*layer, branch())));
    let started = tokio::time::timeout(Duration::from_secs(10), Supervisor::start("root", spec));
    let root = started.await.expect("within ten seconds").expect("the root starts");
    let snapshot = root.snapshot().await.expect("the root answers");
    let children: Vec<&str> = snapshot.children.iter().map(|child| &*child.id).collect();
    // Members of one group have no order among themselves.
    let places: Vec<Option<usize>> = children.iter().map(|id| openclaw::daemon::layers::place(id)).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{children:?}");
    assert_eq!(children.len(), layers.len());
    let strategy = snapshot.strategy.map(supervisors::SnapshotStrategy::as_str);
    assert_eq!(strategy, Some("rest_for_one"));
    root.shutdown().await;
}

#[test]
#[should_panic(expected = "a branch is named after its layer")]
fn a_branch_that_is_no_layer_is_refused() {
    drop(root([("utils", branch())]));
}
