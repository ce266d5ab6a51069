//! The daemon's end: gives each program to a shim that waits or is made for it, keeps the connection to it open, and
//! reads its one report.
//!
//! Refuses to know: skills. Invariants: a dropped run closes its half of the connection, on which the shim stops the
//! program; [`ProcessRunner::settled`] waits for that. The shim is never killed from here: it is what kills the rest. A
//! program is ordered again only when its order was surely not read.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Connection;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::domain::effect::EffectKey;
use crate::domain::fault::Fault;
use crate::skills::egress::Egress;
use crate::skills::sandbox::policy::{Confinement, SandboxSettings};
use crate::skills::sandbox::report::SandboxReport;

use super::confiner::{Confined, Confiner, Launch};
use super::end::{ProgramEnd, Rendering};
use super::launcher_handle::{LauncherError, LauncherHandle};
use super::orphans::{self, shim_name};
use super::spool::Spool;
use super::wire::{DOCUMENT_BYTES_MAX, OrderWire, ReportWire, WIRE_VERSION};

/// Time between the request to end and the kill.
const GRACE: Duration = Duration::from_secs(2);
/// Shims that are asked for one program when none of them reads its order.
const TRIES: u32 = 3;
/// Shims that wait for another order at most. One that has waited for some seconds ends by itself.
const IDLE_SHIMS_MAX: usize = 16;
/// Time that the shim may need beyond the program's time and the grace: sweeping, draining, the spool's sync.
const SHIM_MARGIN: Duration = Duration::from_secs(8);

/// Says which step of running a program failed, before or beside the program itself.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// No shim could be asked for.
    #[error("failed to have a shim made")]
    Launch(#[from] LauncherError),
    /// There is no connection for a shim.
    #[error("failed to make a connection for the shim")]
    Connect(#[source] io::Error),
    /// The order cannot be written down.
    #[error("failed to write down the order for the shim")]
    WriteOrder(#[source] serde_json::Error),
    /// Shim after shim ended before it read its order: nothing was started.
    #[error("failed to hand the order to any of {tries} shims")]
    SendOrder {
        /// How many.
        tries: u32,
        /// What the last connection said.
        #[source]
        source: io::Error,
    },
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
    /// Whether it is certain that no program was started: no shim had read the order.
    pub fn nothing_started(&self) -> bool {
        match self {
            Self::Launch(_) | Self::Connect(_) | Self::WriteOrder(_) | Self::SendOrder { .. } => true,
            Self::ReadReport(_) | Self::BadReport { .. } | Self::Shim { .. } | Self::Silent { .. } => false,
        }
    }

    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Launch(_) | Self::Connect(_) | Self::SendOrder { .. } | Self::ReadReport(_) | Self::Shim { .. } => {
                Fault::Unavailable
            }
            Self::BadReport { .. } | Self::WriteOrder(_) => Fault::Bug,
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
    launcher: LauncherHandle,
    spool: Option<Spool>,
    confiner: Confiner,
    lingering: Mutex<HashMap<EffectKey, Vec<Connection>>>,
    idle: Mutex<Vec<Connection>>,
}

impl ProcessRunner {
    /// Runs programs under this binary itself, confined as settings say.
    pub fn new(spool: Option<Spool>, sandbox: SandboxSettings) -> Arc<Self> {
        // The running binary also when its file has been replaced: both ends speak one version.
        Self::with(PathBuf::from("/proc/self/exe"), spool, sandbox)
    }

    /// Runs programs under another binary that answers to `__launch`, confined as by default; for tests and figures.
    pub fn with_launcher(program: impl Into<PathBuf>, spool: Option<Spool>) -> Arc<Self> {
        Self::with(program.into(), spool, SandboxSettings::default())
    }

    /// Runs programs under another binary that answers to `__launch`, confined as settings say.
    pub fn with(program: PathBuf, spool: Option<Spool>, sandbox: SandboxSettings) -> Arc<Self> {
        Arc::new(Self {
            confiner: Confiner::new(program.clone(), sandbox),
            launcher: LauncherHandle::new(program),
            spool,
            lingering: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    /// Opens the way to the daemon's proxy. Before it, and when it is never called, no program has a network.
    pub fn open_egress(&self, egress: Egress) {
        self.confiner.open_egress(egress);
    }

    /// What the self-test of the sandbox found. The first call runs it, which takes some milliseconds.
    pub async fn sandbox(&self) -> &SandboxReport {
        self.confiner.report().await
    }

    /// The confinement of a program that somebody else starts, or why it must not be started.
    pub async fn confine(&self, launch: Launch) -> Result<Confined, String> {
        self.confiner.confine(launch).await
    }

    /// The spool that reports are kept in.
    pub fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// Runs one program to its end.
    ///
    /// **Cancel**: dropping the future stops the program and everything that it started; see [`Self::settled`].
    pub async fn run(self: &Arc<Self>, order: ProgramOrder) -> Result<ProgramEnd, ProcessError> {
        let launch = Launch {
            key: order.key,
            program: order.program,
            argv: order.argv,
            cwd: order.cwd,
            env: order.env,
            confinement: order.confinement,
        };
        // Held to the end: with it ends the program's way to the network.
        let confined = match self.confiner.confine(launch).await {
            Ok(confined) => confined,
            Err(reason) => return Ok(ProgramEnd::not_started(reason)),
        };
        let temp = confined.start.policy.as_ref().map(|policy| policy.temp.clone());
        let spool = self.spool.as_ref().filter(|_| order.spooled);
        let wire = OrderWire {
            version: WIRE_VERSION,
            name: shim_name(order.key),
            start: &confined.start,
            stdin: order.stdin,
            timeout_ms: order.limit.as_millis() as u64,
            grace_ms: GRACE.as_millis() as u64,
            output_bytes_max: order.output_bytes_max,
            spool: spool.map(|spool| spool.path_of(order.key)),
            unless_spooled: spool.is_some(),
            rendering: order.rendering.into(),
        };
        let mut line = serde_json::to_vec(&wire).map_err(ProcessError::WriteOrder)?;
        line.push(b'\n');
        let bound = order.limit + GRACE + SHIM_MARGIN;
        let limit_ms = bound.as_millis() as u64;
        let report = timeout(bound, self.tell_and_hear(order.key, &line));
        let report = report.await.map_err(|_| ProcessError::Silent { limit_ms })??;
        if report.is_empty() {
            // The shim was killed: its program went with it, but not what the program had started.
            self.end_leftovers(vec![order.key]).await;
            if let Some(temp) = temp {
                // It would have removed it; what is left after this is small and lies among temporary files.
                tokio::fs::remove_dir_all(temp).await.ok();
            }
        }
        understand(&report)
    }

    /// Has a shim made, gives it the order and waits for its report, which is empty when it was killed. An order that
    /// was not read is given to another one: its launcher has died, and nothing was started.
    async fn tell_and_hear(self: &Arc<Self>, key: EffectKey, line: &[u8]) -> Result<Vec<u8>, ProcessError> {
        let mut tries = 1;
        loop {
            let idle = self.take_idle();
            let has_waited = idle.is_some();
            match self.tell_one_and_hear(key, line, idle).await {
                // It had gone when the order came.
                Err(ProcessError::SendOrder { .. }) if has_waited => {}
                Err(ProcessError::SendOrder { source, .. }) if tries >= TRIES => {
                    return Err(ProcessError::SendOrder { tries, source });
                }
                Err(ProcessError::SendOrder { source, .. }) => {
                    tracing::warn!(%key, %source, "an order for a program was not read; another shim gets it");
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    async fn tell_one_and_hear(
        self: &Arc<Self>,
        key: EffectKey,
        line: &[u8],
        idle: Option<Connection>,
    ) -> Result<Vec<u8>, ProcessError> {
        let (own, its) = if let Some(own) = idle {
            (own, None)
        } else {
            let (own, its) = Connection::pair().map_err(ProcessError::Connect)?;
            own.set_nonblocking(true).map_err(ProcessError::Connect)?;
            (own, Some(OwnedFd::from(its)))
        };
        let mut held = Held {
            runner: Arc::clone(self),
            key,
            connection: Some(UnixStream::from_std(own).map_err(ProcessError::Connect)?),
        };
        let connection = held.connection.as_mut().expect("it is held until the run ends");
        let not_read = |source| ProcessError::SendOrder { tries: 1, source };
        // As much as fits, so that the shim finds it when it comes up.
        let told = connection.try_write(line).unwrap_or(0);
        if let Some(its) = its {
            self.launcher.hand_over(&its).await?;
        }
        connection.write_all(&line[told..]).await.map_err(not_read)?;
        let mut report = Vec::new();
        // Nothing follows the line until there is another order.
        let mut bounded = BufReader::new(connection).take(DOCUMENT_BYTES_MAX);
        match bounded.read_until(b'\n', &mut report).await {
            Ok(_) if report.ends_with(b"\n") => {
                self.keep_idle(held.connection.take());
                return Ok(report);
            }
            Ok(_) => {}
            // It said what it had to say without reading the order; or it went without having read all of it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && report.is_empty() => {
                held.connection = None;
                return Err(not_read(error));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => return Err(ProcessError::ReadReport(error)),
        }
        held.connection = None;
        Ok(report)
    }

    /// A shim that waits for an order.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !is_closed(connection));
        // The one that has waited least: those that are not needed come to their end.
        idle.pop()
    }

    /// Keeps a shim that has reported. One that does not go on after it closes its end.
    fn keep_idle(&self, connection: Option<UnixStream>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_SHIMS_MAX {
            idle.extend(connection.and_then(|connection| connection.into_std().ok()));
        }
    }

    /// Starts the launcher, when there is none, and completes when it is gone.
    pub(super) async fn launcher_ended(&self) -> Result<(), LauncherError> {
        // The test of the sandbox first: it may move this process, and the launcher with it.
        self.confiner.report().await;
        self.launcher.ended().await
    }

    /// Ends whatever still runs under these keys and says how many processes that were. For recovery: after a
    /// crash of the daemon the programs of its open calls are being stopped, and a call must not be made again
    /// beside its own earlier self.
    pub async fn end_leftovers(&self, keys: Vec<EffectKey>) -> usize {
        let home = self.confiner.report().await.cgroup.clone();
        let ended = tokio::task::spawn_blocking(move || orphans::end_all_of(&keys, home.as_ref())).await;
        // A look that panicked found nothing.
        ended.unwrap_or_default()
    }

    /// Completes when the shims of a dropped run are gone, and with them all that they ran; at the latest after
    /// the grace and a margin.
    pub async fn settled(&self, key: EffectKey) {
        let connections = self.lock().remove(&key).unwrap_or_default();
        for connection in connections {
            if timeout(GRACE + SHIM_MARGIN, heard_out(connection)).await.is_err() {
                tracing::warn!(%key, "a shim has not ended after its connection was closed");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<EffectKey, Vec<Connection>>> {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what a shim still says to nobody, until it is gone.
async fn heard_out(connection: Connection) {
    let Ok(mut connection) = UnixStream::from_std(connection) else {
        return;
    };
    // However it ends, the other end is closed then.
    tokio::io::copy(&mut connection, &mut tokio::io::sink()).await.ok();
}

/// Holds the connection to a shim; when the run is dropped before its end, closes this half of it, and leaves the rest to
/// `settled`.
struct Held {
    runner: Arc<ProcessRunner>,
    key: EffectKey,
    connection: Option<UnixStream>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take().and_then(|own| own.into_std().ok()) else {
            return;
        };
        // It fails when the other end has gone, which is as good.
        let _ = shutdown(&connection, Shutdown::Write);
        let mut lingering = self.runner.lock();
        // Those that ended and that nobody asked for must not gather here.
        lingering.retain(|_, connections| {
            connections.retain(|connection| !is_closed(connection));
            !connections.is_empty()
        });
        lingering.entry(self.key).or_default().push(connection);
    }
}

/// Whether the other end is gone.
fn is_closed(connection: &Connection) -> bool {
    let mut watched = [PollFd::new(connection, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::HUP | PollFlags::ERR;
    poll(&mut watched, Some(&at_once)).is_ok() && watched[0].revents().intersects(gone)
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
