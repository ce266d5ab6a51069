//! What one program may reach, as data.
//!
//! Pure. Invariant: nothing is allowed that is not named here or among the runtime paths of the system.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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

/// What a skill asks for its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The folder that it works in: read, written, and programs in it run. Absolute.
    pub workspace: PathBuf,
    /// Further files and folders that it reads and runs programs from.
    pub readable: Vec<PathBuf>,
    /// Further folders that it writes to.
    pub writable: Vec<PathBuf>,
    /// The hosts that it may reach through the daemon's proxy, as `host:port`; none means no network at all.
    pub network: Vec<String>,
}

impl Confinement {
    /// The workspace and nothing else.
    pub fn to_workspace(workspace: impl Into<PathBuf>) -> Self {
        Self {
            workspace: workspace.into(),
            readable: Vec::new(),
            writable: Vec::new(),
            network: Vec::new(),
        }
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
    /// Every folder that may be written to.
    pub fn written(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.workspace, &self.temp].into_iter().chain(&self.writable)
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
