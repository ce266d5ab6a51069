//! Figures of a `kill -9` with runs in flight: how long until the first of them goes on, until all of them do, until the
//! gateway answers again, and whether a client is refused meanwhile. The gateway's socket outlives the daemon, as under
//! a service manager, whose pause before a restart (100 ms) is part of every figure.
//!
//! Every run has made one effect (`once`), is in the middle of a turn at each kill and has another effect to make. Between
//! two kills each run ends a turn: one that is killed again and again without getting further is parked on purpose.
//!
//! Usage: see `--help`. Ends with 1 when a target is missed or a run is lost or doubled; `--quick` only shows that
//! everything works and judges no time.

#![expect(clippy::disallowed_methods, reason = "it measures, and waits for other processes")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bench::chaos::keeper::{Keeper, Place};
use bench::chaos::load;
use bench::daemon::{Home, is_ready_within};
use bench::table::{Row, ms, part, render};
use bench::talking_models::{Say, TalkingModels};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

const HELP: &str = "\
Kills a daemon with many runs in flight again and again, and prints how long it takes until they go on.

  --runs N         runs that are in the middle of a turn at each kill (1000)
  --kills N        how often the daemon is killed (30)
  --quick          50 runs, 3 kills, and no judgement of times
  --program PATH   the daemon's program (beside this one)
  --folder PATH    where its home is made (the folder for temporary files)

Ends with 0 when every target is met and no run was lost or made an effect twice.";

/// The first resumed step, at the 99th percentile.
const RESUMED_MAX: Duration = Duration::from_secs(1);
/// The gateway's next answer, at the 99th percentile.
const READY_MAX: Duration = Duration::from_millis(300);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// Pause of the client that comes all the time.
const COME_EACH: Duration = Duration::from_millis(5);

struct Wanted {
    quick: bool,
    runs: usize,
    kills: usize,
    program: PathBuf,
    folder: PathBuf,
}

impl Wanted {
    fn read() -> Outcome<Option<Self>> {
        let mut wanted = Self {
            quick: false,
            runs: 1_000,
            kills: 30,
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
                "--help" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                _ => return Err(format!("unknown argument {argument}; --help shows them").into()),
            }
        }
        if !wanted.program.is_file() {
            let program = wanted.program.display();
            return Err(format!("{program} is not there: build it with `cargo build --release -p openclaw`").into());
        }
        Ok(Some(wanted))
    }
}

/// A client that comes all the time.
struct Client {
    is_over: Arc<AtomicBool>,
    came: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (came, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (over, all, no) = (is_over.clone(), came.clone(), refused.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                all.fetch_add(1, Ordering::Relaxed);
                if TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_err() {
                    no.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(COME_EACH);
            }
        });
        Self {
            is_over,
            came,
            refused,
            thread,
        }
    }

    fn end(self) -> Outcome<(u64, u64)> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the client crashed")?;
        Ok((self.refused.load(Ordering::Relaxed), self.came.load(Ordering::Relaxed)))
    }
}

fn ask(home: &Home, method: &str, path: &str, body: &str) -> Outcome<Value> {
    let address = home.address();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        home.key(),
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 20") => Ok(serde_json::from_str(body)?),
        _ => Err(format!("{method} {path}: {answer}").into()),
    }
}

/// Gives the id of a run: an effect, a step of an agent, an effect.
fn submit(home: &Home, task: &str) -> Outcome<String> {
    let body = json!({
        "task": task,
        "workspace": home.folder.join("work"),
        "deadline_ms": 3_600_000,
        "plan": { "goal": task, "result": "close", "steps": [
            { "id": "pay", "needs": [], "skill": "mark-once", "inputs": {} },
            { "id": "think", "needs": ["pay"], "agent": "bench", "task": task },
            { "id": "close", "needs": ["think"], "skill": "mark-once", "inputs": {} },
        ] },
    });
    let run = ask(home, "POST", "/v1/runs", &body.to_string())?;
    let id = run["id"].as_str().map(str::to_owned);
    id.ok_or_else(|| format!("a run without an id: {run}").into())
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> Outcome<T> {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(last) if began.elapsed() > PATIENCE => return Err(format!("{what}: {last}").into()),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// Waits until all runs wait for their model; else says what became of one that does not.
fn wait_asked(home: &Home, models: &TalkingModels, ids: &[String]) -> Outcome<()> {
    let runs = ids.len();
    let waited = wait("not all runs asked their model", || match models.waiting() {
        waiting if waiting >= runs => Ok(()),
        waiting => Err(format!("{waiting} of {runs} did")),
    });
    let missing = models.missing(runs).and_then(|number| ids.get(number));
    waited.map_err(|error| match missing {
        Some(id) => {
            let timeline = ask(home, "GET", &format!("/v1/runs/{id}/timeline"), "");
            format!("{error}; {id}: {timeline:?}").into()
        }
        None => error,
    })
}

fn is_ready(home: &Home) -> Result<(), String> {
    let is_ready = is_ready_within(home.address(), Duration::from_secs(5));
    is_ready.then_some(()).ok_or_else(|| "it is not ready".to_owned())
}

/// What a kill cost.
struct Kill {
    resumed: Duration,
    all: Duration,
    ready: Duration,
}

fn kill(home: &Home, keeper: &Keeper, models: &TalkingModels, ids: &[String]) -> Outcome<Kill> {
    let pid = i32::try_from(keeper.pid()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or("there is no process to kill")?;
    models.forget();
    kill_process(pid, Signal::KILL)?;
    let killed = Instant::now();
    // A connection waits in the socket, so that one question measures it.
    wait("the gateway does not answer", || is_ready(home))?;
    let ready = killed.elapsed();
    wait_asked(home, models, ids)?;
    let all = killed.elapsed();
    let first = models.first_asked().ok_or("nobody asked")?;
    Ok(Kill {
        resumed: first.saturating_duration_since(killed),
        all,
        ready,
    })
}

/// What became of the runs: how many did not succeed, how many effects are missing, how many were made twice.
struct Ends {
    not_succeeded: usize,
    missing: usize,
    doubled: usize,
}

fn ends(home: &Home, ids: &[String], ledger: &Path) -> Outcome<Ends> {
    let mut not_succeeded = 0;
    for id in ids {
        let status = wait("a run does not end", || {
            let run = ask(home, "GET", &format!("/v1/runs/{id}"), "").map_err(|error| error.to_string())?;
            let status = run["status"].as_str().unwrap_or_default().to_owned();
            if status == "active" {
                Err(run.to_string())
            } else {
                Ok((status, run))
            }
        })?;
        if status.0 != "succeeded" {
            not_succeeded += 1;
            eprintln!("{id}: {}", status.1);
        }
    }
    let ledger = fs::read_to_string(ledger)?;
    let mut made: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in ledger.lines() {
        let mut words = line.split(' ');
        if let (Some(run), Some(step)) = (words.next(), words.next()) {
            *made.entry((run, step)).or_default() += 1;
        }
    }
    let all = ids
        .iter()
        .flat_map(|id| ["pay", "close"].map(|step| (id.as_str(), step)));
    let missing = all.filter(|effect| !made.contains_key(effect)).count();
    let doubled = made.values().filter(|count| **count > 1).count();
    Ok(Ends {
        not_succeeded,
        missing,
        doubled,
    })
}

fn furnish(home: &Home, marks: &Path) -> Outcome<()> {
    fs::create_dir_all(marks)?;
    for file in ["attempts", "ledger"] {
        fs::write(marks.join(file), "")?;
    }
    let mut config = OpenOptions::new()
        .append(true)
        .open(home.folder.join("openclaw.toml"))?;
    // The last table is that of the model: its answers take as long as all kills together.
    writeln!(config, "idleTimeout = 3600000\ntimeout = 3600000")?;
    writeln!(
        config,
        "[skills]\nwritePaths = {}\n{}",
        json!([marks]),
        load::skills(marks)
    )?;
    Ok(())
}

fn measure(wanted: &Wanted) -> Outcome<Vec<Row>> {
    let folder = wanted.folder.join(format!("openclaw-recovery-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let marks = folder.join("marks");
    let models = TalkingModels::start()?;
    let home = Home::make(&wanted.program, &folder, &models.base_url(), &["talks".to_owned()])?;
    furnish(&home, &marks)?;
    let place = Place {
        program: wanted.program.clone(),
        home: folder.clone(),
        attempts: marks.join("attempts"),
        moves_clock: false,
    };
    let keeper = Keeper::start(place, TcpListener::bind(home.address())?)?;
    wait("the daemon does not get ready", || is_ready(&home))?;
    let ids = (0..wanted.runs).map(|number| submit(&home, &models.task(number)));
    let ids = ids.collect::<Outcome<Vec<String>>>()?;
    let client = Client::start(home.address());
    let mut kills = Vec::new();
    for _ in 0..wanted.kills {
        wait_asked(&home, &models, &ids)?;
        kills.push(kill(&home, &keeper, &models, &ids)?);
        models.say(Say::Call);
    }
    wait_asked(&home, &models, &ids)?;
    let (refused, came) = client.end()?;
    models.say(Say::Done);
    let ends = ends(&home, &ids, &marks.join("ledger"))?;
    keeper.end()?;
    Ok(rows(wanted, &kills, &ends, models.asked_twice(), (refused, came)))
}

fn rows(wanted: &Wanted, kills: &[Kill], ends: &Ends, asked_twice: usize, (refused, came): (u64, u64)) -> Vec<Row> {
    let (runs, times) = (wanted.runs, wanted.kills);
    let mut table = Vec::new();
    let mut figure = |name: String, of: fn(&Kill) -> Duration, max: Option<Duration>| {
        let mut all: Vec<Duration> = kills.iter().map(of).collect();
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|at| part(&mut all, at));
        table.push(Row::new(format!("{name}, p50"), ms(p50)));
        let row = Row::new(format!("{name}, p99"), ms(p99));
        table.push(match max {
            Some(max) if !wanted.quick => row.wanted(format!("≤ {}", ms(max)), p99 <= max),
            _ => row,
        });
        table.push(Row::new(format!("{name}, most of {times}"), ms(most)));
    };
    let first = format!("kill -9 to the first resumed step of {runs} runs in flight");
    figure(first, |kill| kill.resumed, Some(RESUMED_MAX));
    figure("kill -9 until all of them go on".to_owned(), |kill| kill.all, None);
    figure("kill -9 to ready".to_owned(), |kill| kill.ready, Some(READY_MAX));
    let none = |name: String, count: usize| Row::new(name, count.to_string()).wanted("0", count == 0);
    table.push(none(format!("connections refused, of {came}"), refused as usize));
    table.push(none(format!("runs without success, of {runs}"), ends.not_succeeded));
    table.push(none(format!("effects missing, of {}", 2 * runs), ends.missing));
    table.push(none("effects made twice".to_owned(), ends.doubled));
    table.push(none("turns asked twice in one life".to_owned(), asked_twice));
    table
}

fn work() -> Outcome<ExitCode> {
    let Some(wanted) = Wanted::read()? else {
        return Ok(ExitCode::SUCCESS);
    };
    let rows = measure(&wanted)?;
    println!("{}", render(&rows));
    let has_missed = rows.iter().any(|row| row.met == Some(false));
    Ok(if has_missed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn main() -> ExitCode {
    work().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}
