//! Feeds the watchdog of the service manager from a thread of its own, only while every part makes progress.
//!
//! A thread and not an actor: it must not stand on what it watches. When the runtime itself is stuck, the round does
//! not end and nothing is fed; the manager then kills the process, and the next one resumes every accepted run.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use crate::daemon::rim::Way;
use crate::identity::authority::client::client_config;
use crate::runtime::file::{read_at_most, read_private};

use super::manager;
use super::verdict::{Answer, Verdict, judge};

/// Rounds within the manager's limit: one bad round alone does not end the process, three in a row do.
const ROUNDS: u32 = 3;
/// Bytes of an answer that are looked at: enough for the line of the status.
const STATUS_LINE_BYTES: usize = 12;
/// Largest file of certificates.
const PEM_BYTES_MAX: u64 = 256 * 1024;

/// Asks one part for a sign of progress.
pub struct Probe {
    /// Its name, for people.
    pub part: &'static str,
    /// Asks; the error says what is missing.
    pub ask: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// The thread; it ends with the value.
#[derive(Debug)]
pub struct Watchdog {
    stopping: mpsc::Sender<()>,
}

impl Watchdog {
    /// Starts to feed when the manager asks for it; none when it does not. `serving` is the status line of good times.
    pub fn start(probes: Vec<Probe>, serving: String) -> io::Result<Option<Self>> {
        let Some(limit) = sd_notify::watchdog_enabled() else {
            return Ok(None);
        };
        let every = limit / ROUNDS;
        let (stopping, is_stopping) = mpsc::channel();
        let runtime = Handle::current();
        let watch = move || watch(&probes, &serving, every, &runtime, &is_stopping);
        std::thread::Builder::new().name("watchdog".into()).spawn(watch)?;
        Ok(Some(Self { stopping }))
    }

    /// From here on the end has its own bound, `TimeoutStopSec`: the manager is fed without questions.
    pub fn stopping(&self) {
        self.stopping.send(()).ok();
    }
}

fn watch(probes: &[Probe], serving: &str, every: Duration, runtime: &Handle, stopping: &mpsc::Receiver<()>) {
    let mut was_good = true;
    let mut is_stopping = false;
    loop {
        if is_stopping {
            manager::alive();
        } else {
            let answers = runtime.block_on(round(probes, every / 2));
            match judge(&answers) {
                Verdict::Feed => {
                    manager::alive();
                    if !was_good {
                        manager::status(serving);
                    }
                    was_good = true;
                }
                Verdict::Starve(reason) => {
                    tracing::error!(%reason, "the watchdog is not fed");
                    manager::status(&format!("no progress: {reason}"));
                    was_good = false;
                }
            }
        }
        match stopping.recv_timeout(every) {
            Ok(()) => is_stopping = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

async fn round(probes: &[Probe], limit: Duration) -> Vec<Answer> {
    let asked = probes.iter().map(|probe| async move {
        let answer = tokio::time::timeout(limit, (probe.ask)()).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer in {limit:?}")));
        (probe.part, answer)
    });
    join_all(asked).await
}

/// Asks the gateway over its own socket, as a client would: whether it accepts, routes and answers.
pub async fn answers_itself(way: Way) -> Result<(), String> {
    let connecting = tokio::net::TcpStream::connect(way.address).await;
    let stream = connecting.map_err(|error| error.to_string())?;
    let status = match &way.tls_dir {
        None => status_of(stream, way.address).await,
        Some(folder) => {
            let bundle = read_at_most(&folder.join("internal.pem"), PEM_BYTES_MAX);
            let own = read_private(&folder.join("operator.pem"));
            let (bundle, own) = (bundle.map_err(|error| error.to_string())?, own.ok().flatten());
            let config = client_config(&bundle.unwrap_or_default(), own.as_deref());
            let connector = TlsConnector::from(Arc::new(config.map_err(|error| error.to_string())?));
            match connector.connect(way.address.ip().into(), stream).await {
                Ok(stream) => status_of(stream, way.address).await,
                Err(error) => Err(error),
            }
        }
    };
    let status = status.map_err(|error| error.to_string())?;
    if status == "HTTP/1.1 200" {
        Ok(())
    } else {
        Err(format!("it answered `{status}`"))
    }
}

async fn status_of(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: std::net::SocketAddr,
) -> io::Result<String> {
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; STATUS_LINE_BYTES];
    stream.read_exact(&mut status).await?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(part: &'static str, ask: fn() -> BoxFuture<'static, Result<(), String>>) -> Probe {
        Probe {
            part,
            ask: Arc::new(ask),
        }
    }

    #[tokio::test]
    async fn a_part_that_does_not_answer_in_time_is_named_and_holds_up_no_other() {
        let probes = [
            probe("good", || Box::pin(async { Ok(()) })),
            probe("stuck", || Box::pin(std::future::pending())),
            probe("bad", || Box::pin(async { Err("broken".to_owned()) })),
        ];
        let answers = round(&probes, Duration::from_millis(20)).await;
        assert_eq!(
            answers,
            [
                ("good", Ok(())),
                ("stuck", Err("no answer in 20ms".to_owned())),
                ("bad", Err("broken".to_owned())),
            ]
        );
    }

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
            let (answered, ()) = tokio::join!(answers_itself(way), served);
            assert_eq!(answered.is_ok(), is_alive, "{answer:?}: {answered:?}");
        }
        check("HTTP/1.1 200 OK\r\n\r\n", true).await;
        check("HTTP/1.1 503 Service Unavailable\r\n\r\n", false).await;
        check("", false).await;
        check("SSH-2.0-OpenSSH", false).await;
    }
}
