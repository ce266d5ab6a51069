//! The accept loop and its connections.
//!
//! Our own rather than a framework's, because every kind of silence must have an end: a client that says nothing,
//! half a header, or idles between requests is closed at its limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{TaskExit, TaskRef, Tasks};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

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

/// Accepts connections. Its crash restarts the loop; the listening socket lives outside, so no connection is
/// refused meanwhile. Open connections are tasks of another child and go on.
pub struct Acceptor {
    /// The socket.
    pub listener: Arc<TcpListener>,
    /// The routes.
    pub router: Router,
    /// Where connections live.
    pub connections: Tasks,
    /// Set when the process is asked to stop.
    pub stop: watch::Receiver<bool>,
    /// Time for a request's head, which is also the longest idle time of a connection.
    pub head_deadline: Duration,
}

/// Stops the loop when the actor goes.
pub struct AcceptLoop(Option<TaskRef>);

impl AcceptLoop {
    /// The loop that this task is.
    pub(super) fn of(task: TaskRef) -> Self {
        Self(Some(task))
    }
}

impl Drop for AcceptLoop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.cancel();
        }
    }
}

impl Actor for Acceptor {
    type Msg = AcceptorMessage;
    type State = AcceptLoop;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<AcceptorMessage>, (): ()) -> Result<AcceptLoop, ActorProcessingErr> {
        let to = myself.clone();
        let accepting = accept(
            self.listener.clone(),
            self.router.clone(),
            self.connections.clone(),
            self.stop.clone(),
            self.head_deadline,
        );
        let task = self.connections.spawn("accept loop", accepting, move |exit| {
            let reason = match exit {
                TaskExit::Done(()) | TaskExit::Cancelled => return,
                TaskExit::Panicked(text) => text,
            };
            to.cast(AcceptorMessage::LoopEnded(reason)).ok();
        })?;
        Ok(AcceptLoop(Some(task)))
    }

    async fn handle(
        &self,
        _myself: ActorRef<AcceptorMessage>,
        AcceptorMessage::LoopEnded(reason): AcceptorMessage,
        _state: &mut AcceptLoop,
    ) -> Result<(), ActorProcessingErr> {
        Err(format!("the accept loop crashed: {reason}").into())
    }
}

async fn accept(
    listener: Arc<TcpListener>,
    router: Router,
    connections: Tasks,
    mut stop: watch::Receiver<bool>,
    head_deadline: Duration,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let served = serve(stream, peer, router.clone(), stop.clone(), head_deadline);
                if connections.spawn("connection", served, |_| {}).is_err() {
                    // At the limit the connection is closed; the client sees a reset and tries again.
                    tracing::warn!(%peer, "a connection was refused: the limit of connections is reached");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Resolves when the process is asked to stop, or when nobody is left who could ask.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across an await of the caller.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut stop: watch::Receiver<bool>,
    head_deadline: Duration,
) {
    // Small answers must not wait for a full packet; without it they still arrive.
    stream.set_nodelay(true).ok();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_deadline)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
