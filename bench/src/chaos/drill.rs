//! The drill itself: makes a home, keeps the daemon alive, loads it, lets the faults happen, judges.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::keeper::{Keeper, Place};
use super::killer::Killer;
use super::load::{self, Load, Order};
use super::provider::Provider;
use super::report::{Report, drift};
use super::watch::Watch;

/// The faults, as their programs are called.
pub const FAULTS: [&str; 11] = [
    "kill-actor",
    "stall-actor",
    "kill-process",
    "freeze",
    "fill-disk",
    "skew-clock",
    "cut-provider",
    "flood",
    "corrupt-copy",
    "exhaust-descriptors",
    "press-memory",
];
/// Longest time of one fault.
const FAULT_MAX: Duration = Duration::from_secs(60);
/// Longest time in which a daemon that nobody attacks has to end every run, and to get its shape back.
const CALM_MAX: Duration = Duration::from_secs(180);
/// From this length on memory has to be flat to [`DRIFT_MAX`].
const LONG: Duration = Duration::from_secs(3_600);
/// Growth of the resident memory over a long drill, in parts of one.
const DRIFT_MAX: f64 = 0.05;
/// The same for a shorter one, in which caches fill.
const DRIFT_SHORT_MAX: f64 = 0.5;
/// Bytes of ended runs that the home keeps, so that it stays as large as it is whatever the length.
const KEPT_BYTES: u64 = 32 << 20;
/// Bytes of a disk of one's own.
const DISK: &str = "size=512m";

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Drill {
    /// How long faults happen.
    pub length: Duration,
    /// Of all choices.
    pub seed: u64,
    /// Which faults.
    pub faults: Vec<String>,
    /// From the start of one fault to the start of the next.
    pub every: Duration,
    /// From one kill of any one actor to the next, beside the faults.
    pub actors_every: Option<Duration>,
    /// Runs under way at once.
    pub open_max: usize,
    /// Whether the home gets a disk of its own.
    pub own_disk: bool,
    /// The daemon's program.
    pub program: PathBuf,
    /// The folder of the faults.
    pub scripts: PathBuf,
}

/// Does it.
///
/// # Errors
/// When the drill itself cannot be made; what does not hold is in the report.
pub fn drill(wanted: &Drill) -> io::Result<Report> {
    let ground = Ground::make(wanted.own_disk)?;
    let provider = Provider::start()?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let metrics_port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let home = ground.path().join("home");
    // The world is not on the disk that is filled: a mark that finds no room would be half a mark.
    let world = Ground::make(false)?;
    let marks = world.path();
    let key = furnish(
        wanted,
        &home,
        marks,
        listener.local_addr()?.port(),
        metrics_port,
        &provider,
    )?;
    let place = Place {
        program: wanted.program.clone(),
        home: home.clone(),
        attempts: marks.join("attempts"),
        moves_clock: wanted.faults.iter().any(|fault| fault == "skew-clock"),
    };
    let keeper = Arc::new(Keeper::start(place, listener)?);
    let address = format!("http://{}", keeper.address());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()?;
    let client = crate::floor::client();
    // The watcher wants to know whether a new connection is taken.
    let fresh = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build();
    let fresh = fresh.map_err(io::Error::other)?;
    let load = Load::new(client.clone(), address.clone(), key, ground.path().join("work"));
    let scene = Scene {
        wanted,
        home: &home,
        provider: &provider,
    };

    scene.wait_tree()?;
    let declared = scene.shape()?;
    let watch = Watch::new();
    let began = Instant::now();
    let asking = runtime.spawn(watch.clone().ask(fresh, address));
    let pid = {
        let keeper = keeper.clone();
        move || keeper.pid()
    };
    let metrics = format!("http://127.0.0.1:{metrics_port}/metrics");
    let looking = runtime.spawn(watch.clone().look(client, metrics, pid));
    let killing = wanted.actors_every.map(|every| {
        let killer = Killer::new(home.clone(), wanted.seed);
        (killer.clone(), runtime.spawn(killer.kill(every)))
    });
    let clients: Vec<_> = (0..wanted.open_max)
        .map(|_| runtime.spawn(load.clone().work()))
        .collect();
    let mut report = scene.attack(began)?;

    if let Some((killer, killing)) = killing {
        killer.close();
        runtime
            .block_on(async { tokio::time::timeout(FAULT_MAX, killing).await })
            .ok();
        report.killed = killer.killed();
    }
    load.close();
    watch.close();
    let calm = Instant::now();
    runtime.block_on(async {
        let all = async {
            for client in clients {
                client.await.ok();
            }
            asking.await.ok();
            looking.await.ok();
        };
        tokio::time::timeout(CALM_MAX, all).await.ok();
    });
    report.length = began.elapsed();
    report.orders = load.orders();
    report.requests = load.requests();
    report.seen = watch.seen();
    report.recoveries = keeper.seen();
    let shape = scene.wait_shape(&declared, calm);
    runtime.shutdown_background();
    if let Ok(keeper) = Arc::try_unwrap(keeper) {
        keeper.end()?;
    }
    judge(&mut report, marks)?;
    report.findings.extend(shape.err());
    if !report.findings.is_empty() {
        let kept = [ground.keep(), world.keep()].map(|path| path.display().to_string());
        report
            .findings
            .push(format!("everything is kept in {}", kept.join(" and ")));
    }
    Ok(report)
}

/// The folder of everything; with a disk of its own when that is wanted.
struct Ground {
    folder: Option<tempfile::TempDir>,
    path: PathBuf,
    is_mounted: bool,
}

impl Ground {
    fn make(own_disk: bool) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("openclaw-chaos-").tempdir()?;
        let path = folder.path().to_owned();
        if own_disk {
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", DISK, "openclaw-chaos"])
                .arg(&path)
                .status()?;
            if !mounted.success() {
                return Err(io::Error::other("a disk of its own cannot be mounted; it needs root"));
            }
        }
        Ok(Self {
            folder: Some(folder),
            path,
            is_mounted: own_disk,
        })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn keep(mut self) -> PathBuf {
        self.is_mounted = false;
        self.folder.take().map_or_else(PathBuf::new, tempfile::TempDir::keep)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.is_mounted {
            Command::new("umount").arg("-l").arg(&self.path).status().ok();
        }
    }
}

/// Makes the home; gives the operator's key.
fn furnish(
    wanted: &Drill,
    home: &Path,
    marks: &Path,
    port: u16,
    metrics: u16,
    provider: &Provider,
) -> io::Result<String> {
    let made = Command::new(&wanted.program)
        .arg("--home")
        .arg(home)
        .arg("init")
        .stdout(Stdio::null())
        .status()?;
    if !made.success() {
        return Err(io::Error::other(format!("`openclaw init` ended with {made}")));
    }
    fs::create_dir_all(home.join("../work"))?;
    for file in ["attempts", "ledger"] {
        fs::write(marks.join(file), "")?;
    }
    fs::write(home.join("faketime"), "+0\n")?;
    let config = [
        format!(
            "[gateway]\nport = {port}\n[metrics]\nport = {metrics}\n[admin]\nport = 0\nchaos = true\n[log]\nlevel = \"warn\"\n"
        ),
        format!(
            "[store]\nkeepBytes = {KEPT_BYTES}\n[skills]\nwritePaths = {}\n",
            serde_json::json!([marks])
        ),
        format!(
            "[models.m0]\nprovider = \"openai\"\nid = \"memory.put/2\"\nbaseUrl = \"{}\"\ncontextTokens = 1000000\n\
             firstByteTimeout = 5000\n",
            provider.base_url()
        ),
        load::skills(marks),
    ];
    fs::write(home.join("openclaw.toml"), config.concat())?;
    fs::create_dir_all(home.join("agents"))?;
    fs::write(
        home.join("agents/bench.toml"),
        "role = \"executor\"\nmodel = \"m0\"\nprompt = \"You are drilled.\"\nconcurrency = 64\nmaxRetries = 20\n\
         skills = [\"memory.put\"]\n",
    )?;
    let key = fs::read_to_string(home.join("state/operator.key"))?;
    Ok(key.trim().to_owned())
}

struct Scene<'of> {
    wanted: &'of Drill,
    home: &'of Path,
    provider: &'of Provider,
}

impl Scene<'_> {
    /// Lets faults happen until the time is over.
    fn attack(&self, began: Instant) -> io::Result<Report> {
        let wanted = self.wanted;
        let mut random = Rng::with_seed(wanted.seed);
        let mut report = Report {
            command: format!(
                "ops/chaos/all --minutes {} --seed {} --faults {} --every {} --open {}{}{}",
                wanted.length.as_secs_f64() / 60.0,
                wanted.seed,
                if wanted.faults.is_empty() {
                    "none".to_owned()
                } else {
                    wanted.faults.join(",")
                },
                wanted.every.as_millis(),
                wanted.open_max,
                if wanted.own_disk { " --disk" } else { "" },
                wanted
                    .actors_every
                    .map_or(String::new(), |every| format!(" --actors-every {}", every.as_millis())),
            ),
            ..Report::default()
        };
        let mut next = began;
        while began.elapsed() < wanted.length {
            let candidates: Vec<&String> = wanted
                .faults
                .iter()
                .filter(|fault| !report.untried.contains_key(*fault))
                .collect();
            let Some(fault) = random.choice(&candidates) else {
                if !wanted.faults.is_empty() {
                    break;
                }
                std::thread::sleep(wanted.length.saturating_sub(began.elapsed()));
                continue;
            };
            let ended = self.happen(fault, random.u32(..))?;
            match ended.status.code() {
                Some(0) => *report.faults.entry((*fault).clone()).or_default() += 1,
                Some(3) => {
                    let why = String::from_utf8_lossy(&ended.stderr);
                    report.untried.insert((*fault).clone(), why.trim().to_owned());
                }
                Some(1) => report
                    .findings
                    .push(format!("{fault}: {}", String::from_utf8_lossy(&ended.stderr).trim())),
                // The daemon was away: the fault met nobody.
                _ => *report.faults.entry(format!("{fault}, which met nobody")).or_default() += 1,
            }
            next += wanted.every;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next = next.max(Instant::now());
        }
        Ok(report)
    }

    fn happen(&self, fault: &str, seed: u32) -> io::Result<std::process::Output> {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", &FAULT_MAX.as_secs().to_string()])
            .arg(self.wanted.scripts.join(fault))
            .env("OPENCLAW", &self.wanted.program)
            .env("OPENCLAW_HOME", self.home)
            .env("CHAOS_SEED", seed.to_string())
            .stdin(Stdio::null());
        if fault == "cut-provider" {
            command.arg(self.provider.pid().to_string());
        }
        if fault == "corrupt-copy" {
            command.arg(seed.to_string());
        }
        command.output()
    }

    /// The actors that are declared, whatever is under way.
    fn shape(&self) -> io::Result<BTreeSet<String>> {
        let shown = Command::new(&self.wanted.program)
            .arg("--home")
            .arg(self.home)
            .args(["--json", "tree"])
            .output()?;
        let tree: Value = serde_json::from_slice(&shown.stdout).map_err(io::Error::other)?;
        let mut running = BTreeSet::new();
        collect(&tree, &mut running);
        Ok(running)
    }

    fn wait_tree(&self) -> io::Result<()> {
        let began = Instant::now();
        while self.shape().map_or(true, |shape| shape.is_empty()) {
            if began.elapsed() > CALM_MAX {
                return Err(io::Error::other("the daemon does not get ready"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn wait_shape(&self, declared: &BTreeSet<String>, calm: Instant) -> Result<(), String> {
        loop {
            let missing: Vec<String> = match self.shape() {
                Ok(shape) => declared.difference(&shape).cloned().collect(),
                Err(error) => vec![error.to_string()],
            };
            if missing.is_empty() {
                return Ok(());
            }
            if calm.elapsed() > CALM_MAX {
                return Err(format!("the tree has not its declared shape: {}", missing.join(", ")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Actors that come and go with work.
const PASSING: [&str; 3] = ["root/runs/active/", "root/agents/sessions/", "root/memory/"];

fn collect(node: &Value, running: &mut BTreeSet<String>) {
    let path = node["path"].as_str().unwrap_or_default();
    if node["state"] == "running" && !PASSING.iter().any(|prefix| path.starts_with(prefix)) {
        running.insert(path.to_owned());
    }
    node["children"]
        .as_array()
        .into_iter()
        .flatten()
        .for_each(|child| collect(child, running));
}

/// Holds what clients and the world know against each other.
fn judge(report: &mut Report, marks: &Path) -> io::Result<()> {
    let ledger = fs::read_to_string(marks.join("ledger"))?;
    let mut made: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in ledger.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            [run, step, _class] => *made.entry((run, step)).or_default() += 1,
            _ => report.findings.push(format!("the ledger is damaged: {line:?}")),
        }
    }
    report.effects = made.len();
    for ((run, step), count) in made.iter().filter(|(_, count)| **count > 1) {
        report.doubled += 1;
        report.findings.push(format!("{run}/{step}: made {count} times"));
    }
    for order in &report.orders {
        if let Some(what) = wrong(order, &made) {
            report.findings.push(format!(
                "{} ({}): {what}",
                order.tag,
                order.id.as_deref().unwrap_or("never accepted")
            ));
        }
    }
    let allowed = if report.length >= LONG {
        DRIFT_MAX
    } else {
        DRIFT_SHORT_MAX
    };
    if let Some(grown) = drift(&report.seen.rss_kib).filter(|grown| *grown > allowed) {
        report.findings.push(format!("memory grew by {:.1} %", grown * 100.0));
    }
    Ok(())
}

fn wrong(order: &Order, made: &BTreeMap<(&str, &str), u64>) -> Option<String> {
    let id = order.id.as_deref()?;
    if !order.has_ended() {
        return Some(format!("accepted and never ended: {}", order.status));
    }
    match order.status.as_str() {
        "lost" => Some("accepted and not there".to_owned()),
        "succeeded" => {
            let missing = ["pay", "ship", "close"]
                .into_iter()
                .find(|step| !made.contains_key(&(id, *step)));
            missing.map(|step| format!("succeeded without `{step}`"))
        }
        // Parked and failed runs tell the truth about themselves; a person decides.
        _ => None,
    }
}
