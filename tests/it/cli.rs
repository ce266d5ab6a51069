//! The program as people and scripts use it: every command on a real home, with its files, exit codes and JSON.

use std::io::BufRead as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::{RUN_MAX, Rim};
use crate::support::wait::until;

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The last of several documents.
    fn last_json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

fn end(command: &mut Command) -> Ended {
    command.stdin(Stdio::null()).output().expect("the binary runs").into()
}

/// Runs a command line on a home; a word in it has no blanks.
fn claw(home: &TestHome, line: &str) -> Ended {
    end(home
        .command()
        .args(line.split_whitespace())
        .current_dir(home.workspace()))
}

/// Runs a command line and checks its exit code.
fn claw_ends(home: &TestHome, line: &str, code: i32) -> Ended {
    let ended = claw(home, line);
    assert_eq!(ended.code, Some(code), "{line}: {ended:?}");
    ended
}

/// A home of which nothing is there yet.
fn empty_home() -> TestHome {
    let home = TestHome::new("");
    std::fs::remove_dir_all(home.path()).expect("removed");
    home
}

fn time(value: &Value) -> jiff::Timestamp {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("a time: {value}"))
}

#[test]
fn quickstart_takes_a_free_port_when_the_default_is_used_and_nobody_chose_one() {
    // Either this listener has it, or another program on the machine.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", 8080));
    let home = empty_home();
    home.write_project();
    let ended = claw_ends(&home, "quickstart --once", 0);
    assert!(
        ended.err.contains("port 8080 is used by another program"),
        "{}",
        ended.err
    );
    // A port that somebody chose is not changed behind their back.
    let other = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = other.local_addr().expect("an address").port();
    let ended = claw_ends(&home, &format!("quickstart --once --port {port}"), 4);
    assert!(ended.err.contains("OC-7003"), "{}", ended.err);
}

#[test]
fn quickstart_does_a_real_task_on_a_fresh_machine_and_ends() {
    let home = empty_home();
    home.write_project();
    let ended = claw_ends(&home, "quickstart --once --port 0 --json", 0);
    let document = ended.last_json();
    let run = &document["run"];
    assert_eq!(run["status"], "succeeded", "{run}");
    let review = std::fs::read_to_string(home.workspace().join("REVIEW.md")).expect("the review");
    assert!(review.contains("src/main.rs") && review.len() >= 200, "{review}");
    assert_eq!(document["file"]["bytes"], review.len());
    assert!(home.path().join("openclaw.toml").exists() && home.path().join("state/operator.key").exists());
    assert!(!home.path().join("state/daemon.json").exists(), "the daemon has ended");

    // Three steps that need nobody ran beside each other: each began before any of them had ended.
    let steps = run["steps"].as_array().expect("steps");
    let free: Vec<&Value> = steps
        .iter()
        .filter(|step| step["work"]["agent"] == "executor")
        .collect();
    assert!(free.len() >= 3, "{steps:?}");
    let latest_start = free.iter().map(|step| time(&step["started_at"])).max();
    let last_end = free.iter().map(|step| time(&step["ended_at"])).max();
    assert!(latest_start < last_end, "{free:?}");
    let entries = document["timeline"].as_array().expect("a time line");
    let place = |kind: &str, id: &Value| {
        entries
            .iter()
            .position(|entry| entry["kind"] == kind && &entry["step"] == id)
            .expect("a fact of the step")
    };
    let plan_end = entries
        .iter()
        .position(|entry| entry["kind"] == "plan.accepted")
        .expect("a plan");
    let draft = place("step.leased", &json!("draft"));
    for step in &free {
        let id = &step["id"];
        let (begun, done) = (place("step.leased", id), place("step.done", id));
        assert!(plan_end < begun && done < draft, "{id}: the draft needs all of them");
    }
    let by_others = |step: &Value| entries[place("step.leased", &step["id"])..place("step.done", &step["id"])].to_vec();
    let interleaved = free.iter().filter(|step| {
        by_others(step)
            .iter()
            .any(|entry| entry["step"] != step["id"] && free.iter().any(|other| other["id"] == entry["step"]))
    });
    assert!(interleaved.count() >= 3, "facts of the free steps are interleaved");
    let mut names: Vec<&str> = run.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    insta::assert_snapshot!(names.join(" "), @"accepted_at agent deadline ended_at id origin reason result retry_of status steps task tokens trace_id url waiting workspace");

    // Again, for people, on the home that is there: a new run, a new file, the time line in words.
    let ended = claw_ends(&home, "quickstart --once --port 0", 0);
    for words in [
        "Time line",
        "run.accepted",
        "run.done",
        "REVIEW.md",
        "succeeded",
        "review",
        "draft",
    ] {
        assert!(ended.out.contains(words), "{words}: {}", ended.out);
    }
    assert!(
        !ended.out.contains('\u{1b}'),
        "no colours without a terminal: {}",
        ended.out
    );
}

#[test]
fn init_makes_a_home_and_is_harmless_on_one() {
    let home = empty_home();
    let made = claw_ends(&home, "init --gateway --port 8099", 0);
    assert!(made.out.contains("made"), "{made:?}");
    let file = home.path().join("openclaw.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    assert!(
        text.contains("\nport = 8099\n") && text.contains("\nbind = \"127.0.0.1\"\n"),
        "{text}"
    );
    let key = home.operator_key();
    assert!(key.starts_with("ocl_"));
    let mode = std::os::unix::fs::MetadataExt::mode(
        &std::fs::metadata(home.path().join("state/operator.key")).expect("there"),
    );
    assert_eq!(mode & 0o777, 0o600, "only the owner reads the key");

    std::fs::write(&file, format!("# mine\n{text}")).expect("written");
    let again = claw_ends(&home, "init --gateway --port 8099", 0);
    assert!(again.out.contains("nothing to do"), "{again:?}");
    let again = claw_ends(&home, "init --json", 0).json();
    assert_eq!((&again["made"], &again["changed"]), (&json!([]), &json!([])));
    assert_eq!(
        std::fs::read_to_string(&file).expect("there"),
        format!("# mine\n{text}")
    );
    assert_eq!(home.operator_key(), key);
    let moved = claw_ends(&home, "init --port 8100", 0);
    assert!(moved.out.contains("changed  gateway.port: 8099 → 8100"), "{moved:?}");
    assert!(std::fs::read_to_string(&file).expect("there").starts_with("# mine\n"));

    let foreign = empty_home();
    std::fs::create_dir_all(foreign.path()).expect("a folder");
    std::fs::write(foreign.path().join("openclaw.json"), "{}").expect("written");
    let refused = claw_ends(&foreign, "init", 1);
    assert!(
        refused.err.contains("OC-7006") && refused.err.contains("hint:"),
        "{refused:?}"
    );
}

#[test]
fn the_documented_lines_work_exactly_so() {
    let home = empty_home();
    claw_ends(&home, "init --gateway --port 8080", 0);
    let file = home.path().join("openclaw.toml");
    let before = std::fs::read_to_string(&file).expect("there");
    std::fs::write(
        &file,
        before.replace("[agent]\n", "# Why: our agents are slow.\n[agent] # here\n"),
    )
    .expect("written");
    claw_ends(&home, "agent create planner --model claude-sonnet", 0);
    claw_ends(&home, "config set gateway.timeout 120000", 0);
    claw_ends(&home, "config set agent.maxRetries 3", 0);
    claw_ends(&home, "config set memory.gcInterval 3600", 0);
    let agent = std::fs::read_to_string(home.path().join("agents/planner.toml")).expect("the agent");
    assert!(
        agent.contains("role = \"planner\"\nmodel = \"claude-sonnet\"\n"),
        "{agent}"
    );
    let text = std::fs::read_to_string(&file).expect("there");
    for line in [
        "timeout = 120000",
        "maxRetries = 3",
        "gcInterval = 3600",
        "# Why: our agents are slow.",
        "[agent] # here",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}: {text}");
    }
    // What had been a default in a comment is a value now; everything else stays.
    let set = ["# timeout = 120000", "# maxRetries = 3", "# gcInterval = 3600"];
    let is_kept = |line: &&str| !line.is_empty() && *line != "[agent]" && !set.contains(line);
    for line in before.lines().filter(is_kept) {
        assert!(text.lines().any(|own| own == line), "{line} is gone:\n{text}");
    }
    claw_ends(&home, "config validate", 0);
    assert_eq!(claw_ends(&home, "config get agent.maxRetries", 0).out.trim(), "3");
    let set = claw_ends(&home, "config get gateway.timeout --json", 0).json();
    assert_eq!(set["value"], 120_000);
    assert!(
        set["origin"]
            .as_str()
            .is_some_and(|origin| origin.contains("openclaw.toml:")),
        "{set}"
    );
    let list = claw_ends(&home, "config list --json", 0).json();
    let find = |key: &str| {
        let settings = list["settings"].as_array().expect("settings");
        settings
            .iter()
            .find(|setting| setting["key"] == key)
            .cloned()
            .unwrap_or_else(|| panic!("{key}: {list}"))
    };
    assert_eq!(
        (
            &find("gateway.keepalive")["value"],
            &find("gateway.keepalive")["origin"]
        ),
        (&json!(10_000), &json!("default"))
    );
    assert_eq!(find("memory.gcInterval")["unit"], "s");
    claw_ends(&home, "agent create planner --model claude-sonnet", 4);
    let agents = claw_ends(&home, "agent list --json", 0).json();
    let names: Vec<&str> = agents["agents"]
        .as_array()
        .expect("agents")
        .iter()
        .filter_map(|agent| agent["name"].as_str())
        .collect();
    assert_eq!(names, ["coder", "debugger", "executor", "planner", "reviewer"]);
    let planner = claw_ends(&home, "agent show planner --json", 0).json();
    assert_eq!(
        (&planner["model"], &planner["role"]),
        (&json!("claude-sonnet"), &json!("planner"))
    );
}

#[test]
fn a_wrong_configuration_is_named_by_file_line_key_and_what_is_allowed() {
    let check = |text: &str, said: &[&str]| {
        let home = TestHome::new(text);
        let ended = claw_ends(&home, "config validate", 1);
        let shown = claw_ends(&home, "config validate --json", 1).json();
        assert_eq!(shown["valid"], false);
        for words in said {
            assert!(ended.err.contains(words), "{words}: {}", ended.err);
        }
        let start = claw_ends(&home, "start --port 0", 2);
        assert!(start.err.contains("OC-600") && start.err.contains(said[0]), "{start:?}");
        shown
    };
    let shown = check(
        "[gateway]\n\nport = 99999\ntimeout = \"soon\"\n",
        &[
            "openclaw.toml:3",
            "gateway.port",
            "99999",
            "0 to 65535",
            "gateway.timeout",
        ],
    );
    assert_eq!(
        shown["errors"].as_array().map(Vec::len),
        Some(2),
        "all at once: {shown}"
    );
    assert_eq!(
        (&shown["errors"][0]["line"], &shown["errors"][0]["key"]),
        (&json!(3), &json!("gateway.port"))
    );
    check("[gateway\nport = 1\n", &["openclaw.toml:1"]);
    check(
        "[models.m]\nprovider = \"openai\"\napiKey = \"sk-real-secret\"\n",
        &["openclaw.toml:3", "apiKey"],
    );

    let home = TestHome::new("[gateway]\ntimout = 5\n");
    let ended = claw_ends(&home, "config validate --json", 0).json();
    let warning = ended["warnings"][0].as_str().expect("a warning").to_owned();
    assert!(
        warning.contains("gateway.timout") && warning.contains("gateway.timeout"),
        "{warning}"
    );
    for (line, code, said) in [
        ("config get gateway.timout", 3, "did you mean `gateway.timeout`?"),
        ("config set gateway.timout 5", 3, "OC-6003"),
        ("config set gateway.timeout soon", 2, "OC-6002"),
        ("config set agent.maxRetries -1", 2, "0 to 100"),
        ("agent create zed --model nope", 2, "OC-4001"),
        ("agent create Zed --model offline", 2, ""),
        ("agent show nobody", 3, "OC-1005"),
        ("frobnicate", 2, ""),
        ("run", 2, ""),
    ] {
        let ended = claw_ends(&home, line, code);
        assert!(ended.err.contains(said) && ended.out.is_empty(), "{line}: {ended:?}");
    }
}

#[test]
fn without_a_daemon_commands_say_so_with_5_and_in_json_too() {
    let home = TestHome::new("[gateway]\nport = 1\n");
    std::fs::create_dir_all(home.path().join("state")).expect("a folder");
    for line in [
        "status",
        "tree",
        "tree --watch",
        "top",
        "runs list",
        "run something",
        "stop",
        "runs show run_01arz3ndektsv4rrffq69g5fav",
    ] {
        let ended = claw_ends(&home, line, 5);
        assert!(
            ended.err.contains("[OC-7001]") && ended.err.contains("hint:") && ended.out.is_empty(),
            "{ended:?}"
        );
        let ended = claw_ends(&home, &format!("{line} --json"), 5);
        let error: Value = serde_json::from_str(&ended.err).unwrap_or_else(|_| panic!("JSON: {ended:?}"));
        assert_eq!(
            (&error["error"]["code"], &error["error"]["type"]),
            (&json!("OC-7001"), &json!("daemon_unreachable"))
        );
        assert!(
            error["error"]["hint"].is_string() && error["error"]["causes"].is_array(),
            "{error}"
        );
    }
}

#[test]
fn a_second_daemon_is_refused_and_so_is_a_taken_port() {
    let home = TestHome::new("");
    let daemon = home.start();
    let second = claw_ends(&home, "start --port 0", 4);
    assert!(
        second.err.contains("[OC-7004]") && second.err.contains("hint:"),
        "{second:?}"
    );
    let port = daemon.url.rsplit(':').next().expect("a port");
    let other = TestHome::new("");
    let taken = claw_ends(&other, &format!("start --port {port}"), 4);
    assert!(
        taken.err.contains("[OC-7003]") && taken.err.contains("config set gateway.port"),
        "{taken:?}"
    );
    assert_eq!(Rim::of(&daemon).get("/livez").status, 200, "the first one serves on");
    let status = claw_ends(&home, "status --json", 0).json();
    assert_eq!(status["pid"], daemon.pid());
}

/// Writes a plan of one step that runs this script and gives the file's name.
fn plan_file(home: &TestHome, name: &str, script: &str) -> String {
    let step = json!({ "id": "a", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", script] }, "retries": 0,
        "checks": [{ "type": "exit_code" }] });
    let file = home.path().join(name);
    std::fs::write(&file, json!({ "steps": [step] }).to_string()).expect("written");
    file.display().to_string()
}

#[test]
fn runs_are_given_followed_listed_shown_cancelled_and_retried() {
    let home = TestHome::new("");
    std::fs::write(home.workspace().join("README.md"), "# Demo\n\nA small project.\n").expect("written");
    let mut daemon = home.start();

    let followed = claw_ends(&home, "run Summarise README.md --agent executor --follow", 0);
    assert!(
        followed.out.contains("succeeded") && followed.err.contains("accepted"),
        "{followed:?}"
    );
    let followed = claw_ends(&home, "run Summarise README.md --follow --json", 0);
    let kinds: Vec<String> = followed
        .out
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("one document a line");
            line["event"].as_str().unwrap_or("(run)").to_owned()
        })
        .collect();
    assert_eq!(
        (
            kinds[0].as_str(),
            kinds[kinds.len() - 2].as_str(),
            kinds[kinds.len() - 1].as_str()
        ),
        ("run.accepted", "run.done", "(run)")
    );
    let first = followed.last_json()["run"]["id"].as_str().expect("an id").to_owned();

    // A run that fails, one that waits.
    let fails = plan_file(&home, "fails.json", "exit 3");
    let failed = claw_ends(&home, &format!("run x --plan {fails} --wait 60s --json"), 1).json();
    assert_eq!(failed["run"]["status"], "failed", "{failed}");
    let failed = failed["run"]["id"].as_str().expect("an id").to_owned();
    let waits = plan_file(&home, "waits.json", "while :; do sleep 0.05; done");
    let given = claw_ends(&home, &format!("run x --plan {waits}"), 0);
    let waiting = given
        .out
        .lines()
        .next()
        .expect("the id alone on the first line")
        .to_owned();

    let shown = claw_ends(&home, &format!("runs show {first} --timeline"), 0);
    assert!(
        shown.out.contains("run.accepted") && shown.out.contains("succeeded"),
        "{shown:?}"
    );
    let shown = claw_ends(&home, &format!("runs show {first} --timeline --json"), 0).json();
    assert!(
        shown["timeline"][0]["seq"].is_u64() && shown["run"]["id"] == json!(first),
        "{shown}"
    );
    let listed = |line: &str| {
        let list = claw_ends(&home, line, 0).json();
        list["runs"]
            .as_array()
            .expect("runs")
            .iter()
            .map(|run| run["id"].as_str().expect("an id").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        listed("runs list --status active --json"),
        std::slice::from_ref(&waiting)
    );
    assert_eq!(
        listed("runs list --status failed --json"),
        std::slice::from_ref(&failed)
    );
    assert_eq!(listed("runs list --json").len(), 4);
    assert_eq!(
        listed("runs list --limit 1 --json"),
        std::slice::from_ref(&waiting),
        "the newest first"
    );
    let page = claw_ends(&home, "runs list --limit 3 --json", 0).json();
    let cursor = page["next"].as_str().expect("more");
    assert_eq!(
        listed(&format!("runs list --limit 3 --cursor {cursor} --json")).len(),
        1
    );
    assert!(claw_ends(&home, "runs list", 0).out.starts_with("RUN "));

    // Followed by another process while it is cancelled; its exit code is the outcome.
    let mut watch = home.command();
    watch
        .args(["runs", "watch", &waiting])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let watch = watch.spawn().expect("starts");
    claw_ends(&home, &format!("runs retry {waiting}"), 4);
    claw_ends(&home, &format!("runs cancel {waiting} --reason enough"), 0);
    let watched: Ended = watch.wait_with_output().expect("ends").into();
    assert!(
        watched.code == Some(1) && watched.out.contains("cancelled"),
        "{watched:?}"
    );
    claw_ends(&home, &format!("runs cancel {waiting}"), 4);
    let again = claw_ends(&home, &format!("runs retry {failed} --follow --json"), 1).last_json();
    assert_eq!(
        (&again["run"]["retry_of"], &again["run"]["status"]),
        (&json!(failed), &json!("failed"))
    );
    claw_ends(&home, "runs show run_01arz3ndektsv4rrffq69g5fav", 3);
    claw_ends(&home, "runs show nonsense", 2);
    claw_ends(&home, "run x --agent nobody", 3);

    // The same key is the same run; with another text it is refused.
    let one = claw_ends(
        &home,
        "run Summarise README.md --agent executor --idempotency-key k1 --json",
        0,
    )
    .json();
    let two = claw_ends(
        &home,
        "run Summarise README.md --agent executor --idempotency-key k1 --json",
        0,
    )
    .json();
    assert_eq!(one["run"]["id"], two["run"]["id"]);
    let other = claw_ends(&home, "run Other --idempotency-key k1", 4);
    assert!(other.err.contains("OC-1003"), "{other:?}");

    let refused = claw_ends(&home, "status --key ocl_wrong", 4);
    assert!(refused.err.contains("OC-2002"), "{refused:?}");
    let status = claw_ends(&home, "status --json", 0).json();
    assert_eq!(
        (&status["runs"]["parked"], &status["ready"]),
        (&json!(0), &json!(true)),
        "{status}"
    );
    let tree = claw_ends(&home, "tree --json", 0).json();
    let layers: Vec<&str> = tree["children"]
        .as_array()
        .expect("layers")
        .iter()
        .filter_map(|child| child["id"].as_str())
        .collect();
    assert_eq!(
        layers,
        [
            "storage",
            "identity",
            "llm",
            "memory",
            "skills",
            "agents",
            "runs",
            "automation",
            "health",
            "gateway"
        ]
    );
    assert!(claw_ends(&home, "tree", 0).out.contains("dispatcher"));
    let top = claw_ends(&home, "top --once --rows 3", 0).out;
    assert!(top.contains("MiB resident") && top.contains("ACTOR"), "{top}");
    let top = claw_ends(&home, "top --once --rows 3 --json", 0).json();
    assert_eq!(top["actors"].as_array().map(Vec::len), Some(3), "{top}");
    assert!(
        top["status"]["process"]["resident_bytes"].as_u64() > Some(1 << 20),
        "{top}"
    );
    for line in ["top", "tree --watch"] {
        let drawn = pictures(&home, line);
        assert!(drawn.iter().all(|picture| picture.contains("root/")), "{drawn:?}");
    }
    assert!(claw_ends(&home, "agent show executor", 0).out.contains("tokens_today"));
    claw_ends(&home, "stop", 0);
    assert!(daemon.wait_end(RUN_MAX).success(), "{}", home.words());
}

/// Two pictures of a command that goes on drawing them; it ends when nobody reads any more.
fn pictures(home: &TestHome, line: &str) -> Vec<String> {
    let mut command = home.command();
    command.args(line.split(' ')).args(["--every", "50ms", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let pictures = out.lines().take(2).map(|line| line.expect("a line")).collect();
    let status = until("the command to end", RUN_MAX, || {
        child.try_wait().expect("a child").ok_or("it goes on")
    });
    assert!(status.success(), "{line}: {status}");
    pictures
}

#[test]
fn a_run_whose_effect_is_not_known_ends_with_6() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let waits = plan_file(&home, "waits.json", "touch begun; while :; do sleep 0.05; done");
    let given = claw_ends(&home, &format!("run x --plan {waits}"), 0);
    let id = given.out.lines().next().expect("the id").to_owned();
    until("the program to begin", RUN_MAX, || {
        if home.workspace().join("begun").exists() {
            Ok(())
        } else {
            Err(rim.run(&id))
        }
    });
    daemon.kill();
    let _daemon = home.start();
    let watched = claw_ends(&home, &format!("runs watch {id}"), 6);
    assert!(watched.out.contains("unknown"), "{watched:?}");
}

#[test]
fn a_changed_package_that_is_added_again_keeps_what_it_was_granted_until_that_is_taken_away() {
    let home = TestHome::new("");
    let folder = home.workspace().join("tool");
    std::fs::create_dir_all(&folder).expect("a folder");
    let write = |text: &str| std::fs::write(folder.join("SKILL.md"), text).expect("written");
    let check = |line: &str, granted: &[&str]| {
        let added = claw_ends(&home, &format!("{line} --json"), 0).json();
        assert_eq!(added["capabilities"], json!(granted), "{line}");
        added
    };
    write("---\nname: tool\ndescription: A tool.\n---\n");
    check("skill add ./tool --capability exec", &["exec:*"]);
    write("---\nname: tool\ndescription: A better tool.\n---\n");
    check("skill add ./tool", &["exec:*"]);
    check("skill add ./tool --capability net:docs.rs:443", &["net:docs.rs:443"]);
    check("skill add ./tool --capability none", &[]);
    check("skill add ./tool", &[]);
    for line in ["skill add ./nope", "skill check ./nope", "skill add nope.zip"] {
        let ended = claw_ends(&home, line, 3);
        assert!(
            ended.err.contains("[OC-5010]") || ended.err.contains("there is no"),
            "{line}: {ended:?}"
        );
    }
    // Its files at the top of an archive: the archive's name is its folder's.
    write("---\nname: My Tool\ndescription: A tool.\n---\n");
    let packed = Command::new("tar")
        .args(["-czf", "../my-tool.tar.gz", "SKILL.md"])
        .current_dir(&folder)
        .status();
    assert!(packed.expect("tar").success());
    for _ in 0..2 {
        let added = check("skill add my-tool.tar.gz", &[]);
        assert_eq!(added["name"], "my-tool");
    }
}

#[test]
fn a_package_is_added_from_an_archive_and_a_hostile_one_leaves_nothing() {
    let home = TestHome::new("");
    let work = home.workspace();
    std::fs::create_dir_all(work.join("forms/scripts")).expect("folders");
    let front = "---\nname: forms\ndescription: Fills forms.\n---\nBody.\n";
    std::fs::write(work.join("forms/SKILL.md"), front).expect("written");
    std::fs::write(work.join("forms/scripts/fill.sh"), "echo").expect("written");
    let tar = |archive: &str, what: &[&str]| {
        let made = Command::new("tar")
            .arg("-czf")
            .arg(archive)
            .args(what)
            .current_dir(&work)
            .status();
        assert!(made.expect("tar").success(), "{archive}");
    };
    tar("forms.tar.gz", &["forms"]);
    claw_ends(&home, "skill check forms.tar.gz", 0);
    let added = claw_ends(&home, "skill add forms.tar.gz --json", 0).json();
    assert_eq!(added["name"], "forms");
    let there = home.path().join("skills/forms");
    assert_eq!(added["folder"], there.to_str().expect("text"));
    assert_eq!(std::fs::read_to_string(there.join("SKILL.md")).expect("there"), front);
    // The same files give the same hash, however they came.
    assert_eq!(
        claw_ends(&home, "skill add ./forms --json", 0).json()["hash"],
        added["hash"]
    );
    std::os::unix::fs::symlink("/etc/passwd", work.join("forms/words")).expect("link");
    tar("bad.tar.gz", &["forms"]);
    for line in ["skill add bad.tar.gz", "skill check bad.tar.gz"] {
        let refused = claw(&home, line);
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!(
            refused.err.contains("OC-5040") && refused.err.contains("it is a link"),
            "{refused:?}"
        );
    }
    assert!(!there.join("words").exists(), "what was there is as it was");
}

#[test]
fn packages_of_a_workspace_are_listed_and_checked_with_what_is_wrong_with_them() {
    let home = TestHome::new("");
    let packages = home.workspace().join(".agents/skills");
    for (name, text) in [
        ("theirs", "---\nname: theirs\ndescription: Does theirs.\n---\nBody.\n"),
        ("broken", "no front matter"),
    ] {
        std::fs::create_dir_all(packages.join(name)).expect("folders");
        std::fs::write(packages.join(name).join("SKILL.md"), text).expect("written");
    }
    claw_ends(&home, "skill check", 0);
    let checked = claw_ends(&home, "skill check --workspace . --json", 1).json();
    assert_eq!(checked["packages"], json!(["theirs"]), "{checked}");
    assert!(
        checked["warnings"][0]["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("broken/SKILL.md")),
        "{checked}"
    );
    let _daemon = home.start();
    let listed = claw_ends(&home, "skill list --json", 0).json();
    assert_eq!(listed["packages"], json!([]), "{listed}");
    let listed = claw_ends(&home, "skill list --workspace .", 0);
    assert!(
        listed.out.contains("theirs") && listed.out.contains("workspace"),
        "{listed:?}"
    );
    assert!(
        listed.err.contains("broken/SKILL.md:1") && listed.err.contains("left out"),
        "{listed:?}"
    );
    assert_ne!(claw(&home, "skill list --workspace none").code, Some(0));
    let shown = claw_ends(&home, "skill show fs.move --json", 0).json();
    let skill = &shown["skill"];
    assert_eq!(
        skill["examples"][0],
        json!({"from": "notes.txt", "to": "docs/notes.txt"}),
        "{shown}"
    );
    assert_eq!(
        (&skill["approval"], &skill["undo"]),
        (&json!("auto"), &Value::Null),
        "{shown}"
    );
    assert!(
        skill["needs"]
            .as_array()
            .is_some_and(|needs| needs.contains(&json!("fs.write:*"))),
        "{shown}"
    );
    assert!(
        skill["output_bytes_max"].is_u64() && skill["resources"] == json!([]),
        "{shown}"
    );
}
