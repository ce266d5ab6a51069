//! Capabilities of agents, where calls are judged: what is not granted is not done.

use openclaw::domain::code;
use serde_json::{Value, json};

use crate::process::block_on;
use crate::support::daemon::TestHome;
use crate::support::wait::until_async;

/// The file that the agent is told to write, and what came of it.
fn write_as(capabilities: Option<&str>) -> (bool, Value) {
    let home = TestHome::new("[log]\nlevel = \"warn\"\n");
    std::fs::create_dir_all(home.path().join("agents")).expect("a folder");
    let capabilities = capabilities
        .map(|list| format!("capabilities = {list}\n"))
        .unwrap_or_default();
    let file = format!("role = \"executor\"\nmaxRetries = 0\n{capabilities}");
    std::fs::write(home.path().join("agents/executor.toml"), file).expect("written");
    let daemon = home.start();
    let client = daemon.client();
    let seen = block_on(async {
        let plan = json!({
            "task": "write", "workspace": home.workspace(),
            "plan": { "goal": "write", "result": "a", "steps": [{
                "id": "a", "agent": "executor", "task": "write out/a.txt",
                "inputs": { "method": "gather", "action": { "do": "write", "path": "out/a.txt", "content": "x" } },
            }] },
        });
        let (code, body) = client.post("/v1/runs", &plan).await.expect("answered");
        assert_eq!(code, 202, "{body}");
        let run = body["id"].as_str().expect("an id").to_owned();
        until_async("the run to end", std::time::Duration::from_secs(30), async || {
            let (_, body) = client.get(&format!("/v1/runs/{run}")).await.expect("answered");
            if body["status"] == "active" { Err(body) } else { Ok(()) }
        })
        .await;
        let (_, timeline) = client.get(&format!("/v1/runs/{run}/timeline")).await.expect("answered");
        timeline
    });
    drop(daemon);
    (home.workspace().join("out/a.txt").exists(), seen)
}

#[test]
fn an_agent_does_what_it_was_granted_and_nothing_else() {
    let check = |capabilities: Option<&str>, wanted: bool| {
        let (written, timeline) = write_as(capabilities);
        assert_eq!(written, wanted, "{capabilities:?}: {timeline}");
        let refused = timeline.to_string().contains(code::CAPABILITY_DENIED.id);
        assert_eq!(refused, !wanted, "{capabilities:?}: {timeline}");
    };
    check(None, true);
    check(Some("[\"fs.read\", \"fs.write:out\", \"memory\"]"), true);
    check(Some("[\"fs.read\", \"fs.write:in\"]"), false);
    check(Some("[]"), false);
}
