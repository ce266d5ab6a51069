//! What one program may reach, as data.
//!
//! Pure. Invariant: nothing is allowed that is not named here or among the runtime paths of the system.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::capability::{Capability, CapabilityKind, CapabilitySet};

/// How strictly programs are confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SandboxMode {
    /// Every control or no program.
    #[default]
    On,
    /// Every control that the system has; programs run also when one is missing.
    Permissive,
    /// None but the resource limits.
    Off,
}

impl SandboxMode {
    /// The words of the configuration.
    pub const WORDS: &[&str] = &["on", "permissive", "off"];

    /// The mode of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "on" => Some(Self::On),
            "permissive" => Some(Self::Permissive),
            "off" => Some(Self::Off),
            _ => None,
        }
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Permissive => "permissive",
            Self::Off => "off",
        }
    }
}

/// A part of a workspace that a program may touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspacePart {
    /// Its path from the workspace; `.` is all of it. A link on the way is refused.
    pub path: PathBuf,
    /// Whether it is written to; else it is only read.
    pub written: bool,
}

/// What a skill asks for its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The folder that it works in: read, written, and programs in it run. Absolute.
    pub workspace: PathBuf,
    /// When set, it touches only these parts of the workspace.
    pub parts: Option<Vec<WorkspacePart>>,
    /// Further files and folders that it reads and runs programs from.
    pub readable: Vec<PathBuf>,
    /// Further folders that it writes to.
    pub writable: Vec<PathBuf>,
    /// The hosts that it may reach through the daemon's proxy, as `host:port`; none means no network at all.
    pub network: Vec<String>,
    /// What whoever makes the call may touch at most: of hosts and secrets it gets no more.
    pub granted: Option<Arc<CapabilitySet>>,
}

/// The parts of a workspace that somebody was granted.
pub fn parts(granted: &CapabilitySet) -> impl Iterator<Item = WorkspacePart> {
    let part = |kind: CapabilityKind, written: bool| {
        scopes(granted, kind).map(move |scope| WorkspacePart {
            path: if scope == "*" { "." } else { scope }.into(),
            written,
        })
    };
    part(CapabilityKind::FsRead, false).chain(part(CapabilityKind::FsWrite, true))
}

/// The scopes of one kind.
pub fn scopes(granted: &CapabilitySet, kind: CapabilityKind) -> impl Iterator<Item = &str> {
    let those = granted.iter().filter(move |one| one.kind() == kind);
    those.map(Capability::scope)
}

impl Confinement {
    /// The workspace and nothing else.
    pub fn to_workspace(workspace: impl Into<PathBuf>) -> Self {
        Self {
            workspace: workspace.into(),
            parts: None,
            readable: Vec::new(),
            writable: Vec::new(),
            network: Vec::new(),
            granted: None,
        }
    }

    /// Whether it may be given a secret of this name.
    pub fn may_use(&self, secret: &str) -> bool {
        self.may(CapabilityKind::Secret, secret)
    }

    /// Whether it may reach this host, as `host:port`.
    pub fn may_reach(&self, host: &str) -> bool {
        self.may(CapabilityKind::Net, host)
    }

    fn may(&self, kind: CapabilityKind, scope: &str) -> bool {
        let wanted = Capability::new(kind, scope);
        let granted = |granted: &CapabilitySet| wanted.is_ok_and(|wanted| granted.allows(&wanted));
        self.granted.as_deref().is_none_or(granted)
    }
}

/// What the operator says for all programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// How strictly.
    pub mode: SandboxMode,
    /// Whether programs get mounts of their own where the system allows it; without them none has a network.
    pub namespaces: bool,
    /// Files and folders that every program may read.
    pub readable: Vec<PathBuf>,
    /// Folders that every program may write to.
    pub writable: Vec<PathBuf>,
    /// Hosts that every program may reach through the proxy, as `host:port`.
    pub network: Vec<String>,
    /// Bytes of memory of a program and all that it starts.
    pub memory_bytes_max: u64,
    /// Processes and threads of a program and all that it starts.
    pub processes_max: u64,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            mode: SandboxMode::On,
            namespaces: true,
            readable: Vec::new(),
            writable: Vec::new(),
            network: Vec::new(),
            memory_bytes_max: 4 * 1024 * 1024 * 1024,
            processes_max: 1024,
        }
    }
}

/// The policy as it goes to the stage that becomes the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyWire {
    /// Whether a control that cannot be put in force stops the program.
    pub required: bool,
    /// The folder that it works in.
    pub workspace: PathBuf,
    /// When set, the parts of that folder that it touches.
    #[serde(default)]
    pub parts: Option<Vec<WorkspacePart>>,
    /// Its own folder for temporary files; the shim makes and removes it.
    pub temp: PathBuf,
    /// What else it reads.
    pub readable: Vec<PathBuf>,
    /// What else it writes.
    pub writable: Vec<PathBuf>,
    /// Whether mounts of its own make everything else read-only.
    pub namespaces: bool,
    /// The control group that it enters; the shim makes and removes it.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// Set when it has a network of its own: the socket on which the shim takes the listener of the proxy.
    pub handover: Option<PathBuf>,
}

impl PolicyWire {
    /// Every folder that is not read-only for the program. Of a workspace with parts, which are opened one by one, it
    /// is the whole.
    pub fn written(&self) -> impl Iterator<Item = &PathBuf> {
        let has_written = |parts: &Vec<WorkspacePart>| parts.iter().any(|part| part.written);
        let workspace = self.parts.as_ref().is_none_or(has_written).then_some(&self.workspace);
        workspace.into_iter().chain([&self.temp]).chain(&self.writable)
    }
}

/// Limits that the kernel keeps for each process of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsWire {
    /// Open files.
    pub open_files: u64,
    /// Bytes of any file that is written.
    pub file_bytes: u64,
    /// Bytes of data segment and private mappings; 0 for no limit.
    pub data_bytes: u64,
    /// Seconds of processor time; 0 for no limit.
    pub cpu_seconds: u64,
    /// Processes and threads, counted over all that are started; 0 for no limit. Kept only for an ordinary user in a
    /// user namespace of its own: elsewhere the kernel counts all processes of the user, or for root none.
    #[serde(default)]
    pub processes: u64,
}

impl Default for LimitsWire {
    fn default() -> Self {
        Self {
            open_files: 1024,
            file_bytes: 4 * 1024 * 1024 * 1024,
            data_bytes: 0,
            cpu_seconds: 0,
            processes: 0,
        }
    }
}
