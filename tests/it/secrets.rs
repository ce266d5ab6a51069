//! Secrets are planted and then looked for everywhere: in the store, in every file, in what is said, shown and counted.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::keys::cli;
use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::Rim;

/// Looks like nothing that a program would write by itself.
const CANARY: &str = "canary-5f2e91c07ab34d68";
const PASSPHRASE: &str = "passphrase-8c41d7be2a90";

fn set(home: &TestHome, name: &str, value: &str) -> String {
    let mut child = home
        .command()
        .args(["secret", "set", name, "-vv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut input = child.stdin.take().expect("piped");
    writeln!(input, "{value}").expect("written");
    drop(input);
    let ended = child.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    both(&ended)
}

fn both(ended: &std::process::Output) -> String {
    String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr)
}

fn says(mut command: Command) -> String {
    both(&command.output().expect("the command runs"))
}

/// The files below a folder in which the bytes stand.
fn files_with(folder: &Path, wanted: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let kind = std::fs::symlink_metadata(&path).expect("there").file_type();
        if kind.is_dir() {
            files_with(&path, wanted, found);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).expect("read");
            if bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[test]
fn planted_secrets_reach_who_should_have_them_and_stand_nowhere_else() {
    let server = ModelServer::start();
    let config = server
        .config("far", "openai")
        .replace("${TEST_MODEL_KEY}", "secret:far");
    let home = TestHome::new(&format!("[log]\nlevel = \"trace\"\n[metrics]\nport = 0\n{config}"));
    let surroundings = [("OPENCLAW_PASSPHRASE", PASSPHRASE)];
    let first = home.start_with(&surroundings);
    let mut said = set(&home, "far", CANARY);
    let made = cli(
        &home,
        &["key", "create", "ci", "--scope", "runs:*", "--scope", "status:read"],
    )
    .1;
    let key = made["key"].as_str().expect("a key").to_owned();
    // The last of its parts: the secret and the checksum.
    let key_secret = key.rsplit('_').next().expect("parts").to_owned();
    assert!(first.terminate().success());

    let daemon = home.start_with(&surroundings);
    let rim = Rim::of(&daemon).with_key(Some(&key));
    // A model that fails and quotes the key in its answer, then one that works.
    server.then([Deed::Refuse(401, "x-quote: 1", "the key {key} is wrong")]);
    let body =
        json!({ "task": "review this folder and write REVIEW.md", "workspace": home.workspace(), "model": "far" });
    let failed = rim.submit(&body);
    let run = rim.ended(&failed);
    let again = rim.submit(&body);
    said += &rim.ended(&again).to_string();
    said += &run.to_string();
    assert!(server.keys().iter().all(|key| key == CANARY), "{:?}", server.keys());
    assert!(!server.keys().is_empty(), "it was asked");

    for path in [
        "/v1/status",
        "/v1/runs",
        "/v1/incidents",
        "/v1/agents",
        "/v1/usage",
        "/openapi.json",
    ] {
        said += &rim.text(path).1;
    }
    for id in [&failed, &again] {
        for part in ["events", "timeline", "plan"] {
            said += &rim.text(&format!("/v1/runs/{id}/{part}")).1;
        }
    }
    let status = Rim::of(&daemon).get("/v1/status").body;
    let metrics = status["metrics"].as_str().expect("metrics are served");
    let metrics = metrics.trim_start_matches("http://").trim_end_matches("/metrics");
    let metrics = Rim {
        address: metrics.to_owned(),
        key: None,
    };
    said += &metrics.text("/metrics").1;
    for arguments in [
        vec!["secret", "list"],
        vec!["key", "list"],
        vec!["tls", "show"],
        vec!["audit"],
        vec!["config", "list"],
        vec!["status"],
        vec!["tree"],
        vec!["runs", "show", &failed, "--timeline"],
        vec!["secret", "set", "no such name"],
    ] {
        let mut command = home.command();
        command.args(&arguments).arg("-vv").envs(surroundings);
        said += &says(command);
    }
    // Whatever a crash says is said too.
    daemon.signal(Signal::ABORT);
    drop(daemon);
    for (what, wanted) in [
        ("the value", CANARY),
        ("the passphrase", PASSPHRASE),
        ("the key", key_secret.as_str()),
    ] {
        assert!(!said.contains(wanted), "{what} was shown");
        let mut found = Vec::new();
        let folder = home.path();
        files_with(folder.parent().expect("the test's folder"), wanted, &mut found);
        assert!(found.is_empty(), "{what} stands in {found:?}");
    }
}

#[test]
fn secrets_are_listed_and_removed_and_do_not_open_without_their_key() {
    let home = TestHome::new("");
    let daemon = home.start_with(&[("OPENCLAW_PASSPHRASE", PASSPHRASE)]);
    set(&home, "one", CANARY);
    set(&home, "two", "x");
    let names = |value: &Value| -> Vec<String> {
        let secrets = value["secrets"].as_array().expect("a list");
        secrets
            .iter()
            .filter_map(|secret| secret["name"].as_str().map(str::to_owned))
            .collect()
    };
    assert_eq!(names(&cli(&home, &["secret", "list"]).1), ["one", "two"]);
    assert_eq!(cli(&home, &["secret", "remove", "two"]).0, 0);
    let (exit, value) = cli(&home, &["secret", "remove", "two"]);
    assert_eq!((exit, value["error"]["code"].as_str()), (3, Some("OC-2016")), "{value}");
    assert!(daemon.terminate().success());
    let _daemon = home.start_with(&[("OPENCLAW_PASSPHRASE", "another passphrase")]);
    assert!(home.words().contains("open the secret `one`"), "{}", home.words());
}

#[test]
fn a_daemon_does_not_start_with_a_passphrase_that_is_none() {
    let home = TestHome::new("");
    let started = home.spawn(&[("OPENCLAW_PASSPHRASE", "short")]).wait_ready();
    let status = started.err().expect("it does not start");
    assert!(!status.success());
    assert!(home.words().contains("OC-2018"), "{}", home.words());
    assert!(
        home.start_with(&[("OPENCLAW_PASSPHRASE", PASSPHRASE)])
            .terminate()
            .success()
    );
}

#[test]
fn a_daemon_as_it_comes_passes_its_own_security_check_and_what_is_opened_is_reported() {
    let home = TestHome::new("");
    let daemon = home.start();
    let (exit, value) = cli(&home, &["security", "check"]);
    let checks = value["checks"].as_array().unwrap_or_else(|| panic!("{value}"));
    let odd: Vec<&Value> = checks.iter().filter(|check| check["state"] == "finding").collect();
    assert!(odd.is_empty(), "{odd:#?}");
    assert!(checks.len() > 25, "{value}");
    // Metrics may be another daemon's on a machine where tests run beside each other.
    let unchecked = checks.iter().filter(|check| check["state"] == "unchecked");
    assert!(unchecked.clone().all(|check| check["listener"] == "metrics"), "{value}");
    assert_eq!(exit, if unchecked.count() == 0 { 0 } else { 2 }, "{value}");
    assert!(daemon.terminate().success());

    let home = TestHome::new("[metrics]\nport = 0\n[gateway]\nbind = \"0.0.0.0\"\ntls.mode = \"proxy\"\n");
    let _daemon = home.start();
    let (exit, value) = cli(&home, &["security", "check"]);
    let checks = value["checks"].as_array().unwrap_or_else(|| panic!("{value}"));
    let open = checks.iter().filter(|check| check["state"] == "finding");
    let open: Vec<&str> = open.filter_map(|check| check["listener"].as_str()).collect();
    // A machine without a way out cannot be reached either: then there is nothing to report.
    let has_way_out = std::net::UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("192.0.2.1:9"))
        .is_ok();
    let expected: (i32, &[&str]) = if has_way_out { (1, &["gateway"]) } else { (0, &[]) };
    assert_eq!((exit, open.as_slice()), expected, "{value}");
}
