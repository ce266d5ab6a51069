//! What goes over the connection of daemon and shim, and into the spool: one JSON document each.
//!
//! Refuses to know: who asks. Invariant: a report of another version is not understood rather than guessed at.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::end::{Ended, ProgramEnd, Rendering};
use crate::skills::sandbox::cgroup::CgroupHome;
use crate::skills::sandbox::policy::{LimitsWire, PolicyWire};

/// The version of both documents; daemon and shim are one binary, only the spool can be older.
pub const WIRE_VERSION: u32 = 1;
/// Bytes of one document; a larger one is refused.
pub const DOCUMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A program and its confinement.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartWire {
    /// The program, resolved.
    pub program: PathBuf,
    /// Its arguments; the first is its name for itself.
    pub argv: Vec<String>,
    /// Its working folder.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Limits of the kernel.
    pub limits: LimitsWire,
    /// Limits that the shim keeps for the program and all that it starts.
    pub bounds: BoundsWire,
    /// Where the kernel keeps them too, and the name of the program's group.
    pub cgroup: Option<(CgroupHome, String)>,
    /// What it may reach; none for no confinement.
    pub policy: Option<PolicyWire>,
    /// The hosts that it may reach, through the daemon's proxy.
    pub egress: Option<EgressWire>,
}

/// The order to the keeper of a server: the first line of its standard input. What follows is the server's.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeepWire<S = StartWire> {
    /// [`WIRE_VERSION`].
    pub version: u32,
    /// The program.
    pub start: S,
}

/// The order to the shim: the one line that it reads from its connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderWire<S = StartWire> {
    /// [`WIRE_VERSION`].
    pub version: u32,
    /// The name that the shim takes, by which it is found.
    pub name: String,
    /// The program.
    pub start: S,
    /// What it reads from its standard input.
    pub stdin: String,
    /// Its time.
    pub timeout_ms: u64,
    /// Time between the request to end and the kill.
    pub grace_ms: u64,
    /// Bytes kept of each output.
    pub output_bytes_max: usize,
    /// Where the report is kept before it is given; none for programs without effect.
    pub spool: Option<PathBuf>,
    /// Whether a report that is in the spool already is given instead of running the program.
    pub unless_spooled: bool,
    /// How the end reads as an outcome; kept with the report.
    pub rendering: RenderingWire,
}

/// Limits of a program together with all that it starts; 0 for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundsWire {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
}

/// How the shim reaches the daemon's proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressWire {
    /// The proxy's socket.
    pub socket: PathBuf,
    /// What it is told first: by it the proxy knows the call and what it may reach.
    pub pass: String,
}

/// [`Rendering`] on the wire.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenderingWire {
    /// See [`Rendering::Json`].
    Json,
    /// See [`Rendering::Stdout`].
    Stdout,
}

/// [`Ended`] on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum EndedWire {
    /// See [`Ended::Exited`].
    Exited {
        /// The code.
        code: i32,
    },
    /// See [`Ended::Signaled`].
    Signaled {
        /// Which.
        signal: i32,
    },
    /// See [`Ended::TimedOut`].
    TimedOut {
        /// The limit.
        limit_ms: u64,
    },
    /// See [`Ended::Overran`].
    Overran {
        /// What it had too much of.
        what: String,
    },
    /// See [`Ended::Interrupted`].
    Interrupted,
    /// See [`Ended::NotStarted`].
    NotStarted {
        /// Why.
        reason: String,
    },
}

/// The report of the shim: one line of its answer, or the content of a spool file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportWire {
    /// [`WIRE_VERSION`].
    pub version: u32,
    /// Set when the shim itself failed; nothing else counts then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shim_error: Option<String>,
    /// Why the program is no longer there.
    pub ended: EndedWire,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Whether something was left out.
    pub truncated: bool,
    /// Whether the report came out of the spool.
    #[serde(default)]
    pub from_spool: bool,
    /// How it reads as an outcome.
    pub rendering: RenderingWire,
}

impl ReportWire {
    /// The report of a shim that failed itself.
    pub fn of_shim_error(reason: String) -> Self {
        Self {
            version: WIRE_VERSION,
            shim_error: Some(reason),
            ended: EndedWire::Interrupted,
            stdout: String::new(),
            stderr: String::new(),
            truncated: false,
            from_spool: false,
            rendering: RenderingWire::Json,
        }
    }

    /// The value that it carries.
    pub fn into_end(self) -> ProgramEnd {
        ProgramEnd {
            ended: self.ended.into(),
            stdout: self.stdout,
            stderr: self.stderr,
            truncated: self.truncated,
            from_spool: self.from_spool,
        }
    }
}

impl From<Rendering> for RenderingWire {
    fn from(rendering: Rendering) -> Self {
        match rendering {
            Rendering::Json => Self::Json,
            Rendering::Stdout => Self::Stdout,
        }
    }
}

impl From<RenderingWire> for Rendering {
    fn from(wire: RenderingWire) -> Self {
        match wire {
            RenderingWire::Json => Self::Json,
            RenderingWire::Stdout => Self::Stdout,
        }
    }
}

impl From<EndedWire> for Ended {
    fn from(wire: EndedWire) -> Self {
        match wire {
            EndedWire::Exited { code } => Self::Exited { code },
            EndedWire::Signaled { signal } => Self::Signaled { signal },
            EndedWire::TimedOut { limit_ms } => Self::TimedOut { limit_ms },
            EndedWire::Overran { what } => Self::Overran { what },
            EndedWire::Interrupted => Self::Interrupted,
            EndedWire::NotStarted { reason } => Self::NotStarted { reason },
        }
    }
}
