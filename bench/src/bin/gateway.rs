//! Event streams that wait: memory of each and processor time of all, with signs of life at the default interval.
//!
//! `gateway [--program PATH] [--streams N] [--seconds N]`. The run that they watch waits for a model that never answers.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures, and prints what it measured"
)]

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bench::daemon::Home;
use bench::table::{Row, render};
use serde_json::json;

/// Bytes of a stream that waits, at most.
const BYTES_MAX: u64 = 15_000;
/// Share of a core for all of them, at most.
const SHARE_MAX: f64 = 0.03;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn value(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

fn main() -> Outcome<()> {
    let program = value("--program").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/openclaw")),
        PathBuf::from,
    );
    let streams: usize = value("--streams").map_or(Ok(10_000), |text| text.parse())?;
    let seconds: u64 = value("--seconds").map_or(Ok(60), |text| text.parse())?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?;
    // A model that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let at = format!("http://{}/v1", silent.local_addr()?);
    let folder = std::env::temp_dir().join(format!("openclaw-bench-gateway-{}", std::process::id()));
    let home = Home::make(&program, &folder, &at, &["m".to_owned()])?;
    let file = folder.join("openclaw.toml");
    let config = std::fs::read_to_string(&file)?;
    let most = streams + 100;
    let connections = format!("[gateway]\nmaxConnections = {most}\nmaxConnectionsPerAddress = {most}");
    std::fs::write(&file, config.replacen("[gateway]", &connections, 1))?;
    let daemon = home.start()?;
    let body = json!({ "task": "wait", "agent": "bench", "model": "m0", "workspace": folder.join("work") });
    let run = daemon.submit(&body)?;
    let (address, key) = (home.address(), home.key().to_owned());
    let before = daemon.rss_kib();
    let began = Instant::now();
    let mut open = Vec::with_capacity(streams);
    for _ in 0..streams {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let head = format!(
            "GET /v1/runs/{run}/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
             Last-Event-ID: 1000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut first = [0; 12];
        stream.read_exact(&mut first)?;
        if &first != b"HTTP/1.1 200" {
            return Err(format!("a stream was refused: {}", String::from_utf8_lossy(&first)).into());
        }
        open.push(stream);
    }
    let opened = began.elapsed();
    // The first round of signs of life touches every stream.
    std::thread::sleep(Duration::from_secs(12));
    let rss = daemon.rss_kib().saturating_sub(before);
    let cpu = daemon.cpu();
    let watched = Instant::now();
    std::thread::sleep(Duration::from_secs(seconds));
    let share = daemon.cpu().saturating_sub(cpu).as_secs_f64() / watched.elapsed().as_secs_f64();
    let each = rss * 1024 / streams as u64;
    let rows = [
        Row::new("streams", streams.to_string()),
        Row::new("opened in", format!("{:.1} s", opened.as_secs_f64())),
        Row::new("memory of a stream that waits", format!("{each} B"))
            .wanted(format!("{BYTES_MAX} B"), each <= BYTES_MAX),
        Row::new("processor time of all, of one core", format!("{:.2} %", share * 100.0))
            .wanted(format!("{:.0} %", SHARE_MAX * 100.0), share <= SHARE_MAX),
    ];
    println!("{}", render(&rows));
    drop(open);
    // Ended here: an exit below would leave it running.
    drop(daemon);
    if rows.iter().any(|row| row.met == Some(false)) {
        std::process::exit(1);
    }
    Ok(())
}
