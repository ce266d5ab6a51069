//! `kill -9` while memory is written, read, pruned, evicted, exported into and looked through by several at once.
//!
//! After each death the next life is held against what was acknowledged: no acknowledged text is lost, nothing that was
//! deleted comes back by key or by question, and `memory verify` compares the whole store with itself and with every
//! index, which each life builds anew.
//!
//! `OPENCLAW_MEMORY_KILLS` says how many random kills (150 when not set; the visits of every commit come on top),
//! `OPENCLAW_KILL_SEED` replays the choices of an earlier storm.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use fastrand::Rng;
use openclaw::runtime::crash_point::CrashPoint;
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::block_on;
use crate::support::daemon::{Answer, Client, TestHome};

/// Random kills when nobody says how many.
const KILLS_DEFAULT: usize = 150;
/// Who write at once, each with keys of its own.
const WRITERS: usize = 4;
/// Keys of one writer.
const KEYS: usize = 6;
/// Lives between two comparisons of everything.
const VERIFY_EACH: usize = 5;
/// Longest time of one life.
const LIFE_MAX: Duration = Duration::from_secs(60);
/// Where the tracked keys are; the part that overflows is another.
const TRACKED: &str = "project=/srv/tracked";

fn config() -> &'static str {
    // The small limit makes room all the time in the part that overflows; the tracked part stays below it.
    "[memory]\ngcInterval = 1\narchiveKeep = 1\nmaxEntries = 60\n[log]\nlevel = \"warn\"\n"
}

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Answer {
    let request = client.request(method, path);
    let request = request
        .header("content-type", "application/json")
        .body(body.to_string());
    let response = request.send().await?;
    let status = response.status().as_u16();
    let bytes = response.bytes().await?;
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}

/// What is known of one key: what was acknowledged, and what was on the way when the connection broke.
#[derive(Debug, Clone, Default)]
struct Known {
    acknowledged: Option<String>,
    maybe: Vec<Option<String>>,
}

/// What one writer knows of its keys.
#[derive(Debug, Default)]
struct Ledger {
    keys: BTreeMap<String, Known>,
    written: u64,
    checked: u64,
}

impl Ledger {
    fn key(writer: usize, random: &mut Rng) -> String {
        format!("w{writer}k{}", random.usize(0..KEYS))
    }

    /// One change of an own key, acknowledged or cut off.
    async fn change(&mut self, client: &Client, writer: usize, random: &mut Rng) -> Result<(), reqwest::Error> {
        let key = Self::key(writer, random);
        let path = format!("/v1/memory/project/{key}?{TRACKED}");
        self.written += 1;
        let text = format!("{key} says mark{}x{writer} today", self.written);
        let (method, body, wanted) = if random.u8(0..4) == 0 {
            (Method::DELETE, json!({}), None)
        } else {
            (Method::PUT, json!({ "text": text, "importance": 99 }), Some(text))
        };
        let known = self.keys.entry(key).or_default();
        known.maybe.push(wanted.clone());
        let (status, answer) = send(client, method.clone(), &path, &body).await?;
        match (method, status) {
            (Method::DELETE, 404) | (_, 200) => {}
            other => panic!("{other:?}: {answer}"),
        }
        *known = Known {
            acknowledged: wanted,
            maybe: Vec::new(),
        };
        Ok(())
    }

    /// Holds what a life knows of every key against what was acknowledged to its clients.
    async fn check(&mut self, client: &Client) -> Result<(), reqwest::Error> {
        for (key, known) in &mut self.keys {
            let (status, found) = client.get(&format!("/v1/memory/project/{key}?{TRACKED}")).await?;
            let seen = (status == 200).then(|| found["text"].as_str().expect("a text").to_owned());
            let allowed = seen == known.acknowledged || known.maybe.contains(&seen);
            assert!(allowed, "{key} is {seen:?}, known is {known:?}");
            if let Some(gone) = known.acknowledged.clone().filter(|_| seen.is_none()) {
                known.maybe.push(Some(gone));
            }
            // Whatever was or may have been and is not is not found by its words either.
            let gone = known.maybe.iter().chain([&known.acknowledged]).flatten();
            for gone in gone.filter(|gone| Some(*gone) != seen.as_ref()) {
                let mark = gone.split(' ').nth(2).expect("a mark");
                let question = json!({ "scope": "project", "project": "/srv/tracked", "query": mark, "limit": 50 });
                let (status, answer) = client.post("/v1/memory/query", &question).await?;
                assert_eq!(status, 200, "{answer}");
                let texts = answer["entries"].as_array().expect("a list").iter();
                let back = texts.filter(|entry| entry["text"] == gone.as_str()).count();
                assert_eq!(back, 0, "{key}: {gone:?} came back, seen is {seen:?}");
            }
            *known = Known {
                acknowledged: seen,
                maybe: Vec::new(),
            };
            self.checked += 1;
        }
        Ok(())
    }
}

async fn verify(client: &Client) -> Result<(), reqwest::Error> {
    let (status, verified) = client.post("/v1/memory/verify", &json!({})).await?;
    assert_eq!((status, &verified["clean"]), (200, &json!(true)), "{verified}");
    Ok(())
}

/// Work beside the tracked keys: entries that overflow, end by themselves, are pruned, asked for, imported.
async fn noise(client: &Client, random: &mut Rng, number: u64) -> Result<(), reqwest::Error> {
    let word = random.u32(0..1_000_000);
    let overflow = "/v1/memory/project?project=/srv/overflow";
    match random.u8(0..7) {
        0..3 => {
            let body = json!({ "text": format!("loose {word} of {number}"), "importance": random.u8(0..100) });
            send(client, Method::POST, overflow, &body).await?;
        }
        3 => {
            let body = json!({ "text": format!("short {word}"), "expires_in_s": 0 });
            send(client, Method::POST, overflow, &body).await?;
        }
        4 => {
            send(client, Method::POST, "/v1/memory/prune", &json!({})).await?;
        }
        5 => {
            let line = json!({ "text": format!("import {word}"), "created_at": "2001-01-01T00:00:00Z" });
            let body = json!({ "part": { "scope": "global" }, "entries": [line, line] });
            send(client, Method::POST, "/v1/memory/import", &body).await?;
        }
        _ => {
            let question = json!({ "scope": "project", "project": "/srv/overflow", "query": "loose" });
            send(client, Method::POST, "/v1/memory/query", &question).await?;
        }
    }
    Ok(())
}

/// How one life ends.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// At a commit, by itself.
    Commit(&'static str, u64),
    /// This long after the writers began.
    After(Duration),
}

struct Storm {
    home: TestHome,
    ledgers: Vec<Ledger>,
    random: Rng,
}

impl Storm {
    fn new(seed: u64) -> Self {
        Self {
            home: TestHome::new(config()),
            ledgers: (0..WRITERS).map(|_| Ledger::default()).collect(),
            random: Rng::with_seed(seed),
        }
    }

    async fn check(&mut self, client: &Client) -> Result<(), reqwest::Error> {
        for ledger in &mut self.ledgers {
            ledger.check(client).await?;
        }
        Ok(())
    }

    async fn life(&mut self, life: usize) {
        let moment = match self.random.u8(0..10) {
            0..3 => Moment::Commit(CrashPoint::AFTER, self.random.u64(2..40)),
            3..6 => Moment::Commit(CrashPoint::BEFORE, self.random.u64(2..40)),
            // Long enough for the collector's own round.
            6 => Moment::After(Duration::from_millis(self.random.u64(1_000..1_200))),
            _ => Moment::After(Duration::from_micros(self.random.u64(0..120_000))),
        };
        let text;
        let variables = match moment {
            Moment::Commit(name, number) => {
                text = number.to_string();
                vec![(name, text.as_str())]
            }
            Moment::After(_) => Vec::new(),
        };
        let mut starting = self.home.spawn(&variables);
        let Ok(mut daemon) = starting.wait_ready() else { return };
        let client = daemon.client();
        let mut lived = self.check(&client).await;
        if lived.is_ok() && life.is_multiple_of(VERIFY_EACH) {
            lived = verify(&client).await;
        }
        if lived.is_ok() {
            self.work(&client, moment).await;
        }
        match moment {
            Moment::After(_) => {
                daemon.kill();
            }
            Moment::Commit(..) => {
                let ended = daemon.wait_end(LIFE_MAX);
                assert!(
                    !ended.success(),
                    "it was to be killed at {moment:?}, and ended: {ended}"
                );
            }
        }
    }

    /// Everybody works until the process dies, or until it is time to kill it.
    async fn work(&mut self, client: &Client, moment: Moment) {
        let until = match moment {
            Moment::After(after) => after,
            Moment::Commit(..) => LIFE_MAX,
        };
        let mut random = self.random.fork();
        let writers = self.ledgers.iter_mut().enumerate().map(|(writer, ledger)| {
            let mut random = random.fork();
            async move {
                // An error says that the process is gone.
                while ledger.change(client, writer, &mut random).await.is_ok() {}
            }
        });
        let writers: Vec<_> = writers.collect();
        let beside = async {
            let mut number = 0;
            while noise(client, &mut random, number).await.is_ok() {
                number += 1;
            }
        };
        let all = async { tokio::join!(futures_util::future::join_all(writers), beside) };
        // Cut off in the midst of it: what was on the way stays among what may have happened.
        tokio::time::timeout(until, all).await.ok();
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_the_moment_of_a_kill_no_acknowledged_entry_is_lost_and_no_deleted_one_comes_back() {
    let kills = number("OPENCLAW_MEMORY_KILLS").map_or(KILLS_DEFAULT, |kills| kills as usize);
    let seed = number("OPENCLAW_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let say = |text: &str| writeln!(std::io::stderr(), "memory storm: {text}").ok();
    say(&format!("OPENCLAW_KILL_SEED={seed} OPENCLAW_MEMORY_KILLS={kills}"));
    let began = Instant::now();
    let mut storm = Storm::new(seed);
    for life in 0..kills {
        block_on(storm.life(life));
    }
    let daemon = storm.home.start();
    let client = daemon.client();
    block_on(async {
        storm.check(&client).await.expect("nobody kills it");
        verify(&client).await.expect("nobody kills it");
    });
    let sum = |figure: fn(&Ledger) -> u64| storm.ledgers.iter().map(figure).sum::<u64>();
    let (written, checked) = (sum(|ledger| ledger.written), sum(|ledger| ledger.checked));
    say(&format!(
        "{kills} kills in {} s, {written} changes, {checked} keys held against what was acknowledged, {} bytes of store",
        began.elapsed().as_secs(),
        std::fs::metadata(storm.home.store_file()).map_or(0, |meta| meta.len()),
    ));
    assert!(
        written > kills as u64 && checked > kills as u64,
        "a storm that writes nothing proves nothing"
    );
}

/// A script of every kind of change, one after the other.
async fn script(client: &Client, ledger: &mut Ledger) -> Result<(), reqwest::Error> {
    let mut random = Rng::with_seed(7);
    let part = json!({ "scope": "project", "project": "/srv/overflow" });
    for step in 0..12 {
        ledger.change(client, 0, &mut random).await?;
        let loose = json!({ "text": format!("loose {step}"), "expires_in_s": u64::from(step % 3 > 0) * 3_600 });
        send(client, Method::POST, "/v1/memory/project?project=/srv/overflow", &loose).await?;
        match step % 4 {
            0 => {
                let line = json!({ "text": format!("old {step}"), "created_at": "2001-01-01T00:00:00Z" });
                let body = json!({ "part": part, "entries": [line] });
                send(client, Method::POST, "/v1/memory/import", &body).await?;
            }
            1 => {
                send(client, Method::POST, "/v1/memory/prune", &json!({})).await?;
            }
            2 => {
                let listed = client
                    .get("/v1/memory/project?project=/srv/overflow&state=archived")
                    .await?
                    .1;
                if let Some(id) = listed["entries"][0]["id"].as_u64() {
                    let body = json!({ "part": part, "id": id });
                    send(client, Method::POST, "/v1/memory/restore", &body).await?;
                }
            }
            _ => {
                let path = format!("/v1/memory/project?project=/srv/overflow&id={step}");
                send(client, Method::DELETE, &path, &json!({})).await?;
            }
        }
    }
    Ok(())
}

fn visit_every_commit(variable: &'static str) {
    for number in 1..200u64 {
        let home = TestHome::new("[memory]\ngcInterval = 3600\n");
        let mut ledger = Ledger::default();
        let text = number.to_string();
        let mut starting = home.spawn(&[(variable, text.as_str())]);
        let mut crashed = true;
        if let Ok(daemon) = starting.wait_ready() {
            crashed = block_on(script(&daemon.client(), &mut ledger)).is_err();
            daemon.kill();
        }
        let daemon = home.start();
        let client = daemon.client();
        block_on(async {
            ledger.check(&client).await.expect("nobody kills it");
            verify(&client).await.expect("nobody kills it");
        });
        if !crashed {
            assert!(number > 20, "the script ended after {number} commits");
            return;
        }
    }
    panic!("the script does not end within 200 commits");
}

#[test]
fn a_kill_right_after_any_commit_of_memory_loses_nothing_and_brings_nothing_back() {
    visit_every_commit(CrashPoint::AFTER);
}

#[test]
fn a_kill_right_before_any_commit_of_memory_loses_nothing_and_brings_nothing_back() {
    visit_every_commit(CrashPoint::BEFORE);
}
