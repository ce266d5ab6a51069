//! A model server that begins every answer at once and ends it when it is told to: what a turn in the middle is.
//!
//! It speaks the streamed OpenAI chat dialect over connections of one request. A request is known by the task in it
//! ([`TalkingModels::task`]), so that it can be said which runs wait, and which of them asked twice.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What stands before the number of a task.
const TASK: &str = "task-number-";
/// Digits of the number.
const DIGITS: usize = 6;
/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// How the answers that were begun are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// With a call of a skill, so that the run comes again with its result.
    Call,
    /// With a text; later requests are answered so at once.
    Done,
}

/// The server; its thread lives as long as the process.
#[derive(Clone)]
pub struct TalkingModels {
    address: SocketAddr,
    hall: Arc<Hall>,
}

struct Hall {
    asked: Mutex<Asked>,
    /// Counted up by each word to all; with the word.
    said: watch::Sender<(u64, Say)>,
}

#[derive(Default)]
struct Asked {
    waiting: BTreeSet<u32>,
    first: Option<Instant>,
    twice: usize,
}

impl TalkingModels {
    /// Starts it on a free port of the loopback.
    ///
    /// # Errors
    /// When no port or thread is left.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let hall = Arc::new(Hall {
            asked: Mutex::default(),
            said: watch::Sender::new((0, Say::Call)),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = Arc::clone(&hall);
        std::thread::Builder::new()
            .name("models".into())
            .spawn(move || runtime.block_on(serve(listener, serving)).ok())?;
        Ok(Self { address, hall })
    }

    /// Its base address, as `models.<alias>.baseUrl` takes it.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The task of a run by which its requests are known.
    pub fn task(&self, number: usize) -> String {
        format!("{TASK}{number:0DIGITS$}")
    }

    /// Runs that wait for the end of their answer.
    pub fn waiting(&self) -> usize {
        self.hall.lock().waiting.len()
    }

    /// One of so many runs that does not wait.
    pub fn missing(&self, runs: usize) -> Option<usize> {
        let asked = self.hall.lock();
        (0..runs).find(|number| !asked.waiting.contains(&(*number as u32)))
    }

    /// When the first of those who wait asked.
    pub fn first_asked(&self) -> Option<Instant> {
        self.hall.lock().first
    }

    /// Requests of runs that were waiting already.
    pub fn asked_twice(&self) -> usize {
        self.hall.lock().twice
    }

    /// Nobody waits any more: their process is about to be killed.
    pub fn forget(&self) {
        self.hall.lock().clear();
    }

    /// Ends all answers that were begun.
    pub fn say(&self, word: Say) {
        let mut asked = self.hall.lock();
        asked.clear();
        self.hall.said.send_modify(|said| *said = (said.0 + 1, word));
    }
}

impl Asked {
    fn clear(&mut self) {
        self.waiting.clear();
        self.first = None;
    }
}

impl Hall {
    fn lock(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: std::net::TcpListener, hall: Arc<Hall>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let hall = Arc::clone(&hall);
        tokio::spawn(async move {
            // A client that goes away in the middle of an answer was killed; that is what this is for.
            answer(stream, &hall).await.ok();
        });
    }
}

async fn answer(mut stream: TcpStream, hall: &Hall) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let body = request(&mut stream).await?;
    let arrived = Instant::now();
    let number = number_in(&body).ok_or_else(|| io::Error::other("a request without a task"))?;
    let mut said = hall.said.subscribe();
    let before = {
        let mut asked = hall.lock();
        asked.first.get_or_insert(arrived);
        if !asked.waiting.insert(number) {
            asked.twice += 1;
        }
        *said.borrow_and_update()
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let begun = event(&json!({ "role": "assistant", "content": "Well, " }), None);
    stream.write_all(format!("{head}{begun}").as_bytes()).await?;
    let word = if before.1 == Say::Done {
        Say::Done
    } else {
        said.changed().await.map_err(io::Error::other)?;
        said.borrow().1
    };
    let ended = match word {
        Say::Call => {
            let name = openclaw::llm::wire::names::encode("memory.put");
            // Another one each time: a run that makes the same call again and again is ended.
            let arguments = json!({ "scope": "session", "key": "thought", "text": format!("{number} {}", before.0) });
            let call = json!({ "tool_calls": [{ "index": 0, "id": format!("call_{}", before.0), "type": "function",
                "function": { "name": name, "arguments": arguments.to_string() } }] });
            event(&call, None) + &event(&json!({}), Some("tool_calls"))
        }
        Say::Done => event(&json!({ "content": "done." }), Some("stop")),
    };
    stream.write_all(format!("{ended}data: [DONE]\n\n").as_bytes()).await?;
    stream.shutdown().await
}

/// Reads a request; gives its body.
async fn request(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>())
        });
        let length = length.transpose().map_err(io::Error::other)?.unwrap_or(0);
        if body.len() >= length {
            return Ok(body.to_owned());
        }
    }
}

fn number_in(body: &str) -> Option<u32> {
    let (_, rest) = body.split_once(TASK)?;
    rest.get(..DIGITS)?.parse().ok()
}

fn event(delta: &Value, finish: Option<&str>) -> String {
    let event = json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "talks",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
    format!("data: {event}\n\n")
}
