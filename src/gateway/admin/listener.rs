//! The operators' listener: mutual TLS, an allow list, and an end to every kind of silence.
//!
//! Nothing of a request is read before the socket's peer is on the allow list and has shown a certificate of the kind
//! `admin/` that is good; and a connection ends when its certificate is not good any more. Who may do what is the
//! business of the key in each request, as everywhere.

use std::sync::Arc;

use crate::gateway::rim::serve::Serve;

use crate::gateway::rim::network::Network;

/// Serves those who are on the allow list, by `serve`.
pub fn allowed(allow: Arc<[Network]>, serve: Serve) -> Serve {
    Arc::new(move |stream, peer, place| {
        if allow.iter().any(|network| network.has(peer.ip())) {
            return serve(stream, peer, place);
        }
        tracing::warn!(%peer, "the operators' listener was refused to an address that admin.allow does not name");
        None
    })
}
