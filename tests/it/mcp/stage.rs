//! Servers under their real supervisors, with a catalogue that follows them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use openclaw::domain::effect::{EffectClass, EffectKey};
use openclaw::domain::id::RunId;
use openclaw::domain::name::{ServerName, SkillName, StepId};
use openclaw::domain::time::UtcMillis;
use openclaw::skills::catalogue::Catalogue;
use openclaw::skills::mcp::config::{McpServer, Revision, Way};
use openclaw::skills::mcp::layer::{layer, links};
use openclaw::skills::mcp::memo::Memo;
use openclaw::skills::mcp::server::{ServerParts, key_of, publish};
use openclaw::skills::mcp::shared::{ServerState, Shared};
use openclaw::skills::process::runner::ProcessRunner;
use openclaw::skills::skill::{CallEnd, CallOrder, SkillError};
use serde_json::Value;
use supervisors::{Supervisor, SupervisorRef};

use crate::process::{alive, key};
use crate::support::wait::until_async;

/// Longest wait for anything; machines that test are busy.
pub const LONG: Duration = Duration::from_secs(30);
/// The test server.
pub const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mcp/server.py");

/// One house with its servers.
pub struct Stage {
    folder: tempfile::TempDir,
    pub shared: Vec<Arc<Shared>>,
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    pub root: SupervisorRef,
    pub runner: Arc<ProcessRunner>,
}

/// The test server as a program: its revision and how it misbehaves.
pub fn program(name: &str, revision: &str, how: &str, folder: &Path) -> McpServer {
    let argv = ["python3", SERVER, revision, folder.to_str().expect("text"), how];
    McpServer {
        name: ServerName::new(name).expect("name"),
        way: Way::Program {
            program: python(),
            argv: argv.map(str::to_owned).to_vec(),
            env: Vec::new(),
            folder: folder.to_owned(),
            readable: vec![SERVER.into()],
            writable: Vec::new(),
        },
        revision: Revision::Auto,
        timeout: LONG,
        start_timeout: LONG,
        tools: None,
        class: EffectClass::Once,
        classes: BTreeMap::new(),
        trusts_hints: true,
        network: Vec::new(),
        concurrency: 4,
    }
}

fn python() -> PathBuf {
    // The system's own: one in a home is closed to programs.
    let path = OsString::from("/usr/local/bin:/usr/bin:/bin");
    openclaw::skills::process::program::resolve("python3", &path, Path::new("/")).expect("python3")
}

impl Stage {
    /// Starts these servers; each gets the stage's folder.
    pub async fn start(servers: impl FnOnce(&Path) -> Vec<McpServer>) -> Self {
        let runner = ProcessRunner::with_launcher(env!("CARGO_BIN_EXE_openclaw"), None);
        Self::start_with(runner, servers).await
    }

    /// The same with programs confined by this runner.
    pub async fn start_with(runner: Arc<ProcessRunner>, servers: impl FnOnce(&Path) -> Vec<McpServer>) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let catalogue = Arc::new(ArcSwap::from_pointee(Catalogue::new([]).expect("empty")));
        let shared: Vec<Arc<Shared>> = servers(folder.path())
            .into_iter()
            .map(|server| Shared::new(server, Vec::new()))
            .collect();
        let root = Self::tree(folder.path(), runner.clone(), &shared, &catalogue).await;
        Self {
            folder,
            shared,
            catalogue,
            root,
            runner,
        }
    }

    async fn tree(
        folder: &Path,
        runner: Arc<ProcessRunner>,
        shared: &[Arc<Shared>],
        catalogue: &Arc<ArcSwap<Catalogue>>,
    ) -> SupervisorRef {
        rustls::crypto::ring::default_provider().install_default().ok();
        let (links, tasks) = links(shared.len());
        let parts = ServerParts {
            tasks,
            runner,
            keeper: env!("CARGO_BIN_EXE_openclaw").into(),
            home: folder.display().to_string(),
            catalogue: catalogue.clone(),
            memo: Memo::new(&folder.join("memo")),
        };
        let spec = layer(links, &parts, shared);
        Supervisor::start("mcp", spec).await.expect("started")
    }

    /// The folder that servers leave things in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The name of a server's processes.
    pub fn key(&self, server: usize) -> EffectKey {
        key_of(&self.folder.path().display().to_string(), &self.shared[server])
    }

    /// The lines of a file that a server left.
    pub fn lines(&self, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until a server is in a state.
    pub async fn until(&self, server: usize, word: &str) {
        until_async(&format!("server {server} to be {word}"), LONG, async || {
            let state = self.shared[server].state();
            if state.word() == word {
                return Ok(());
            }
            Err(format!(
                "{} {:?} {}",
                state.word(),
                state.reason(),
                self.shared[server].last_words()
            ))
        })
        .await;
    }

    /// Calls a skill as a worker does.
    pub async fn call(&self, skill: &str, arguments: Value) -> Result<CallEnd, SkillError> {
        self.call_within(skill, arguments, LONG).await
    }

    /// Calls a skill with a deadline.
    pub async fn call_within(&self, skill: &str, arguments: Value, deadline: Duration) -> Result<CallEnd, SkillError> {
        let skill = self.catalogue.load().get(&SkillName::new(skill).expect("name"));
        let order = CallOrder {
            key: key(),
            run: RunId::new(UtcMillis(1), 1),
            step: StepId::new("s").expect("id"),
            arguments,
            workspace: self.folder.path().into(),
            granted: None,
            agreed: false,
            deadline,
        };
        skill.expect("in the catalogue").call(order).await
    }

    /// The names in the catalogue.
    pub fn skills(&self) -> Vec<String> {
        self.catalogue
            .load()
            .manifests()
            .map(|manifest| manifest.name.to_string())
            .collect()
    }

    /// Stops everything in order and looks whether anything is left.
    pub async fn stop(self) {
        self.root.shutdown().await;
        for server in 0..self.shared.len() {
            assert_eq!(
                alive(self.key(server)),
                Vec::<u32>::new(),
                "server {server} left something"
            );
            let state = self.shared[server].state();
            assert!(!matches!(state, ServerState::Ready { .. }), "{state:?}");
        }
    }
}

/// Puts what a memo knows into a catalogue, as the daemon does before anything is started.
pub fn recalled(server: McpServer, memo: &Memo) -> Vec<String> {
    let known = memo.read(&server.name);
    let catalogue = ArcSwap::from_pointee(Catalogue::new([]).expect("empty"));
    publish(&catalogue, &Shared::new(server, known));
    catalogue
        .load()
        .manifests()
        .map(|manifest| manifest.name.to_string())
        .collect()
}
