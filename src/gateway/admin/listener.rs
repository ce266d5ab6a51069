//! The operators' listener: mutual TLS, an allow list, and an end to every kind of silence.
//!
//! Nothing of a request is read before the socket's peer is on the allow list and has shown a certificate of the kind
//! `admin/` that is good; and a connection ends when its certificate is not good any more. Who may do what is the
//! business of the key in each request, as everywhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{TaskExit, Tasks};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::gateway::server::{AcceptLoop, AcceptorMessage, stopped};
use crate::identity::authority::handle::Authority;

use super::allow::Network;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Time that open connections get when the daemon stops.
const DRAIN: Duration = Duration::from_secs(3);
/// Wait after the system has no more file descriptors or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
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

/// Accepts connections of operators. Its crash restarts the loop; the socket lives outside.
pub struct AdminAcceptor {
    /// The socket.
    pub listener: Arc<TcpListener>,
    /// The routes.
    pub router: Router,
    /// Where connections live.
    pub connections: Tasks,
    /// What they have to pass.
    pub rim: Rim,
}

impl Actor for AdminAcceptor {
    type Msg = AcceptorMessage;
    type State = AcceptLoop;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<AcceptorMessage>, (): ()) -> Result<AcceptLoop, ActorProcessingErr> {
        let accepting = accept(
            self.listener.clone(),
            self.router.clone(),
            self.connections.clone(),
            self.rim.clone(),
        );
        let task = self.connections.spawn("accept loop", accepting, move |exit| {
            if let TaskExit::Panicked(reason) = exit {
                myself.cast(AcceptorMessage::LoopEnded(reason)).ok();
            }
        })?;
        Ok(AcceptLoop::of(task))
    }

    async fn handle(
        &self,
        _myself: ActorRef<AcceptorMessage>,
        AcceptorMessage::LoopEnded(reason): AcceptorMessage,
        _state: &mut AcceptLoop,
    ) -> Result<(), ActorProcessingErr> {
        Err(format!("the accept loop of the operators' listener crashed: {reason}").into())
    }
}

async fn accept(listener: Arc<TcpListener>, router: Router, connections: Tasks, rim: Rim) {
    let mut stop = rim.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if !rim.allow.iter().any(|network| network.has(peer.ip())) {
                    tracing::warn!(%peer, "the operators' listener was refused to an address that admin.allow does not name");
                    continue;
                }
                let served = serve(stream, peer, router.clone(), rim.clone());
                if connections.spawn("connection", served, |_| {}).is_err() {
                    tracing::warn!(%peer, "a connection of an operator was refused: too many are open");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of an operator could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
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
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(rim.head_deadline)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut rim.stop) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
        () = tokio::time::sleep(AGE_MAX) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
        why = rim.authority.lapse(who.serial) => {
            tracing::warn!(%peer, identity = %who.identity, %why, "an operator's connection was closed");
            Ok(())
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an operator's connection ended early");
    }
}
