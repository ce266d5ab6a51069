//! The operators' listener: mutual TLS, an allow list, and an end to every kind of silence.
//!
//! Nothing of a request is read before the socket's peer is on the allow list and has shown a certificate of the kind
//! `admin/` that is good; and a connection ends when its certificate is not good any more. Who may do what is the
//! business of the key in each request, as everywhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::gateway::server::{Serve, answer, stopped};
use crate::identity::authority::handle::Authority;

use super::allow::Network;

/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest life of a connection.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// What a connection has to pass.
#[derive(Clone)]
pub struct Rim {
    /// Shows and checks certificates.
    pub authority: Authority,
    /// Who may come.
    pub allow: Arc<[Network]>,
    /// Time for a request's head, which is also the longest idle time of a connection.
    pub head_deadline: Duration,
    /// Set when the process is asked to stop.
    pub stop: watch::Receiver<bool>,
}

/// Serves those who are on the allow list and show a good certificate.
pub fn guarded(router: Router, rim: Rim) -> Serve {
    Arc::new(move |stream, peer| {
        if rim.allow.iter().any(|network| network.has(peer.ip())) {
            return Some(Box::pin(serve(stream, peer, router.clone(), rim.clone())));
        }
        tracing::warn!(%peer, "the operators' listener was refused to an address that admin.allow does not name");
        None
    })
}

async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, mut rim: Rim) {
    stream.set_nodelay(true).ok();
    let acceptor = TlsAcceptor::from(rim.authority.server_config());
    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::warn!(%peer, %error, "an operator's connection was refused in the handshake");
            return;
        }
        Err(_) => {
            tracing::debug!(%peer, "a handshake did not end in time");
            return;
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let who = match rim.authority.admit(shown) {
        Ok(who) => who,
        Err(why) => {
            tracing::warn!(%peer, %why, "an operator's connection was refused");
            return;
        }
    };
    let leave = async {
        tokio::select! {
            () = stopped(&mut rim.stop) => {}
            () = tokio::time::sleep(AGE_MAX) => {}
        }
    };
    let ended = tokio::select! {
        ended = answer(stream, router, rim.head_deadline, leave) => ended,
        why = rim.authority.lapse(who.serial) => {
            tracing::warn!(%peer, identity = %who.identity, %why, "an operator's connection was closed");
            Ok(())
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an operator's connection ended early");
    }
}
