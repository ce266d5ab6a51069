//! The one order of layers. The root supervisor is built from it, and the repository's own test holds every import
//! against it.

use supervisors::{ChildSpec, Strategy, SupervisorSpec};

/// All layers, left to right: imports and calls point left, facts go right, start-up goes left to right.
/// Members of one group never import each other.
pub const ORDER: &[&[&str]] = &[
    &["domain"],
    &["storage"],
    &["runtime"],
    &["identity"],
    &["cluster"],
    &["llm", "memory", "skills"],
    &["agents"],
    &["runs"],
    &["automation", "health"],
    &["gateway"],
    &["daemon"],
    &["cli"],
];

/// The place of a layer in the order; none when it is not a layer.
pub fn place(layer: &str) -> Option<usize> {
    ORDER.iter().position(|group| group.contains(&layer))
}

/// Restarts of a layer within five minutes before the process gives up and the service manager takes over.
const ROOT_RESTARTS: u32 = 2;
const ROOT_PERIOD: std::time::Duration = std::time::Duration::from_secs(300);

/// The root: `rest_for_one` over the branches of the layers, in the one order. Layers without actors have none.
///
/// The gateway stands apart: it holds what clients hold, open connections, and knows the other layers by nothing but
/// handles, so that their restarts are short waits for its requests and no end of them.
///
/// # Panics
/// When a branch is not named after a layer: the tree would not follow the order.
pub fn root(branches: impl IntoIterator<Item = (&'static str, SupervisorSpec)>) -> SupervisorSpec {
    let placed = branches.into_iter().map(|(layer, spec)| {
        let place = place(layer).expect("a branch is named after its layer");
        (place, layer, spec)
    });
    let mut branches: Vec<(usize, &'static str, SupervisorSpec)> = placed.collect();
    branches.sort_by_key(|(place, _, _)| *place);
    let children = branches.into_iter().map(|(_, layer, spec)| {
        let branch = ChildSpec::supervisor(layer, spec);
        if layer == "gateway" { branch.apart() } else { branch }
    });
    SupervisorSpec::new(Strategy::RestForOne)
        .intensity(ROOT_RESTARTS, ROOT_PERIOD)
        .forgive_kills()
        .children(children)
}
