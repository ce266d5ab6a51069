//! Programs that crash, hang, spin and eat memory: each call ends by itself, and calls of other skills go on meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::{RUN_MAX, Rim};
use crate::support::wait::until;

fn sh(id: &str, script: &str, timeout_ms: u64) -> Value {
    json!({
        "id": id, "skill": "exec.run", "retries": 0, "on_failure": "continue",
        "inputs": { "argv": ["sh", "-c", script], "timeout_ms": timeout_ms },
    })
}

#[test]
fn a_program_that_crashes_hangs_spins_or_eats_memory_touches_no_other_skill() {
    let home = TestHome::new("");
    std::fs::write(home.workspace().join("a.txt"), "there").expect("written");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let steps = json!([
        sh("crashes", "kill -SEGV $$", 20_000),
        sh("hangs", "trap '' TERM; sleep 600", 2_000),
        sh("spins", "while :; do :; done", 2_000),
        sh("eats", "ulimit -v 100000; exec tail /dev/zero", 20_000),
        { "id": "last", "skill": "fs.list", "inputs": { "path": "." } },
    ]);
    let id = rim.submit_plan(&home.workspace(), &steps);
    until("the programs to run", RUN_MAX, || {
        let run = rim.run(&id);
        if run["steps"][2]["status"] == "running" {
            Ok(())
        } else {
            Err(run)
        }
    });
    // Other skills answer while they do their worst.
    let began = std::time::Instant::now();
    for _ in 0..5 {
        let other = rim.submit_plan(
            &home.workspace(),
            &json!([{ "id": "a", "skill": "fs.read", "inputs": { "path": "a.txt" } }]),
        );
        let other = rim.ended(&other);
        assert_eq!(
            (&other["status"], &other["result"]),
            (&json!("succeeded"), &json!("there")),
            "{other}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let run = rim.ended(&id);
    let ends: Vec<(&Value, &Value, &Value)> = run["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| (&step["id"], &step["status"], &step["reason"]))
        .collect();
    for (step, status, reason) in &ends[..4] {
        assert_eq!(*status, "failed", "{step}: {ends:?}");
        let words: &[&str] = match step.as_str() {
            Some("crashes") => &["SIGSEGV"],
            Some("eats") => &["exit_code", "signal"],
            _ => &["did not end within 2000 ms"],
        };
        let reason = reason.as_str().unwrap_or_default();
        assert!(words.iter().any(|word| reason.contains(word)), "{step}: {reason}");
    }
    assert_eq!(run["status"], "succeeded", "{run}");
}

#[test]
fn two_calls_of_commands_on_one_thing_never_overlap_and_others_do() {
    let home = TestHome::new("");
    let script = "read -r a; mkdir \"$1\" || echo overlap >> overlaps; sleep 0.2; rmdir \"$1\"";
    let command = |name: &str| {
        format!(
            "[skills.commands.{name}]\nargv = {}\nresources = [\"environment\"]\n\
             [skills.commands.{name}.schema]\ntype = \"object\"\n",
            json!(["sh", "-c", script, "sh", "held"])
        )
    };
    let text = command("deploy") + &command("roll-back");
    std::fs::write(home.path().join("openclaw.toml"), text).expect("configuration");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let steps: Vec<Value> = (0..6)
        .map(|number| {
            let skill = if number % 2 == 0 { "deploy" } else { "roll-back" };
            json!({ "id": format!("s{number}"), "skill": skill, "inputs": { "environment": "prod", "n": number } })
        })
        .collect();
    let id = rim.submit_plan(&home.workspace(), &json!(steps));
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    assert!(!home.workspace().join("overlaps").exists());
    // On two things at once they do overlap, which the same program notices.
    let steps = json!([
        { "id": "a", "skill": "deploy", "inputs": { "environment": "prod" } },
        { "id": "b", "skill": "roll-back", "inputs": { "environment": "test" } },
    ]);
    until("two calls at once", RUN_MAX, || {
        rim.ended(&rim.submit_plan(&home.workspace(), &steps));
        let overlaps = home.workspace().join("overlaps");
        if overlaps.exists() { Ok(()) } else { Err("none yet") }
    });
}

#[test]
fn a_run_may_touch_no_more_than_whoever_submitted_it_says() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |capabilities: Value, file: &str, status: &str| {
        let plan = json!({ "steps": [
            { "id": "w", "skill": "fs.write", "inputs": { "path": file, "content": "x" }, "retries": 0 },
        ] });
        let id = rim.submit(&json!({
            "task": "write", "workspace": home.workspace(), "plan": plan, "capabilities": capabilities,
        }));
        let run = rim.ended(&id);
        assert_eq!(run["status"], status, "{run}");
        assert_eq!(home.workspace().join(file).exists(), status == "succeeded");
        let is_denied = run["reason"].as_str().is_some_and(|reason| reason.contains("OC-5022"));
        assert_eq!(is_denied, status == "failed", "{run}");
        // The same work again is bound as well.
        let again = rim.post(&format!("/v1/runs/{id}/retry"), &json!({}));
        let again = again.body["id"].as_str().expect("an id").to_owned();
        assert_eq!(rim.ended(&again)["status"], status);
    };
    check(Value::Null, "a", "succeeded");
    check(json!(["fs.write:out"]), "out/b", "succeeded");
    check(json!(["fs.write:out"]), "c", "failed");
    check(json!([]), "d", "failed");
    let refused = rim.post("/v1/runs", &json!({ "task": "x", "capabilities": ["everything"] }));
    assert_eq!((refused.status, refused.code()), (400, "OC-1001"), "{}", refused.body);
    // A check that runs a command is no way around it.
    let plan = json!({ "steps": [{
        "id": "l", "skill": "fs.list", "inputs": { "path": "." }, "retries": 0,
        "checks": [{ "type": "command", "argv": ["touch", "made"] }],
    }] });
    let id = rim.submit(&json!({
        "task": "list", "workspace": home.workspace(), "plan": plan, "capabilities": ["fs.read"],
    }));
    assert_eq!(rim.ended(&id)["status"], "failed");
    assert!(!home.workspace().join("made").exists());
}

/// Runs the command line at a pseudo-terminal of Python's, with these lines typed into it.
const AT_A_TERMINAL: &str = "import os, pty, sys\nsys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

#[test]
fn whoever_follows_a_run_at_a_terminal_is_asked_there() {
    let home = TestHome::new("[agent]\napprovals = { \"exec.run\" = \"ask\" }\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |typed: &str, status: &str, made: bool| {
        let file = home.workspace().join("made");
        std::fs::remove_file(&file).ok();
        let id = rim.submit_plan(
            &home.workspace(),
            &json!([{ "id": "m", "skill": "exec.run", "inputs": { "argv": ["touch", "made"] }, "retries": 0 }]),
        );
        let own = home.command();
        let mut command = std::process::Command::new("python3");
        command
            .args(["-c", AT_A_TERMINAL])
            .arg(own.get_program())
            .args(own.get_args());
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .args(["runs", "watch", &id])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut watching = command.spawn().expect("python3 starts");
        let mut keyboard = watching.stdin.take().expect("piped");
        std::io::Write::write_all(&mut keyboard, typed.as_bytes()).expect("typed");
        let run = rim.ended(&id);
        drop(keyboard);
        let output = watching.wait_with_output().expect("ended");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(run["status"], status, "{run} {shown}");
        assert_eq!(file.exists(), made);
        assert!(
            shown.contains("$ touch made") && shown.contains("[y]es or [n]o"),
            "{shown}"
        );
        run
    };
    check("what?\ny\n", "succeeded", true);
    let run = check("n not on a Sunday\n", "failed", false);
    assert!(
        run["reason"]
            .as_str()
            .is_some_and(|why| why.contains("not on a Sunday")),
        "{run}"
    );
}

/// The launcher of this daemon, if there is one.
fn launcher_of(daemon: u32) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").expect("listed").flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.find(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Number, name in brackets, state, parent.
        let parts: Option<(&str, &str)> = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") "));
        parts.is_some_and(|(name, rest)| {
            let parent = rest.split(' ').nth(1).and_then(|parent| parent.parse().ok());
            name == "openclaw-launch" && !rest.starts_with('Z') && parent == Some(daemon)
        })
    })
}

#[test]
fn launchers_that_end_again_and_again_are_no_crash_and_always_followed_by_another_one() {
    let home = TestHome::new("");
    let daemon = home.start();
    let mut ended = None;
    // One more than a supervisor would restart.
    for _ in 0..6 {
        let launcher = until("a launcher", Duration::from_secs(30), || {
            launcher_of(daemon.pid()).filter(|pid| Some(*pid) != ended).ok_or(())
        });
        let pid = rustix::process::Pid::from_raw(launcher.cast_signed()).expect("a number");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
        ended = Some(launcher);
    }
    until("the last launcher", Duration::from_secs(30), || {
        launcher_of(daemon.pid()).filter(|pid| Some(*pid) != ended).ok_or(())
    });
    let shown = home.command().args(["--json", "tree"]).output().expect("runs");
    let tree = String::from_utf8_lossy(&shown.stdout);
    assert!(tree.contains("root/skills/launcher/minder"), "{tree}");
}
