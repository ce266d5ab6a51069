//! Work for the daemon: clients that submit runs with effects of every class and follow them to their end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::watch::manner;

/// Pause of a client before it asks again.
const AGAIN: Duration = Duration::from_millis(100);
/// Files and memory entries that all runs share in turn: what is kept must not grow with the length of a drill.
const PLACES: u64 = 512;
/// Longest wait of a client for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The skills that leave marks, as parts of `openclaw.toml`; their folder has to be writable for them.
pub fn skills(folder: &Path) -> String {
    const MARK: &str = r#"mark() { printf '%s %s %s\n' "$OPENCLAW_RUN" "$OPENCLAW_STEP" "$1" >> "$0/$2"; }"#;
    let command = |class: &str, script: &str| {
        let argv = json!(["sh", "-c", format!("{MARK}; {script}"), folder]);
        format!("[skills.commands.mark-{class}]\nclass = \"{class}\"\nargv = {argv}\n")
    };
    let is_marked = r#"grep -qF "$OPENCLAW_RUN $OPENCLAW_STEP " "$0/ledger""#;
    [
        command("once", "mark once attempts; mark once ledger"),
        command(
            "idempotent",
            &format!("mark idempotent attempts; {is_marked} || mark idempotent ledger"),
        ),
        command("probe", "mark probe attempts; mark probe ledger"),
        format!("probe = {}\n", json!(["sh", "-c", is_marked, folder])),
    ]
    .concat()
}

/// A client's knowledge of one run.
#[derive(Debug, Clone)]
pub struct Order {
    /// Unique; the run's task.
    pub tag: String,
    /// The id with which it was accepted.
    pub id: Option<String>,
    /// The last state that the client saw.
    pub status: String,
    /// Why, when the run says so.
    pub reason: String,
}

impl Order {
    /// Whether nothing more will happen with it.
    pub fn has_ended(&self) -> bool {
        !["", "active"].contains(&self.status.as_str())
    }
}

/// Everything that clients share.
pub struct Load {
    client: reqwest::Client,
    address: String,
    key: String,
    workspace: PathBuf,
    number: AtomicU64,
    orders: Mutex<BTreeMap<u64, Order>>,
    /// Requests of all clients, by how they ended.
    requests: Mutex<BTreeMap<String, u64>>,
    is_closed: AtomicBool,
}

impl Load {
    /// Makes it; nothing is sent yet.
    pub fn new(client: reqwest::Client, address: String, key: String, workspace: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            client,
            address,
            key,
            workspace,
            number: AtomicU64::new(0),
            orders: Mutex::default(),
            requests: Mutex::default(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// From now on no new run is submitted; those that are under way are followed to their end.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// What clients know now.
    pub fn orders(&self) -> Vec<Order> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.values().cloned().collect()
    }

    /// How the requests of clients ended: `answered`, or why they were not.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One client: a run after the other.
    pub async fn work(self: Arc<Self>) {
        while !self.is_closed.load(Ordering::Relaxed) {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let tag = format!("run-{number}");
            self.note(
                number,
                Order {
                    tag: tag.clone(),
                    id: None,
                    status: String::new(),
                    reason: String::new(),
                },
            );
            let id = self.submit(&tag, number % PLACES).await;
            loop {
                let run = self.show(&id).await;
                let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
                let order = Order {
                    tag: tag.clone(),
                    id: Some(id.clone()),
                    status: text("status"),
                    reason: text("reason"),
                };
                let has_ended = order.has_ended();
                self.note(number, order);
                if has_ended {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    fn note(&self, number: u64, order: Order) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.insert(number, order);
    }

    /// Submits until it is accepted: an answer that was lost is asked for again under the same key.
    async fn submit(&self, tag: &str, place: u64) -> String {
        let step = |id: &str, needs: &[&str], skill: &str, inputs: Value| json!({ "id": id, "needs": needs, "skill": skill, "inputs": inputs });
        let body = json!({
            "task": tag,
            "workspace": self.workspace,
            "deadline_ms": 3_600_000 * 24,
            "plan": { "goal": tag, "result": "close", "steps": [
                step("pay", &[], "mark-once", json!({})),
                step("ship", &[], "mark-probe", json!({})),
                step("file", &["pay"], "fs.write", json!({ "path": format!("{place}.txt"), "content": tag })),
                step("note", &["ship"], "memory.put", json!({ "scope": "global", "key": format!("place-{place}"), "text": tag })),
                { "id": "tell", "needs": ["ship"], "agent": "bench", "task": format!("tell of {tag}") },
                step("close", &["file", "note", "tell"], "mark-idempotent", json!({})),
            ] },
        });
        let request = || {
            self.client
                .post(format!("{}/v1/runs", self.address))
                .header("idempotency-key", tag)
                .body(body.to_string())
        };
        loop {
            if let Some((202 | 200, answer)) = self.ask(request()).await
                && let Some(id) = answer["id"].as_str()
            {
                return id.to_owned();
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn show(&self, id: &str) -> Value {
        match self
            .ask(self.client.get(format!("{}/v1/runs/{id}", self.address)))
            .await
        {
            Some((200, run)) => run,
            Some((404, _)) => json!({ "status": "lost" }),
            _ => Value::Null,
        }
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let request = request
            .timeout(ANSWER_MAX)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            Ok((status, response.text().await?))
        };
        let answer: Result<(reqwest::StatusCode, String), reqwest::Error> = answer.await;
        let how = match &answer {
            Ok((status, _)) if status.is_success() => "answered".to_owned(),
            Ok((status, _)) => format!("status {}", status.as_u16()),
            Err(error) => manner(error).to_owned(),
        };
        *self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(how)
            .or_default() += 1;
        let (status, text) = answer.ok()?;
        Some((status.as_u16(), serde_json::from_str(&text).ok()?))
    }
}
