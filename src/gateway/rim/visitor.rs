//! Where a request comes from, as the connection says; nothing of it is read from the request.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

/// The other side of a connection.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The socket's peer.
    pub address: SocketAddr,
    /// The address that it came to; none when the socket does not say.
    pub local: Option<IpAddr>,
    /// Whose certificate it showed, such as `service/nginx`; none where none is asked for.
    pub identity: Option<Arc<str>>,
}

/// Answers a connection's requests, each with its visitor among its extensions.
#[derive(Clone)]
pub struct Visit {
    router: TowerToHyperService<Router>,
    visitor: Visitor,
}

impl Visit {
    /// Of this visitor, to these routes.
    pub fn new(router: Router, visitor: Visitor) -> Self {
        Self {
            router: TowerToHyperService::new(router),
            visitor,
        }
    }
}

impl Service<Request<Incoming>> for Visit {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.visitor.clone());
        self.router.call(request)
    }
}
