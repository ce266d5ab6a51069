//! Skills: what the sandbox costs a program, whatever the size of the daemon; a call within the process; and how many
//! programs a skill's queue carries, without memory that grows.
//!
//! The programs are started by this process as the daemon does, through the release `openclaw` beside it.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures, and prints what it measured"
)]

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::table::{Row, mib, ms, part, render};
use futures_util::future::{BoxFuture, join_all};
use openclaw::domain::approval::Approval;
use openclaw::domain::effect::{EffectClass, EffectKey};
use openclaw::domain::id::RunId;
use openclaw::domain::name::{SkillName, StepId};
use openclaw::domain::skill::SkillManifest;
use openclaw::domain::time::UtcMillis;
use openclaw::skills::process::end::{Ended, Rendering};
use openclaw::skills::process::runner::{ProcessRunner, ProgramOrder};
use openclaw::skills::sandbox::policy::{Confinement, SandboxMode, SandboxSettings};
use openclaw::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use openclaw::skills::workers::{WorkerEnd, Workers};
use serde_json::json;
use supervisors::{ChildSpec, Strategy, Supervisor, SupervisorSpec, TaskSupervisor};
use tokio::sync::{Semaphore, oneshot};

/// Starts of each kind when their time is measured, one of each in turn.
const STARTS: usize = 200;
/// The program: it does nothing.
const NOTHING: &str = "/usr/bin/true";
/// Most that the sandbox may add to a start, at the median.
const OVERHEAD_MAX: Duration = Duration::from_millis(3);
/// Calls within the process.
const CALLS: usize = 20_000;
const CALL_MAX: Duration = Duration::from_micros(50);
/// Programs when the queue is measured, and how many run at once.
const QUEUED: usize = 4_000;
const AT_ONCE: usize = 8;
const QUEUE_MIN: f64 = 1_000.0;
/// Growth of memory over the second half of them.
const GROWTH_KIB_MAX: u64 = 1024;
/// Memory that stands for a large daemon.
const LARGE_BYTES: usize = 1 << 30;
const PAGE: usize = 4096;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is measured, and with which binary.
struct Options {
    program: PathBuf,
    only: Vec<String>,
}

fn main() -> Outcome<()> {
    let Options { program, only } = options()?;
    let wants = |what: &str| only.is_empty() || only.iter().any(|only| only == what);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let rows = runtime.block_on(async {
        let mut rows = Vec::new();
        if wants("program") {
            exec(&program, &mut rows).await?;
        }
        if wants("call") {
            call(&mut rows).await?;
        }
        if wants("queue") {
            queue(&program, &mut rows).await?;
        }
        Ok::<_, Box<dyn Error>>(rows)
    })?;
    println!("{}", render(&rows));
    if rows.iter().any(|row| row.met == Some(false)) {
        std::process::exit(1);
    }
    Ok(())
}

/// `--program PATH`, without which it is the release binary beside this one, and `--only program,call,queue`.
fn options() -> Outcome<Options> {
    let own = std::env::current_exe()?;
    let mut options = Options {
        program: own.parent().ok_or("this program lies nowhere")?.join("openclaw"),
        only: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--program" => options.program = value()?.into(),
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            other => return Err(format!("{other} is not known").into()),
        }
    }
    Ok(options)
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4
}

fn order(work: &Path, number: usize) -> ProgramOrder {
    let step = StepId::new("s").expect("a name");
    ProgramOrder {
        key: EffectKey::derive(RunId::new(UtcMillis(1), 1), &step, 1, number as u32),
        program: NOTHING.into(),
        argv: vec![NOTHING.to_owned()],
        cwd: work.to_owned(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        stdin: String::new(),
        limit: Duration::from_secs(60),
        output_bytes_max: 64 * 1024,
        spooled: false,
        rendering: Rendering::Json,
        confinement: Confinement::to_workspace(work),
    }
}

/// A program as it is started without anything of ours: a process, its two outputs and its end.
fn plain(work: &Path) -> Outcome<Duration> {
    let began = Instant::now();
    let ended = Command::new(NOTHING)
        .current_dir(work)
        .env_clear()
        .stdin(Stdio::null())
        .output()?;
    let took = began.elapsed();
    if !ended.status.success() {
        return Err(format!("{NOTHING}: {}", ended.status).into());
    }
    Ok(took)
}

async fn timed(runner: &Arc<ProcessRunner>, order: ProgramOrder) -> Outcome<Duration> {
    let began = Instant::now();
    let end = runner.run(order).await?;
    let took = began.elapsed();
    match end.ended {
        Ended::Exited { code: 0 } => Ok(took),
        other => Err(format!("{NOTHING} in the sandbox: {other:?}").into()),
    }
}

async fn exec(program: &Path, rows: &mut Vec<Row>) -> Outcome<()> {
    let folder = Folder::new()?;
    let with = |mode: SandboxMode, namespaces: bool| {
        let settings = SandboxSettings {
            mode,
            namespaces,
            ..SandboxSettings::default()
        };
        ProcessRunner::with(program.to_owned(), None, settings)
    };
    let confined = with(SandboxMode::On, true);
    let runners = [
        ("sandboxed", confined.clone()),
        ("without mounts of its own", with(SandboxMode::On, false)),
        ("shim and limits alone", with(SandboxMode::Off, false)),
    ];
    let report = confined.sandbox().await;
    println!("sandbox: {} {:?}", report.level().as_str(), report.reasons());
    for (_, runner) in &runners {
        runner.sandbox().await;
    }
    let mut medians = Vec::new();
    for large in [false, true] {
        // Every page is written, so that it is there.
        let mut held = vec![0u8; if large { LARGE_BYTES } else { 0 }];
        held.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        let size = if large { "1 GiB resident" } else { "small" };
        let mut floor = Vec::new();
        let mut times: [Vec<Duration>; 3] = Default::default();
        for number in 0..STARTS {
            floor.push(plain(&folder.0)?);
            for (place, (_, runner)) in runners.iter().enumerate() {
                times[place].push(timed(runner, order(&folder.0, number)).await?);
            }
        }
        black_box(&held);
        let base = part(&mut floor, 0.5);
        for (place, (name, _)) in runners.iter().enumerate() {
            let (median, most) = (part(&mut times[place], 0.5), part(&mut times[place], 0.95));
            let least = part(&mut times[place], 0.0);
            let over = median.saturating_sub(base);
            let mut row = Row::new(
                format!("program, {name}, {size}: added p50 (least, p50, p95)"),
                format!("+{} ({}, {}, {})", ms(over), ms(least), ms(median), ms(most)),
            )
            .over(ms(base), median.as_secs_f64() / base.as_secs_f64());
            if place == 0 {
                row = row.wanted("+3 ms", over <= OVERHEAD_MAX);
                medians.push(median);
            }
            rows.push(row);
        }
    }
    let ratio = medians[1].as_secs_f64() / medians[0].as_secs_f64();
    rows.push(
        Row::new("program, sandboxed: 1 GiB resident to small", format!("{ratio:.2}")).wanted("1.1", ratio <= 1.1),
    );
    Ok(())
}

/// A skill that gives back what it has.
struct Nothing(SkillManifest);

impl Nothing {
    fn manifest(name: &str, concurrency: usize) -> SkillManifest {
        SkillManifest {
            name: SkillName::new(name).expect("a name"),
            description: "Does nothing.".into(),
            input_schema: Arc::new(json!({ "type": "object" })),
            class: EffectClass::Read,
            timeout_ms: 60_000,
            output_bytes_max: 1024,
            concurrency: concurrency as u32,
            approval: Approval::Auto,
            resources: Arc::new([]),
            undo: None,
            examples: Arc::new([]),
        }
    }
}

impl Skill for Nothing {
    fn manifest(&self) -> &SkillManifest {
        &self.0
    }

    fn call(&self, _: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        Box::pin(std::future::ready(Ok(CallEnd::ok("nothing"))))
    }
}

/// A skill that runs a program that does nothing.
struct Program {
    manifest: SkillManifest,
    runner: Arc<ProcessRunner>,
    work: PathBuf,
}

impl Skill for Program {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn call(&self, call: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let runner = self.runner.clone();
        let order = ProgramOrder {
            key: call.key,
            ..order(&self.work, 0)
        };
        Box::pin(async move { Ok(runner.run(order).await?.outcome(Rendering::Json).into()) })
    }
}

fn call_order(number: usize) -> CallOrder {
    let (run, step) = (RunId::new(UtcMillis(1), 1), StepId::new("s").expect("a name"));
    CallOrder {
        key: EffectKey::derive(run, &step, 1, number as u32),
        run,
        step,
        arguments: json!({}),
        workspace: Path::new("/").into(),
        granted: None,
        agreed: false,
        deadline: Duration::from_secs(60),
    }
}

/// One call through the skill's workers; true when it came to a good end.
async fn made(workers: &Workers, skill: Arc<dyn Skill>, number: usize) -> Outcome<bool> {
    let (tell, told) = oneshot::channel();
    let ticket = workers.call(skill, call_order(number), move |end| {
        tell.send(end).ok();
    })?;
    let end = told.await?;
    drop(ticket);
    Ok(matches!(end, WorkerEnd::Finished(Ok(end)) if !end.outcome.is_error))
}

async fn call(rows: &mut Vec<Row>) -> Outcome<()> {
    let tasks = TaskSupervisor::new(64);
    let workers = Workers::new(tasks.handle());
    let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::tasks("calls", tasks));
    let root = Supervisor::start("root", root).await?;
    let skill: Arc<dyn Skill> = Arc::new(Nothing(Nothing::manifest("nothing", 4)));
    let mut times = Vec::with_capacity(CALLS);
    let mut floor = Vec::with_capacity(CALLS);
    for number in 0..CALLS {
        let began = Instant::now();
        let good = made(&workers, skill.clone(), number).await?;
        times.push(began.elapsed());
        if !good {
            return Err("a call that does nothing failed".into());
        }
        // A task and its answer, with nothing of ours.
        let began = Instant::now();
        tokio::spawn(skill.call(call_order(number))).await??;
        floor.push(began.elapsed());
    }
    let us = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
    let (median, late) = (part(&mut times, 0.5), part(&mut times, 0.99));
    let base = part(&mut floor, 0.5);
    rows.push(
        Row::new(
            "call of a skill within the process, p50 (p99)",
            format!("{} ({})", us(median), us(late)),
        )
        .over(us(base), median.as_secs_f64() / base.as_secs_f64())
        .wanted("50 µs", median <= CALL_MAX),
    );
    root.shutdown().await;
    Ok(())
}

async fn queue(program: &Path, rows: &mut Vec<Row>) -> Outcome<()> {
    let folder = Folder::new()?;
    let runner = ProcessRunner::with(program.to_owned(), None, SandboxSettings::default());
    runner.sandbox().await;
    let tasks = TaskSupervisor::new(4096);
    let workers = Workers::new(tasks.handle());
    let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::tasks("calls", tasks));
    let root = Supervisor::start("root", root).await?;
    let skill: Arc<dyn Skill> = Arc::new(Program {
        manifest: Nothing::manifest("program", AT_ONCE),
        runner,
        work: folder.0.clone(),
    });
    // Callers that keep the queue full without being refused.
    let room = Semaphore::new(512);
    let half = |from: usize| {
        let calls = (from..from + QUEUED / 2).map(|number| {
            let (workers, skill, room) = (&workers, skill.clone(), &room);
            async move {
                let _place = room.acquire().await;
                made(workers, skill, number).await.unwrap_or(false)
            }
        });
        async move { join_all(calls).await.into_iter().filter(|good| *good).count() }
    };
    let began = Instant::now();
    let mut good = half(0).await;
    let middle = resident_kib();
    good += half(QUEUED / 2).await;
    let took = began.elapsed();
    let end = resident_kib();
    let rate = good as f64 / took.as_secs_f64();
    // The same machine without the product: plain starts, as many at once.
    let began = Instant::now();
    let work = folder.0.clone();
    let plain_starts = move || {
        let work = &work;
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(move || (0..QUEUED / AT_ONCE / 4).filter(|_| plain(work).is_ok()).count());
            }
        });
    };
    tokio::task::spawn_blocking(plain_starts).await?;
    let base = (QUEUED / 4) as f64 / began.elapsed().as_secs_f64();
    rows.push(
        Row::new(
            format!("programs of one skill's queue, {AT_ONCE} at once, {good} of {QUEUED} good"),
            format!("{rate:.0}/s"),
        )
        .over(format!("{base:.0}/s"), rate / base)
        .wanted("1,000/s", rate >= QUEUE_MIN && good == QUEUED),
    );
    let growth = end.saturating_sub(middle);
    rows.push(
        Row::new(
            "memory after half of them, after all",
            format!("{}, {}", mib(middle), mib(end)),
        )
        .wanted("second half +1 MiB", growth <= GROWTH_KIB_MAX),
    );
    root.shutdown().await;
    Ok(())
}

/// A folder for programs to work in, removed afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Outcome<Self> {
        let name = format!("openclaw-bench-skills-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
