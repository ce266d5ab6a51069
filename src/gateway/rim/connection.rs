//! Answers the requests of one connection until it ends.

use std::pin::{Pin, pin};
use std::time::Duration;

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
/// **Cancel**: the connection is cut.
pub async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    protocol: Protocol,
    visitor: Visitor,
    router: axum::Router,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let age = bounds.age_of(visitor.address);
    let visit = Visit::new(router, visitor);
    match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(bounds.head)
                .max_headers(HEADERS_MAX)
                .max_header_size(bounds.head_bytes_max)
                .max_buf_size(bounds.head_bytes_max.max(BUFFER_BYTES_MIN))
                .serve_connection(TokioIo::new(stream), visit);
            until_left(pin!(connection), age, bounds, stop).await
        }
        Protocol::Http2 => until_left(pin!(Http2::new(stream, visit, &bounds)), age, bounds, stop).await,
    }
}

/// A connection that can be told to take no further request.
trait Leaving: Future<Output = hyper::Result<()>> {
    /// What was begun ends by itself.
    fn leave(self: Pin<&mut Self>);
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Leaving for http1::Connection<TokioIo<S>, Visit> {
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Leaving for Http2<S> {
    fn leave(self: Pin<&mut Self>) {
        self.get_mut().graceful_shutdown();
    }
}

async fn until_left(
    mut connection: Pin<&mut impl Leaving>,
    age: Duration,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let is_stopping = tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stopped(&mut stop) => true,
        () = tokio::time::sleep(age) => false,
    };
    connection.as_mut().leave();
    if !is_stopping {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stopped(&mut stop) => {}
        }
    }
    tokio::time::timeout(bounds.drain, connection).await.unwrap_or(Ok(()))
}
