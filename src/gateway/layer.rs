//! The layer's branch of the supervision tree.
//!
//! ```text
//! gateway (rest_for_one)
//! ├── connections: one task for each connection, and the accept loop
//! └── acceptor: keeps the accept loop alive
//! ```

use std::sync::Arc;
use std::time::Duration;

use supervisors::{ChildSpec, Strategy, SupervisorSpec, TaskSupervisor};
use tokio::net::TcpListener;

use super::parts::GatewayParts;
use super::route::router::router;
use super::server::Acceptor;

/// Makes the branch over a socket that listens already.
pub fn layer(parts: &GatewayParts, listener: Arc<TcpListener>) -> SupervisorSpec {
    let tasks = TaskSupervisor::new(parts.settings.connections_max + 1);
    let connections = tasks.handle();
    let router = router(parts.clone());
    let stop = parts.stop.subscribe();
    let head_deadline = parts.settings.head_deadline;
    let acceptor = ChildSpec::actor("acceptor", move |_| {
        let acceptor = Acceptor {
            listener: listener.clone(),
            router: router.clone(),
            connections: connections.clone(),
            stop: stop.clone(),
            head_deadline,
        };
        (acceptor, ())
    });
    SupervisorSpec::new(Strategy::RestForOne)
        .intensity(5, Duration::from_secs(30))
        .child(ChildSpec::tasks("connections", tasks))
        .child(acceptor)
}
