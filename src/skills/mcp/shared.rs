//! What a server's actor and the skills made of its tools share: its state, its tools, its last words.
//!
//! Invariants: whoever reads sees one whole state; words and lists are bounded; a state that says "ready" holds the
//! connection that was ready then, which may be closed by now.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::service::Peer;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::config::{McpServer, Revision};
use super::tool::ToolEntry;

/// Bytes of a server's error stream that are kept.
const WORDS_BYTES_MAX: usize = 8 * 1024;
/// Longest wait for the end of a keeper: its two graces and its sweep, and some time for a busy machine.
const END_MAX: Duration = Duration::from_secs(10);

/// How a program ended, as far as that is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProgramEnd {
    /// Its exit code.
    pub code: Option<i32>,
}

/// How a server is.
#[derive(Debug, Clone)]
pub enum ServerState {
    /// It is being started.
    Starting,
    /// It serves.
    Ready {
        /// The connection.
        peer: Peer<RoleClient>,
        /// The revision that is spoken.
        revision: String,
    },
    /// It was lost or did not start; it is started again.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was lost too often; it stays down until somebody has it started again.
    GaveUp {
        /// Why, the last time.
        reason: String,
    },
    /// The daemon stops.
    Stopped,
}

impl ServerState {
    /// The stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready { .. } => "ready",
            Self::Failed { .. } => "failed",
            Self::GaveUp { .. } => "gave_up",
            Self::Stopped => "stopped",
        }
    }

    /// Why it is not ready, when that is known.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } | Self::GaveUp { reason } => Some(reason),
            _ => None,
        }
    }
}

/// One server as everybody sees it.
#[derive(Debug)]
pub struct Shared {
    /// What the operator says of it.
    pub config: McpServer,
    state: watch::Sender<ServerState>,
    tools: RwLock<Arc<[ToolEntry]>>,
    words: Mutex<VecDeque<u8>>,
    keeper: Mutex<Option<watch::Receiver<Option<ProgramEnd>>>>,
    /// Connections that were made.
    pub lives: AtomicU64,
    /// Notes of progress that were received.
    pub progress: AtomicU64,
    doubt: Notify,
    /// Whether it is spoken to by the handshake at once, where the operator leaves that open.
    handshakes: AtomicBool,
}

impl Shared {
    /// A server that has not been started, with the tools that it had when it was last seen.
    pub fn new(config: McpServer, tools: Vec<ToolEntry>) -> Arc<Self> {
        Arc::new(Self {
            config,
            state: watch::Sender::new(ServerState::Starting),
            tools: RwLock::new(tools.into()),
            words: Mutex::default(),
            keeper: Mutex::default(),
            lives: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            doubt: Notify::new(),
            handshakes: AtomicBool::new(false),
        })
    }

    /// How it is spoken to.
    pub fn revision(&self) -> Revision {
        match self.config.revision {
            Revision::Auto if self.handshakes.load(Ordering::Relaxed) => Revision::Handshake,
            said => said,
        }
    }

    /// It speaks the revision with the handshake: then it is not asked again whether it knows the other one, which may
    /// make it wait, or end.
    pub fn knows_handshake(&self) {
        self.handshakes.store(true, Ordering::Relaxed);
    }

    /// It ended, or closed, before the two had agreed on a revision. Where the operator leaves it open the next
    /// connection tries the other way.
    pub fn disagreed(&self) {
        self.handshakes.fetch_xor(true, Ordering::Relaxed);
    }

    /// How it is now.
    pub fn state(&self) -> ServerState {
        self.state.borrow().clone()
    }

    /// Follows how it is.
    pub fn watch(&self) -> watch::Receiver<ServerState> {
        self.state.subscribe()
    }

    /// Says how it is. What gave up stays so.
    pub fn set(&self, state: ServerState) {
        self.state.send_if_modified(|now| {
            let stays = matches!(now, ServerState::GaveUp { .. });
            if !stays {
                *now = state;
            }
            !stays
        });
    }

    /// A call could not be brought to it or back: whether it is still there has to be found out, and until then no call
    /// goes to it.
    pub fn doubt(&self, reason: &str) {
        self.state.send_if_modified(|now| {
            let was_ready = matches!(now, ServerState::Ready { .. });
            if was_ready {
                let reason = reason.to_owned();
                *now = ServerState::Failed { reason };
            }
            was_ready
        });
        self.doubt.notify_one();
    }

    /// Completes when somebody doubts that it is there.
    pub async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// Begins anew after it was given up or stopped.
    pub fn begin_again(&self) {
        self.state.send_replace(ServerState::Starting);
    }

    /// Marks that its supervisor has given up.
    pub fn give_up(&self) {
        self.state.send_modify(|now| {
            let reason = now.reason().unwrap_or("it was lost again and again").to_owned();
            *now = ServerState::GaveUp { reason };
        });
    }

    /// Its tools as last told.
    pub fn tools(&self) -> Arc<[ToolEntry]> {
        self.tools.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces its tools; false when they are the same.
    pub fn set_tools(&self, tools: Vec<ToolEntry>) -> bool {
        let mut known = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        let changed = **known != *tools;
        if changed {
            *known = tools.into();
        }
        changed
    }

    /// Takes in what it wrote to its error stream.
    pub fn heard(&self, bytes: &[u8]) {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = &bytes[bytes.len().saturating_sub(WORDS_BYTES_MAX)..];
        let excess = (words.len() + rest.len()).saturating_sub(WORDS_BYTES_MAX);
        words.drain(..excess);
        words.extend(rest);
    }

    /// The end of what it wrote to its error stream.
    pub fn last_words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = words.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Takes note of a program that was started; what comes tells its end.
    pub fn started(&self, ended: watch::Receiver<Option<ProgramEnd>>) {
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    }

    /// Waits until the keeper is gone, and with it the server and all that it started. Never comes back when there is
    /// no program.
    pub async fn ended(&self) -> ProgramEnd {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match keeper {
            // Whoever watched it may be gone; then it is taken for ended, and the next life looks for leftovers.
            Some(mut keeper) => keeper
                .wait_for(Option::is_some)
                .await
                .map_or_else(|_| ProgramEnd::default(), |end| end.unwrap_or_default()),
            None => std::future::pending().await,
        }
    }

    /// The same with a bound, for after the pipe to the keeper was closed.
    pub async fn settled(&self) -> ProgramEnd {
        let is_there = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_there {
            return ProgramEnd::default();
        }
        timeout(END_MAX, self.ended()).await.unwrap_or_else(|_| {
            tracing::warn!(server = %self.config.name, "the keeper of a server has not ended after its pipe was closed");
            ProgramEnd::default()
        })
    }

    /// Connections that were made.
    pub fn lives(&self) -> u64 {
        self.lives.load(Ordering::Relaxed)
    }
}
