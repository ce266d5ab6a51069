//! Schedules through the real program: saved from the command line, started by the clock, judged by what they leave.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::Duration;

use openclaw::domain::name::ScheduleName;
use openclaw::domain::schedule::slot::{SlotRow, SlotState};
use openclaw::domain::time::UtcMillis;
use openclaw::runtime::clock::Clock;
use openclaw::storage::batch::{Batch, Op};
use openclaw::storage::store::Store;
use openclaw::storage::writer::Writer;
use serde_json::{Value, json};

use crate::process::block_on;
use crate::support::daemon::{Client, TestDaemon, TestHome};
use crate::support::wait::{until, until_async};

const SOON: Duration = Duration::from_secs(60);

fn cli(home: &TestHome, arguments: &[&str]) -> (i32, Value, String) {
    let Output { status, stdout, stderr } = home.command().arg("--json").args(arguments).output().expect("it runs");
    let value = serde_json::from_slice(&stdout).unwrap_or_default();
    (
        status.code().unwrap_or(-1),
        value,
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

/// Saves a schedule and expects that it is taken.
fn add(home: &TestHome, arguments: &[&str]) -> Value {
    let workspace = home.workspace().display().to_string();
    let mut all = vec!["cron", "add", "--workspace", &workspace];
    all.extend(arguments);
    let (code, value, told) = cli(home, &all);
    assert_eq!(code, 0, "{arguments:?}: {told}");
    value
}

/// The newest row, when its slot has ended.
fn last(home: &TestHome, name: &str) -> Value {
    until("a slot to end", SOON, || {
        let (_, value, told) = cli(home, &["cron", "slots", name, "--limit", "100"]);
        let rows = value["slots"].as_array().cloned().unwrap_or_default();
        let ended = rows.iter().find(|row| !row["ended_at"].is_null());
        ended.cloned().ok_or(format!("{rows:?} {told}"))
    })
}

fn start() -> (TestHome, TestDaemon) {
    let home = TestHome::new("[log]\nlevel = \"warn\"\n");
    let pipelines = home.path().join("pipelines");
    std::fs::create_dir_all(&pipelines).expect("made");
    let steps = "goal = \"leave a file\"\n[[steps]]\nid = \"a\"\nskill = \"fs.write\"\ninputs = { path = \"piped.txt\", content = \"x\" }\n";
    std::fs::write(pipelines.join("leave.toml"), steps).expect("written");
    let daemon = home.start();
    (home, daemon)
}

#[test]
fn each_kind_of_target_runs_at_its_slots_and_ends_in_the_ledger() {
    let (home, daemon) = start();
    let check = |name: &str, arguments: &[&str], kind: &str| {
        let mut all = vec![name, "@every 1s"];
        all.extend(arguments);
        let saved = add(&home, &all);
        assert_eq!(saved["starts"], kind, "{saved}");
        assert_eq!(saved["next"].as_array().map(Vec::len), Some(5), "{saved}");
        let row = last(&home, name);
        assert_eq!(row["state"], "ran", "{name}: {row}");
        assert!(row["run"].as_str().is_some_and(|run| run.starts_with("run_")), "{row}");
        let (code, paused, _) = cli(&home, &["cron", "pause", name, "--reason", "enough"]);
        assert_eq!((code, &paused["paused"]["why"]), (0, &json!("enough")));
    };
    check(
        "a-command",
        &["--expect", "made.txt", "--", "sh", "-c", "echo x > made.txt"],
        "command",
    );
    check(
        "a-skill",
        &[
            "--skill",
            "fs.write",
            "--args",
            "{\"path\":\"a.txt\",\"content\":\"x\"}",
            "--expect",
            "a.txt",
        ],
        "skill",
    );
    check(
        "a-pipeline",
        &["--pipeline", "leave", "--expect", "piped.txt"],
        "pipeline",
    );
    check(
        "a-task",
        &["--agent", "executor", "--task", "review this folder"],
        "agent",
    );
    // They run already: a reload has nothing to say of them.
    let (code, reloaded, told) = cli(&home, &["config", "reload"]);
    let none = json!({ "applied": [], "at_restart": [] });
    assert_eq!((code, &reloaded), (0, &none), "{told}");
    let (code, listed, _) = cli(&home, &["cron", "list"]);
    assert_eq!((code, listed["schedules"].as_array().map(Vec::len)), (0, Some(4)));
    assert!(home.path().join("schedules/a-command.toml").is_file());
    let run = last(&home, "a-command")["run"].as_str().expect("a run").to_owned();
    let (_, run, _) = cli(&home, &["runs", "show", &run]);
    assert_eq!(run["run"]["status"], "succeeded", "{run}");
    assert!(daemon.terminate().success());
}

#[test]
fn a_program_that_ends_well_and_leaves_nothing_has_failed_with_an_incident() {
    let (home, daemon) = start();
    let check = |name: &str, arguments: &[&str], reason: &str| {
        let mut all = vec![name, "@every 1s"];
        all.extend(arguments);
        add(&home, &all);
        let row = last(&home, name);
        assert_eq!(row["state"], "failed", "{row}");
        assert!(row["why"].as_str().is_some_and(|why| why.contains(reason)), "{row}");
        cli(&home, &["cron", "pause", name]);
    };
    check(
        "nothing",
        &["--expect", "out/*.csv", "--", "true"],
        "no file matches the expected output out/*.csv",
    );
    std::fs::write(home.workspace().join("old.txt"), "x").expect("written");
    check(
        "stale",
        &["--expect", "old.txt", "--", "true"],
        "older than the slot's start",
    );
    check("ends-badly", &["--", "sh", "-c", "exit 3"], "is failed");
    // Resolved when it was saved, gone before its slot.
    let program = home.workspace().join("gone");
    std::fs::write(&program, "#!/bin/sh\n").expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
    add(&home, &["gone", "@every 2s", "--", "./gone"]);
    std::fs::remove_file(&program).expect("removed");
    let row = last(&home, "gone");
    assert!(
        row["why"]
            .as_str()
            .is_some_and(|why| why.contains("`./gone` is not an executable file")),
        "{row}"
    );
    let client = daemon.client();
    let incidents = block_on(client.get("/v1/incidents")).expect("an answer").1.to_string();
    for name in ["nothing", "stale", "ends-badly", "gone"] {
        assert!(
            incidents.contains(&format!("a slot of schedule {name} failed")),
            "{name}: {incidents}"
        );
    }
    let (code, missed, _) = cli(&home, &["cron", "missed"]);
    assert_eq!(code, 1, "a script that asks sees it");
    assert!(
        missed["slots"].as_array().is_some_and(|rows| rows.len() >= 4),
        "{missed}"
    );
    assert!(daemon.terminate().success());
}

#[test]
fn an_output_is_as_old_as_it_was_when_its_run_ended_however_long_the_daemon_was_down() {
    const AGE_MS: u64 = 60_000;
    let home = TestHome::new("[log]\nlevel = \"warn\"\n");
    let folder = home.path().join("schedules");
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = format!(
        "cron = \"0 0 1 1 *\"\nworkspace = \"{}\"\ncommand = [\"sh\", \"-c\", \"echo x > out.txt\"]\n\
         [[outputs]]\npath = \"out.txt\"\nmax_age = \"1m\"\n",
        home.workspace().display()
    );
    std::fs::write(folder.join("report.toml"), file).expect("written");
    let daemon = home.start();
    let (code, _, told) = cli(&home, &["cron", "run", "report"]);
    assert_eq!(code, 0, "{told}");
    let before = last(&home, "report");
    assert_eq!(before["state"], "ran", "{before}");
    assert!(daemon.terminate().success());

    // As a kill right after the run's end leaves it: nobody has looked at what it left.
    let store = Store::open(&home.store_file(), 1 << 20).expect("opens");
    let name = ScheduleName::new("report").expect("a name");
    let all = UtcMillis(0)..=UtcMillis(u64::MAX);
    let row = store.slots(&name, all, 1, &|_| true).expect("readable").remove(0);
    let run = store.header(row.run.expect("it had a run")).expect("readable");
    let ended_at = run.expect("it is kept").ended_at.expect("it has ended");
    let unjudged = Op::SlotPut {
        expected: Some(row.state),
        row: SlotRow {
            state: SlotState::Running,
            ended_at: None,
            ..row
        },
    };
    let mut writer = Writer::new(store).expect("a writer");
    let written = writer.commit(&[Batch::ops(vec![unjudged])]).expect("commits");
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    drop(writer);
    // As old at the end as may be, but for a second. That is over before anybody looks again.
    let made_at = Duration::from_millis(ended_at.0 + 1_000 - AGE_MS);
    let output = std::fs::File::options()
        .write(true)
        .open(home.workspace().join("out.txt"));
    let output = output.expect("it is there");
    output.set_modified(std::time::UNIX_EPOCH + made_at).expect("set");
    until("the output to be older than may be", SOON, || {
        let since = Clock::system().now().since(ended_at);
        (since > 2_000).then_some(()).ok_or(since)
    });
    let daemon = home.start();
    let judged = last(&home, "report");
    assert_eq!(
        (&judged["state"], &judged["why"]),
        (&before["state"], &before["why"]),
        "{judged}"
    );
    assert!(daemon.terminate().success());
}

#[test]
fn a_schedule_that_fails_again_and_again_is_one_incident_and_a_success_ends_it() {
    let (home, daemon) = start();
    let bad = home.workspace().join("bad");
    std::fs::write(&bad, "x").expect("written");
    add(&home, &["flaps", "@every 1s", "--", "sh", "-c", "test ! -e bad"]);
    let client = daemon.client();
    let until_found = |what: &str, is: &dyn Fn(&[Value]) -> bool| {
        until(what, SOON, || {
            let found = block_on(client.get("/v1/incidents")).expect("an answer").1;
            let all = found["incidents"].as_array().expect("a list").iter();
            let own: Vec<Value> = all.filter(|one| one["of"] == "schedule:flaps").cloned().collect();
            if is(&own) { Ok(()) } else { Err(found) }
        });
    };
    until_found("three failures in one incident", &|own| {
        own.len() == 1 && own[0]["open"] == true && own[0]["times"].as_u64() >= Some(3)
    });
    std::fs::remove_file(&bad).expect("removed");
    until_found("the success to end it", &|own| {
        own.len() == 1 && own[0]["resolved"]["how"] == "a slot succeeded"
    });
    // The next failure is another incident, and nobody would end that of a schedule that is no more.
    std::fs::write(&bad, "x").expect("written");
    until_found("the next failure", &|own| own.len() == 2 && own[0]["open"] == true);
    assert_eq!(cli(&home, &["cron", "remove", "flaps"]).0, 0);
    until_found("its removal to end it", &|own| {
        own.len() == 2 && own[0]["resolved"]["how"] == "the schedule was removed"
    });
    assert!(daemon.terminate().success());
}

#[test]
fn a_run_that_a_later_slot_takes_the_place_of_is_skipped_and_no_incident() {
    let (home, daemon) = start();
    add(
        &home,
        &["long", "@every 2s", "--overlap", "cancel", "--", "sleep", "60"],
    );
    let row = last(&home, "long");
    assert_eq!(
        (&row["state"], &row["why"]),
        (&json!("skipped"), &json!("a later slot took its place")),
        "{row}"
    );
    assert!(row["run"].is_string(), "{row}");
    let incidents = block_on(daemon.client().get("/v1/incidents"))
        .expect("an answer")
        .1
        .to_string();
    assert!(!incidents.contains("schedule:long"), "{incidents}");
    assert_eq!(cli(&home, &["cron", "remove", "long"]).0, 0);
    assert!(daemon.terminate().success());
}

#[test]
fn the_environment_of_a_command_is_what_the_schedule_says_and_is_shown() {
    let (home, daemon) = start();
    let profile = home.workspace().join("profile");
    std::fs::write(&profile, "GREETING=hello\nexport GREETING\n").expect("written");
    let profile = profile.display().to_string();
    let script = "printf '%s|%s|%s' \"$GREETING\" \"$NAME\" \"$PATH\" > env.txt";
    let saved = add(
        &home,
        &[
            "env",
            "@every 1s",
            "--profile",
            &profile,
            "--env",
            "NAME=claw",
            "--path",
            "/usr/bin:/bin",
            "--expect",
            "env.txt",
            "--",
            "sh",
            "-c",
            script,
        ],
    );
    assert_eq!(saved["resolved"]["path"], "/usr/bin:/bin", "{saved}");
    assert!(
        saved["resolved"]["program"]
            .as_str()
            .is_some_and(|file| file.ends_with("/sh")),
        "{saved}"
    );
    assert_eq!(last(&home, "env")["state"], "ran");
    // Programs are confined: a profile that they cannot read is refused when the schedule is saved.
    let (code, _, told) = cli(
        &home,
        &[
            "cron",
            "add",
            "other",
            "@daily",
            "--profile",
            "/etc/hostname",
            "--",
            "true",
        ],
    );
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("OC-1040"), "{told}");
    let written = std::fs::read_to_string(home.workspace().join("env.txt")).expect("written");
    assert_eq!(written, "hello|claw|/usr/bin:/bin");
    assert!(daemon.terminate().success());
}

#[test]
fn what_cannot_work_is_refused_when_it_is_saved_with_place_and_reason() {
    let (home, daemon) = start();
    let client = daemon.client();
    let check = |body: Value, status: u16, code: &str, reason: &str| {
        let (found, answer) = block_on(client.post("/v1/schedules", &body)).expect("an answer");
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{answer}");
        assert!(answer.to_string().contains(reason), "{answer}");
    };
    let invalid = |body: Value, reason: &str| check(body, 400, "OC-1040", reason);
    invalid(
        json!({ "name": "x", "cron": "0 25 * * *", "task": "y" }),
        "character 3: found `25` for the hour",
    );
    invalid(
        json!({ "name": "x", "cron": "@once 2020-01-01T00:00:00Z", "task": "y" }),
        "it would never be due",
    );
    invalid(
        json!({ "name": "x", "cron": "@daily", "task": "y", "timezone": "Mars/Base" }),
        "/timezone",
    );
    invalid(
        json!({ "name": "x", "cron": "@daily", "command": ["no-such-program"] }),
        "there is no program `no-such-program` in",
    );
    invalid(
        json!({ "name": "x", "cron": "@daily", "task": "y", "agent": "nobody" }),
        "there is no agent `nobody`",
    );
    invalid(
        json!({ "name": "x", "cron": "@daily", "skill": "no.such" }),
        "there is no skill `no.such`",
    );
    invalid(
        json!({ "name": "x", "cron": "@daily", "pipeline": "none" }),
        "known: leave",
    );
    invalid(
        json!({ "name": "x", "cron": "@daily", "task": "y", "workspace": "/no/such" }),
        "/no/such is not a folder",
    );
    invalid(
        json!({ "name": "x", "cron": "@daily", "task": "y", "outputs": [{ "path": "a", "matches": "(" }] }),
        "/outputs/0/matches",
    );
    check(
        json!({ "name": "../x", "cron": "@daily", "task": "y" }),
        400,
        "OC-1001",
        "schedule name",
    );
    let body = json!({ "name": "x", "cron": "@daily", "task": "y" });
    let (dry, _) = block_on(client.post("/v1/schedules?dry_run=true", &body)).expect("an answer");
    assert_eq!(dry, 200);
    assert!(!home.path().join("schedules/x.toml").exists(), "only looked at");
    assert_eq!(block_on(client.post("/v1/schedules", &body)).expect("an answer").0, 201);
    check(body, 409, "OC-1043", "there is one of this name");
    let absent = block_on(client.get("/v1/schedules/y")).expect("an answer");
    assert_eq!((absent.0, &absent.1["error"]["code"]), (404, &json!("OC-1041")));
    let (code, _, told) = cli(&home, &["cron", "remove", "x"]);
    assert_eq!(code, 0, "{told}");
    assert!(!home.path().join("schedules/x.toml").exists());
    assert_eq!(cli(&home, &["cron", "show", "x"]).0, 3);
    assert!(daemon.terminate().success());
}

async fn states(client: &Client, name: &str) -> Result<Vec<String>, String> {
    let path = format!("/v1/schedules/{name}/slots?limit=1000");
    let (_, body) = client.get(&path).await.map_err(|error| error.to_string())?;
    let rows = body["slots"].as_array().into_iter().flatten();
    Ok(rows
        .map(|row| row["state"].as_str().unwrap_or_default().to_owned())
        .collect())
}

#[test]
fn what_a_downtime_cost_is_written_down_and_can_be_run_later() {
    let home = TestHome::new("[log]\nlevel = \"warn\"\n[metrics]\nport = 0\n[cron]\ncatchUp = \"skip\"\n");
    let daemon = home.start();
    add(&home, &["beat", "@every 1s", "--overlap", "allow", "--", "true"]);
    // The file says what was in force when it was saved.
    let file = home.path().join("schedules/beat.toml");
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(text.contains("catch_up = \"skip\""), "{text}");
    // A second of grace would hide a downtime of some seconds.
    std::fs::write(&file, text.replace("late_after = \"1m\"", "late_after = \"1s\"")).expect("written");
    last(&home, "beat");
    daemon.kill();
    let at = std::time::Instant::now();
    until("three slots to pass", SOON, || {
        if at.elapsed() > Duration::from_secs(5) {
            Ok(())
        } else {
            Err(at.elapsed())
        }
    });
    let daemon = home.start();
    let client = daemon.client();
    let missed = block_on(until_async("missed slots", SOON, async || {
        let states = states(&client, "beat").await?;
        let missed = states.iter().filter(|state| *state == "missed").count();
        if missed >= 2 {
            Ok(missed)
        } else {
            Err(format!("{states:?}"))
        }
    }));
    let (code, listed, _) = cli(&home, &["cron", "missed", "beat"]);
    assert_eq!(code, 1);
    assert!(
        listed
            .to_string()
            .contains("the daemon was not running when it was due"),
        "{listed}"
    );
    let (code, queued, told) = cli(&home, &["cron", "backfill", "beat", "--from", "1h"]);
    assert_eq!(code, 0, "{told}");
    assert!(
        queued["queued"].as_array().is_some_and(|slots| slots.len() >= missed),
        "{queued}"
    );
    block_on(until_async("every slot to run", SOON, async || {
        let (_, body) = client
            .get("/v1/schedules/beat/slots?limit=1000")
            .await
            .map_err(|error| error.to_string())?;
        let slots = queued["queued"].as_array().into_iter().flatten();
        let open: Vec<&Value> = slots
            .filter(|slot| {
                let rows = body["slots"].as_array().into_iter().flatten();
                // One that was due right before the start is run later and in time.
                let has_run = |row: &Value| row["state"] == "late" || row["state"] == "ran";
                !rows.clone().any(|row| row["slot"] == **slot && has_run(row))
            })
            .collect();
        if open.is_empty() {
            Ok(())
        } else {
            Err(format!("{open:?}"))
        }
    }));
    let (code, ran, told) = cli(&home, &["cron", "run", "beat"]);
    assert_eq!(code, 0, "{told}");
    until("the slot asked for to run", SOON, || {
        let (_, value, _) = cli(&home, &["cron", "slots", "beat", "--limit", "1000"]);
        let rows = value["slots"].as_array().cloned().unwrap_or_default();
        let row = rows
            .iter()
            .find(|row| row["slot"] == ran["slot"])
            .cloned()
            .ok_or("no row")?;
        if row["ended_at"].is_null() {
            Err("not ended")
        } else {
            Ok(())
        }
    });
    let metrics = block_on(client.get("/v1/status")).expect("an answer").1;
    let metrics = metrics["metrics"].as_str().expect("metrics are served").to_owned();
    {
        let text = block_on(async { reqwest::get(&metrics).await?.text().await }).expect("text");
        for wanted in [
            "openclaw_schedule_slots_total{schedule=\"beat\",result=\"missed\"}",
            "openclaw_schedule_last_success_timestamp_seconds{schedule=\"beat\"}",
            "openclaw_schedule_tick_age_seconds",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
    }
    assert!(daemon.terminate().success());
}

/// The rows of the ledger, the oldest first: when each slot was, in whole seconds, and its state.
async fn ledger(client: &Client, name: &str) -> Result<Vec<(i64, String)>, String> {
    let path = format!("/v1/schedules/{name}/slots?limit=1000");
    let (_, body) = client.get(&path).await.map_err(|error| error.to_string())?;
    let rows = body["slots"].as_array().ok_or(format!("no slots: {body}"))?;
    let mut rows: Vec<(i64, String)> = rows
        .iter()
        .filter_map(|row| {
            let at: jiff::Timestamp = row["slot"].as_str()?.parse().ok()?;
            Some((at.as_second(), row["state"].as_str()?.to_owned()))
        })
        .collect();
    rows.sort();
    Ok(rows)
}

#[test]
fn a_drained_daemon_starts_no_slot_and_none_is_lost_by_it_whether_it_goes_on_or_is_started_anew() {
    let (home, daemon) = start();
    add(&home, &["beat", "@every 1s", "--overlap", "allow", "--", "true"]);
    last(&home, "beat");
    // Drained, nothing starts; afterwards every second from the first slot on has its row.
    let drained = |daemon: &TestDaemon| {
        let client = daemon.client();
        assert_eq!(cli(&home, &["drain"]).0, 0);
        let before = block_on(until_async("the runs under way to end", SOON, async || {
            let rows = ledger(&client, "beat").await?;
            let is_open = rows.iter().any(|(_, state)| state == "running" || state == "queued");
            if is_open { Err(rows) } else { Ok(rows) }.map_err(|rows| format!("{rows:?}"))
        }));
        let began = std::time::Instant::now();
        until("slots to be due", SOON, || {
            let passed = began.elapsed();
            if passed > Duration::from_millis(2_500) {
                Ok(())
            } else {
                Err(passed)
            }
        });
        let (exit, _, told) = cli(&home, &["cron", "run", "beat"]);
        assert!(exit != 0 && told.contains("OC-7019"), "{exit}: {told}");
        let after = block_on(ledger(&client, "beat")).expect("an answer");
        assert_eq!(after, before, "nothing was started or given up");
        before.last().expect("it ran before").0
    };
    let whole = |daemon: &TestDaemon, through: i64| {
        let client = daemon.client();
        block_on(until_async("the slots of the drain to have run", SOON, async || {
            let rows = ledger(&client, "beat").await?;
            let (first, last) = (rows[0].0, rows[rows.len() - 1].0);
            let is_whole = i64::try_from(rows.len()) == Ok(last - first + 1);
            let all_ran = rows
                .iter()
                .filter(|(slot, _)| *slot <= through + 2)
                .all(|(_, state)| state == "ran" || state == "late");
            if is_whole && all_ran && last > through + 2 {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        }));
    };
    let through = drained(&daemon);
    assert_eq!(cli(&home, &["drain", "--off"]).0, 0);
    whole(&daemon, through);
    let through = drained(&daemon);
    assert!(daemon.terminate().success());
    let daemon = home.start();
    whole(&daemon, through);
}
