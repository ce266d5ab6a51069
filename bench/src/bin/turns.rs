//! Figures of the main job: what the daemon adds to a model turn, how many durable turns it makes, what it weighs,
//! how fast it starts. Each beside its floor, from the same machine and the same run.
//!
//! Usage: `turns [--quick] [--only alone,crowd,long,flat,start] [--program PATH] [--folder PATH]`. Ends with 1 when a
//! target is missed; `--quick` only shows that everything works and judges nothing.

#![expect(clippy::disallowed_methods, reason = "it measures, and waits for other processes")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench::daemon::{Daemon, Home};
use bench::model_server::{KEYS, ModelServer};
use bench::table::{Row, mib, ms, part, render};
use bench::{disk, floor, history};
use hyper::body::Bytes;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Turns with a call, of one long run.
const TURNS: usize = 50;
/// Runs at once in the crowd.
const CROWD: usize = 100;

/// Places of the scripts among the models of the home.
const SEED: usize = 0;
const GET: usize = 1;
const READ: usize = 2;
const PUT: usize = 3;
const WRITE: usize = 4;
const SHORT: usize = 5;
/// The first script of the runs of [`LONG_TURNS`].
const LONG: usize = 6;

/// Turns of one run, the answer included: its history grows by two messages in each.
const LONG_TURNS: [usize; 3] = [10, 100, 1000];

fn scripts() -> Vec<String> {
    let mut scripts = vec![
        format!("seed/{KEYS}"),
        format!("memory.get/{TURNS}"),
        format!("fs.read/{TURNS}"),
        format!("memory.put/{TURNS}"),
        format!("fs.write/{TURNS}"),
        "memory.put/1".to_owned(),
    ];
    let long = LONG_TURNS.iter().map(|turns| format!("memory.get/{}", turns - 1));
    scripts.extend(long);
    scripts
}

struct Wanted {
    quick: bool,
    only: Option<Vec<String>>,
    program: PathBuf,
    folder: PathBuf,
}

impl Wanted {
    fn read() -> Outcome<Self> {
        let mut wanted = Self {
            quick: false,
            only: None,
            program: std::env::current_exe()?.with_file_name("openclaw"),
            folder: std::env::temp_dir(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => wanted.quick = true,
                "--only" => wanted.only = Some(value()?.split(',').map(str::to_owned).collect()),
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

    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|one| one == part))
    }

    fn many(&self, many: usize, few: usize) -> usize {
        if self.quick { few } else { many }
    }
}

struct Bench {
    wanted: Wanted,
    server: ModelServer,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    rows: Vec<Row>,
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
    let quick = wanted.quick;
    let mut bench = Bench {
        wanted,
        server: ModelServer::start()?,
        client: floor::client(),
        runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        rows: Vec::new(),
    };
    if bench.wanted.wants("alone") {
        bench.alone()?;
    }
    if bench.wanted.wants("crowd") {
        bench.crowd()?;
    }
    if bench.wanted.wants("long") {
        bench.long()?;
    }
    if bench.wanted.wants("flat") {
        bench.flat()?;
    }
    if bench.wanted.wants("start") {
        bench.start()?;
    }
    Ok((bench.rows, quick))
}

impl Bench {
    fn home(&self, name: &str) -> Outcome<Home> {
        let folder = self
            .wanted
            .folder
            .join(format!("openclaw-bench-{}-{name}", std::process::id()));
        let home = Home::make(&self.wanted.program, &folder, &self.server.base_url(), &scripts())?;
        for key in 0..KEYS {
            std::fs::write(folder.join(format!("work/k{key}.txt")), "x".repeat(200))?;
        }
        Ok(home)
    }

    fn run(&self, daemon: &Daemon<'_>, script: usize) -> Outcome<()> {
        self.runtime.block_on(daemon.run(&self.client, script))?;
        Ok(())
    }

    /// The bodies of the requests of one run.
    fn bodies(&self, daemon: &Daemon<'_>, script: usize) -> Outcome<Vec<Bytes>> {
        self.server.record();
        self.run(daemon, script)?;
        Ok(self.server.recorded())
    }

    /// One run at a time: the time from a model's answer to the next request, against a bare loop's.
    fn alone(&mut self) -> Outcome<()> {
        let home = self.home("alone")?;
        let daemon = home.start()?;
        self.run(&daemon, SEED)?;
        let runs = self.wanted.many(20, 2);
        let work = home.folder.join("work");
        let appended = part(&mut disk::appends(&work, self.wanted.many(200, 20))?, 0.5);
        let replaced = part(&mut disk::replacements(&work, self.wanted.many(200, 20))?, 0.5);
        let committed = part(&mut disk::commits(&work, self.wanted.many(200, 20))?, 0.5);
        self.rows
            .push(Row::new("disk: append 4 KiB and sync, p50", ms(appended)));
        self.rows.push(
            Row::new("store: commit one entry, p50", ms(committed))
                .over(ms(appended), committed.as_secs_f64() / appended.as_secs_f64()),
        );
        self.rows
            .push(Row::new("disk: replace a file and sync, p50", ms(replaced)));
        for (name, script, target_ms, disk_floor) in [
            ("memory.get (read)", GET, 1.0, Duration::ZERO),
            ("fs.read (read)", READ, 1.0, Duration::ZERO),
            ("memory.put (local)", PUT, 3.0, Duration::ZERO),
            // Its intent is on disk before it starts, and it syncs a file and a folder itself.
            ("fs.write (idempotent)", WRITE, 3.0, committed + replaced),
        ] {
            let bodies = self.bodies(&daemon, script)?;
            self.server.measure();
            for _ in 0..runs {
                self.runtime
                    .block_on(floor::send(&self.client, &self.server, &bodies))?;
            }
            let mut bare = self.server.gaps();
            self.server.measure();
            let cpu = daemon.cpu();
            for _ in 0..runs {
                self.run(&daemon, script)?;
            }
            let cpu = daemon.cpu().saturating_sub(cpu) / (runs * (TURNS + 1)) as u32;
            let mut ours = self.server.gaps();
            let (bare_p50, ours_p50, ours_p99) = (part(&mut bare, 0.5), part(&mut ours, 0.5), part(&mut ours, 0.99));
            let floor = bare_p50 + disk_floor;
            let over = ours_p50.saturating_sub(floor);
            let shown = format!(
                "+{} ({} p50, {} p99, CPU {})",
                ms(over),
                ms(ours_p50),
                ms(ours_p99),
                ms(cpu)
            );
            self.rows.push(
                Row::new(format!("turn alone, {name}"), shown)
                    .over(ms(floor), ours_p50.as_secs_f64() / floor.as_secs_f64())
                    .wanted(format!("+{target_ms} ms"), over.as_secs_f64() * 1000.0 <= target_ms),
            );
        }
        daemon.stop()?;
        Ok(())
    }

    /// A hundred runs at once, a durable write in every turn.
    fn crowd(&mut self) -> Outcome<()> {
        let home = self.home("crowd")?;
        let daemon = home.start()?;
        let bodies = self.bodies(&daemon, PUT)?;
        let rounds = self.wanted.many(3, 1);
        let bare = floor::crowd(&self.server, &bodies, CROWD)?;
        let (asked, cpu, began) = (self.server.asked(), daemon.cpu(), Instant::now());
        self.runtime.block_on(async {
            let all = (0..CROWD).map(|_| async {
                for _ in 0..rounds {
                    daemon.run(&self.client, PUT).await?;
                }
                Ok::<_, String>(())
            });
            futures_util::future::try_join_all(all).await
        })?;
        let turns = self.server.asked() - asked;
        let per_second = turns as f64 / began.elapsed().as_secs_f64();
        let cpu_each = daemon.cpu().saturating_sub(cpu) / turns.max(1) as u32;
        self.rows.push(
            Row::new(
                format!("durable turns, {CROWD} runs at once"),
                format!("{per_second:.0}/s"),
            )
            .over(format!("{:.0}/s", bare.per_second), per_second / bare.per_second)
            .wanted("1500/s", per_second >= 1500.0),
        );
        self.rows.push(
            Row::new("processor time of a turn then", ms(cpu_each))
                .over(ms(bare.cpu_each), cpu_each.as_secs_f64() / bare.cpu_each.as_secs_f64()),
        );
        let peak = daemon.rss_peak_kib();
        self.rows
            .push(Row::new("memory then, at its peak", mib(peak)).wanted("60 MiB", peak <= 60 * 1024));
        daemon.stop()?;
        Ok(())
    }

    /// Runs of ever more turns, one at a time: what a turn costs must not depend on how many came before. The floor
    /// sends the same bodies, which do grow: a provider is told the whole conversation every time.
    fn long(&mut self) -> Outcome<()> {
        let home = self.home("long")?;
        let daemon = home.start()?;
        self.run(&daemon, SEED)?;
        let in_all = self.wanted.many(4000, 1000);
        let mut first = None;
        for (place, turns) in LONG_TURNS.into_iter().enumerate() {
            let bodies = self.bodies(&daemon, LONG + place)?;
            let bytes = bodies.iter().map(Bytes::len).sum::<usize>() / bodies.len().max(1);
            let rounds = in_all / turns;
            let many: Vec<Bytes> = (0..rounds).flat_map(|_| bodies.iter().cloned()).collect();
            let bare = floor::crowd(&self.server, &many, 1)?.cpu_each;
            let cpu = daemon.cpu();
            for _ in 0..rounds {
                self.run(&daemon, LONG + place)?;
            }
            let each = daemon.cpu().saturating_sub(cpu) / (rounds * bodies.len()).max(1) as u32;
            let over = each.saturating_sub(bare);
            let base = *first.get_or_insert(over);
            self.rows.push(
                Row::new(
                    format!("processor time of a turn, {turns} in a run ({} KiB each)", bytes / 1024),
                    format!("{} (+{})", ms(each), ms(over)),
                )
                .over(ms(bare), each.as_secs_f64() / bare.as_secs_f64()),
            );
            if place > 0 {
                let ratio = over.as_secs_f64() / base.as_secs_f64();
                self.rows.push(
                    Row::new(
                        format!("what the daemon adds, {turns} turns to {}", LONG_TURNS[0]),
                        format!("{ratio:.2}"),
                    )
                    .wanted("1.5", ratio <= 1.5),
                );
            }
        }
        daemon.stop()?;
        Ok(())
    }

    /// Many short runs: what stays in memory of each.
    fn flat(&mut self) -> Outcome<()> {
        let home = self.home("flat")?;
        let daemon = home.start()?;
        let (rounds, each) = (20, self.wanted.many(1000, 50));
        let began = Instant::now();
        let mut samples = Vec::new();
        for _ in 0..rounds {
            let left = Arc::new(AtomicUsize::new(each));
            self.runtime.block_on(async {
                let all = (0..32).map(|_| async {
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok()
                    {
                        daemon.run(&self.client, SHORT).await?;
                    }
                    Ok::<_, String>(())
                });
                futures_util::future::try_join_all(all).await
            })?;
            samples.push(daemon.rss_kib());
        }
        let runs = rounds * each;
        let per_second = runs as f64 / began.elapsed().as_secs_f64();
        let (first, last) = (samples[0], samples[samples.len() - 1]);
        // Caches fill first; what grows after that stays with every run.
        let half = samples[samples.len() / 2];
        let grown = last.saturating_sub(half);
        let shown: Vec<String> = samples.iter().map(|kib| (kib / 1024).to_string()).collect();
        println!("memory every {each} short runs, MiB: {}", shown.join(" "));
        self.rows.push(
            Row::new(
                format!("memory over {runs} short runs"),
                format!("{} → {} → {}", mib(first), mib(half), mib(last)),
            )
            .wanted("2nd half +1 MiB", grown <= 1024)
            .over(mib(first), last as f64 / first as f64),
        );
        self.rows
            .push(Row::new("short runs, 32 at once", format!("{per_second:.0}/s")));
        daemon.stop()?;
        Ok(())
    }

    /// From the start of the process to the first answer that it is ready.
    fn start(&mut self) -> Outcome<()> {
        let times = self.wanted.many(10, 3);
        let home = self.home("start")?;
        let mut execs = (0..times).map(|_| home.bare_exec()).collect::<Result<Vec<_>, _>>()?;
        let exec = part(&mut execs, 0.5);
        let (ready, idle) = starts(&home, times)?;
        self.row_of_start("ready, empty store", ready, exec, 50);
        self.rows
            .push(Row::new("memory, idle", mib(idle)).wanted("25 MiB", idle <= 25 * 1024));
        let bytes = self.wanted.many(1 << 30, 1 << 25) as u64;
        let file = history::write(&store_file(&home.folder), bytes)?;
        let (ready, idle) = starts(&home, times)?;
        self.row_of_start(&format!("ready, store of {}", mib(file / 1024)), ready, exec, 300);
        self.rows.push(Row::new("memory, idle, that store", mib(idle)));
        let killed = (0..times)
            .map(|_| {
                let daemon = home.start()?;
                self.run(&daemon, SHORT)?;
                // Dropped, not stopped: the next start opens what a kill left.
                Ok(daemon.ready_in)
            })
            .collect::<Outcome<Vec<_>>>()?;
        let killed = part(&mut killed.into_iter().skip(1).collect::<Vec<_>>(), 0.5);
        self.row_of_start("ready, that store, after a kill", killed, exec, 300);
        Ok(())
    }

    fn row_of_start(&mut self, name: &str, ready: Duration, exec: Duration, target_ms: u64) {
        self.rows.push(
            Row::new(name, ms(ready))
                .over(
                    format!("{} (--version)", ms(exec)),
                    ready.as_secs_f64() / exec.as_secs_f64(),
                )
                .wanted(format!("{target_ms} ms"), ready <= Duration::from_millis(target_ms)),
        );
    }
}

fn store_file(home: &Path) -> PathBuf {
    openclaw::daemon::config::Home::under(home).store_file()
}

/// The median time to be ready, and the memory of the last start after a second of rest, in KiB.
fn starts(home: &Home, times: usize) -> Outcome<(Duration, u64)> {
    let mut ready = Vec::new();
    let mut idle = 0;
    for place in 0..times {
        let daemon = home.start()?;
        ready.push(daemon.ready_in);
        if place + 1 == times {
            std::thread::sleep(Duration::from_secs(1));
            idle = daemon.rss_kib();
        }
        daemon.stop()?;
    }
    Ok((part(&mut ready, 0.5), idle))
}
