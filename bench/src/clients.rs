//! Clients that ask one request over and over on connections that stay open, on one thread, and as little beside it as
//! can be: what is measured is the server.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::table::part;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are kept at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// How often is asked.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// The next request follows its answer.
    Flat,
    /// So many in a second, by all together.
    Rate(u32),
}

/// What is asked, and how.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whom.
    pub address: SocketAddr,
    /// The whole request.
    pub request: String,
    /// Connections.
    pub clients: usize,
    /// For how long.
    pub time: Duration,
    /// How often.
    pub pace: Pace,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Asked {
    /// Answers with a status of 2xx.
    pub good: u64,
    /// Other answers.
    pub refused: u64,
    /// The status line of the first of those.
    pub first_refusal: Option<String>,
    /// From the first request to the last answer.
    pub took: Duration,
    /// From each request to its answer.
    pub times: Vec<Duration>,
}

impl Asked {
    /// Good answers in a second.
    pub fn per_second(&self) -> f64 {
        self.good as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    /// The time within which this part (0 to 1) of the answers came.
    pub fn within(&mut self, share: f64) -> Duration {
        part(&mut self.times, share)
    }
}

/// A request of HTTP/1.1 with these headers, each with its line's end.
pub fn request(method: &str, path: &str, address: SocketAddr, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// Asks. Runs on the calling thread alone.
pub fn ask(ask: &Ask) -> io::Result<Asked> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connecting = (0..ask.clients).map(|_| TcpStream::connect(ask.address));
        let streams: Result<Vec<TcpStream>, io::Error> = join_all(connecting).await.into_iter().collect();
        let began = Instant::now();
        let clients = streams?.into_iter().enumerate();
        let all = join_all(clients.map(|(number, stream)| client(ask, number, stream, began))).await;
        let mut asked = Asked {
            took: began.elapsed(),
            ..Asked::default()
        };
        for one in all {
            let one = one?;
            asked.good += one.good;
            asked.refused += one.refused;
            asked.first_refusal = asked.first_refusal.or(one.first_refusal);
            asked.times.extend(one.times);
        }
        Ok(asked)
    })
}

async fn client(ask: &Ask, number: usize, mut stream: TcpStream, began: Instant) -> io::Result<Asked> {
    stream.set_nodelay(true)?;
    let mut asked = Asked::default();
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    for round in 0.. {
        if let Pace::Rate(rate) = ask.pace {
            let place = (round * ask.clients + number) as f64;
            let at = began + Duration::from_secs_f64(place / f64::from(rate));
            tokio::time::sleep_until(at.into()).await;
        }
        if began.elapsed() >= ask.time {
            break;
        }
        let sent = Instant::now();
        stream.write_all(ask.request.as_bytes()).await?;
        let read = tokio::time::timeout(PATIENCE, answer(&mut stream, &mut buffer)).await;
        let status = read.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer"))??;
        asked.times.push(sent.elapsed());
        if status.starts_with("HTTP/1.1 2") {
            asked.good += 1;
        } else {
            asked.refused += 1;
            asked.first_refusal.get_or_insert(status);
        }
    }
    Ok(asked)
}

/// Reads one whole answer and gives the line of its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<String> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    buffer.clear();
    let mut whole = None;
    loop {
        if whole.is_none() {
            whole = whole_of(buffer);
        }
        if let Some(whole) = whole
            && buffer.len() >= whole
        {
            let end = buffer.iter().position(|byte| *byte == b'\r').unwrap_or(0);
            return Ok(String::from_utf8_lossy(&buffer[..end]).into_owned());
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(broken("the connection ended within an answer"));
        }
    }
}

/// Bytes of an answer whose head is complete.
fn whole_of(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    Some(end + 4 + length.unwrap_or(0))
}
