//! What comes out of a server's standard output, metered: a server that floods is cut off.
//!
//! Invariant: over any time, at most the burst and the rate times that time pass; the next byte is an error.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

/// Bytes that may come at once: some of the largest messages.
const BURST_BYTES: f64 = 64.0 * 1024.0 * 1024.0;
/// Bytes that may come in a second over a long time.
const RATE_BYTES: f64 = 8.0 * 1024.0 * 1024.0;

/// A reader that ends with an error when more comes than is sane.
#[derive(Debug)]
pub struct Metered<R> {
    inner: R,
    allowance: f64,
    looked_at: Instant,
}

impl<R> Metered<R> {
    /// Meters this reader.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            allowance: BURST_BYTES,
            looked_at: Instant::now(),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let now = Instant::now();
        let since = now.duration_since(self.looked_at).as_secs_f64();
        self.looked_at = now;
        self.allowance = (self.allowance + since * RATE_BYTES).min(BURST_BYTES);
        self.allowance -= (buffer.filled().len() - before) as f64;
        if self.allowance < 0.0 {
            let text = "the server sends more than 64 MiB at once or 8 MiB in a second";
            return Poll::Ready(Err(io::Error::other(text)));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_off_and_much_over_a_long_time_is_not() {
        let mut flood = Metered::new(tokio::io::repeat(b'x'));
        let mut buffer = vec![0; 1024 * 1024];
        let mut read = 0;
        let error = loop {
            match flood.read(&mut buffer).await {
                Ok(bytes) => read += bytes,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("64 MiB"), "{error}");
        assert!((60..=65).contains(&(read / 1024 / 1024)), "{read}");
        let mut steady = Metered::new(tokio::io::repeat(b'x'));
        for _ in 0..500 {
            steady.read_exact(&mut buffer).await.expect("within the rate");
            tokio::time::advance(Duration::from_millis(130)).await;
        }
    }
}
