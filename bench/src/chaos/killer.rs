//! Kills any one actor of the tree again and again, as a crash would, supervisors among them: what `kill-actor` does, at
//! a rate at which a program for each would measure the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use openclaw::identity::authority::client::{Credentials, client_config};
use serde_json::Value;

/// Longest wait for an answer of the operators' listener.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Somebody who kills.
#[derive(Clone)]
pub struct Killer(Arc<Inside>);

struct Inside {
    home: PathBuf,
    random: Mutex<Rng>,
    killed: Mutex<BTreeMap<String, u64>>,
    is_closed: AtomicBool,
}

/// The operators' listener of one life of the daemon.
struct Door {
    client: reqwest::Client,
    address: String,
    key: String,
}

impl Killer {
    /// One who kills the actors of the daemon of this home.
    pub fn new(home: PathBuf, seed: u64) -> Self {
        Self(Arc::new(Inside {
            home,
            random: Mutex::new(Rng::with_seed(seed)),
            killed: Mutex::default(),
            is_closed: AtomicBool::default(),
        }))
    }

    /// Ends it.
    pub fn close(&self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
    }

    /// Actors killed, by where they stand in the tree; `nobody` when the daemon was away.
    pub fn killed(&self) -> BTreeMap<String, u64> {
        self.0.killed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills an actor each so often until it is closed.
    pub async fn kill(self, every: Duration) {
        let mut each = tokio::time::interval(every);
        each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut door = None;
        while !self.0.is_closed.load(Ordering::Relaxed) {
            each.tick().await;
            if door.is_none() {
                door = Door::open(&self.0.home);
            }
            let kind = match &door {
                Some(open) => self.kill_one(open).await,
                None => None,
            };
            if kind.is_none() {
                // Another life of the daemon has another address.
                door = None;
            }
            let mut killed = self.0.killed.lock().unwrap_or_else(PoisonError::into_inner);
            *killed.entry(kind.unwrap_or_else(|| "nobody".to_owned())).or_default() += 1;
        }
    }

    async fn kill_one(&self, door: &Door) -> Option<String> {
        let tree = door.ask(reqwest::Method::GET, "/admin/v1/tree").await?;
        let mut paths = Vec::new();
        collect(&tree, &mut paths);
        let path = {
            let mut random = self.0.random.lock().unwrap_or_else(PoisonError::into_inner);
            random.choice(&paths)?.clone()
        };
        let encoded = path.replace('%', "%25").replace('/', "%2F").replace(' ', "%20");
        let kill = format!("/admin/v1/actors/{encoded}/kill");
        door.ask(reqwest::Method::POST, &kill).await?;
        Some(place(&path))
    }
}

impl Door {
    /// None while there is no daemon that could be asked.
    fn open(home: &Path) -> Option<Self> {
        let state = home.join("state");
        let said: Value = serde_json::from_str(&std::fs::read_to_string(state.join("daemon.json")).ok()?).ok()?;
        let Credentials { bundle, own } = Credentials::read(&state.join("tls")).ok()?;
        let tls = client_config(&bundle, own.ok()?.as_deref()).ok()?;
        let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls);
        Some(Self {
            client: client.timeout(ANSWER_MAX).build().ok()?,
            address: said["admin"].as_str()?.to_owned(),
            key: std::fs::read_to_string(state.join("operator.key"))
                .ok()?
                .trim()
                .to_owned(),
        })
    }

    async fn ask(&self, method: reqwest::Method, path: &str) -> Option<Value> {
        let request = self.client.request(method, format!("{}{path}", self.address));
        let answer = request.bearer_auth(&self.key).send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }
}

/// Everybody who runs but the root, which is the process.
fn collect(node: &Value, paths: &mut Vec<String>) {
    for child in node["children"].as_array().into_iter().flatten() {
        if child["state"] == "running"
            && let Some(path) = child["path"].as_str()
        {
            paths.push(path.to_owned());
        }
        collect(child, paths);
    }
}

/// Where an actor stands, without the names of runs and the like.
fn place(path: &str) -> String {
    path.split('/').skip(1).take(2).collect::<Vec<_>>().join("/")
}
