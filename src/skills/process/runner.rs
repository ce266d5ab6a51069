//! The daemon's end: starts a shim for each program, keeps its pipe open, and reads its one report.
//!
//! Refuses to know: skills. Invariants: a dropped run closes the pipe, on which the shim stops the program;
//! [`ProcessRunner::settled`] waits for that. The shim is never killed from here: it is what kills the rest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::domain::code;
use crate::domain::effect::EffectKey;
use crate::domain::fault::Fault;
use crate::runtime::entropy::Entropy;
use crate::skills::egress::{Egress, Pass};
use crate::skills::sandbox::cgroup::CgroupHome;
use crate::skills::sandbox::policy::{Confinement, LimitsWire, PolicyWire, SandboxMode, SandboxSettings};
use crate::skills::sandbox::report::SandboxReport;
use crate::skills::sandbox::self_test::self_test;

use super::end::{ProgramEnd, Rendering};
use super::orphans::{self, EFFECT_KEY_VARIABLE, SHIM_KEY_VARIABLE};
use super::spool::Spool;
use super::wire::{BoundsWire, DOCUMENT_BYTES_MAX, EgressWire, OrderWire, ReportWire, WIRE_VERSION};

/// Time between the request to end and the kill.
const GRACE: Duration = Duration::from_secs(2);
/// Time that the shim may need beyond the program's time and the grace: sweeping, draining, the spool's sync.
const SHIM_MARGIN: Duration = Duration::from_secs(8);

/// Processes by which the kernel's limit is above that of the shim.
const PROCESSES_SLACK: u64 = 16;

/// Says which step of running a program failed, before or beside the program itself.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The shim could not be started.
    #[error("failed to start the shim {program}")]
    StartShim {
        /// The shim's program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The order could not be handed to the shim.
    #[error("failed to hand the order to the shim")]
    SendOrder(#[source] std::io::Error),
    /// The shim's report could not be read.
    #[error("failed to read the shim's report")]
    ReadReport(#[source] std::io::Error),
    /// The shim ended without a report, or with one that cannot be understood.
    #[error("failed to understand the shim's report: {reason}")]
    BadReport {
        /// What it said.
        reason: String,
    },
    /// The shim itself failed.
    #[error("failed within the shim: {reason}")]
    Shim {
        /// What it said.
        reason: String,
    },
    /// The shim did not report in time.
    #[error("failed to hear from the shim within {limit_ms} ms")]
    Silent {
        /// The limit.
        limit_ms: u64,
    },
}

impl ProcessError {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::StartShim { .. } | Self::SendOrder(_) | Self::ReadReport(_) | Self::Shim { .. } => Fault::Unavailable,
            Self::BadReport { .. } => Fault::Bug,
            Self::Silent { .. } => Fault::TimedOut,
        }
    }
}

/// One program to run.
#[derive(Debug, Clone)]
pub struct ProgramOrder {
    /// The call that it belongs to; [`ProcessRunner::settled`] is asked by it.
    pub key: EffectKey,
    /// Its file, resolved.
    pub program: PathBuf,
    /// Its arguments; the first is its name for itself.
    pub argv: Vec<String>,
    /// Its working folder, absolute.
    pub cwd: PathBuf,
    /// Its whole environment, but for the effect key, which is always added.
    pub env: Vec<(String, String)>,
    /// What it reads.
    pub stdin: String,
    /// Its time.
    pub limit: Duration,
    /// Bytes kept of each of its two outputs.
    pub output_bytes_max: usize,
    /// Whether its end is kept in the spool, and an end that is there already given instead of running it.
    pub spooled: bool,
    /// How its end reads as an outcome.
    pub rendering: Rendering,
    /// What it may reach.
    pub confinement: Confinement,
}

/// Runs programs; one for the whole daemon.
#[derive(Debug)]
pub struct ProcessRunner {
    shim: PathBuf,
    spool: Option<Spool>,
    limits: LimitsWire,
    sandbox: SandboxSettings,
    report: OnceCell<SandboxReport>,
    egress: OnceLock<Egress>,
    lingering: Mutex<HashMap<EffectKey, Vec<Child>>>,
}

impl ProcessRunner {
    /// Runs programs under this binary itself, confined as settings say.
    pub fn new(spool: Option<Spool>, sandbox: SandboxSettings) -> Arc<Self> {
        // The running binary also when its file has been replaced: both ends speak one version.
        Self::with(PathBuf::from("/proc/self/exe"), spool, sandbox)
    }

    /// Runs programs under another binary that answers to `__shim`, confined as by default; for tests and figures.
    pub fn with_shim(shim: impl Into<PathBuf>, spool: Option<Spool>) -> Arc<Self> {
        Self::with(shim.into(), spool, SandboxSettings::default())
    }

    /// Runs programs under another binary that answers to `__shim`, confined as settings say.
    pub fn with(shim: PathBuf, spool: Option<Spool>, sandbox: SandboxSettings) -> Arc<Self> {
        Arc::new(Self {
            shim,
            spool,
            limits: LimitsWire::default(),
            sandbox,
            report: OnceCell::new(),
            egress: OnceLock::new(),
            lingering: Mutex::default(),
        })
    }

    /// Opens the way to the daemon's proxy. Before it, and when it is never called, no program has a network.
    pub fn open_egress(&self, egress: Egress) {
        // The first one stays: a second one would leave the passes of the first without a door.
        let _ = self.egress.set(egress);
    }

    /// What the self-test of the sandbox found. The first call runs it, which takes some milliseconds.
    pub async fn sandbox(&self) -> &SandboxReport {
        let test = || async {
            let (program, mode) = (self.shim.clone(), self.sandbox.mode);
            let tested = tokio::task::spawn_blocking(move || self_test(&program, mode)).await;
            tested.unwrap_or_else(|error| SandboxReport::of_failure(self.sandbox.mode, error.to_string()))
        };
        self.report.get_or_init(test).await
    }

    /// The spool that reports are kept in.
    pub fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// Runs one program to its end.
    ///
    /// **Cancel**: dropping the future stops the program and everything that it started; see [`Self::settled`].
    pub async fn run(self: &Arc<Self>, order: ProgramOrder) -> Result<ProgramEnd, ProcessError> {
        let confined = match self.confine(&order).await {
            Ok(confined) => confined,
            Err(reason) => return Ok(ProgramEnd::not_started(reason)),
        };
        let temp = confined.policy.as_ref().map(|policy| policy.temp.clone());
        let mut held = Held {
            runner: Arc::clone(self),
            key: order.key,
            child: Some(self.start_shim(order.key)?),
        };
        let bound = order.limit + GRACE + SHIM_MARGIN;
        let line = self.order_line(order, &confined)?;
        let talk = async {
            let child = held.child.as_mut().expect("the shim is held until the run ends");
            let (stdin, stdout) = (child.stdin.as_mut(), child.stdout.take());
            let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
                let reason = "its pipes are missing".to_owned();
                return Err(ProcessError::BadReport { reason });
            };
            stdin.write_all(&line).await.map_err(ProcessError::SendOrder)?;
            stdin.flush().await.map_err(ProcessError::SendOrder)?;
            let mut report = Vec::new();
            let mut bounded = stdout.take(DOCUMENT_BYTES_MAX);
            bounded
                .read_to_end(&mut report)
                .await
                .map_err(ProcessError::ReadReport)?;
            // It has closed its output, so it is about to end; waiting here leaves no zombie behind.
            child.wait().await.map_err(ProcessError::ReadReport)?;
            Ok(report)
        };
        let limit_ms = bound.as_millis() as u64;
        let report = timeout(bound, talk)
            .await
            .map_err(|_| ProcessError::Silent { limit_ms })??;
        held.child = None;
        if report.is_empty() {
            // The shim was killed: its program went with it, but not what the program had started.
            self.end_leftovers(vec![held.key]).await;
            if let Some(temp) = temp {
                // It would have removed it; what is left after this is small and lies among temporary files.
                tokio::fs::remove_dir_all(temp).await.ok();
            }
        }
        understand(&report)
    }

    /// Ends whatever still runs under these keys and says how many processes that were. For recovery: after a
    /// crash of the daemon the programs of its open calls are being stopped, and a call must not be made again
    /// beside its own earlier self.
    pub async fn end_leftovers(&self, keys: Vec<EffectKey>) -> usize {
        let ended = tokio::task::spawn_blocking(move || orphans::end_all_of(&keys)).await;
        // A look that panicked found nothing.
        ended.unwrap_or_default()
    }

    /// Completes when the shims of a dropped run are gone, and with them all that they ran; at the latest after
    /// the grace and a margin.
    pub async fn settled(&self, key: EffectKey) {
        let children = self.lock().remove(&key).unwrap_or_default();
        for mut child in children {
            if timeout(GRACE + SHIM_MARGIN, child.wait()).await.is_err() {
                tracing::warn!(%key, "a shim has not ended after its pipe was closed");
            }
        }
    }

    fn start_shim(&self, key: EffectKey) -> Result<Child, ProcessError> {
        let mut command = Command::new(&self.shim);
        command
            .arg0("openclaw")
            .arg("__shim")
            .env_clear()
            // By this the next life of the daemon finds it, should this one be killed.
            .env(SHIM_KEY_VARIABLE, key.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What goes wrong within the shim belongs into the daemon's own log.
            .stderr(Stdio::inherit())
            .kill_on_drop(false);
        command.spawn().map_err(|source| ProcessError::StartShim {
            program: self.shim.display().to_string(),
            source,
        })
    }

    /// The policy of one program, or why it is not started.
    async fn confine(&self, order: &ProgramOrder) -> Result<Confined, String> {
        let refuse = |reason: &str| {
            let code = code::SANDBOX_REFUSED.id;
            Err(format!("{code}: {reason}; `openclaw doctor` says more"))
        };
        let report = self.sandbox().await;
        if let Some(reason) = report.refusal() {
            return refuse(&format!("programs cannot be confined on this system: {reason}"));
        }
        if report.mode == SandboxMode::Off {
            return Ok(Confined::default());
        }
        let wanted = &order.confinement;
        let temp = std::env::temp_dir().join(format!("openclaw-{}-{:032x}", order.key, Entropy::system().u128()));
        let mut confined = Confined::default();
        let hosts: Vec<String> = self.sandbox.network.iter().chain(&wanted.network).cloned().collect();
        if !hosts.is_empty() {
            let Some(egress) = self.egress.get().filter(|_| report.network && self.sandbox.namespaces) else {
                return refuse("the program needs the network, and it cannot be given one of its own");
            };
            match egress.pass(&hosts) {
                Ok(pass) => confined.pass = Some(pass),
                Err(error) => return refuse(&error.to_string()),
            }
        }
        // Where programs are looked for, programs can be run from.
        let path = order.env.iter().find(|(name, _)| name == "PATH");
        let folders = path.map(|(_, path)| std::env::split_paths(path).collect::<Vec<_>>());
        let folders = folders.unwrap_or_default().into_iter();
        let folders = folders.filter(|folder| folder.is_absolute() && folder != Path::new("/"));
        let readable = [&self.sandbox.readable, &wanted.readable].into_iter().flatten();
        let writable = [&self.sandbox.writable, &wanted.writable].into_iter().flatten();
        confined.policy = Some(PolicyWire {
            required: report.mode == SandboxMode::On,
            workspace: wanted.workspace.clone(),
            handover: confined.pass.as_ref().map(|_| temp.join("proxy")),
            temp,
            readable: readable.cloned().chain(folders).collect(),
            writable: writable.cloned().collect(),
            cgroup: None,
            namespaces: report.namespaces && self.sandbox.namespaces,
        });
        let group = |home: &CgroupHome| (home.clone(), CgroupHome::name_of(&order.key.to_string()));
        confined.cgroup = report.cgroup.as_ref().map(group);
        Ok(confined)
    }

    fn order_line(&self, mut order: ProgramOrder, confined: &Confined) -> Result<Vec<u8>, ProcessError> {
        order.env.retain(|(name, _)| name != EFFECT_KEY_VARIABLE);
        if let Some(policy) = &confined.policy {
            let temp = policy.temp.display().to_string();
            order.env.retain(|(name, _)| name != "TMPDIR");
            order.env.push(("TMPDIR".to_owned(), temp));
        }
        if confined.pass.is_some() {
            order.env.extend(crate::skills::egress::variables());
        }
        order.env.push((EFFECT_KEY_VARIABLE.to_owned(), order.key.to_string()));
        let spool = self.spool.as_ref().filter(|_| order.spooled);
        let wire = OrderWire {
            version: WIRE_VERSION,
            program: order.program,
            argv: order.argv,
            cwd: order.cwd,
            env: order.env,
            stdin: order.stdin,
            timeout_ms: order.limit.as_millis() as u64,
            grace_ms: GRACE.as_millis() as u64,
            output_bytes_max: order.output_bytes_max,
            limits: LimitsWire {
                // Beyond what the shim lets pass, so that a bomb is ended and not left to try again and again.
                processes: self.sandbox.processes_max + PROCESSES_SLACK,
                ..self.limits
            },
            bounds: BoundsWire {
                memory_bytes: self.sandbox.memory_bytes_max,
                processes: self.sandbox.processes_max,
            },
            cgroup: confined.cgroup.clone(),
            policy: confined.policy.clone(),
            egress: confined.pass.as_ref().map(|pass| EgressWire {
                socket: pass.socket().to_owned(),
                pass: pass.word().to_owned(),
            }),
            spool: spool.map(|spool| spool.path_of(order.key)),
            unless_spooled: spool.is_some(),
            rendering: order.rendering.into(),
        };
        let mut line = serde_json::to_vec(&wire).map_err(|error| ProcessError::SendOrder(error.into()))?;
        line.push(b'\n');
        Ok(line)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<EffectKey, Vec<Child>>> {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was found for one program before it is started; a pass ends with it.
#[derive(Debug, Default)]
struct Confined {
    policy: Option<PolicyWire>,
    pass: Option<Pass>,
    cgroup: Option<(CgroupHome, String)>,
}

/// Holds a shim; when the run is dropped before its end, closes the pipe and leaves the shim to `settled`.
struct Held {
    runner: Arc<ProcessRunner>,
    key: EffectKey,
    child: Option<Child>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        drop(child.stdin.take());
        let mut lingering = self.runner.lock();
        // Those that ended and that nobody asked for must not gather here.
        lingering.retain(|_, children| {
            children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            !children.is_empty()
        });
        lingering.entry(self.key).or_default().push(child);
    }
}

fn understand(report: &[u8]) -> Result<ProgramEnd, ProcessError> {
    if report.is_empty() {
        let reason = "it ended without one".to_owned();
        return Err(ProcessError::BadReport { reason });
    }
    let report: ReportWire = serde_json::from_slice(report).map_err(|error| ProcessError::BadReport {
        reason: error.to_string(),
    })?;
    if let Some(reason) = report.shim_error {
        return Err(ProcessError::Shim { reason });
    }
    Ok(report.into_end())
}
