//! Answers the requests of one connection until it ends.

use std::net::SocketAddr;
use std::pin::Pin;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::identity::authority::listener::H2;

use super::bounds::Bounds;
use super::http2::Http2;
use super::visitor::{Visit, Visitor};

/// Headers of one request.
const HEADERS_MAX: usize = 100;
/// The least that the library takes.
const BUFFER_BYTES_MIN: usize = 8 * 1024;

/// How a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// What was agreed on in the handshake.
    pub fn agreed(word: Option<&[u8]>) -> Self {
        if word == Some(H2) { Self::Http2 } else { Self::Http1 }
    }
}

/// Resolves when the process is asked to stop, or when nobody is left who could ask.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across an await of the caller.
    drop(stop.wait_for(|stop| *stop).await);
}

/// Answers a connection. At its age it takes no further request, and what was begun ends by itself; when the process
/// stops, what was begun may end within a bound.
///
/// Ten thousand connections wait most of the time, so this is a function that gives a future, and each future within
/// borrows the connection where it lies: an async function would hold its arguments twice.
///
/// **Cancel**: the connection is cut.
pub fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    visitor: Visitor,
    router: axum::Router,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = hyper::Result<()>> + Send {
    let peer = visitor.address;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_headers(HEADERS_MAX)
        .max_header_size(bounds.head_bytes_max)
        .max_buf_size(bounds.head_bytes_max.max(BUFFER_BYTES_MIN))
        .serve_connection(TokioIo::new(stream), Visit::new(router, visitor));
    until_left(connection, peer, bounds, stop)
}

/// The same for what speaks HTTP/2.
pub fn answer_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    visitor: Visitor,
    router: axum::Router,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = hyper::Result<()>> + Send {
    let peer = visitor.address;
    let connection = Http2::new(stream, Visit::new(router, visitor), &bounds);
    until_left(connection, peer, bounds, stop)
}

/// A connection that can be told to take no further request.
trait Leaving: Future<Output = hyper::Result<()>> + Unpin + Send {
    /// What was begun ends by itself.
    fn leave(&mut self);
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Leaving for http1::Connection<TokioIo<S>, Visit> {
    fn leave(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Leaving for Http2<S> {
    fn leave(&mut self) {
        self.graceful_shutdown();
    }
}

fn until_left(
    mut connection: impl Leaving,
    peer: SocketAddr,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) -> impl Future<Output = hyper::Result<()>> + Send {
    let (age, drain) = (bounds.age_of(peer), bounds.drain);
    async move {
        let is_stopping = tokio::select! {
            ended = &mut connection => return ended,
            () = stopped(&mut stop) => true,
            () = tokio::time::sleep(age) => false,
        };
        connection.leave();
        if !is_stopping {
            tokio::select! {
                ended = &mut connection => return ended,
                () = stopped(&mut stop) => {}
            }
        }
        tokio::time::timeout(drain, &mut connection).await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_a_connection_that_waits_takes_is_little_more_than_the_connection() {
        let second = Duration::from_secs(1);
        let bounds = Bounds {
            head: second,
            head_bytes_max: 1,
            age_max: second,
            stall: second,
            drain: second,
        };
        let visitor = Visitor {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            local: None,
            identity: None,
        };
        let (ours, _theirs) = tokio::io::duplex(64);
        let (_stop, stop) = watch::channel(false);
        let bytes = size_of_val(&answer(ours, visitor, axum::Router::new(), bounds, stop));
        assert!(bytes <= 1_400, "{bytes} bytes: an argument is held twice");
    }
}
