//! One connection to a server: its program or address, the handshake, and the list of its tools.
//!
//! Invariants: nothing waits without a bound; one message has at most 4 MiB, and a flood of them is cut off;
//! dropping what comes out closes the connection, and with it the program.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ClientConfig, Implementation, PaginatedRequestParams, ProgressNotificationParam,
    ProtocolVersion,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, NotificationContext, Peer, RunningService, serve_client_with_lifecycle,
};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransport, StreamableHttpClientTransportConfig};
use rmcp::{ClientHandler, RoleClient};
use supervisors::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::domain::effect::EffectKey;
use crate::runtime::tls::http_client;
use crate::skills::process::confiner::{Confined, Launch};
use crate::skills::process::orphans::SHIM_KEY_VARIABLE;
use crate::skills::process::runner::ProcessRunner;
use crate::skills::process::wire::{KeepWire, WIRE_VERSION};
use crate::skills::sandbox::policy::Confinement;

use super::config::{Revision, Way};
use super::keeper::KEEP;
use super::metered::Metered;
use super::runtime::libraries_of;
use super::shared::{ProgramEnd, Shared};
use super::tool::{TOOLS_MAX, ToolEntry};

/// Bytes of one message.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pages of one list.
const PAGES_MAX: usize = 64;
/// Longest wait for what a program wrote before its end.
const LAST_WORDS_MAX: Duration = Duration::from_millis(500);
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Says why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The program could not be started.
    #[error("failed to start {program}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its folder could not be made.
    #[error("failed to make its folder {folder}")]
    Folder {
        /// Which.
        folder: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be confined as the operator wants, so it was not started.
    #[error("failed to confine it: {reason}")]
    Confine {
        /// Why, with a code.
        reason: String,
    },
    /// The network client could not be made.
    #[error("failed to make the network client")]
    Client(#[source] reqwest::Error),
    /// The two did not come to an understanding.
    #[error("failed to agree on a protocol")]
    Handshake(#[source] Box<ClientInitializeError>),
    /// The server did not tell its tools.
    #[error("failed to list its tools: {reason}")]
    List {
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("failed to hear from it within {limit_ms} ms")]
    Late {
        /// The limit.
        limit_ms: u64,
    },
}

/// Hears what a server says without being asked.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    changed: Arc<Notify>,
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        // No roots, no sampling, no elicitation: a server asks a model or a person for nothing.
        let own = Implementation::new("openclaw", env!("CARGO_PKG_VERSION"));
        let mut config = ClientConfig::new(ClientCapabilities::default(), own);
        config.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
        config
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }

    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.shared.progress.fetch_add(1, Ordering::Relaxed);
        let server = &self.shared.config.name;
        let said = crate::domain::text::preview(progress.message.as_deref().unwrap_or_default(), 200);
        tracing::debug!(%server, done = progress.progress, of = progress.total, %said, "progress of a call");
    }
}

/// A connection that serves.
pub struct Link {
    /// The connection; dropping it closes it.
    pub running: RunningService<RoleClient, Listener>,
    /// Told when the server says that its tools have changed.
    pub changed: Arc<Notify>,
}

/// What starts the program of a server.
pub struct Launcher<'a> {
    /// The binary that answers to `__keep`.
    pub keeper: &'a Path,
    /// Confines it.
    pub runner: &'a ProcessRunner,
}

/// Makes a connection within the server's start time. `key` names its program in the program's environment.
///
/// **Cancel**: what was started ends; [`Shared::settled`] waits for it.
pub async fn link(
    shared: &Arc<Shared>,
    launcher: Launcher<'_>,
    key: EffectKey,
    tasks: &Tasks,
) -> Result<Link, LinkError> {
    let changed = Arc::new(Notify::new());
    let listener = Listener {
        shared: Arc::clone(shared),
        changed: Arc::clone(&changed),
    };
    let config = &shared.config;
    let late = || LinkError::Late {
        limit_ms: config.start_timeout.as_millis() as u64,
    };
    let connecting = match &config.way {
        Way::Program { .. } => {
            let limit = config.start_timeout;
            let started = timeout(limit, start(shared, launcher, key, tasks)).await;
            let (stdin, stdout) = started.map_err(|_| late())??;
            let transport =
                AsyncRwTransport::new_client(Metered::new(stdout), stdin).with_max_line_length(MESSAGE_BYTES_MAX);
            let serving = serve_client_with_lifecycle(listener, transport, lifecycle(shared.revision()));
            futures_util::future::Either::Left(serving)
        }
        Way::Http { url, bearer } => {
            let client = http_client(|builder| builder.connect_timeout(CONNECT_MAX)).map_err(LinkError::Client)?;
            let mut settings = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                .max_concurrent_requests(config.concurrency as usize)
                .max_sse_event_size(MESSAGE_BYTES_MAX)
                .max_json_response_size(MESSAGE_BYTES_MAX);
            if let Some(bearer) = bearer {
                settings = settings.auth_header(bearer.0.as_str());
            }
            let transport = StreamableHttpClientTransport::with_client(client, settings);
            let serving = serve_client_with_lifecycle(listener, transport, lifecycle(shared.revision()));
            futures_util::future::Either::Right(serving)
        }
    };
    let connected = timeout(config.start_timeout, connecting).await.map_err(|_| late())?;
    let running = connected.map_err(|error| {
        if matches!(
            error,
            ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::TransportError { .. }
        ) && matches!(config.way, Way::Program { .. })
        {
            shared.disagreed();
        }
        LinkError::Handshake(Box::new(error))
    })?;
    let agreed = running.peer().peer_info().map(|info| info.protocol_version.clone());
    if agreed.is_some_and(|revision| revision < ProtocolVersion::V_2026_07_28) {
        shared.knows_handshake();
    }
    Ok(Link { running, changed })
}

/// Starts the keeper and gives it its order; what comes back are the program's input and output.
async fn start(
    shared: &Arc<Shared>,
    launcher: Launcher<'_>,
    key: EffectKey,
    tasks: &Tasks,
) -> Result<(ChildStdin, ChildStdout), LinkError> {
    let Way::Program {
        program,
        argv,
        env,
        folder,
        readable,
        writable,
    } = &shared.config.way
    else {
        let reason = "an address has no program".to_owned();
        return Err(LinkError::Confine { reason });
    };
    let start = |source| LinkError::Start {
        program: program.display().to_string(),
        source,
    };
    tokio::fs::create_dir_all(folder)
        .await
        .map_err(|source| LinkError::Folder {
            folder: folder.display().to_string(),
            source,
        })?;
    let network = shared.config.network.iter();
    let launch = Launch {
        key,
        program: program.clone(),
        argv: argv.clone(),
        cwd: folder.clone(),
        env: env
            .iter()
            .map(|(name, value)| (name.clone(), value.0.clone()))
            .collect(),
        confinement: Confinement {
            workspace: folder.clone(),
            parts: None,
            readable: readable.iter().cloned().chain(libraries_of(program)).collect(),
            writable: writable.clone(),
            // A server serves every agent that has its tools; what each may do with them is judged call by call.
            granted: None,
            network: network.map(|place| place.scope().to_owned()).collect(),
        },
    };
    let confined = launcher.runner.confine(launch).await;
    let confined = confined.map_err(|reason| LinkError::Confine { reason })?;
    let order = KeepWire {
        version: WIRE_VERSION,
        start: &confined.start,
    };
    let mut line = serde_json::to_vec(&order).map_err(|error| start(error.into()))?;
    line.push(b'\n');
    let mut command = Command::new(launcher.keeper);
    command
        .arg0("openclaw")
        .arg(KEEP)
        .env_clear()
        .env(SHIM_KEY_VARIABLE, key.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // It is never killed from here: it is what kills the rest.
        .kill_on_drop(false);
    let mut child = command.spawn().map_err(start)?;
    let pipes = (child.stdin.take(), child.stdout.take());
    watch_program(shared, child, confined, tasks).map_err(start)?;
    let (Some(mut stdin), Some(stdout)) = pipes else {
        return Err(start(std::io::Error::other("its pipes are missing")));
    };
    stdin.write_all(&line).await.map_err(start)?;
    Ok((stdin, stdout))
}

/// Hears a program's error stream and waits for its end, whatever becomes of the connection. The keeper has ended
/// everything that could write when it ends itself, so the stream ends with it.
fn watch_program(shared: &Arc<Shared>, mut child: Child, confined: Confined, tasks: &Tasks) -> std::io::Result<()> {
    let (tell, ended) = watch::channel(None);
    shared.started(ended);
    let heard = Arc::clone(shared);
    let watching = async move {
        let mut errors = child.stderr.take();
        let hearing = async {
            let mut buffer = vec![0; 4096];
            while let Some(errors) = &mut errors {
                match errors.read(&mut buffer).await {
                    Ok(bytes) if bytes > 0 => heard.heard(&buffer[..bytes]),
                    _ => break,
                }
            }
        };
        tokio::pin!(hearing);
        let status = tokio::select! {
            status = child.wait() => {
                // The last words lie in the pipe still.
                timeout(LAST_WORDS_MAX, &mut hearing).await.ok();
                status
            }
            () = &mut hearing => child.wait().await,
        };
        let code = status.ok().and_then(|status| status.code());
        if let Some(policy) = &confined.start.policy {
            // The keeper has removed it, unless it was killed.
            tokio::fs::remove_dir_all(&policy.temp).await.ok();
        }
        // With it the program's way to the network has ended.
        drop(confined);
        tell.send_replace(Some(ProgramEnd { code }));
    };
    let name = format!("mcp {} program", shared.config.name);
    let spawned = tasks.spawn(name, watching, |_| ());
    spawned
        .map(drop)
        .map_err(|refused| std::io::Error::other(refused.to_string()))
}

fn lifecycle(revision: Revision) -> ClientLifecycleMode {
    let stateless = vec![ProtocolVersion::V_2026_07_28];
    match revision {
        Revision::Handshake => ClientLifecycleMode::Initialize,
        Revision::Stateless => ClientLifecycleMode::Discover {
            preferred_versions: stateless,
        },
        Revision::Auto => ClientLifecycleMode::Auto {
            preferred_versions: stateless,
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        },
    }
}

/// All tools that the operator takes of this server, within its start time; those left out are told to `left_out`.
pub async fn list(
    shared: &Shared,
    peer: &Peer<RoleClient>,
    mut left_out: impl FnMut(&str, &str),
) -> Result<Vec<ToolEntry>, LinkError> {
    let limit = shared.config.start_timeout;
    let listing = async {
        let mut tools: Vec<ToolEntry> = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let mut page = PaginatedRequestParams::default();
            page.cursor = cursor;
            let page = peer.list_tools(Some(page)).await.map_err(|error| LinkError::List {
                reason: crate::domain::text::preview(&error.to_string(), 400),
            })?;
            for tool in &page.tools {
                let is_wanted = shared
                    .config
                    .tools
                    .as_ref()
                    .is_none_or(|wanted| wanted.contains(&*tool.name));
                if !is_wanted || tools.iter().any(|known| known.name == tool.name) {
                    continue;
                }
                if tools.len() == TOOLS_MAX {
                    left_out(&tool.name, "the server has more than 256 tools");
                    return Ok(tools);
                }
                match ToolEntry::of(tool) {
                    Ok(entry) => tools.push(entry),
                    Err(reason) => left_out(&tool.name, &reason),
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        let reason = "the list has more than 64 pages".to_owned();
        Err(LinkError::List { reason })
    };
    let limit_ms = limit.as_millis() as u64;
    timeout(limit, listing)
        .await
        .map_err(|_| LinkError::Late { limit_ms })?
}
