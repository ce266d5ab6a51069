//! A crash stays where it happened: any one part is killed while a run is under way; the run still ends as it should,
//! the tree gets its shape back, and the neighbours answer all the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use openclaw::daemon::config::{Home, Overrides, load};
use openclaw::daemon::start::Daemon;
use serde_json::json;
use supervisors::{ChildStatus, SupervisorRef, TreeSnapshot};

use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::Rim;

const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until something is there, with a bound.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(began.elapsed() < PATIENCE, "{what}: last seen: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The parts that are declared, whatever is under way: path and whether it runs. The launcher of programs is left out:
/// here the program that it is a copy of is this test, which is none.
fn shape(tree: &TreeSnapshot) -> BTreeMap<String, bool> {
    let is_passing = |path: &str| {
        [
            "root/runs/active/",
            "root/agents/sessions/",
            "root/memory/shards/",
            "root/skills/launcher",
        ]
        .iter()
        .any(|prefix| path.starts_with(prefix))
    };
    let parts = tree.walk().into_iter().filter(|part| !is_passing(&part.path));
    parts
        .map(|part| (part.path.clone(), part.status == ChildStatus::Running))
        .collect()
}

async fn snapshot(tree: &SupervisorRef) -> TreeSnapshot {
    tree.snapshot().await.expect("the root answers")
}

/// Kills the part whose path begins so while a run is under way.
async fn survives(victim: &str) {
    let server = ModelServer::start();
    server.thinks(Duration::from_millis(80));
    let config = format!(
        "[gateway]\nport = 0\n{}",
        server.config("far", "openai").replace("apiKey", "# apiKey")
    );
    let home = TestHome::new(&config);
    let folder = home.workspace();
    std::fs::write(folder.join("README.md"), "# Demo\n\nA small project.\n").expect("written");
    let own = Home::under(&home.path());
    openclaw::daemon::operator_key::ensure(&own).expect("a key");
    let loaded = load(&own, &Overrides::default()).expect("a good configuration");
    let daemon = Daemon::start(&own, &loaded.config).await.expect("starts");
    let tree = daemon.tree().clone();
    let declared = shape(&snapshot(&tree).await);
    let rim = Rim {
        address: daemon.gateway.trim_start_matches("http://").to_owned(),
        key: Some(home.operator_key()),
    };
    let asking = rim.clone();
    let body = json!({ "task": "review this folder and write REVIEW.md", "workspace": folder, "model": "far",
        "checks": [{ "type": "file", "path": "REVIEW.md", "fresh": true, "min_bytes": 200 }] });
    let id = tokio::task::spawn_blocking(move || asking.submit(&body))
        .await
        .expect("accepted");

    // In the middle of the work: steps are with their agents and a model is being asked.
    let (serving, count) = (server.clone(), 3);
    tokio::task::spawn_blocking(move || serving.wait_asked(count))
        .await
        .expect("asked");
    let cell = until("the victim to be there", async || {
        let seen = snapshot(&tree).await;
        let found = seen
            .walk()
            .into_iter()
            .find(|part| part.path.starts_with(victim))
            .map(|part| part.path.clone());
        let path = found.ok_or_else(|| format!("{seen:?}"))?;
        let cell = tree.cell_at(&path).await.map_err(|error| error.to_string())?;
        cell.ok_or(path)
    })
    .await;

    let over = Arc::new(AtomicBool::new(false));
    // The gateway stands apart: only its own parts take connections with them, and the next one works.
    let may_break = victim.starts_with("root/gateway");
    let neighbour = {
        let (rim, over) = (rim.clone(), over.clone());
        tokio::task::spawn_blocking(move || {
            while !over.load(Ordering::Relaxed) {
                for path in ["/livez", "/v1/runs", "/v1/agents", "/v1/status"] {
                    match rim.get_if_up(path) {
                        Some(reply) => assert_eq!(reply.status, 200, "{path}: {}", reply.body),
                        None => assert!(may_break, "{path}: the connection broke"),
                    }
                }
            }
        })
    };
    cell.kill();

    let following = rim.clone();
    let run = until(&format!("{victim}: the run to end"), async || {
        let (rim, path) = (following.clone(), format!("/v1/runs/{id}"));
        let asked = tokio::task::spawn_blocking(move || rim.get_if_up(&path)).await;
        let run = asked.expect("asked").ok_or("the connection broke")?.body;
        match run["status"].as_str() {
            Some("active") | None => Err(run.to_string()),
            Some(_) => Ok(run),
        }
    })
    .await;
    over.store(true, Ordering::Relaxed);
    neighbour.await.expect("the neighbours answered");
    assert_eq!(run["status"], "succeeded", "{victim}: {run}");
    until("the tree to have its shape", async || {
        let seen = shape(&snapshot(&tree).await);
        if seen == declared {
            Ok(())
        } else {
            Err(format!("{victim}: {seen:?}"))
        }
    })
    .await;
    tree.shutdown().await;
}

fn check(victims: &[&str]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    for victim in victims {
        runtime.block_on(survives(victim));
    }
}

#[test]
fn a_run_survives_the_death_of_its_own_actors() {
    check(&["root/runs/active/run_", "root/agents/sessions/run_"]);
}

#[test]
fn a_run_survives_the_death_of_those_who_serve_it() {
    check(&[
        "root/runs/dispatcher",
        "root/runs/steward",
        "root/agents/roster/executor",
        "root/runs/checking",
    ]);
}

#[test]
fn a_run_survives_the_death_of_the_supervisors_of_its_tasks() {
    check(&[
        "root/llm/asking",
        "root/skills/calls",
        "root/gateway/connections",
        "root/gateway/acceptor",
    ]);
}

#[test]
fn a_run_survives_the_death_of_whole_branches() {
    check(&[
        "root/runs/active",
        "root/agents/sessions",
        "root/agents/roster",
        "root/agents",
        "root/runs",
        "root/skills",
        "root/storage",
    ]);
}

/// How often something that a run stands on, or the run's own actor, is ended in these tests.
const DEATHS: usize = 10;

/// A run asks a model that does not answer, while actors of its layer die.
struct Waiting {
    server: ModelServer,
    tree: SupervisorRef,
    rim: Rim,
    run: String,
    _home: TestHome,
}

impl Waiting {
    async fn begin() -> Self {
        let server = ModelServer::start();
        server.then([Deed::Hang]);
        let config = format!(
            "[gateway]\nport = 0\n{}",
            server.config("far", "openai").replace("apiKey", "# apiKey")
        );
        let home = TestHome::new(&config);
        let own = Home::under(&home.path());
        openclaw::daemon::operator_key::ensure(&own).expect("a key");
        let loaded = load(&own, &Overrides::default()).expect("a good configuration");
        let daemon = Daemon::start(&own, &loaded.config).await.expect("starts");
        let rim = Rim {
            address: daemon.gateway.trim_start_matches("http://").to_owned(),
            key: Some(home.operator_key()),
        };
        let (asking, asked) = (rim.clone(), server.clone());
        let body = json!({ "task": "say hello", "workspace": home.workspace(), "agent": "executor", "model": "far" });
        let submitted = tokio::task::spawn_blocking(move || {
            let run = asking.submit(&body);
            asked.wait_asked(1);
            run
        });
        Self {
            server,
            tree: daemon.tree().clone(),
            rim,
            run: submitted.await.expect("accepted"),
            _home: home,
        }
    }

    /// What the gateway says; it may be away while the layers to its left start anew.
    async fn get(&self, path: &str) -> serde_json::Value {
        until(path, async || {
            let (rim, path) = (self.rim.clone(), path.to_owned());
            let asked = tokio::task::spawn_blocking(move || rim.get_if_up(&path));
            let reply = asked.await.expect("asked").ok_or("no answer")?;
            (reply.status == 200)
                .then_some(reply.body.clone())
                .ok_or(reply.body.to_string())
        })
        .await
    }

    /// How often the run was taken up again, by its journal.
    async fn recoveries(&self) -> usize {
        let timeline = self.get(&format!("/v1/runs/{}/timeline", self.run)).await;
        let entries = timeline["entries"].as_array().expect("entries");
        entries.iter().filter(|entry| entry["kind"] == "run.recovered").count()
    }

    /// Ends the actor at a path, and waits until another one is there.
    async fn kill(&self, path: &str) {
        let find = async || {
            let cell = self.tree.cell_at(path).await.ok().flatten();
            cell.ok_or_else(|| format!("nobody at {path}"))
        };
        let old = until("an actor to kill", find).await;
        old.kill();
        until("another actor in its place", async || {
            let new = find().await?;
            (new.get_id() != old.get_id()).then_some(()).ok_or("the same".into())
        })
        .await;
    }

    async fn status_is(&self, wanted: &str) {
        until(&format!("the run to be {wanted}"), async || {
            let run = self.get(&format!("/v1/runs/{}", self.run)).await;
            (run["status"] == wanted).then_some(()).ok_or(run.to_string())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_through_ten_deaths_of_its_layer_ends_well() {
    let waiting = Waiting::begin().await;
    let actor = format!("root/runs/active/{}", waiting.run);
    for _ in 0..DEATHS {
        waiting.kill("root/runs/dispatcher").await;
        until("the run to be taken up", async || {
            let cell = waiting.tree.cell_at(&actor).await.ok().flatten();
            cell.map(drop).ok_or("no actor".into())
        })
        .await;
    }
    assert_eq!(waiting.server.asked().len(), 1, "its session waited all the while");
    // The answer that never comes is given up, and asked for again.
    waiting.kill("root/llm/asking").await;
    waiting.status_is("succeeded").await;
    assert_eq!(waiting.recoveries().await, 0, "it did nothing to that");
    waiting.tree.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_actor_crashes_each_time_is_parked() {
    let waiting = Waiting::begin().await;
    let actor = format!("root/runs/active/{}", waiting.run);
    let parked_after = 5;
    for life in 1..parked_after {
        waiting.kill(&actor).await;
        until("the recovery to be a fact", async || {
            let found = waiting.recoveries().await;
            (found == life).then_some(()).ok_or(format!("{found} of {life}"))
        })
        .await;
    }
    waiting.status_is("active").await;
    let cell = waiting.tree.cell_at(&actor).await.expect("the tree answers");
    cell.expect("the run has an actor").kill();
    waiting.status_is("parked").await;
    waiting.tree.shutdown().await;
}
