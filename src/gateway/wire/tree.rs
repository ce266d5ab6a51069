//! The supervision tree as clients see it.

use serde_json::{Value, json};
use supervisors::TreeSnapshot;

/// One node and what is below it.
pub fn node(snapshot: &TreeSnapshot) -> Value {
    json!({
        "path": snapshot.path,
        "id": snapshot.id,
        "kind": format!("{:?}", snapshot.kind).to_lowercase(),
        "strategy": snapshot.strategy.map(supervisors::SnapshotStrategy::as_str),
        "state": snapshot.status.as_str(),
        "restarts": snapshot.restarts,
        "incarnation": snapshot.incarnation,
        "uptime_ms": snapshot.uptime.map(|uptime| uptime.as_millis() as u64),
        "mailbox": snapshot.mailbox_depth,
        "children": snapshot.children.iter().map(node).collect::<Vec<_>>(),
    })
}
