//! A client that takes nothing of what it is sent is let go.
//!
//! What waits for it is one buffer of the connection and what was read for its next piece, so many such clients cost
//! little; but each holds a connection. **Invariant**: a write that gets nothing through within the bound ends the
//! connection; as long as the client takes something, however slowly, it stays. Event streams say in every event where
//! to go on from, so the client comes back for the rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A connection whose writes have to get on.
#[derive(Debug)]
pub struct Unstalled<S> {
    stream: S,
    limit: Duration,
    /// Runs while a write waits; there is none on a connection that gets on.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Unstalled<S> {
    /// Lets a write wait for so long.
    pub fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            waiting: None,
        }
    }

    /// What a write gave, or that it has waited too long.
    fn judge<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let limit = self.limit;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        ready!(waiting.as_mut().poll(context));
        let message = format!("the client took nothing for {} s", limit.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go_at_the_limit() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut ours = Unstalled::new(ours, Duration::from_millis(20));
        let error = ours.write_all(&[0; 1000]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }

    #[tokio::test]
    async fn the_wait_begins_anew_with_everything_that_a_client_takes() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Unstalled::new(ours, Duration::from_secs(30));
        for round in 0..20 {
            while ours.write(&[0; 16]).now_or_never().is_some() {}
            assert!(ours.waiting.is_some(), "round {round}: it waits for the client");
            theirs.read_exact(&mut [0; 16]).await.expect("open");
            let written = ours.write(&[0; 16]).now_or_never();
            assert!(written.is_some_and(|written| written.is_ok()), "round {round}");
            assert!(ours.waiting.is_none(), "round {round}: it got on");
        }
    }
}
