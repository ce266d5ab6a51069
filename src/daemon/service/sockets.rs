//! Sockets that the service manager listens on and hands over, so that no connection is refused during a restart.
//!
//! Source: `sd_listen_fds(3)`, `systemd.socket(5)`. A socket is taken for a listener by its address, not by its place
//! or name: the unit and the configuration then need to agree on one thing only, and a disagreement is seen.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Mutex, PoisonError};

use listenfd::ListenFd;
use tokio::net::TcpListener;

/// The sockets of this process that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Handed(Mutex<Vec<StdListener>>);

impl Handed {
    /// Takes what was handed over. Only TCP listeners are of use; others are named in the log and closed.
    pub fn from_environment() -> Self {
        // Programs that are started later must not hold them: this marks them so.
        let count = match sd_notify::listen_fds() {
            Ok(sockets) => sockets.len(),
            Err(error) => {
                tracing::warn!(%error, "the sockets of the service manager cannot be used");
                return Self::default();
            }
        };
        if count == 0 {
            return Self::default();
        }
        let mut sockets = ListenFd::from_env();
        let taken = (0..sockets.len()).filter_map(|place| match sockets.take_tcp_listener(place) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(place, %error, "a socket of the service manager is no TCP listener");
                None
            }
        });
        Self(Mutex::new(taken.collect()))
    }

    fn take(&self, wanted: SocketAddr) -> Option<StdListener> {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = sockets
            .iter()
            .position(|socket| socket.local_addr().is_ok_and(|address| address == wanted))?;
        Some(sockets.swap_remove(place))
    }

    /// The socket of this address when it was handed over, else a new one.
    pub async fn listen(&self, wanted: SocketAddr) -> io::Result<TcpListener> {
        match self.take(wanted) {
            Some(socket) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)
            }
            None => TcpListener::bind(wanted).await,
        }
    }

    /// Addresses of the sockets that nobody took: their unit and the configuration do not agree.
    pub fn left(&self) -> Vec<String> {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok());
        addresses.map(|address| address.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_taken_once_by_its_address_and_what_nobody_takes_is_named() {
        let sockets: Vec<StdListener> = (0..2)
            .map(|_| StdListener::bind("127.0.0.1:0").expect("listens"))
            .collect();
        let addresses: Vec<SocketAddr> = sockets
            .iter()
            .map(|socket| socket.local_addr().expect("an address"))
            .collect();
        let handed = Handed(Mutex::new(sockets));
        let taken = handed.listen(addresses[1]).await.expect("was handed over");
        assert_eq!(taken.local_addr().expect("an address"), addresses[1]);
        assert_eq!(handed.left(), [addresses[0].to_string()]);
        let again = handed.listen(addresses[1]).await;
        assert_eq!(
            again.map(drop).map_err(|error| error.kind()),
            Err(io::ErrorKind::AddrInUse),
            "it was handed over once"
        );
    }
}
