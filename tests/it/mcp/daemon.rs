//! The real daemon with a server: called from the command line, killed with calls in flight, started again.

use std::process::Output;
use std::time::Duration;

use openclaw::skills::mcp::server::key_of;
use openclaw::skills::mcp::shared::Shared;
use serde_json::{Value, json};

use super::stage::{LONG, SERVER, program};
use crate::process::{alive, block_on};
use crate::support::daemon::{Client, TestDaemon, TestHome};
use crate::support::wait::{until, until_async};

/// Kills with calls in flight.
const KILLS: usize = 5;

fn home(revision: &str) -> TestHome {
    let home = TestHome::new("");
    let ledger = home.ledger_folder();
    std::fs::create_dir_all(&ledger).expect("a folder");
    let command = json!(["/usr/bin/python3", SERVER, revision, ledger, ""]);
    let writes = json!([ledger]);
    let config = format!("[log]\nlevel = \"warn\"\n[mcp.test]\ncommand = {command}\nwritePaths = {writes}\n");
    std::fs::write(home.path().join("openclaw.toml"), config).expect("configuration");
    home
}

fn lines(home: &TestHome, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(home.ledger_folder().join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn ready(client: &Client) {
    until_async("the server to be ready", LONG, async || {
        let (_, body) = client.get("/v1/mcp").await.expect("answered");
        let state = body["servers"][0]["state"].clone();
        if state == "ready" { Ok(()) } else { Err(body) }
    })
    .await;
}

fn cli(home: &TestHome, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = home.command().args(arguments).output().expect("ran");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    (status.code(), text)
}

/// The processes of the home's server.
fn processes(home: &TestHome) -> Vec<u32> {
    let shared = Shared::new(program("test", "", "", &home.path()), Vec::new());
    let state = home.path().join("state");
    alive(key_of(&state.display().to_string(), &shared))
}

#[test]
fn a_tool_of_a_server_is_called_from_the_command_line_as_any_skill() {
    let home = home("2026-07-28");
    let (code, text) = cli(&home, &["init"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = cli(&home, &["mcp", "test", "test"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("test is ready, revision 2026-07-28") && text.contains("mcp.test.look_at (Look At)"),
        "{text}"
    );
    let daemon = home.start();
    let client = daemon.client();
    block_on(ready(&client));
    let workspace = home.workspace().display().to_string();
    let call = |skill: &str, args: &str| {
        cli(
            &home,
            &["skill", "call", skill, "--args", args, "--workspace", &workspace],
        )
    };
    let check = |skill: &str, args: &str, code: i32, wanted: &str| {
        let (found, text) = call(skill, args);
        assert!(
            found == Some(code) && text.contains(wanted),
            "{skill} {args}: {found:?} {text}"
        );
    };
    check("mcp.test.echo", "{\"text\": \"ä b\"}", 0, "ä b");
    check("mcp.test.echo", "{}", 1, "text");
    check("mcp.test.act", "{\"how\": \"fail\"}", 1, "it did not work");
    check("mcp.test.act", "{\"how\": \"die\"}", 6, "");
    check("mcp.test.none", "{}", 3, "OC-5001");
    check("mcp.test.echo", "[]", 2, "not a JSON object");
    let (code, text) = cli(&home, &["skill", "list"]);
    assert!(
        code == Some(0) && text.contains("mcp.test.echo") && text.contains("skill.read"),
        "{text}"
    );
    let (code, text) = cli(&home, &["skill", "show", "mcp.test.echo"]);
    assert!(code == Some(0) && text.contains("Says it again."), "{text}");
    assert_eq!(cli(&home, &["skill", "show", "none"]).0, Some(3));
    block_on(ready(&client));
    let (code, text) = cli(&home, &["mcp", "list"]);
    assert!(
        code == Some(0) && text.contains("stdio") && text.contains("ready"),
        "{text}"
    );
    assert_eq!(cli(&home, &["mcp", "test", "none"]).0, Some(3));
    let ended = daemon.terminate();
    assert!(ended.success(), "{ended}");
    assert_eq!(processes(&home), Vec::<u32>::new(), "an orderly stop leaves nothing");
}

#[test]
fn a_package_is_added_changed_refused_and_removed_from_the_command_line() {
    let home = TestHome::new("[log]\nlevel = \"warn\"\n");
    let source = home.ledger_folder().join("forms");
    std::fs::create_dir_all(source.join("scripts")).expect("folders");
    let front = "---\nname: forms\ndescription: Fills forms.\nallowed-tools: Bash(rm:*)\n---\nBody.\n";
    std::fs::write(source.join("SKILL.md"), front).expect("written");
    std::fs::write(source.join("scripts/go.sh"), "echo went $1\n").expect("written");
    let source = source.display().to_string();
    let check = |arguments: &[&str], code: i32, wanted: &str| {
        let (found, text) = cli(&home, arguments);
        assert!(
            found == Some(code) && text.contains(wanted),
            "{arguments:?}: {found:?} {text}"
        );
    };
    check(&["init"], 0, "");
    check(&["skill", "check", &source], 0, "forms can be used");
    check(&["skill", "check", "/"], 2, "OC-5020");
    check(
        &["skill", "add", &source, "--capability", "root"],
        2,
        "not a capability",
    );
    check(
        &["skill", "add", &source, "--capability", "exec"],
        0,
        "nothing of that was granted",
    );
    let daemon = home.start();
    let workspace = home.workspace().display().to_string();
    let run = |code: i32, wanted: &str| {
        let args = "{\"skill\": \"forms\", \"script\": \"go.sh\", \"args\": [\"well\"]}";
        check(
            &["skill", "call", "skill.run", "--args", args, "--workspace", &workspace],
            code,
            wanted,
        );
    };
    run(0, "went well");
    check(&["skill", "show", "forms"], 0, "added");
    let script = home.path().join("skills/forms/scripts/go.sh");
    std::fs::write(&script, "echo changed\n").expect("written");
    run(1, "OC-5021");
    check(&["skill", "list"], 0, "changed");
    check(&["skill", "add", "forms", "--capability", "exec"], 0, "added forms");
    run(0, "changed");
    std::fs::write(home.path().join("skills/forms/SKILL.md"), "nothing").expect("written");
    check(&["skill", "check"], 1, "SKILL.md:1");
    check(&["skill", "remove", "forms"], 0, "with its files");
    check(&["skill", "remove", "forms"], 3, "OC-5001");
    run(1, "there is no skill package `forms`");
    drop(daemon);
}

#[test]
fn a_daemon_that_is_killed_with_calls_in_flight_leaves_no_server_and_repeats_no_call() {
    let home = home("2025-11-25");
    for life in 0..KILLS {
        let daemon: TestDaemon = home.start();
        let client = daemon.client();
        block_on(async {
            ready(&client).await;
            let made = |name: &str| {
                lines(&home, "calls")
                    .iter()
                    .filter(|line| line.starts_with(name))
                    .count()
            };
            let before = made("act");
            // A process of its own beside the server, and two calls that do not come back.
            let plan = |how: &str| {
                json!({
                    "task": how, "workspace": home.workspace(),
                    "plan": {
                        "goal": how, "result": "a",
                        "steps": [{ "id": "a", "skill": "mcp.test.act", "inputs": { "how": how } }],
                    },
                })
            };
            for how in ["child", "hang", "hang"] {
                let (code, body) = client.post("/v1/runs", &plan(how)).await.expect("answered");
                assert_eq!(code, 202, "{body}");
            }
            until_async("the calls", LONG, async || {
                let seen = (made("act"), processes(&home).len());
                if seen.0 >= before + 3 && seen.1 >= 2 {
                    Ok(())
                } else {
                    Err(seen)
                }
            })
            .await;
        });
        let old = processes(&home);
        assert!(old.len() >= 2, "{old:?}");
        daemon.kill();
        // Nobody starts a daemon in between: what ends them is beside them.
        until("everything of the server to end", LONG, || {
            let left = processes(&home);
            if left.is_empty() { Ok(()) } else { Err((life, left)) }
        });
    }
    let made = lines(&home, "calls").len();
    let daemon = home.start();
    let client = daemon.client();
    block_on(async {
        ready(&client).await;
        let settled: Vec<Value> = until_async("every run to end", LONG, async || {
            let (_, body) = client.get("/v1/runs?limit=200").await.expect("answered");
            let runs = body["runs"].as_array().expect("runs").clone();
            if runs.iter().all(|run| run["status"] != "active") {
                Ok(runs)
            } else {
                Err(body)
            }
        })
        .await;
        assert_eq!(settled.len(), KILLS * 3);
        let unknown = settled.iter().filter(|run| run["status"] == "unknown").count();
        assert!(
            unknown >= KILLS * 2,
            "calls that did not come back are not known: {settled:?}"
        );
    });
    assert_eq!(
        lines(&home, "calls").len(),
        made,
        "no call of class once was made again"
    );
    let ended = daemon.terminate();
    assert!(ended.success(), "{ended}");
    until("the end of the server", Duration::from_secs(1), || {
        let left = processes(&home);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_call_that_loses_its_server_twice_is_dead_and_seen() {
    let home = home("2025-11-25");
    let file = home.path().join("openclaw.toml");
    let config = std::fs::read_to_string(&file).expect("there") + "classes = { act = \"read\" }\n";
    std::fs::write(&file, config).expect("configuration");
    let daemon = home.start();
    let client = daemon.client();
    block_on(async {
        ready(&client).await;
        let plan = json!({
            "task": "die", "workspace": home.workspace(),
            "plan": { "steps": [
                { "id": "a", "skill": "mcp.test.act", "inputs": { "how": "die" }, "retries": 3 },
            ] },
        });
        let (code, body) = client.post("/v1/runs", &plan).await.expect("answered");
        assert_eq!(code, 202, "{body}");
        let run = body["id"].as_str().expect("an id").to_owned();
        let ended = until_async("the run to end", LONG, async || {
            let (_, body) = client.get(&format!("/v1/runs/{run}")).await.expect("answered");
            if body["status"] == "active" {
                Err(body)
            } else {
                Ok(body)
            }
        })
        .await;
        assert_eq!(ended["status"], "failed", "{ended}");
        assert!(
            ended["reason"].as_str().is_some_and(|why| why.contains("OC-5035")),
            "{ended}"
        );
        assert_eq!(lines(&home, "calls").len(), 2, "it is not made a third time");
        let (_, timeline) = client.get(&format!("/v1/runs/{run}/timeline")).await.expect("answered");
        let dead = timeline["entries"].as_array().expect("entries").iter();
        assert_eq!(
            dead.filter(|entry| entry["kind"] == "call.dead_lettered").count(),
            1,
            "{timeline}"
        );
        let (_, incidents) = client.get("/v1/incidents").await.expect("answered");
        assert!(incidents.to_string().contains("mcp.test.act crashed"), "{incidents}");
        // The server is there again for others.
        ready(&client).await;
    });
    let (code, text) = cli(&home, &["runs", "list"]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_server_that_was_given_up_is_started_again_on_request() {
    let home = home("2025-11-25");
    // A program that ends at once until a file is there.
    let gate = home.ledger_folder().join("gate");
    let file = home.path().join("openclaw.toml");
    let script = format!(
        "import os, runpy, sys\nif not os.path.exists({:?}): sys.exit(1)\nsys.argv = sys.argv[1:]\n\
         runpy.run_path(sys.argv[0], run_name=\"__main__\")",
        gate.display().to_string()
    );
    let command = json!([
        "/usr/bin/python3",
        "-c",
        script,
        SERVER,
        "2025-11-25",
        home.ledger_folder(),
        ""
    ]);
    std::fs::write(
        &file,
        format!(
            "[log]\nlevel = \"warn\"\n[mcp.test]\ncommand = {command}\nwritePaths = {}\n",
            json!([home.ledger_folder()])
        ),
    )
    .expect("configuration");
    let daemon = home.start();
    let client = daemon.client();
    block_on(async {
        until_async("the server to be given up", LONG, async || {
            let (_, body) = client.get("/v1/mcp").await.expect("answered");
            if body["servers"][0]["state"] == "gave_up" {
                Ok(())
            } else {
                Err(body)
            }
        })
        .await;
    });
    std::fs::write(&gate, "").expect("opened");
    let (code, text) = cli(&home, &["mcp", "restart", "test"]);
    assert!(code == Some(0) && text.contains("started again"), "{text}");
    block_on(ready(&client));
    // One that serves is restarted as well: its old process is gone.
    let old = processes(&home);
    let (code, text) = cli(&home, &["mcp", "restart", "test"]);
    assert_eq!(code, Some(0), "{text}");
    block_on(ready(&client));
    let new = processes(&home);
    assert!(
        !new.is_empty() && old.iter().all(|pid| !new.contains(pid)),
        "{old:?} {new:?}"
    );
    let (code, text) = cli(&home, &["mcp", "restart", "none"]);
    assert!(code == Some(3) && text.contains("OC-5024"), "{text}");
}
