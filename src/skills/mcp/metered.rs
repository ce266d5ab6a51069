//! What comes out of a server's standard output, metered: a server that floods is cut off.
//!
//! Invariant: over any time, at most the burst and the rate times that time pass; the next byte is an error.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

/// Bytes that may come at once: some of the largest messages.
const BURST_BYTES: f64 = 64.0 * 1024.0 * 1024.0;
/// Bytes that may come in a second over a long time.
const RATE_BYTES: f64 = 8.0 * 1024.0 * 1024.0;

/// How many bytes may come now.
#[derive(Debug)]
struct Allowance(f64);

impl Allowance {
    /// Takes bytes that came this long after the last ones; false when they are too many.
    fn take(&mut self, bytes: usize, since: Duration) -> bool {
        self.0 = (self.0 + since.as_secs_f64() * RATE_BYTES).min(BURST_BYTES) - bytes as f64;
        self.0 >= 0.0
    }
}

/// A reader that ends with an error when more comes than is sane.
#[derive(Debug)]
pub struct Metered<R> {
    inner: R,
    allowance: Allowance,
    looked_at: Instant,
}

impl<R> Metered<R> {
    /// Meters this reader.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            allowance: Allowance(BURST_BYTES),
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
        let since = now.duration_since(self.looked_at);
        self.looked_at = now;
        let bytes = buffer.filled().len() - before;
        if !self.allowance.take(bytes, since) {
            let text = "the server sends more than 64 MiB at once or 8 MiB in a second";
            return Poll::Ready(Err(io::Error::other(text)));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn a_flood_is_cut_off() {
        let mut flood = Metered::new(tokio::io::repeat(b'x'));
        let mut buffer = vec![0; MIB];
        let error = loop {
            if let Err(error) = flood.read(&mut buffer).await {
                break error;
            }
        };
        assert!(error.to_string().contains("64 MiB"), "{error}");
    }

    #[test]
    fn much_over_a_long_time_is_no_flood() {
        let check = |bytes: usize, each_ms: u64, wanted: bool| {
            let mut allowance = Allowance(BURST_BYTES);
            let lasted = (0..1000).all(|_| allowance.take(bytes, Duration::from_millis(each_ms)));
            assert_eq!(lasted, wanted, "{bytes} bytes each {each_ms} ms");
        };
        check(MIB, 130, true);
        check(MIB, 100, false);
        check(60 * MIB, 10_000, true);
        check(65 * MIB, 100_000, false);
    }
}
