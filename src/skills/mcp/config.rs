//! What an operator says of a server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::capability::{Capability, CapabilityKind, CapabilitySet};
use crate::domain::effect::EffectClass;
use crate::domain::name::ServerName;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A program of ours that speaks on its standard input and output.
    Program {
        /// Its file, resolved.
        program: PathBuf,
        /// Its arguments; the first is its name for itself.
        argv: Vec<String>,
        /// Its whole environment.
        env: Vec<(String, Hidden)>,
        /// Its working folder, its own to read and write.
        folder: PathBuf,
        /// Further files and folders that it reads and runs programs from.
        readable: Vec<PathBuf>,
        /// Further folders that it writes to.
        writable: Vec<PathBuf>,
    },
    /// An address that answers to Streamable HTTP.
    Http {
        /// Where.
        url: String,
        /// Sent with every request.
        bearer: Option<Hidden>,
    },
}

/// Which revision of the protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// The newest that both know: asked with `server/discover`, then `initialize`.
    Auto,
    /// 2026-07-28, without a handshake.
    Stateless,
    /// 2025-11-25 or an older one, with `initialize`.
    Handshake,
}

impl Revision {
    /// The revision of a word of the configuration.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "2026-07-28" => Some(Self::Stateless),
            "2025-11-25" => Some(Self::Handshake),
            _ => None,
        }
    }
}

/// One server, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServer {
    /// Its name in the configuration.
    pub name: ServerName,
    /// How it is reached.
    pub way: Way,
    /// Which revision is spoken.
    pub revision: Revision,
    /// Time of one call.
    pub timeout: Duration,
    /// Time from the start until it has told its tools.
    pub start_timeout: Duration,
    /// The tools that are taken, by the server's own names; none means all.
    pub tools: Option<BTreeSet<String>>,
    /// What a call does to the world when nothing more is said.
    pub class: EffectClass,
    /// What calls of single tools do to the world, by the server's own names.
    pub classes: BTreeMap<String, EffectClass>,
    /// Whether the server's word that a tool only reads is believed.
    pub trusts_hints: bool,
    /// Where the operator says that it connects to: a program reaches these hosts and no others.
    pub network: Vec<Capability>,
    /// Calls at once.
    pub concurrency: u32,
}

impl McpServer {
    /// What every call of its tools touches.
    pub fn needs(&self) -> CapabilitySet {
        let own = match &self.way {
            Way::Program { .. } => Capability::new(CapabilityKind::Exec, &format!("mcp.{}", self.name)).ok(),
            Way::Http { url, .. } => reqwest::Url::parse(url).ok().and_then(|url| {
                let place = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
                Capability::new(CapabilityKind::Net, &place).ok()
            }),
        };
        let own = own.unwrap_or_else(|| Capability::any(CapabilityKind::Net));
        self.network.iter().cloned().chain([own]).collect()
    }

    /// The words for how it is reached.
    pub fn way_word(&self) -> &'static str {
        match self.way {
            Way::Program { .. } => "stdio",
            Way::Http { .. } => "http",
        }
    }
}

/// A server that runs this program, for tests.
#[cfg(test)]
pub(super) fn made_up(name: &str, argv: &[&str]) -> McpServer {
    McpServer {
        name: ServerName::new(name).expect("name"),
        way: Way::Program {
            program: argv.first().copied().unwrap_or("/bin/false").into(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            folder: "/".into(),
            readable: Vec::new(),
            writable: Vec::new(),
        },
        revision: Revision::Auto,
        timeout: Duration::from_secs(10),
        start_timeout: Duration::from_secs(10),
        tools: None,
        class: EffectClass::Once,
        classes: BTreeMap::new(),
        trusts_hints: false,
        network: Vec::new(),
        concurrency: 4,
    }
}
