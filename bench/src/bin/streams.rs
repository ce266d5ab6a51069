//! Streamed answers and the requests that ask for them: processor time of a turn, delay of a piece, memory of a stream
//! that waits, and the cost of writing a request as the conversation grows.
//!
//! The provider is a process of its own, so that nothing of it counts.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures, and prints what it measured"
)]

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bench::table::{Row, part, render};
use futures_util::future::join_all;
use openclaw::domain::conversation::{
    Arguments, CallRequest, CallResult, Message, ModelAnswer, ModelRequest, Stop, Usage,
};
use openclaw::domain::name::ModelAlias;
use openclaw::llm::client::{Connections, RemoteModel};
use openclaw::llm::config::{ModelConfig, Provider};
use openclaw::llm::dialect::gathered::Heard;
use openclaw::llm::dialect::kind::Dialect;
use openclaw::llm::dialect::serve::Events;
use openclaw::llm::estimate::Fixed;
use openclaw::llm::model::{Asking, Delta, Listener, Model, Nobody};
use openclaw::llm::wire::memo::{Hand, Memo};
use openclaw::llm::wire::sse::SseFramer;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Pieces of an answer.
const DELTAS: usize = 100;
/// Bytes of a piece.
const DELTA_BYTES: usize = 20;
/// Streams at once when the delay is measured.
const STREAMS: usize = 100;
/// Time between two pieces then.
const PACE: Duration = Duration::from_millis(20);
/// Streams that wait when the memory is measured.
const WAITING: usize = 400;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    if std::env::args().nth(1).as_deref() == Some("--provider") {
        return provider();
    }
    let provider = Remote::start()?;
    let mut rows = Vec::new();
    parse(&mut rows);
    turns(&provider, &mut rows)?;
    delay(&provider, &mut rows)?;
    waiting(&provider, &mut rows)?;
    requests(&mut rows);
    drop(provider);
    println!("{}", render(&rows));
    if rows.iter().any(|row| row.met == Some(false)) {
        std::process::exit(1);
    }
    Ok(())
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    Duration::from_nanos(ns)
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4
}

fn us(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

fn answer() -> ModelAnswer {
    ModelAnswer {
        text: "twenty bytes of text".repeat(DELTAS).into(),
        calls: Vec::new(),
        stop: Stop::End,
        usage: Usage {
            input: 100,
            output: 500,
            ..Usage::default()
        },
        answered_by: "bench-1".into(),
        kept: Arc::new([]),
    }
}

/// The events of an answer, each a piece.
fn events(dialect: Dialect) -> Vec<String> {
    let answer = answer();
    let mut events = Events::new(dialect, "id_1", "bench-1", 1);
    let mut all = vec![events.begin()];
    let pieces = answer.text.as_bytes().chunks(DELTA_BYTES);
    all.extend(pieces.map(|piece| {
        let piece = std::str::from_utf8(piece).expect("ASCII");
        events.delta(&Delta::Text(piece.into()))
    }));
    all.push(events.end(&answer));
    all
}

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: ModelAlias::new("m").expect("valid"),
        system: "You are a bench.".into(),
        messages: Arc::new(messages),
        skills: Vec::new().into(),
        output_schema: None,
        output_tokens_max: 1000,
        options: None,
    }
}

/// Framing and reading alone, out of memory.
fn parse(rows: &mut Vec<Row>) {
    let request = request(vec![Message::User("task".into())]);
    for dialect in Dialect::ALL {
        let events = events(dialect);
        let mut times = Vec::new();
        for _ in 0..500 {
            let began = Instant::now();
            let mut framer = SseFramer::new();
            let mut reader = dialect.reader(&request);
            let mut heard = Heard::new(&Nobody);
            for event in &events {
                framer.push(event.as_bytes());
                while let Some(Ok(event)) = framer.next() {
                    reader.event(&event, &mut heard).expect("an event");
                }
            }
            black_box(reader.finish(&request).expect("an answer"));
            times.push(began.elapsed());
        }
        let name = format!("reading 2 KB in {DELTAS} deltas, {}", dialect.as_str());
        rows.push(Row::new(name, us(part(&mut times, 0.5))));
    }
}

fn model(provider: &Remote, kind: Provider, id: &str) -> RemoteModel {
    let mut config = ModelConfig::new(ModelAlias::new("m").expect("valid"), kind, id);
    config.base_url = Some(provider.url.as_str().into());
    RemoteModel::new(config, Connections::new())
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Whole turns over the loopback beside a bare client that reads the same bytes.
fn turns(provider: &Remote, rows: &mut Vec<Row>) -> Outcome<()> {
    const ROUNDS: u32 = 400;
    let runtime = runtime()?;
    openclaw::runtime::tls::install_provider();
    let bare = reqwest::Client::builder().no_proxy().build()?;
    for (name, id, target) in [("at once", "burst", true), ("one by one", "single", false)] {
        let mut found = Vec::new();
        for (kind, dialect) in [
            (Provider::Anthropic, Dialect::Anthropic),
            (Provider::OpenAiChat, Dialect::OpenAiChat),
            (Provider::OpenAiResponses, Dialect::OpenAiResponses),
        ] {
            let model = model(provider, kind, id);
            let request = request(vec![Message::User("task".into())]);
            let ours = runtime.block_on(async {
                let mut began = cpu();
                for round in 0..ROUNDS + 20 {
                    if round == 20 {
                        began = cpu();
                    }
                    let asking = Asking::quietly(Duration::from_secs(60));
                    black_box(model.ask(request.clone(), asking).await)?;
                }
                Ok::<_, Box<dyn Error>>(cpu().saturating_sub(began) / ROUNDS)
            })?;
            let url = dialect.url(&provider.url);
            let body = format!("{{\"model\":\"{id}\"}}");
            let floor = runtime.block_on(async {
                let mut began = cpu();
                for round in 0..ROUNDS + 20 {
                    if round == 20 {
                        began = cpu();
                    }
                    let mut response = bare.post(&url).body(body.clone()).send().await?;
                    while let Some(chunk) = response.chunk().await? {
                        black_box(chunk);
                    }
                }
                Ok::<_, Box<dyn Error>>(cpu().saturating_sub(began) / ROUNDS)
            })?;
            found.push((dialect, ours, floor));
        }
        for (dialect, ours, floor) in found {
            let figure = format!("processor time of a turn, deltas {name}, {}", dialect.as_str());
            let row = Row::new(figure, us(ours)).over(us(floor), ours.as_secs_f64() / floor.as_secs_f64());
            let over = ours.saturating_sub(floor);
            rows.push(if target {
                row.wanted("150 µs", ours <= Duration::from_micros(150))
            } else {
                row.wanted("floor +150 µs", over <= Duration::from_micros(150))
            });
        }
    }
    Ok(())
}

/// Takes the time from the stamp in each piece.
#[derive(Default)]
struct Stamps(Mutex<Vec<Duration>>);

impl Listener for Stamps {
    fn delta(&self, delta: Delta) {
        if let Delta::Text(text) = delta
            && let Ok(sent) = text.trim().parse::<u64>()
        {
            let delay = unix().saturating_sub(Duration::from_nanos(sent));
            self.0.lock().expect("no panic").push(delay);
        }
    }
}

fn unix() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

fn delay(provider: &Remote, rows: &mut Vec<Row>) -> Outcome<()> {
    let runtime = runtime()?;
    let stamps = Arc::new(Stamps::default());
    let model = model(provider, Provider::OpenAiChat, "stamped");
    runtime.block_on(async {
        let all = (0..STREAMS).map(|_| {
            let asking = Asking {
                listener: stamps.clone(),
                ..Asking::quietly(Duration::from_secs(60))
            };
            model.ask(request(vec![Message::User("task".into())]), asking)
        });
        for result in join_all(all).await {
            result?;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    let mut delays = std::mem::take(&mut *stamps.0.lock().expect("no panic"));
    let (p50, p99) = (part(&mut delays, 0.5), part(&mut delays, 0.99));
    let figure = format!(
        "from the provider's write to the listener, {STREAMS} streams, p99 of {}",
        delays.len()
    );
    rows.push(
        Row::new(figure, format!("{} ({} p50)", us(p99), us(p50))).wanted("1 ms", p99 <= Duration::from_millis(1)),
    );
    Ok(())
}

/// Memory of streams that have begun and wait.
fn waiting(provider: &Remote, rows: &mut Vec<Row>) -> Outcome<()> {
    let runtime = runtime()?;
    let model = model(provider, Provider::OpenAiChat, "waiting");
    let open = |count: usize| {
        let asked = (0..count).map(|_| {
            let asking = Asking::quietly(Duration::from_secs(60));
            Box::pin(model.ask(request(vec![Message::User("task".into())]), asking))
        });
        asked.collect::<Vec<_>>()
    };
    let (each, first) = runtime.block_on(async {
        // What the first streams need is there for all.
        let mut some = open(20);
        settle(&mut some).await;
        let before = resident_kib();
        let mut many = open(WAITING);
        settle(&mut many).await;
        let after = resident_kib();
        (after.saturating_sub(before) as f64 / WAITING as f64, before)
    });
    rows.push(
        Row::new(
            format!("memory of a stream that waits, of {WAITING}"),
            format!("{each:.1} KiB"),
        )
        .over(format!("{first} KiB all before"), each / first as f64)
        .wanted("20 kB", each * 1024.0 <= 20_000.0),
    );
    Ok(())
}

/// Lets them begin; none of them ends.
async fn settle<F: Future + Unpin>(asked: &mut [F]) {
    let all = join_all(asked.iter_mut());
    tokio::time::timeout(Duration::from_millis(1500), all).await.ok();
}

/// Two messages of about a kilobyte.
fn turn(number: usize) -> [Message; 2] {
    let id: Arc<str> = format!("call_{number}").into();
    let arguments = json!({ "path": format!("src/file{number}.rs"), "content": "x".repeat(100) });
    let said = Message::Assistant {
        text: "I look at the next file.".into(),
        calls: vec![CallRequest {
            id: id.clone(),
            skill: "fs.read".into(),
            arguments: Arguments::Object(arguments.into()),
        }],
        kept: Arc::new([]),
    };
    let results = vec![CallResult {
        id,
        content: "fn main() { println!(\"hello\"); }\n".repeat(30).into(),
        is_error: false,
    }];
    [said, Message::Results(results)]
}

/// A request for the next turn of a conversation, and its estimate, with and without a memory.
fn requests(rows: &mut Vec<Row>) {
    let hand = Hand {
        dialect: Dialect::Anthropic.as_str(),
        model_id: "m".into(),
        stream: true,
        vendor: true,
    };
    let fixed = Fixed::of("You are a bench.", &[], None, 1000);
    for turns in [10, 100, 1000] {
        let (mut remembered, mut fresh, mut copied) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        let memo = Memo::default();
        let mut messages = vec![Message::User("task".into())];
        (0..turns).for_each(|number| messages.extend(turn(number)));
        Dialect::Anthropic.write_request(&request(messages.clone()), &hand, &memo);
        for number in turns..turns + 20 {
            messages.extend(turn(number));
            let request = request(messages.clone());
            let began = Instant::now();
            black_box(fixed.ceiling_remembered(&request.messages, &memo));
            let body = black_box(Dialect::Anthropic.write_request(&request, &hand, &memo));
            remembered.push(began.elapsed());
            bytes = body.len();
            let began = Instant::now();
            black_box(fixed.ceiling(&request.messages));
            black_box(Dialect::Anthropic.write_request(&request, &hand, &Memo::default()));
            fresh.push(began.elapsed());
            let began = Instant::now();
            black_box(body.clone());
            copied.push(began.elapsed());
        }
        let found = part(&mut remembered, 0.5);
        let (fresh, floor) = (part(&mut fresh, 0.5), part(&mut copied, 0.5));
        rows.push(
            Row::new(
                format!("request and estimate of turn {turns}, {} kB", bytes / 1000),
                format!("{} ({} without memory)", us(found), us(fresh)),
            )
            .over(
                format!("{} (copy)", us(floor)),
                found.as_secs_f64() / floor.as_secs_f64(),
            )
            .wanted("a tenth of fresh", turns < 100 || found * 10 <= fresh),
        );
    }
}

/// The provider in its process.
struct Remote {
    child: Child,
    url: String,
}

impl Remote {
    fn start() -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--provider")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self {
            child,
            url: format!("http://{}/v1", line.trim()),
        })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn provider() -> Outcome<()> {
    // It ends with the program that started it, however that one ends: the other end of its input is gone then.
    std::thread::spawn(|| {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        std::process::exit(0);
    });
    let runtime = runtime()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(async move { serve(stream).await.ok() });
        }
    })
}

/// Serves one connection. Chunks of HTTP/1.1, each written by itself unless all are wanted at once.
async fn serve(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
    let mut heard = Vec::new();
    loop {
        heard.clear();
        let text = loop {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await?;
            if count == 0 {
                return Ok(());
            }
            heard.extend_from_slice(&bytes[..count]);
            let text = String::from_utf8_lossy(&heard);
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
            let body = text.find("\r\n\r\n").map(|end| heard.len() - end - 4);
            if body.is_some_and(|body| body >= length.unwrap_or(0)) {
                break text.into_owned();
            }
        };
        let dialect = if text.starts_with("POST /v1/messages") {
            Dialect::Anthropic
        } else if text.starts_with("POST /v1/chat") {
            Dialect::OpenAiChat
        } else {
            Dialect::OpenAiResponses
        };
        let wanted = |id: &str| text.contains(&format!("\"model\":\"{id}\""));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        let chunk = |event: &str| format!("{:x}\r\n{event}\r\n", event.len());
        let all = events(dialect);
        if wanted("burst") {
            let mut sent: String = all.iter().map(|event| chunk(event)).collect();
            sent.push_str("0\r\n\r\n");
            stream.write_all(sent.as_bytes()).await?;
        } else if wanted("waiting") {
            stream.write_all(chunk(&all[1]).as_bytes()).await?;
            std::future::pending::<()>().await;
        } else if wanted("stamped") {
            for _ in 0..DELTAS {
                tokio::time::sleep(PACE).await;
                let text = unix().as_nanos().to_string();
                let delta = json!({ "choices": [{ "index": 0, "delta": { "content": text } }] });
                stream
                    .write_all(chunk(&format!("data: {delta}\n\n")).as_bytes())
                    .await?;
            }
            stream.write_all(chunk(&all[DELTAS + 1]).as_bytes()).await?;
            stream.write_all(b"0\r\n\r\n").await?;
        } else {
            for event in &all {
                stream.write_all(chunk(event).as_bytes()).await?;
                tokio::task::yield_now().await;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
    }
}
