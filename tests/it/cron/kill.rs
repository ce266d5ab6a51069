//! Killed at its worst moments, no slot runs twice, none is lost, and every run belongs to one slot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use openclaw::domain::id::RunId;
use openclaw::domain::name::ScheduleName;
use openclaw::domain::run::{Outcome, RunStatus};
use openclaw::domain::schedule::definition::Overlap;
use openclaw::domain::schedule::expression::When;
use openclaw::domain::schedule::slot::{SlotRow, SlotState};
use openclaw::domain::schedule::zone::Utc;
use openclaw::domain::time::UtcMillis;
use openclaw::runtime::crash_point::CrashPoint;
use openclaw::storage::store::Store;

use crate::process::block_on;
use crate::support::daemon::{Client, TestHome};
use crate::support::wait::until_async;

const LIFE_MAX: Duration = Duration::from_secs(60);
const NAME: &str = "beat";

/// A schedule that is due each second and whose runs leave one line each.
fn home(overlap: Overlap, catch_up: &str) -> TestHome {
    let home = TestHome::new("[log]\nlevel = \"warn\"\n");
    let folder = home.path().join("schedules");
    std::fs::create_dir_all(&folder).expect("a folder");
    let marks = home.workspace().join("marks");
    let file = format!(
        "cron = \"@every 1s\"\noverlap = \"{}\"\ncatch_up = \"{catch_up}\"\nworkspace = \"{}\"\n\
         command = [\"sh\", \"-c\", \"echo $OPENCLAW_RUN >> {}\"]\n",
        overlap.as_str(),
        home.workspace().display(),
        marks.display()
    );
    std::fs::write(folder.join(format!("{NAME}.toml")), file).expect("written");
    home
}

async fn ended(client: &Client) -> Result<usize, String> {
    let path = format!("/v1/schedules/{NAME}/slots?limit=1000");
    let (code, body) = client.get(&path).await.map_err(|error| error.to_string())?;
    if code != 200 {
        return Err(body.to_string());
    }
    let rows = body["slots"].as_array().into_iter().flatten();
    Ok(rows
        .filter(|row| row["state"] == "ran" || row["state"] == "late")
        .count())
}

/// Waits until so many slots have run since the daemon began.
async fn lives_on(client: &Client, more: usize) {
    let before = until_async("the ledger", LIFE_MAX, async || ended(client).await).await;
    until_async("slots to run", LIFE_MAX, async || match ended(client).await? {
        now if now >= before + more => Ok(()),
        now => Err(format!("{now} slots have run, {before} before")),
    })
    .await;
}

/// What is wrong with what a killed daemon and its successors left.
fn findings(home: &TestHome) -> Vec<String> {
    let store = Store::open(&home.store_file(), 1 << 20).expect("the store of a daemon that has ended");
    let name = ScheduleName::new(NAME).expect("a name");
    let all = UtcMillis(0)..=UtcMillis(u64::MAX);
    let rows: Vec<SlotRow> = store.slots(&name, all, usize::MAX, &|_| true).expect("readable");
    let kept = store.schedule(&name).expect("readable").expect("kept");
    let mut wrong = Vec::new();
    // The ledger is whole.
    let when = When::read(&kept.expression).expect("an expression");
    let mut after = kept.anchor;
    while let Some(slot) = when.next(&Utc, kept.anchor, after).filter(|slot| *slot <= kept.through) {
        after = slot;
        let of = rows.iter().filter(|row| row.first <= slot && slot <= row.slot).count();
        if of != 1 {
            wrong.push(format!("slot {slot} stands in {of} rows"));
        }
    }
    // Rows and runs belong together one to one.
    let headers = store.headers(None, usize::MAX, None).expect("readable");
    let mut of_rows: BTreeMap<RunId, usize> = BTreeMap::new();
    for row in &rows {
        if let Some(run) = row.run {
            *of_rows.entry(run).or_default() += 1;
        }
        if row.state == SlotState::Failed && !row.why.contains("unknown") {
            wrong.push(format!("slot {} failed: {}", row.slot, row.why));
        }
    }
    let runs: BTreeSet<RunId> = headers.iter().map(|header| header.run).collect();
    if of_rows.values().any(|count| *count != 1) || of_rows.keys().copied().collect::<BTreeSet<_>>() != runs {
        wrong.push(format!("{} rows have runs, there are {}", of_rows.len(), runs.len()));
    }
    // What was done was done once.
    let marks = std::fs::read_to_string(home.workspace().join("marks")).unwrap_or_default();
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for line in marks.lines() {
        *lines.entry(line).or_default() += 1;
    }
    for header in &headers {
        let id = header.run.to_string();
        let times = lines.get(id.as_str()).copied().unwrap_or(0);
        let fits = match header.status {
            RunStatus::Ended(Outcome::Succeeded) => times == 1,
            _ => times <= 1,
        };
        if !fits {
            wrong.push(format!("{id} is {} and was done {times} times", header.status.as_str()));
        }
    }
    wrong
}

/// One life that ends at a commit, and one that goes on after it; false when the first did not come to that commit.
async fn crashes(variable: &'static str, number: u64) -> bool {
    let home = home(Overlap::Queue, "all");
    let text = number.to_string();
    let mut starting = home.spawn(&[(variable, text.as_str())]);
    let mut crashed = true;
    if let Ok(mut daemon) = starting.wait_listening() {
        let client = daemon.client();
        crashed = until_async("the crash, or three slots", LIFE_MAX, async || {
            if daemon.ended().is_some() {
                return Ok(true);
            }
            match ended(&client).await {
                Ok(slots) if slots >= 3 => Ok(false),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        if crashed {
            daemon.wait_end(LIFE_MAX);
        } else {
            daemon.kill();
        }
    }
    let daemon = home.start();
    lives_on(&daemon.client(), 2).await;
    assert!(daemon.terminate().success(), "{}", home.words());
    let wrong = findings(&home);
    assert!(
        wrong.is_empty(),
        "{variable}={number}:\n{}\n{}",
        wrong.join("\n"),
        home.words()
    );
    crashed
}

fn check(variable: &'static str) {
    for number in 1..60 {
        if !block_on(crashes(variable, number)) {
            assert!(number > 8, "three slots ran after {number} commits");
            return;
        }
    }
    panic!("three slots do not run within 60 commits");
}

#[test]
fn a_kill_right_after_any_commit_of_a_schedule_loses_no_slot_and_starts_none_twice() {
    check(CrashPoint::AFTER);
}

#[test]
fn a_kill_right_before_any_commit_of_a_schedule_loses_no_slot_and_starts_none_twice() {
    check(CrashPoint::BEFORE);
}

#[test]
fn whatever_the_moment_of_a_kill_no_slot_is_lost_and_none_starts_twice() {
    let mut random = Rng::with_seed(7);
    for round in 0..3 {
        let overlap = [Overlap::Allow, Overlap::Skip, Overlap::Queue][round];
        let home = home(overlap, ["all", "last", "skip"][round]);
        block_on(async {
            for _ in 0..4 {
                let daemon = home.start();
                let client = daemon.client();
                lives_on(&client, 1).await;
                // Somewhere in the next second and a half.
                let wait = Duration::from_millis(random.u64(0..1_500));
                let cut = tokio::time::timeout(wait, lives_on(&client, 1_000)).await;
                assert!(cut.is_err(), "a thousand slots in a moment");
                daemon.kill();
            }
            let daemon = home.start();
            lives_on(&daemon.client(), 2).await;
            assert!(daemon.terminate().success(), "{}", home.words());
        });
        let wrong = findings(&home);
        assert!(wrong.is_empty(), "{overlap:?}:\n{}\n{}", wrong.join("\n"), home.words());
    }
}
