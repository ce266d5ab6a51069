//! The layer's branch of the supervision tree.
//!
//! ```text
//! gateway (rest_for_one)
//! ├── scribes: one task for each response that is being streamed
//! ├── connections: one task for each connection, and the accept loop
//! ├── acceptor: keeps the accept loop alive
//! ├── upkeep: takes measured values in
//! ├── scrapes: one task for each connection to the metrics
//! ├── metrics: keeps their accept loop alive; missing when their address is taken
//! ├── operators: one task for each connection of an operator
//! └── admin: keeps their accept loop alive
//! ```

use std::sync::Arc;
use std::time::Duration;

use supervisors::{ChildSpec, StartContext, Strategy, SupervisorSpec, TaskSupervisor, Tasks};
use tokio::net::TcpListener;

use super::admin::listener::{Rim, guarded};
use super::admin::router::router as admin_router;
use super::face::scribe::{SCRIBES_MAX, Scribes};
use super::metrics::{self, Upkeep};
use super::parts::GatewayParts;
use super::route::router::router;
use super::server::{Acceptor, Serve, plain};

/// A listener for metrics with the address that it listens on.
pub type MetricsListener = (Arc<TcpListener>, Arc<str>);

/// The operators' listener, and what its connections have to pass.
pub type AdminListener = (Arc<TcpListener>, Rim);

/// Connections of operators at once.
const OPERATORS_MAX: usize = 64;
/// Scrapes at once.
const SCRAPES_MAX: usize = 16;

/// Makes the branch over sockets that listen already.
pub fn layer(
    parts: &GatewayParts,
    listener: Arc<TcpListener>,
    metrics: Option<MetricsListener>,
    (admin, rim): AdminListener,
) -> SupervisorSpec {
    let acceptor = |name: &'static str, listener: Arc<TcpListener>, serve: Serve, connections: Tasks| {
        let acceptor = Acceptor {
            name,
            listener,
            connections,
            stop: parts.stop.subscribe(),
            serve,
        };
        move |_: StartContext| (acceptor.clone(), ())
    };
    let open = |router: axum::Router| plain(router, parts.stop.subscribe(), parts.settings.head_deadline);
    let tasks = TaskSupervisor::new(parts.settings.connections_max + 1);
    let connections = tasks.handle();
    let writing = TaskSupervisor::new(SCRIBES_MAX);
    let scribes = Scribes::new(writing.handle());
    let (telemetry, actors) = (parts.telemetry.clone(), parts.measure_actors.clone());
    let upkeep = ChildSpec::actor("upkeep", move |_| (Upkeep(telemetry.clone(), actors.clone()), ()));
    let mut spec = SupervisorSpec::new(Strategy::RestForOne)
        .intensity(5, Duration::from_secs(30))
        .child(ChildSpec::tasks("scribes", writing))
        .child(ChildSpec::tasks("connections", tasks))
        .child(ChildSpec::actor(
            "acceptor",
            acceptor(
                "the gateway",
                listener,
                open(router(parts.clone(), scribes)),
                connections,
            ),
        ))
        .child(upkeep);
    if let Some((listener, address)) = metrics {
        let tasks = TaskSupervisor::new(SCRAPES_MAX + 1);
        let connections = tasks.handle();
        let serve = open(metrics::router(parts.telemetry.clone(), address));
        spec = spec.child(ChildSpec::tasks("scrapes", tasks)).child(ChildSpec::actor(
            "metrics",
            acceptor("the metrics", listener, serve, connections),
        ));
    }
    let tasks = TaskSupervisor::new(OPERATORS_MAX + 1);
    let connections = tasks.handle();
    let serve = guarded(admin_router(parts.clone(), parts.admin.clone()), rim);
    spec.child(ChildSpec::tasks("operators", tasks)).child(ChildSpec::actor(
        "admin",
        acceptor("the operators", admin, serve, connections),
    ))
}
