//! Collecting what is judged: every run's journal, the ledger, files and memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use openclaw::domain::budget::{Account, Amount, Balance};
use openclaw::domain::memory::{MemoryKey, MemoryScope};
use openclaw::domain::statistics::StatisticsKey;
use openclaw::storage::store::Store;
use serde_json::{Value, json};

use crate::support::daemon::{Client, TestDaemon, TestHome};
use crate::support::wait::until_async;

use super::ledger::{self, Mark};
use super::scenario::{Kind, SHARED_KEY, Scenario};

/// Longest time in which a daemon that nobody kills finishes what is open.
const FINISH_MAX: Duration = Duration::from_secs(90);

/// One fact as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its place.
    pub seq: u64,
    /// What it is.
    pub kind: String,
    /// Everything.
    pub data: Value,
}

impl Seen {
    /// The step that it speaks of.
    pub fn step(&self) -> &str {
        self.data["step"].as_str().unwrap_or("")
    }
}

/// One submission and what its client knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// What was submitted.
    pub scenario: Scenario,
    /// The ids that its client was answered with; none when every answer was lost.
    pub answers: Vec<String>,
}

/// Everything, after the last daemon.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// What clients know.
    pub submitted: Vec<Submitted>,
    /// Each run that the daemon lists: id, task and facts.
    pub runs: BTreeMap<String, (String, Vec<Seen>)>,
    /// What was done.
    pub ledger: Vec<Mark>,
    /// What was tried.
    pub attempts: Vec<Mark>,
    /// Versions of memory entries.
    pub memory: BTreeMap<String, u64>,
    /// Figures of the store that are not what its journal adds up to.
    pub wrong_figures: Vec<String>,
    /// Keys of which a report was in the spool when a daemon had been killed.
    pub spooled: BTreeSet<String>,
    /// Files of the workspace that were to be written.
    pub files: BTreeMap<String, String>,
}

/// The keys of which a report is in the spool.
pub fn spooled(home: &TestHome) -> BTreeSet<String> {
    let entries = std::fs::read_dir(home.path().join("state/spool"));
    let names = entries.into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect()
}

/// The ids of all runs, or of those with a status, newest first, with their tasks.
pub async fn runs(client: &Client, status: Option<&str>) -> Result<Vec<(String, String)>, reqwest::Error> {
    let mut found = Vec::new();
    let filter = status.map(|status| format!("&status={status}")).unwrap_or_default();
    let mut cursor = String::new();
    loop {
        let (code, body) = client.get(&format!("/v1/runs?limit=200{filter}{cursor}")).await?;
        assert_eq!(code, 200, "{body}");
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let rows = body["runs"].as_array().into_iter().flatten();
        found.extend(rows.map(|row| (text(row, "id"), text(row, "task"))));
        match body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}

/// The facts of a run that has ended.
async fn facts(client: &Client, run: &str) -> Vec<Seen> {
    let request = client.request(reqwest::Method::GET, &format!("/v1/runs/{run}/events"));
    let response = request.send().await.expect("a daemon that nobody kills answers");
    let text = response.text().await.expect("the stream of a run that has ended ends");
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let facts = data.map(|data| {
        let data: Value = serde_json::from_str(data.trim()).expect("JSON");
        Seen {
            seq: data["seq"].as_u64().expect("a place"),
            kind: data["kind"].as_str().expect("a kind").to_owned(),
            data,
        }
    });
    facts.collect()
}

/// Says yes to what waits for it; with a ledger, says of unknown calls what it has of them. Answers that come too
/// late or meet a daemon that is being killed are no error: the next look sees what is left.
pub async fn answer_questions(client: &Client, ledger: Option<&Path>) -> Result<(), reqwest::Error> {
    for (run, _) in runs(client, None).await? {
        let (_, view) = client.get(&format!("/v1/runs/{run}")).await?;
        for question in view["waiting"].as_array().into_iter().flatten() {
            if question["kind"] == "approval" {
                let yes = json!({ "hash": question["hash"], "granted": true });
                client.post(&format!("/v1/runs/{run}/approve"), &yes).await?;
            } else if let Some(folder) = ledger {
                let marks = ledger::read(&folder.join("ledger"));
                let happened = marks.iter().any(|mark| question["key"] == *mark.key);
                let word = if happened { "happened" } else { "not_happened" };
                let said = json!({ "resolution": word, "step": question["step"], "seq": question["seq"] });
                client.post(&format!("/v1/runs/{run}/resolve"), &said).await?;
            }
        }
    }
    Ok(())
}

/// Figures that differ from the fold of the journal, or from what the accounts of agents and days have spent.
fn wrong_figures(store: &Store) -> Vec<String> {
    let kept = store.statistics().expect("readable");
    let folded = store.fold_statistics().expect("readable");
    let mut wrong = Vec::new();
    if kept != folded {
        wrong.push(format!("kept {kept:?}, the journal adds up to {folded:?}"));
    }
    let mut spent: BTreeMap<Account, Amount> = BTreeMap::new();
    for (key, figures) in kept {
        if let StatisticsKey::Day { day, agent, .. } = key {
            let sum = spent.entry(Account::AgentDay(agent, day)).or_default();
            let amount = Amount {
                tokens: figures.tokens.total(),
                cost: figures.cost,
            };
            *sum = sum.plus(amount);
        }
    }
    for (account, spent) in spent {
        let balance = store.balance(&account).expect("readable");
        let expected = Balance {
            spent,
            ..Balance::default()
        };
        if balance != expected {
            wrong.push(format!("{account} holds {balance:?}, its figures say {spent:?}"));
        }
    }
    wrong
}

/// Waits until a daemon has nothing open, unknown calls included, collects its journals, ends it in order, and reads what it left.
pub async fn finish(home: &TestHome, daemon: TestDaemon, submitted: Vec<Submitted>) -> Observed {
    let client = daemon.client();
    let folder = home.ledger_folder();
    until_async("every run to end", FINISH_MAX, async || {
        answer_questions(&client, Some(&folder))
            .await
            .map_err(|error| error.to_string())?;
        let mut open = runs(&client, Some("active")).await.map_err(|error| error.to_string())?;
        open.extend(
            runs(&client, Some("unknown"))
                .await
                .map_err(|error| error.to_string())?,
        );
        if open.is_empty() {
            Ok(())
        } else {
            Err(format!("{open:?}"))
        }
    })
    .await;
    let mut observed = Observed {
        submitted,
        ..Observed::default()
    };
    for (run, task) in runs(&client, None).await.expect("a daemon that nobody kills answers") {
        let facts = facts(&client, &run).await;
        observed.runs.insert(run, (task, facts));
    }
    let ended = daemon.terminate();
    assert!(ended.success(), "the last daemon ended in disorder: {ended}");
    observed.ledger = ledger::read(&folder.join("ledger"));
    observed.attempts = ledger::read(&folder.join("attempts"));
    let runs = &observed.runs;
    for mark in observed.ledger.iter_mut().chain(&mut observed.attempts) {
        // A server knows the effect's key and no run.
        let is_owner = |facts: &[Seen]| {
            let mut intents = facts.iter().filter(|fact| fact.kind == "call.intended");
            intents.any(|fact| fact.data["key"] == *mark.key)
        };
        if mark.run == "-"
            && let Some((run, _)) = runs.iter().find(|(_, (_, facts))| is_owner(facts))
        {
            mark.run.clone_from(run);
        }
    }
    let store = Store::open(&home.store_file(), 1 << 20).expect("the store of a daemon that has ended");
    let version = |key: &str| {
        let key = MemoryKey {
            scope: MemoryScope::Global,
            namespace: "".into(),
            key: key.into(),
        };
        store.memory(&key).expect("readable").map_or(0, |entry| entry.version)
    };
    observed.wrong_figures = wrong_figures(&store);
    observed.memory.insert(SHARED_KEY.to_owned(), version(SHARED_KEY));
    for submitted in &observed.submitted {
        let scenario = &submitted.scenario;
        for step in &scenario.steps {
            match step.kind {
                Kind::Memory => {
                    let key = scenario.memory_key_of(step);
                    observed.memory.insert(key.clone(), version(&key));
                }
                Kind::Write | Kind::Agent => {
                    let file = scenario.file_of(step);
                    if let Ok(text) = std::fs::read_to_string(home.workspace().join(&file)) {
                        observed.files.insert(file, text);
                    }
                }
                _ => {}
            }
        }
    }
    observed
}
