//! A connection that can be made to hear nothing more while what was asked before is still answered.
//!
//! A certificate that ends takes its connections with it. But the request that ends it may have come over one of them,
//! and whoever sent it has to be told. **Invariant**: from the moment of the word on nothing of the other side is read,
//! so no request is begun that was not whole before.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream with an ear that can be shut.
#[derive(Debug)]
pub struct Deafened<S> {
    stream: S,
    is_deaf: Arc<AtomicBool>,
}

/// Shuts the ear of one stream, for good.
#[derive(Debug)]
pub struct Deafen(Arc<AtomicBool>);

impl Deafen {
    /// Nothing further is read.
    pub fn now(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl<S> Deafened<S> {
    /// A stream that hears until it is told otherwise.
    pub fn new(stream: S) -> (Self, Deafen) {
        let is_deaf = Arc::new(AtomicBool::new(false));
        let deafen = Deafen(is_deaf.clone());
        (Self { stream, is_deaf }, deafen)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deafened<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf.load(Ordering::Acquire) {
            // Nobody is woken: whoever shut the ear ends the connection within a bound.
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deafened<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_comes_after_the_word_is_not_read_and_what_is_said_still_arrives() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (mut ours, deafen) = Deafened::new(ours);
        theirs.write_all(b"ab").await.expect("open");
        assert_eq!(ours.read_u8().await.expect("heard"), b'a');
        deafen.now();
        assert_eq!(ours.read_u8().now_or_never().map(Result::ok), None, "it is not read");
        ours.write_all(b"told").await.expect("said");
        let mut heard = [0; 4];
        theirs.read_exact(&mut heard).await.expect("open");
        assert_eq!(&heard, b"told");
    }
}
