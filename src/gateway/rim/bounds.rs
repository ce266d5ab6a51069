//! The limits of a connection.

use std::net::SocketAddr;
use std::time::Duration;

/// Longest time of a TLS handshake, when a request's head may take longer.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Times and sizes of one listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// For a request's head, and for a connection without a request.
    pub head: Duration,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// From then on a connection takes no further request; what was begun ends by itself.
    pub age_max: Duration,
    /// For a client to take something of what it is sent.
    pub stall: Duration,
    /// For what is under way when the daemon stops.
    pub drain: Duration,
}

impl Bounds {
    /// For a TLS handshake.
    pub fn handshake(&self) -> Duration {
        self.head.min(HANDSHAKE_MAX)
    }

    /// The age of this peer's connection: up to a tenth earlier than the limit, so that clients which came together do
    /// not come back together.
    pub fn age_of(&self, peer: SocketAddr) -> Duration {
        let early = self.age_max / 10 * u32::from(peer.port() % 1024) / 1024;
        self.age_max.saturating_sub(early)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_end_within_the_last_tenth_of_their_age_and_not_all_at_once() {
        let bounds = Bounds {
            head: Duration::from_secs(30),
            head_bytes_max: 1,
            age_max: Duration::from_secs(1000),
            stall: Duration::from_secs(1),
            drain: Duration::from_secs(1),
        };
        let ages: Vec<Duration> = (40_000..41_024)
            .map(|port| bounds.age_of(SocketAddr::from(([127, 0, 0, 1], port))))
            .collect();
        let (least, most) = (ages.iter().min().expect("some"), ages.iter().max().expect("some"));
        assert!(
            *least >= Duration::from_secs(900) && *most == bounds.age_max,
            "{least:?} {most:?}"
        );
        assert!(most.saturating_sub(*least) > Duration::from_secs(99));
        assert_eq!(bounds.handshake(), HANDSHAKE_MAX);
    }
}
