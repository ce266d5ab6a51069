//! Capabilities of agents, where calls are judged: what is not granted is not done.

use openclaw::domain::code;
use serde_json::{Value, json};

use crate::process::block_on;
use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Rim, of_kind};
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

/// The run of a task whose planner answers with this step; the planner's own file has these lines.
fn planned_as(planner: &str, step: &Value) -> (bool, Value) {
    let server = ModelServer::start();
    server.always(Deed::Text(json!({ "goal": "g", "steps": [step] }).to_string()));
    let home = TestHome::new(&server.config("far", "openai"));
    std::fs::create_dir_all(home.path().join("agents")).expect("a folder");
    std::fs::write(
        home.path().join("agents/planner.toml"),
        format!("role = \"planner\"\n{planner}"),
    )
    .expect("written");
    let daemon = home.start_with(&[("TEST_MODEL_KEY", "k")]);
    let rim = Rim::of(&daemon);
    let id = rim.submit(&json!({ "task": "write a file", "workspace": home.workspace(), "model": "far" }));
    let run = rim.ended(&id);
    (home.workspace().join("planned.txt").exists(), run)
}

#[test]
fn what_an_agent_may_not_do_itself_it_cannot_plan_to_be_done() {
    let argv = ["sh", "-c", "echo x > planned.txt"];
    let by_program = json!({ "id": "a", "skill": "exec.run", "inputs": { "argv": argv }, "retries": 0 });
    let by_agent = json!({ "id": "a", "agent": "executor", "task": "say something", "retries": 0 });
    let check = |planner: &str, step: &Value, wanted: bool| {
        let (written, run) = planned_as(planner, step);
        assert_eq!(written, wanted && step["skill"].is_string(), "{planner}: {run}");
        let status = if wanted { "succeeded" } else { "failed" };
        assert_eq!(run["status"], status, "{planner}: {run}");
    };
    check("", &by_program, true);
    check("capabilities = [\"exec:sh\", \"fs.write\"]\n", &by_program, true);
    check("capabilities = [\"fs.read\"]\n", &by_program, false);
    check("approvals = { \"*\" = \"deny\" }\n", &by_program, false);
    check("", &by_agent, true);
    check("capabilities = [\"agent:executor\"]\n", &by_agent, true);
    check("capabilities = [\"agent:reviewer\"]\n", &by_agent, false);
    check("capabilities = []\n", &by_agent, false);
}

#[test]
fn a_program_touches_no_more_than_whoever_runs_it_may() {
    let home = TestHome::new("");
    let work = home.workspace();
    for folder in ["src", "out", "deep/src"] {
        std::fs::create_dir_all(work.join(folder)).expect("made");
    }
    for file in ["src/a.txt", "deep/src/a.txt", "a.txt"] {
        std::fs::write(work.join(file), "kept-7731").expect("written");
    }
    std::os::unix::fs::symlink("../deep", work.join("src/way")).expect("linked");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let run = |capabilities: Option<&[&str]>, skill: &str, inputs: Value| {
        let steps = json!([{ "id": "a", "skill": skill, "inputs": inputs, "retries": 0 }]);
        let mut body = json!({ "task": "x", "workspace": work, "plan": { "goal": "x", "steps": steps } });
        if let Some(capabilities) = capabilities {
            body["capabilities"] = json!(capabilities);
        }
        let id = rim.submit(&body);
        rim.ended(&id);
        let events = rim.events(&id);
        of_kind(&events, "call.finished")
            .first()
            .map_or_else(String::new, |call| call["content"].to_string())
    };
    let reads = |capabilities: Option<&[&str]>, file: &str, wanted: bool| {
        let said = run(capabilities, "exec.run", json!({ "argv": ["cat", file] }));
        assert_eq!(said.contains("kept-7731"), wanted, "{capabilities:?} {file}: {said}");
        let script = format!("cat {file}");
        let said = run(capabilities, "code.run", json!({ "language": "sh", "code": script }));
        let may_run = capabilities.is_none_or(|list| list.contains(&"exec"));
        assert_eq!(
            said.contains("kept-7731"),
            wanted && may_run,
            "{capabilities:?} {file}: {said}"
        );
    };
    reads(None, "a.txt", true);
    reads(Some(&["exec", "fs.read"]), "deep/src/a.txt", true);
    reads(Some(&["exec:cat", "fs.read:src"]), "src/a.txt", true);
    reads(Some(&["exec", "fs.read:src"]), "src/a.txt", true);
    reads(Some(&["exec", "fs.read:src"]), "a.txt", false);
    reads(Some(&["exec", "fs.read:src"]), "src/way/src/a.txt", false);
    reads(Some(&["exec", "fs.read:src/a.txt"]), "src/a.txt", true);
    reads(Some(&["exec"]), "src/a.txt", false);
    reads(Some(&["fs.read"]), "a.txt", false);
    let writes = |capabilities: Option<&[&str]>, file: &str, wanted: bool| {
        let said = run(capabilities, "exec.run", json!({ "argv": ["touch", file] }));
        assert_eq!(work.join(file).exists(), wanted, "{capabilities:?} {file}: {said}");
        std::fs::remove_file(work.join(file)).ok();
    };
    writes(None, "new", true);
    writes(Some(&["exec:touch", "fs.write"]), "new", true);
    writes(Some(&["exec:touch", "fs.write:out"]), "out/new", true);
    writes(Some(&["exec:touch", "fs.write:out"]), "new", false);
    writes(Some(&["exec:touch", "fs.read"]), "new", false);
    writes(Some(&["exec:touch"]), "new", false);
}
