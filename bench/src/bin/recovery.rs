//! Figures of a `kill -9` with runs in flight: how long until the first of them goes on, until the gateway answers
//! again, and whether a client is refused meanwhile. The gateway's socket outlives the daemon, as under a service
//! manager, whose pause before a restart (100 ms) is part of every figure.
//!
//! Usage: `recovery [--quick] [--runs N] [--kills N] [--program PATH] [--folder PATH]`. Ends with 1 when a target is
//! missed; `--quick` only shows that everything works and judges nothing.

#![expect(clippy::disallowed_methods, reason = "it measures, and waits for other processes")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bench::chaos::keeper::{Keeper, Place};
use bench::daemon::{Home, is_ready_within};
use bench::table::{Row, ms, part, render};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs that are under way at each kill.
const RUNS: usize = 1_000;
/// How often the daemon is killed.
const KILLS: usize = 30;
/// The first resumed step, at the 99th percentile.
const RESUMED_MAX: Duration = Duration::from_secs(1);
/// The gateway's next answer, at the 99th percentile.
const READY_MAX: Duration = Duration::from_millis(300);
/// Longest wait for all runs to be under way.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(2);

struct Wanted {
    quick: bool,
    runs: usize,
    kills: usize,
    program: PathBuf,
    folder: PathBuf,
}

impl Wanted {
    fn read() -> Outcome<Self> {
        let mut wanted = Self {
            quick: false,
            runs: RUNS,
            kills: KILLS,
            program: std::env::current_exe()?.with_file_name("openclaw"),
            folder: std::env::temp_dir(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => (wanted.quick, wanted.runs, wanted.kills) = (true, 50, 3),
                "--runs" => wanted.runs = value()?.parse()?,
                "--kills" => wanted.kills = value()?.parse()?,
                "--program" => wanted.program = value()?.into(),
                "--folder" => wanted.folder = value()?.into(),
                _ => return Err(format!("unknown argument {argument}").into()),
            }
        }
        if !wanted.program.is_file() {
            let program = wanted.program.display();
            return Err(format!("{program} is not there: build it with `cargo build --release -p openclaw`").into());
        }
        Ok(wanted)
    }
}

/// A provider that takes every request and answers none; a file grows by a byte with each.
struct Silent {
    url: String,
    asked: Arc<AtomicUsize>,
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Silent {
    fn start(marks: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut marks = OpenOptions::new().create(true).append(true).open(marks)?;
        let silent = Self {
            url: format!("http://{}/v1", listener.local_addr()?),
            asked: Arc::default(),
            held: Arc::default(),
        };
        let (asked, held) = (silent.asked.clone(), silent.held.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut first = [0; 64];
                stream.set_read_timeout(Some(Duration::from_secs(1))).ok();
                // A connection without a request is none.
                if !matches!(stream.read(&mut first), Ok(bytes) if bytes > 0) {
                    continue;
                }
                asked.fetch_add(1, Ordering::Relaxed);
                if marks.write_all(b"x").is_err() {
                    return;
                }
                held.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            }
        });
        Ok(silent)
    }

    /// Lets go of the connections of a process that was killed.
    fn forget(&self) {
        self.asked.store(0, Ordering::Relaxed);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn wait(&self, wanted: usize) -> Outcome<Duration> {
        let began = Instant::now();
        while self.asked.load(Ordering::Relaxed) < wanted {
            if began.elapsed() > PATIENCE {
                let asked = self.asked.load(Ordering::Relaxed);
                return Err(format!("{asked} of {wanted} runs came to ask their model").into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(began.elapsed())
    }
}

/// A client that comes all the time.
struct Client {
    over: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (refused, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (is_over, no, yes) = (over.clone(), refused.clone(), answered.clone());
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
                    Ok(_) => yes.fetch_add(1, Ordering::Relaxed),
                    Err(_) => no.fetch_add(1, Ordering::Relaxed),
                };
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            over,
            refused,
            answered,
            thread,
        }
    }

    fn end(self) -> Outcome<(u64, u64)> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the client crashed")?;
        Ok((
            self.refused.load(Ordering::Relaxed),
            self.answered.load(Ordering::Relaxed),
        ))
    }
}

fn submit(home: &Home) -> Outcome<()> {
    let address = home.address();
    let body = json!({ "task": "wait", "agent": "bench", "model": "m0", "workspace": home.folder.join("work") });
    let body = body.to_string();
    let mut stream = TcpStream::connect(address)?;
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        home.key(),
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 202") {
        return Ok(());
    }
    Err(format!("a run was not accepted: {answer}").into())
}

fn main() -> ExitCode {
    match measure() {
        Ok((rows, quick)) => {
            println!("{}", render(&rows));
            let missed = rows.iter().any(|row| row.met == Some(false));
            if missed && !quick {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure() -> Outcome<(Vec<Row>, bool)> {
    let wanted = Wanted::read()?;
    let folder = wanted.folder.join(format!("openclaw-recovery-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let marks = folder.join("asked");
    File::create(&marks)?;
    let silent = Silent::start(&marks)?;
    let home = Home::make(&wanted.program, &folder, &silent.url, &["silent".to_owned()])?;
    let place = Place {
        program: wanted.program.clone(),
        home: folder.clone(),
        attempts: marks,
    };
    let keeper = Keeper::start(place, TcpListener::bind(home.address())?)?;
    let began = Instant::now();
    while !is_ready_within(home.address(), Duration::from_millis(500)) {
        if began.elapsed() > PATIENCE {
            return Err("the daemon does not get ready".into());
        }
        std::thread::sleep(LOOK);
    }
    for _ in 0..wanted.runs {
        submit(&home)?;
    }
    silent.wait(wanted.runs)?;
    let client = Client::start(home.address());
    let mut all = Vec::new();
    for kill in 1..=wanted.kills {
        silent.forget();
        let pid = i32::try_from(keeper.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.ok_or("there is no process to kill")?, Signal::KILL)?;
        let killed = Instant::now();
        silent.wait(wanted.runs)?;
        all.push(killed.elapsed());
        while keeper.seen().len() < kill {
            if killed.elapsed() > PATIENCE {
                return Err("the daemon was not started again".into());
            }
            std::thread::sleep(LOOK);
        }
    }
    let (refused, answered) = client.end()?;
    let seen = keeper.seen();
    keeper.end()?;
    let mut resumed: Vec<Duration> = seen.iter().filter_map(|recovery| recovery.resumed).collect();
    let mut ready: Vec<Duration> = seen.iter().filter_map(|recovery| recovery.ready).collect();
    if resumed.len() < wanted.kills || ready.len() < wanted.kills {
        return Err(format!("of {} ends only {} were recovered from", wanted.kills, resumed.len()).into());
    }
    let (runs, kills) = (wanted.runs, wanted.kills);
    let first = part(&mut resumed, 0.99);
    let again = part(&mut ready, 0.99);
    let rows = vec![
        Row::new(
            format!("kill -9 to the first resumed step, {runs} runs in flight, p50 of {kills}"),
            ms(part(&mut resumed, 0.5)),
        ),
        Row::new("the same, p99", ms(first)).wanted(format!("≤ {}", ms(RESUMED_MAX)), first <= RESUMED_MAX),
        Row::new(
            "kill -9 until all of them ask their model again, p50",
            ms(part(&mut all, 0.5)),
        ),
        Row::new("the same, p99", ms(part(&mut all, 0.99))),
        Row::new("kill -9 to the gateway's next answer, p50", ms(part(&mut ready, 0.5))),
        Row::new("the same, p99", ms(again)).wanted(format!("≤ {}", ms(READY_MAX)), again <= READY_MAX),
        Row::new(
            format!("connections refused meanwhile, of {}", refused + answered),
            refused.to_string(),
        )
        .wanted("0", refused == 0),
    ];
    Ok((rows, wanted.quick))
}
