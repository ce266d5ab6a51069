//! Whole command lines in a temporary home.

use std::path::Path;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::cli::fake::{Answer, Seen, with_gateway, with_stoppable_gateway};
use crate::cli::output::capture;
use crate::cli::seam::{KeyMade, Ready};
use crate::daemon::config::schedule::to_toml;
use crate::daemon::config::{DaemonFile, Loaded, file};
use crate::domain::time::UtcMillis;

/// A daemon that makes a key and has no wish to run.
struct NoDaemon;

impl DaemonSeam for NoDaemon {
    fn make_operator_key(&self, home: &Home) -> Result<KeyMade, CliError> {
        let path = home.operator_key_file();
        if path.exists() {
            return Ok(KeyMade::Present);
        }
        file::replace(&path, b"ocl_1_2\n", 0o600).expect("written");
        Ok(KeyMade::New)
    }

    async fn serve(&self, _: &Home, _: Loaded, _: oneshot::Sender<Ready>) -> Result<(), CliError> {
        Ok(())
    }
}

/// What a command line printed, and its exit code.
struct Ran {
    exit: i32,
    out: String,
    err: String,
}

async fn command(home: &Path, line: &[&str]) -> Ran {
    command_with(home, line, &NoDaemon).await
}

async fn command_with(home: &Path, line: &[&str], daemon: &impl DaemonSeam) -> Ran {
    let first = ["openclaw", "--home", home.to_str().expect("UTF-8")];
    let arguments = Arguments::try_parse_from(first.iter().chain(line)).expect("parses");
    let (output, out, err) = capture::output(arguments.global.json);
    let overrides = Overrides::default();
    let found = Home::find(arguments.global.home.as_deref(), &overrides.environment).expect("a home");
    let mut context = Context {
        home: found,
        overrides,
        global: arguments.global,
        output,
    };
    let result = dispatch(&mut context, arguments.command, daemon).await;
    let exit = match result {
        Ok(exit) => exit,
        Err(error) => fail(&mut context.output, &error),
    };
    let tidy = |text: String| text.replace(home.to_str().expect("UTF-8"), "HOME");
    Ran {
        exit: exit as i32,
        out: tidy(out.text()),
        err: tidy(err.text()),
    }
}

fn blocking(home: &Path, line: &[&str]) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(command(home, line))
}

fn ready_home() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    assert_eq!(blocking(folder.path(), &["init"]).exit, 0);
    folder
}

#[test]
fn the_documented_lines_work_in_their_order() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let check = |line: &[&str], wanted: &str| {
        let ran = blocking(folder.path(), line);
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{line:?}");
        assert!(ran.out.contains(wanted), "{line:?}: {}", ran.out);
    };
    check(&["init", "--gateway", "--port", "8090"], "made     HOME/openclaw.toml");
    check(
        &["agent", "create", "planner", "--model", "claude-sonnet"],
        "planner asks claude-sonnet, as planner",
    );
    check(
        &["config", "set", "gateway.timeout", "120000"],
        "gateway.timeout: default → 120000",
    );
    check(
        &["config", "set", "agent.maxRetries", "3"],
        "agent.maxRetries: default → 3",
    );
    check(
        &["config", "set", "memory.gcInterval", "3600"],
        "memory.gcInterval: default → 3600",
    );
    check(&["config", "get", "gateway.port"], "8090");
    check(&["config", "validate"], "good: 5 agents");
    check(&["init"], "nothing to do: HOME is set up already");
    check(&["init", "--gateway"], "nothing to do");
    check(&["init", "--port", "8091"], "changed  gateway.port: 8090 → 8091");
    check(&["config", "list"], "gateway.port");
}

#[test]
fn refusals_have_their_exit_codes_and_hints() {
    let folder = ready_home();
    std::fs::write(folder.path().join("agents/alma.toml"), "model = \"offline\"\n").expect("written");
    let check = |line: &[&str], exit: i32, wanted: &[&str]| {
        let ran = blocking(folder.path(), line);
        assert_eq!(ran.exit, exit, "{line:?}: {}", ran.err);
        for part in wanted {
            assert!(ran.err.contains(part), "{line:?}: {}", ran.err);
        }
    };
    check(
        &["config", "set", "gateway.port", "x"],
        2,
        &["found \"x\"", "from 0 to 65535", "[OC-6002]"],
    );
    check(
        &["config", "set", "gateway.prot", "1"],
        3,
        &["[OC-6003]", "hint: did you mean `gateway.port`?"],
    );
    check(&["config", "get", "nothing.here"], 3, &["[OC-6003]"]);
    check(
        &["config", "set", "models.claude-sonnet.apiKey", "sk-1"],
        2,
        &["${NAME_OF_A_VARIABLE}"],
    );
    check(&["agent", "create", "alma", "--model", "offline"], 4, &["[OC-7007]"]);
    check(
        &["agent", "create", "bert", "--model", "none"],
        2,
        &["[OC-4001]", "claude-sonnet"],
    );
    check(&["agent", "show", "nobody"], 3, &["[OC-1005]"]);
    std::fs::write(folder.path().join("agents/other.toml"), "name = \"carla\"\n").expect("written");
    check(
        &["agent", "create", "carla", "--model", "offline"],
        2,
        &["a name that is not taken"],
    );
    assert!(
        !folder.path().join("agents/carla.toml").exists(),
        "what breaks the configuration is taken back"
    );
    check(&["status", "--url", "http://example.org"], 2, &["in clear text"]);
    std::fs::write(folder.path().join("openclaw.toml"), "[gateway]\nport = 99999\n").expect("written");
    check(
        &["config", "validate"],
        1,
        &["HOME/openclaw.toml:2: gateway.port: found 99999"],
    );
    check(&["start"], 2, &["HOME/openclaw.toml:2"]);
    let empty = tempfile::tempdir().expect("temporary folder");
    let ran = blocking(empty.path(), &["config", "set", "gateway.port", "1"]);
    assert_eq!(ran.exit, 3, "{}", ran.err);
    assert!(
        ran.err.contains("[OC-7002]") && ran.err.contains("openclaw init"),
        "{}",
        ran.err
    );
}

#[test]
fn with_json_errors_are_json_on_the_standard_error() {
    let folder = ready_home();
    let ran = blocking(folder.path(), &["config", "get", "gateway.prot", "--json"]);
    let error: Value = serde_json::from_str(&ran.err).expect("JSON");
    assert_eq!(
        (error["error"]["code"].as_str(), error["error"]["type"].as_str()),
        (Some("OC-6003"), Some("config_key"))
    );
    assert_eq!(ran.out, "");
    let ran = blocking(folder.path(), &["config", "get", "gateway.port", "--json"]);
    insta::assert_snapshot!(ran.out, @r#"{"default":8080,"doc":"Port of the gateway; 0 takes any free one.","key":"gateway.port","live":false,"origin":"default","unit":"","value":8080}"#);
}

#[test]
fn agents_are_listed_from_the_files_when_no_daemon_runs() {
    let folder = ready_home();
    // A port on which nothing listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound")
        .port();
    assert_eq!(
        blocking(folder.path(), &["config", "set", "gateway.port", &free.to_string()]).exit,
        0
    );
    let ran = blocking(folder.path(), &["agent", "list", "--json"]);
    let value: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(value["agents"].as_array().map(Vec::len), Some(5));
    assert_eq!(value["agents"][0]["active"], Value::Null);
    let ran = blocking(folder.path(), &["agent", "show", "planner"]);
    assert!(ran.out.contains("You are planner, the planner agent."), "{}", ran.out);
    assert_eq!(blocking(folder.path(), &["status"]).exit, 5);
    assert_eq!(blocking(folder.path(), &["runs", "list"]).exit, 5);
}

const RUN: &str = "run_01arz3ndektsv4rrffq69g5fav";

fn run_view(status: &str) -> Value {
    json!({ "id": RUN, "status": status, "task": "x", "tokens": 3, "result": "the result", "reason": null, "steps": [] })
}

fn story(status: &str) -> Vec<Answer> {
    let events = "id: 1\nevent: run.accepted\ndata: {\"at\":\"2026-01-02T03:04:05.000Z\"}\n\n\
                  id: 2\nevent: step.leased\ndata: {\"at\":\"2026-01-02T03:04:05.100Z\",\"step\":\"a\",\"attempt\":2}\n\n\
                  id: 3\nevent: step.failed\ndata: {\"at\":\"2026-01-02T03:04:06.500Z\",\"step\":\"a\",\"reason\":\"too \\u001b[2Jshort\"}\n\n\
                  id: 4\nevent: run.done\ndata: {\"at\":\"2026-01-02T03:04:06.600Z\",\"outcome\":\"x\"}\n\n";
    vec![
        Answer::Json(202, run_view("active")),
        Answer::Events(events.into()),
        Answer::Json(200, run_view(status)),
    ]
}

#[test]
fn a_followed_run_ends_with_its_outcome_as_exit_code() {
    let folder = ready_home();
    let check = |status: &str, exit: i32| {
        let (ran, seen) = with_gateway(story(status), async |url| {
            command(folder.path(), &["run", "x", "--follow", "--url", &url]).await
        });
        assert_eq!(ran.exit, exit, "{status}: {}", ran.err);
        assert_eq!(seen[0].key.as_deref(), Some("Bearer ocl_1_2"), "the operator's own key");
        assert!(
            seen[0]
                .idempotency_key
                .as_deref()
                .is_some_and(|key| key.starts_with("cli-"))
        );
        assert_eq!(seen[0].body["origin"], "cli");
        ran
    };
    let ran = check("succeeded", 0);
    assert!(ran.out.contains("the result"), "{}", ran.out);
    insta::assert_snapshot!(ran.err, @r"
    run_01arz3ndektsv4rrffq69g5fav accepted
       +0.0s  run                  accepted
       +0.1s  a                    started (attempt 2)
       +1.5s  a                    failed: too  [2Jshort
       +1.6s  run                  ended: x
    ");
    check("failed", 1);
    check("cancelled", 1);
    check("expired", 1);
    check("unknown", 6);
}

#[test]
fn with_json_a_followed_run_is_one_document_a_line() {
    let folder = ready_home();
    let (ran, _) = with_gateway(story("succeeded"), async |url| {
        command(folder.path(), &["run", "x", "--follow", "--json", "--url", &url]).await
    });
    let lines: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        (lines.len(), &lines[0]["event"], &lines[4]["run"]["status"]),
        (5, &json!("run.accepted"), &json!("succeeded"))
    );
    assert_eq!(ran.err, "");
}

#[test]
fn an_accepted_run_is_no_outcome_yet() {
    let folder = ready_home();
    let (ran, seen) = with_gateway(vec![Answer::Json(202, run_view("active"))], async |url| {
        command(folder.path(), &["run", "x", "--wait", "2s", "--url", &url]).await
    });
    assert_eq!((ran.exit, ran.out.lines().next()), (0, Some(RUN)));
    assert_eq!(seen[0].line, "POST /v1/runs?wait=2000");
    let (ran, _) = with_gateway(vec![Answer::Json(200, run_view("failed"))], async |url| {
        command(folder.path(), &["run", "x", "--wait", "2s", "--url", &url]).await
    });
    assert_eq!(ran.exit, 1);
}

#[test]
fn runs_are_listed_cancelled_and_repeated_at_their_addresses() {
    let folder = ready_home();
    let check = |line: &[&str], answer: Value, request: &str, wanted: &str| {
        let (ran, seen) = with_gateway(vec![Answer::Json(200, answer)], async |url| {
            let mut line = line.to_vec();
            line.extend(["--url", &url]);
            command(folder.path(), &line).await
        });
        assert_eq!((ran.exit, seen[0].line.as_str()), (0, request), "{}", ran.err);
        assert!(ran.out.contains(wanted), "{}", ran.out);
    };
    let list =
        json!({ "runs": [{ "id": RUN, "status": "failed", "task": "x", "agent": null, "tokens": 1 }], "next": "a b" });
    check(
        &["runs", "list", "--status", "failed"],
        list,
        "GET /v1/runs?limit=20&status=failed",
        "more: --cursor a b",
    );
    let cancel = format!("POST /v1/runs/{RUN}/cancel");
    check(&["runs", "cancel", RUN], run_view("active"), &cancel, "ends as soon as");
    check(
        &["runs", "retry", RUN],
        run_view("active"),
        &format!("POST /v1/runs/{RUN}/retry"),
        RUN,
    );
    check(
        &["runs", "show", RUN],
        run_view("failed"),
        &format!("GET /v1/runs/{RUN}"),
        "the result",
    );
}

/// A daemon whose gateway is a scripted one.
struct Scripted {
    gateway: String,
    stopped: std::sync::Arc<tokio::sync::Notify>,
}

impl DaemonSeam for Scripted {
    fn make_operator_key(&self, home: &Home) -> Result<KeyMade, CliError> {
        NoDaemon.make_operator_key(home)
    }

    async fn serve(&self, _: &Home, _: Loaded, ready: oneshot::Sender<Ready>) -> Result<(), CliError> {
        let gateway = self.gateway.clone();
        let admin = gateway.clone();
        let _ = ready.send(Ready { gateway, admin });
        self.stopped.notified().await;
        Ok(())
    }
}

#[test]
fn quickstart_sets_up_does_the_task_and_ends_in_order() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut answers = story("succeeded");
    let entry = json!({ "offset_ms": 5, "kind": "run.accepted", "step": null, "text": "review" });
    answers.push(Answer::Json(200, json!({ "entries": [entry] })));
    answers.push(Answer::Json(202, json!({})));
    let (ran, seen) = with_stoppable_gateway(answers, async |gateway, stopped| {
        command_with(folder.path(), &["quickstart", "--once"], &Scripted { gateway, stopped }).await
    });
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(
        ran.out.contains("the result") && ran.out.contains("+0.005s  run.accepted"),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("made HOME/openclaw.toml"), "{}", ran.err);
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
    let (events, run, timeline) = (
        format!("GET /v1/runs/{RUN}/events"),
        format!("GET /v1/runs/{RUN}"),
        format!("GET /v1/runs/{RUN}/timeline"),
    );
    assert_eq!(
        lines,
        ["POST /v1/runs", &events, &run, &timeline, "POST /admin/v1/stop"]
    );
    assert_eq!(seen[0].body["checks"][0]["path"], "REVIEW.md");
}

#[test]
fn quickstart_stops_the_daemon_also_when_the_task_was_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let refused =
        json!({ "error": { "code": "OC-1009", "type": "workspace_invalid", "message": "not a folder", "hint": null } });
    let answers = vec![Answer::Json(422, refused), Answer::Json(202, json!({}))];
    let (ran, seen) = with_stoppable_gateway(answers, async |gateway, stopped| {
        command_with(folder.path(), &["quickstart"], &Scripted { gateway, stopped }).await
    });
    assert_eq!((ran.exit, seen.len()), (2, 2), "{}", ran.err);
    assert!(ran.err.contains("error: not a folder [OC-1009]"), "{}", ran.err);
}

/// The answer of a daemon that did everything but write the file.
fn may_not_write(code: &str) -> Answer {
    let error = json!({ "code": code, "type": "x", "message": "write /x: Permission denied" });
    Answer::Json(503, json!({ "error": error }))
}

/// Runs a command line while this process is the daemon of the home.
fn beside_daemon(home: &Path, answers: Vec<Answer>, line: &[&str]) -> (Ran, Vec<Seen>) {
    with_gateway(answers, async |url| {
        let daemon = DaemonFile {
            pid: std::process::id(),
            boot: "b".into(),
            admin: Some(url.clone()),
            gateway: url,
            started_at: UtcMillis(1),
        };
        daemon.write(&Home::under(home)).expect("written");
        command(home, line).await
    })
}

#[test]
fn what_the_daemon_of_this_home_may_not_write_the_command_writes() {
    let folder = ready_home();
    let file = folder.path().join("schedules/nightly.toml");
    let add = ["cron", "add", "nightly", "0 3 * * *", "--skill", "time.now"];
    let saved = || Answer::Json(201, json!({ "name": "nightly", "starts": "skill" }));

    let (ran, seen) = beside_daemon(folder.path(), vec![may_not_write("OC-7006"), saved()], &add);
    assert_eq!((ran.exit, seen.len()), (0, 2), "{}", ran.err);
    let text = std::fs::read_to_string(&file).expect("written");
    let mut asked = seen[1].body.clone();
    let fields = asked.as_object_mut().expect("an object");
    assert_eq!(fields.remove("name"), Some(json!("nightly")));
    assert_eq!(to_toml(&asked), text, "the daemon is asked for what stands in the file");

    // Who comes too late leaves the file of the other.
    let (ran, seen) = beside_daemon(folder.path(), vec![may_not_write("OC-7006")], &add);
    assert_eq!((ran.exit, seen.len()), (1, 1), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&file).expect("there"), text);

    let remove = ["cron", "remove", "nightly"];
    let removed = Answer::Json(200, json!({ "removed": "nightly" }));
    let (ran, _) = beside_daemon(folder.path(), vec![may_not_write("OC-7006"), removed], &remove);
    assert!(ran.exit == 0 && !file.exists(), "{}", ran.err);

    let failed = vec![may_not_write("OC-7006"), may_not_write("OC-1044")];
    let (ran, _) = beside_daemon(folder.path(), failed, &add);
    assert!(
        ran.exit != 0 && !file.exists(),
        "nothing stays of what was not taken: {}",
        ran.err
    );

    let set = ["config", "set", "agent.maxRetries", "7"];
    let (ran, _) = beside_daemon(folder.path(), vec![may_not_write("OC-6004")], &set);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let config = std::fs::read_to_string(folder.path().join("openclaw.toml")).expect("there");
    assert!(config.contains("maxRetries = 7"), "{config}");
    let refused = vec![may_not_write("OC-2003")];
    let (ran, _) = beside_daemon(folder.path(), refused, &["config", "set", "agent.maxRetries", "8"]);
    assert_eq!(ran.exit, 4, "whoever may not is not helped: {}", ran.err);
    let config = std::fs::read_to_string(folder.path().join("openclaw.toml")).expect("there");
    assert!(config.contains("maxRetries = 7"), "{config}");
}

#[test]
fn nothing_is_written_for_a_daemon_that_was_named_by_its_address() {
    let folder = ready_home();
    let (ran, _) = with_gateway(vec![may_not_write("OC-7006")], async |url| {
        let line = [
            "cron",
            "add",
            "nightly",
            "0 3 * * *",
            "--skill",
            "time.now",
            "--url",
            &url,
        ];
        command(folder.path(), &line).await
    });
    assert_eq!(ran.exit, 1, "{}", ran.err);
    assert!(!folder.path().join("schedules/nightly.toml").exists());
}

#[test]
fn each_wrong_place_of_what_was_sent_is_told() {
    let folder = ready_home();
    let answer = || {
        let places = json!([{ "pointer": "/cron", "message": "found 61 for the minute, allowed is 0 to 59" }]);
        let error = json!({
            "code": "OC-1040", "type": "schedule_invalid", "message": "it is wrong in 1 places", "details": places,
        });
        vec![Answer::Json(400, json!({ "error": error }))]
    };
    let add = ["cron", "add", "b1", "61 * * * *", "--skill", "time.now"];
    let (ran, _) = beside_daemon(folder.path(), answer(), &add);
    assert_eq!(ran.exit, 2);
    assert!(
        ran.err.contains("/cron: found 61 for the minute, allowed is 0 to 59"),
        "{}",
        ran.err
    );
    let (ran, _) = beside_daemon(folder.path(), answer(), &[&add[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&ran.err).expect("JSON");
    assert_eq!(told["error"]["details"][0]["pointer"], "/cron", "{told}");
}
