//! The layer's branch of the supervision tree.
//!
//! ```text
//! gateway (rest_for_one; apart from the restarts of the layers to its left)
//! ├── scribes (apart): one task for each response that is being streamed
//! ├── connections: one task for each connection, and the accept loop; they outlive its kill, and a stop lets requests end
//! ├── acceptor: keeps the accept loop alive
//! ├── upkeep (apart): takes measured values in
//! ├── scrapes: one task for each connection to the metrics
//! ├── metrics: keeps their accept loop alive; missing when their address is taken
//! ├── changes (apart): one task for each change that an operator asks for
//! ├── operators: one task for each connection of an operator
//! └── admin: keeps their accept loop alive
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::response::IntoResponse as _;
use futures_util::FutureExt as _;
use supervisors::{ChildSpec, StartContext, Strategy, SupervisorSpec, TaskSupervisor, Tasks};
use tokio::net::TcpListener;

use crate::domain::code;
use crate::identity::authority::listener::Tls;
use crate::runtime::telemetry::GATEWAY_REFUSED;

use super::admin::listener::allowed;
use super::admin::router::router as admin_router;
use super::error::ApiError;
use super::face::scribe::{SCRIBES_MAX, Scribes};
use super::metrics::{self, Upkeep};
use super::parts::GatewayParts;
use super::rim::acceptor::Acceptor;
use super::rim::bounds::Bounds;
use super::rim::crowd::Crowd;
use super::rim::network::Network;
use super::rim::serve::{Serve, over_tls, plain};
use super::route::router::router;

/// A listener for metrics with the address that it listens on.
pub type MetricsListener = (Arc<TcpListener>, Arc<str>);

/// The sockets that listen, and what their connections have to pass.
pub struct Listeners {
    /// The gateway's.
    pub gateway: Arc<TcpListener>,
    /// Its TLS; none when it speaks in clear.
    pub tls: Option<Tls>,
    /// Of the metrics; none when their address was taken.
    pub metrics: Option<MetricsListener>,
    /// The operators'.
    pub admin: Arc<TcpListener>,
    /// Its TLS.
    pub admin_tls: Tls,
    /// Who may come to the operators' listener.
    pub allow: Arc<[Network]>,
    /// Limits of every connection.
    pub bounds: Bounds,
    /// Connections of one address to the gateway.
    pub each_max: usize,
}

/// Connections of operators at once.
const OPERATORS_MAX: usize = 64;
/// Changes that operators ask for at once, those included whose client has left.
const CHANGES_MAX: usize = 64;
/// Scrapes at once.
const SCRAPES_MAX: usize = 16;
/// For requests under way when their supervisor stops, and for its next life to be there when it was killed. Streams
/// and requests that wait for a run last longer, and come back by themselves.
const GRACE: Duration = Duration::from_millis(500);
/// Longest answer to a connection over a bound.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// The open connections of all listeners.
pub struct Connections(Vec<Tasks>);

impl Connections {
    /// Resolves when all have ended and no listener accepts any more.
    ///
    /// **Cancel**: nothing is left.
    pub async fn ended(&self) {
        for tasks in &self.0 {
            tasks.idle().await;
        }
    }
}

/// What a client is told whose connection is over a bound, as one whole answer of HTTP/1.1.
fn refusal() -> Arc<[u8]> {
    let error = ApiError::new(
        code::TOO_MANY_CONNECTIONS,
        "there are too many connections; nothing was read",
    )
    .hint("use connections again, or raise gateway.maxConnections or gateway.maxConnectionsPerAddress");
    let response = error.into_response();
    let mut bytes = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n".to_vec();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let body = to_bytes(response.into_body(), REFUSAL_BYTES_MAX);
    let body = body.now_or_never().and_then(Result::ok).unwrap_or_default();
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    bytes.into()
}

/// Makes the branch over sockets that listen already.
pub fn layer(parts: &GatewayParts, listeners: Listeners) -> (SupervisorSpec, Connections) {
    let stop = || parts.stop.subscribe();
    let bounds = listeners.bounds;
    let acceptor = |name: &'static str, listener: Arc<TcpListener>, serve: Serve, connections: Tasks| Acceptor {
        name,
        listener,
        crowd: Crowd::new(connections.capacity()),
        connections,
        stop: stop(),
        serve,
        proxies: Arc::default(),
        refused: parts.telemetry.counter(&GATEWAY_REFUSED, &["connections"]),
        refusal: Arc::default(),
    };
    let child = |acceptor: Acceptor| move |_: StartContext| (acceptor.clone(), ());
    let mut all = Vec::new();
    let mut tasks = |capacity: usize| {
        // The accept loop is one of them.
        let tasks = TaskSupervisor::with_grace(capacity + 1, GRACE);
        let handle = tasks.handle();
        all.push(handle.clone());
        (tasks, handle)
    };

    let writing = TaskSupervisor::with_grace(SCRIBES_MAX, GRACE);
    let scribes = Scribes::new(writing.handle());
    let (supervisor, connections) = tasks(parts.settings.load().connections_max);
    let routes = router(parts.clone(), scribes);
    let is_clear = listeners.tls.is_none();
    let leave = connections.winding_down();
    let serve = match listeners.tls {
        Some(tls) => over_tls(routes, tls, bounds, leave),
        None => plain(routes, bounds, leave),
    };
    let gateway = Acceptor {
        crowd: Crowd::new(listeners.each_max),
        proxies: parts.settings.load().proxies.clone(),
        // Over TLS nobody could read it without a handshake, which costs more than is to be saved.
        refusal: if is_clear { refusal() } else { Arc::default() },
        ..acceptor("the gateway", listeners.gateway, serve, connections)
    };
    let for_upkeep = (
        parts.telemetry.clone(),
        parts.limits.clone(),
        parts.measure_actors.clone(),
    );
    let upkeep = ChildSpec::actor("upkeep", move |_| {
        let (telemetry, limits, actors) = for_upkeep.clone();
        let upkeep = Upkeep {
            telemetry,
            limits,
            actors,
        };
        (upkeep, ())
    });
    let mut spec = SupervisorSpec::new(Strategy::RestForOne)
        .intensity(5, Duration::from_secs(30))
        .forgive_kills()
        .child(ChildSpec::tasks("scribes", writing).apart())
        .child(ChildSpec::tasks("connections", supervisor))
        .child(ChildSpec::actor("acceptor", child(gateway)))
        .child(upkeep.apart());
    if let Some((listener, _)) = listeners.metrics {
        let (supervisor, connections) = tasks(SCRAPES_MAX);
        let leave = connections.winding_down();
        let serve = plain(metrics::router(parts.telemetry.clone()), bounds, leave);
        let metrics = acceptor("the metrics", listener, serve, connections);
        spec = spec
            .child(ChildSpec::tasks("scrapes", supervisor))
            .child(ChildSpec::actor("metrics", child(metrics)));
    }
    let (making, changes) = tasks(CHANGES_MAX);
    let (supervisor, connections) = tasks(OPERATORS_MAX);
    let routes = admin_router(parts.clone(), changes);
    let leave = connections.winding_down();
    let serve = allowed(listeners.allow, over_tls(routes, listeners.admin_tls, bounds, leave));
    let admin = acceptor("the operators", listeners.admin, serve, connections);
    let spec = spec
        .child(ChildSpec::tasks("changes", making).apart())
        .child(ChildSpec::tasks("operators", supervisor))
        .child(ChildSpec::actor("admin", child(admin)));
    (spec, Connections(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_over_a_bound_is_told_so_in_one_whole_answer() {
        let refusal = refusal();
        let text = std::str::from_utf8(&refusal).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("\r\nretry-after: "), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["error"]["code"], "OC-7010", "{body}");
    }
}
