//! A connection of HTTP/2 with its streams in one task.
//!
//! The streams are polled here rather than spawned: they end with their connection whatever happens, and the supervisor
//! has one task for each connection. **Invariants**: a connection without a stream for the time of a head ends, be it
//! silent, half a preface, half a head or idle; a stream over the bound is refused by the protocol itself, and one whose
//! client takes nothing is reset.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream as _};
use hyper::rt::Executor;
use hyper::server::conn::http2::{Builder, Connection};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::bounds::Bounds;
use super::handed::{Doing, Noted, Taken};
use super::visitor::Visit;

/// Streams of one connection at once.
const STREAMS_MAX: u32 = 128;
/// Bytes that wait for one client's window.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Between two questions to a silent peer whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// For its answer.
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// For the word that the connection ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// Hands a stream's work to its own connection.
#[derive(Clone)]
struct InPlace(mpsc::Sender<BoxFuture<'static, ()>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for InPlace {
    fn execute(&self, stream: F) {
        // There is room for more than the protocol lets in; what finds none is dropped, and so its stream is reset.
        if self.0.try_send(Box::pin(stream)).is_err() {
            tracing::warn!("a stream of HTTP/2 was dropped: its connection takes no more");
        }
    }
}

/// One connection.
pub struct Http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    connection: Pin<Box<Connection<TokioIo<S>, Noted, InPlace>>>,
    arriving: mpsc::Receiver<BoxFuture<'static, ()>>,
    streams: FuturesUnordered<Taken>,
    /// What the stream does that is polled.
    doing: Doing,
    head: Duration,
    stall: Duration,
    /// Runs while there is no stream.
    idle: Option<Pin<Box<Sleep>>>,
    /// Whether the client was told that the connection ends for its silence.
    is_told: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Http2<S> {
    /// Serves what speaks HTTP/2 from its first byte on.
    pub fn new(stream: S, visit: Visit, bounds: &Bounds) -> Self {
        let (sender, arriving) = mpsc::channel(4 * STREAMS_MAX as usize);
        let doing = Doing::default();
        let connection = Builder::new(InPlace(sender))
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(bounds.head_bytes_max).unwrap_or(u32::MAX))
            .max_send_buf_size(SEND_BYTES_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .serve_connection(TokioIo::new(stream), Noted::new(visit, doing.clone()));
        Self {
            connection: Box::pin(connection),
            arriving,
            streams: FuturesUnordered::new(),
            doing,
            head: bounds.head,
            stall: bounds.stall,
            idle: None,
            is_told: false,
        }
    }

    /// Takes no further stream; those that were begun end by themselves.
    pub fn graceful_shutdown(&mut self) {
        self.connection.as_mut().graceful_shutdown();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Future for Http2<S> {
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(ended) = this.connection.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            let mut is_further = false;
            while let Ok(stream) = this.arriving.try_recv() {
                this.streams.push(Taken::new(stream, this.doing.clone(), this.stall));
                is_further = true;
            }
            while let Poll::Ready(Some(())) = Pin::new(&mut this.streams).poll_next(context) {
                is_further = true;
            }
            if !this.streams.is_empty() {
                this.idle = None;
            }
            if is_further {
                continue;
            }
            if !this.streams.is_empty() {
                return Poll::Pending;
            }
            let head = this.head;
            let idle = this
                .idle
                .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + head)));
            if idle.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if this.is_told {
                return Poll::Ready(Ok(()));
            }
            this.is_told = true;
            this.connection.as_mut().graceful_shutdown();
            this.idle = Some(Box::pin(sleep_until(Instant::now() + GOODBYE)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::super::visitor::Visitor;
    use super::*;

    /// What the limits are made of; short, because the time is real.
    const UNIT: Duration = Duration::from_millis(100);
    /// The preface, settings with a first window of zero bytes, and a request for `/`.
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const NO_WINDOW: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
    const GET: &[u8] = b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x84\x86\x41\x09localhost\0\0\0\x04\x01\0\0\0\0";
    /// Kind, flags and number of the frame that resets the first stream.
    const RESET: &[u8] = &[3, 0, 0, 0, 0, 1];

    /// How long a connection lives whose client has no room for what it asked for, and what the client heard.
    async fn lives(body: fn() -> Body) -> (Option<Duration>, Vec<u8>) {
        let bounds = Bounds {
            head: UNIT,
            head_bytes_max: 16_384,
            age_max: 100 * UNIT,
            stall: 5 * UNIT,
            drain: UNIT,
        };
        let visitor = Visitor {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            local: None,
            identity: None,
        };
        let router = Router::new().fallback(move || async move { body() });
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs
            .write_all(&[PREFACE, NO_WINDOW, GET].concat())
            .await
            .expect("room");
        let begun = Instant::now();
        let connection = Http2::new(ours, Visit::new(router, visitor), &bounds);
        let ended = timeout(20 * UNIT, connection).await.is_ok();
        let lived = begun.elapsed();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.ok();
        (ended.then_some(lived), heard)
    }

    #[tokio::test]
    async fn a_stream_whose_client_gives_no_window_is_reset_and_one_that_has_nothing_to_say_stays() {
        let (lived, heard) = lives(|| Body::from("more than there is room for")).await;
        let lived = lived.expect("it ends");
        assert!(lived >= 5 * UNIT, "{lived:?}");
        assert!(heard.windows(RESET.len()).any(|frame| frame == RESET), "{heard:?}");
        let many = || {
            let parts = futures_util::stream::iter([
                Ok::<_, std::io::Error>(Bytes::from_static(b"one")),
                Ok(Bytes::from_static(b"two")),
            ]);
            Body::from_stream(parts)
        };
        assert!(lives(many).await.0.is_some(), "also between two parts");
        let silent = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(lives(silent).await.0, None, "events that have not happened wait");
    }
}
