//! Asks a listener of this program as a client of this machine does: over its own socket, with what such a client has.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::domain::fault::in_one_line;
use crate::identity::authority::client::{ClientError, Credentials, client_config};
use crate::runtime::tls::http_client;

use super::rim::Way;

/// Bytes of an answer that are looked at: enough for the line of the status.
const STATUS_LINE_BYTES: usize = 12;
/// The line of the only good answer.
const GOOD: &str = "HTTP/1.1 200";

/// Why there was no good answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody accepts.
    #[error("connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The authorities of this installation cannot be read or used.
    #[error("use the internal authority")]
    Certificates(#[source] ClientError),
    /// There was no handshake.
    #[error("make a TLS handshake")]
    Handshake(#[source] io::Error),
    /// The request was not answered.
    #[error("read an answer")]
    Answer(#[source] io::Error),
    /// It was answered otherwise than with 200.
    #[error("see {GOOD}: it answered `{0}`")]
    Status(String),
}

/// Whether `GET path` is answered with 200: whether the listener accepts, routes and answers. Without the operator's
/// certificate, where it cannot be read, it is asked without one. Bound it with a deadline.
pub async fn ask(way: &Way, path: &str) -> Result<(), AskError> {
    let address = way.address;
    let connecting = TcpStream::connect(address).await;
    let stream = connecting.map_err(|source| AskError::Connect { address, source })?;
    let status = match &way.tls_dir {
        None => status_of(stream, address, path).await,
        Some(folder) => {
            let connector = connector(folder).map_err(AskError::Certificates)?;
            let shaken = connector.connect(address.ip().into(), stream).await;
            status_of(shaken.map_err(AskError::Handshake)?, address, path).await
        }
    };
    let status = status.map_err(AskError::Answer)?;
    if status == GOOD {
        Ok(())
    } else {
        Err(AskError::Status(status))
    }
}

/// The same, with what is missing as one line.
pub async fn answers(way: Way, path: &'static str) -> Result<(), String> {
    ask(&way, path).await.map_err(|error| in_one_line(&error))
}

fn connector(folder: &Path) -> Result<TlsConnector, ClientError> {
    let Credentials { bundle, own } = Credentials::read(folder)?;
    let config = client_config(&bundle, own.ok().flatten().as_deref())?;
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn status_of(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    path: &str,
) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; STATUS_LINE_BYTES];
    stream.read_exact(&mut status).await?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

/// A client that follows nothing and goes through no proxy: what is checked is what was named.
pub fn plain_client() -> reqwest::Client {
    http_client(|builder| builder).expect("a client with no settings of its own can be made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gateway_that_does_not_answer_well_is_not_alive() {
        async fn check(answer: &'static str, is_alive: bool) {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
            let address = listener.local_addr().expect("an address");
            let served = async {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                stream.write_all(answer.as_bytes()).await.expect("written");
                drop(stream);
            };
            let way = Way { address, tls_dir: None };
            let (answered, ()) = tokio::join!(answers(way, "/livez"), served);
            assert_eq!(answered.is_ok(), is_alive, "{answer:?}: {answered:?}");
        }
        check("HTTP/1.1 200 OK\r\n\r\n", true).await;
        check("HTTP/1.1 503 Service Unavailable\r\n\r\n", false).await;
        check("", false).await;
        check("SSH-2.0-OpenSSH", false).await;
    }
}
