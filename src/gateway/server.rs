//! The accept loop and its connections.
//!
//! Our own rather than a framework's, because every kind of silence must have an end: a client that says nothing,
//! half a header, or idles between requests is closed at its limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{TaskExit, TaskRef, Tasks};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::stall::{STALL_MAX, Unstalled};

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Time that open connections get when the daemon stops.
const DRAIN: Duration = Duration::from_secs(3);
/// Wait after the system has no more file descriptors or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the acceptor is told.
#[derive(Debug)]
pub enum AcceptorMessage {
    /// The accept loop ended, which it never does by itself.
    LoopEnded(String),
}

/// Serves a connection until it ends; none for a peer that may not come.
pub type Serve = Arc<dyn Fn(TcpStream, SocketAddr) -> Option<BoxFuture<'static, ()>> + Send + Sync>;

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
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopped(&mut stop) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(served) = (self.serve)(stream, peer) else {
                        continue;
                    };
                    if self.connections.spawn("connection", served, |_| {}).is_err() {
                        // At the limit the connection is closed; the client sees a reset and tries again.
                        let of = self.name;
                        tracing::warn!(%peer, of, "a connection was refused: the limit of connections is reached");
                    }
                }
                Err(error) => {
                    tracing::warn!(of = self.name, %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Resolves when the process is asked to stop, or when nobody is left who could ask.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across an await of the caller.
    drop(stop.wait_for(|stop| *stop).await);
}

/// Serves whoever comes, without TLS.
pub fn plain(router: Router, stop: watch::Receiver<bool>, head_deadline: Duration) -> Serve {
    Arc::new(move |stream, peer| {
        let (router, mut stop) = (router.clone(), stop.clone());
        Some(Box::pin(async move {
            // Small answers must not wait for a full packet; without it they still arrive.
            stream.set_nodelay(true).ok();
            let stream = Unstalled::new(stream, STALL_MAX);
            if let Err(error) = answer(stream, router, head_deadline, stopped(&mut stop)).await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        }))
    })
}

/// Answers the requests of a connection until it ends. From `leave` on, what was begun may end within a bound.
pub(super) async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    head_deadline: Duration,
    leave: impl Future<Output = ()>,
) -> hyper::Result<()> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_deadline)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = leave => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    }
}
