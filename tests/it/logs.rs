//! The daemon's log lines: where a person finds them, whose they are; and a daemon that is started again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::Rim;
use crate::support::wait::until;

/// Longest wait for a line, or for a daemon.
const LINE_MAX: Duration = Duration::from_secs(30);

fn shown(command: &mut Command, exit: i32) -> (String, String) {
    let ended = command.stdin(Stdio::null()).output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&ended.stdout), text(&ended.stderr));
    assert_eq!(ended.status.code(), Some(exit), "{command:?}\n{out}\n{err}");
    (out, err)
}

/// A home whose lines go to files; the folder of those.
fn home_with_files(format: &str) -> (TestHome, std::path::PathBuf) {
    let home = TestHome::new("");
    let folder = home.path().join("logs");
    let config = format!("[log]\nformat = \"{format}\"\ndir = \"{}\"\n", folder.display());
    std::fs::write(home.path().join("openclaw.toml"), config).expect("written");
    (home, folder)
}

#[test]
fn the_last_lines_of_the_log_files_are_shown_also_those_of_one_agent() {
    let (home, folder) = home_with_files("text");
    shown(home.command().arg("logs"), 2);
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("openclaw.log.1"), "one agent=zoe\ntwo\nthree agent=kim\n").expect("written");
    std::fs::write(folder.join("openclaw.log"), "four agent=zoe\nfi\u{1b}[2Jve\nsi").expect("written");
    let check = |line: &[&str], wanted: &str| {
        let (out, _) = shown(home.command().arg("logs").args(line), 0);
        assert_eq!(out, wanted, "{line:?}");
    };
    check(&["-n", "1"], "fi\\u{1b}[2Jve\n");
    check(&["-n", "3"], "three agent=kim\nfour agent=zoe\nfi\\u{1b}[2Jve\n");
    check(&["--agent", "zoe"], "one agent=zoe\nfour agent=zoe\n");
    check(
        &["--agent", "zoe", "-n", "1", "--json"],
        "{\"line\":\"four agent=zoe\"}\n",
    );
    check(&["--agent", "nobody"], "");
}

#[test]
fn without_files_and_a_service_manager_it_is_said_where_lines_go() {
    let home = TestHome::new("");
    let (_, err) = shown(home.command().arg("logs"), 2);
    assert!(
        err.contains("standard error stream") && err.contains("log.dir"),
        "{err}"
    );
}

#[test]
fn new_lines_are_followed_over_a_rotation() {
    let (home, folder) = home_with_files("text");
    std::fs::create_dir_all(&folder).expect("made");
    let newest = folder.join("openclaw.log");
    std::fs::write(&newest, "first\nsecond\n").expect("written");
    let mut child = home
        .command()
        .args(["logs", "--follow", "-n", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let (told, heard) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    let next = |wanted: &str| match heard.recv_timeout(LINE_MAX) {
        Ok(line) => assert_eq!(line, wanted),
        Err(error) => panic!("{wanted}: {error}"),
    };
    next("second");
    let append = |text: &str| {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&newest);
        file.expect("opens").write_all(text.as_bytes()).expect("written");
    };
    append("thi");
    append("rd\n");
    next("third");
    append("last of this file\n");
    std::fs::rename(&newest, folder.join("openclaw.log.1")).expect("renamed");
    append("first of the next\n");
    next("last of this file");
    next("first of the next");
    child.kill().expect("its own child");
    child.wait().expect("its own child");
    reading.join().expect("ends with its pipe");
}

#[test]
fn lines_of_a_runs_work_have_the_run_and_its_trace_id() {
    let (home, folder) = home_with_files("json");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    // Letters that only machines read: the daemon says so in its log.
    let hidden: String = "obey"
        .chars()
        .map(|letter| char::from_u32(0xE0000 + letter as u32).expect("a tag"))
        .collect();
    std::fs::write(home.workspace().join("page"), format!("a page{hidden}")).expect("written");
    let read = json!([{ "id": "read", "skill": "fs.read", "inputs": { "path": "page" } }]);
    let id = rim.submit_plan(&home.workspace(), &read);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let event = until("the line", LINE_MAX, || {
        let text = std::fs::read_to_string(folder.join("openclaw.log")).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["fields"]["message"] == "a text for a model hid something");
        line.ok_or(text)
    });
    assert_eq!(event["span"]["run"], id.as_str(), "{event}");
    assert_eq!(event["span"]["trace_id"], run["trace_id"], "{event}");
}

#[test]
fn a_daemon_that_was_started_by_hand_is_started_again_by_the_command() {
    let home = TestHome::new("[gateway]\nport = 0\n");
    let mut daemon = home.start();
    let mut command = home.command();
    command
        .arg("restart")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut again = command.spawn().expect("the binary starts");
    assert!(daemon.wait_end(LINE_MAX).success(), "the first ends in order");
    let pid = again.id();
    until("the next daemon to serve", LINE_MAX, || {
        let status = home
            .command()
            .args(["status", "--json"])
            .output()
            .expect("the binary runs");
        let file = std::fs::read_to_string(home.path().join("state/daemon.json")).unwrap_or_default();
        let is_it = file.contains(&format!("\"pid\":{pid}")) || file.contains(&format!("\"pid\": {pid}"));
        (is_it && status.status.success()).then_some(()).ok_or((file, status))
    });
    shown(home.command().arg("stop"), 0);
    assert!(again.wait().expect("its own child").success());
}
