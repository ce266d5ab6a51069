//! The accept loop of a listener.
//!
//! Our own rather than a framework's, because those have no end to silence (see the module above) and no bound on what
//! one address may hold. Nothing is read from a connection over a bound: where the client can read it, it is answered
//! 503 with `Retry-After`, and closed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{TaskExit, TaskRef, Tasks};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::gateway::rim::network::Network;

use super::connection::stopped;
use super::crowd::{Crowd, counted};
use super::serve::Serve;

/// Wait after the system has no more file descriptors or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the acceptor is told.
#[derive(Debug)]
pub enum AcceptorMessage {
    /// The accept loop ended, which it never does by itself.
    LoopEnded(String),
}

/// Accepts connections. Its crash restarts the loop; the listening socket lives outside, so no connection is
/// refused meanwhile. Open connections are tasks of another child and go on.
#[derive(Clone)]
pub struct Acceptor {
    /// Whose connections these are, for the log.
    pub name: &'static str,
    /// The socket.
    pub listener: Arc<TcpListener>,
    /// Where connections live.
    pub connections: Tasks,
    /// Set when the process is asked to stop.
    pub stop: watch::Receiver<bool>,
    /// What is done with a connection.
    pub serve: Serve,
    /// Bounds what one address may hold.
    pub crowd: Crowd<IpAddr>,
    /// Who brings the clients of others, so that the bound of one address is not for them.
    pub proxies: Arc<[Network]>,
    /// Counts those who are over a bound.
    pub refused: Counter,
    /// Said to those who are over a bound; empty where they could not read it.
    pub refusal: Arc<[u8]>,
}

/// Stops the loop when the actor goes.
pub struct AcceptLoop(TaskRef);

impl Drop for AcceptLoop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Actor for Acceptor {
    type Msg = AcceptorMessage;
    type State = AcceptLoop;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<AcceptorMessage>, (): ()) -> Result<AcceptLoop, ActorProcessingErr> {
        let accepting = self.clone().accept();
        let task = self.connections.spawn("accept loop", accepting, move |exit| {
            if let TaskExit::Panicked(reason) = exit {
                myself.cast(AcceptorMessage::LoopEnded(reason)).ok();
            }
        })?;
        Ok(AcceptLoop(task))
    }

    async fn handle(
        &self,
        _myself: ActorRef<AcceptorMessage>,
        AcceptorMessage::LoopEnded(reason): AcceptorMessage,
        _state: &mut AcceptLoop,
    ) -> Result<(), ActorProcessingErr> {
        Err(format!("the accept loop of {} crashed: {reason}", self.name).into())
    }
}

impl Acceptor {
    async fn accept(self) {
        let (mut stop, mut leave) = (self.stop.clone(), self.connections.winding_down());
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopped(&mut stop) => {
                    self.connections.wind_down();
                    return;
                }
                // Whoever comes now waits in the socket for the next loop.
                () = stopped(&mut leave) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let is_proxy = self.proxies.iter().any(|network| network.has(peer.ip()));
                    let place = if is_proxy {
                        None
                    } else {
                        self.crowd.enter(counted(peer.ip()))
                    };
                    if place.is_none() && !is_proxy {
                        self.refuse(&stream, peer, "its address has as many as it may");
                        continue;
                    }
                    // The loop is one of the tasks; nobody else adds any.
                    if self.connections.running() >= self.connections.capacity() {
                        self.refuse(&stream, peer, "there are as many as there may be");
                        continue;
                    }
                    let Some(served) = (self.serve)(stream, peer, place) else {
                        continue;
                    };
                    // A moment in which their supervisor is being started anew.
                    self.connections.open().await;
                    if self.connections.spawn("connection", served, |_| {}).is_err() {
                        tracing::warn!(%peer, of = self.name, "a connection was refused: its supervisor is gone");
                    }
                }
                Err(error) => {
                    tracing::warn!(of = self.name, %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn refuse(&self, stream: &TcpStream, peer: SocketAddr, why: &str) {
        tracing::warn!(%peer, of = self.name, "a connection was refused: {why}");
        self.refused.increment(1);
        // A new connection's buffer is empty, so it takes this at once or the client has gone.
        stream.try_write(&self.refusal).ok();
    }
}
