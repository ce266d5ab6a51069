//! What steps may touch: their own folder, the network that is allowed, and a program's share of time and output.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::{Rim, of_kind};

/// Runs one call of a skill; gives the run's status and the call's content.
fn call(rim: &Rim, home: &TestHome, skill: &str, inputs: &Value) -> (String, String) {
    let steps = json!([{ "id": "a", "skill": skill, "inputs": inputs, "retries": 0 }]);
    let id = rim.submit_plan(&home.workspace(), &steps);
    let run = rim.ended(&id);
    let events = rim.events(&id);
    let content = of_kind(&events, "call.finished").first().map_or_else(
        || run.to_string(),
        |call| call["content"].as_str().unwrap_or_default().to_owned(),
    );
    (run["status"].as_str().unwrap_or_default().to_owned(), content)
}

#[test]
fn no_path_leaves_the_workspace() {
    let home = TestHome::new("");
    let folder = home.workspace();
    let outside = home.path().join("openclaw.toml");
    let secret = "outside-7731";
    std::fs::write(&outside, format!("# {secret}\n")).expect("written");
    std::os::unix::fs::symlink(&outside, folder.join("link.toml")).expect("linked");
    std::os::unix::fs::symlink(home.path(), folder.join("way")).expect("linked");
    std::fs::write(folder.join("inside.txt"), "inside\n").expect("written");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    assert_eq!(
        call(&rim, &home, "fs.read", &json!({ "path": "inside.txt" })),
        ("succeeded".into(), "inside\n".into())
    );
    let absolute = outside.display().to_string();
    let check = |skill: &str, inputs: Value| {
        let (status, content) = call(&rim, &home, skill, &inputs);
        assert_eq!(status, "failed", "{skill} {inputs}: {content}");
        assert!(!content.contains(secret), "{skill} {inputs}: {content}");
    };
    for path in [
        "../home/openclaw.toml",
        "link.toml",
        "way/openclaw.toml",
        absolute.as_str(),
        "inside.txt/../../home/openclaw.toml",
    ] {
        check("fs.read", json!({ "path": path }));
        check("fs.write", json!({ "path": path, "content": "taken" }));
        check(
            "fs.patch",
            json!({ "path": path, "edits": [{ "old": "outside", "new": "taken" }] }),
        );
    }
    for path in ["..", "way", "/"] {
        check("fs.list", json!({ "path": path }));
        check("fs.search", json!({ "path": path, "pattern": "outside" }));
    }
    for path in ["way/new.txt", "../new.txt", "/tmp/openclaw-it-new.txt"] {
        check("fs.write", json!({ "path": path, "content": "taken" }));
    }
    check(
        "exec.run",
        json!({ "argv": ["cat", "openclaw.toml"], "cwd": "../home" }),
    );
    check("exec.run", json!({ "argv": ["cat", "openclaw.toml"], "cwd": "way" }));
    assert_eq!(
        std::fs::read_to_string(&outside).expect("there"),
        format!("# {secret}\n"),
        "nothing outside was written"
    );
    assert!(!home.path().join("new.txt").exists() && !folder.join("../new.txt").exists());
}

/// A page on loopback; gives its host and port.
fn page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let asked = BufReader::new(&stream);
            asked
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .for_each(drop);
            let answer =
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    address
}

#[test]
fn a_private_address_is_fetched_only_when_it_is_allowed() {
    let (allowed, other) = (page(), page());
    let home = TestHome::new(&format!("[skills.network]\nallow = [\"{allowed}\"]\n"));
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let fetch = |address: &str| {
        call(
            &rim,
            &home,
            "web.fetch",
            &json!({ "url": format!("http://{address}/") }),
        )
    };
    let (status, content) = fetch(&allowed);
    assert!(
        status == "succeeded" && content.contains("status: 200") && content.contains("hello"),
        "{content}"
    );
    let port = other.rsplit(':').next().expect("a port");
    for address in [
        other.clone(),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("2130706433:{port}"),
        rim.address.clone(),
        "169.254.169.254".to_owned(),
        "10.0.0.1".to_owned(),
    ] {
        let (status, content) = fetch(&address);
        assert!(
            status == "failed" && !content.contains("hello"),
            "{address}: {status} {content}"
        );
        assert!(content.contains("the operator can allow"), "{address}: {content}");
    }
    for url in ["file:///etc/passwd", "ftp://example.org/"] {
        let (status, content) = call(&rim, &home, "web.fetch", &json!({ "url": url }));
        assert!(status == "failed" && !content.contains("root:"), "{url}: {content}");
    }
}

#[test]
fn a_program_has_its_time_and_its_output() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let (status, content) = call(
        &rim,
        &home,
        "exec.run",
        &json!({ "argv": ["sh", "-c", "echo begun; while :; do :; done"], "timeout_ms": 500 }),
    );
    assert!(
        status == "failed" && content.contains("within 500 ms") && content.contains("begun"),
        "{content}"
    );
    let lots = "i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done; echo the end";
    let (status, content) = call(&rim, &home, "exec.run", &json!({ "argv": ["sh", "-c", lots] }));
    assert_eq!(status, "succeeded");
    // The event carries a part; the whole output is in the result.
    assert!(content.contains("line 0"), "{content}");
    let last = rim.get("/v1/runs?limit=1").body["runs"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let result = rim.run(&last)["result"].to_string();
    assert!(
        result.len() < 200_000 && result.contains("the end") && result.contains("truncated"),
        "{} bytes",
        result.len()
    );
    let (status, content) = call(&rim, &home, "exec.run", &json!({ "argv": ["no-such-program-here"] }));
    assert!(
        status == "failed" && content.contains("no-such-program-here"),
        "{content}"
    );
    // Odd bytes arrive whole or marked, and break nothing.
    let (status, content) = call(
        &rim,
        &home,
        "exec.run",
        &json!({ "argv": ["printf", "a\\377\\000b\\360\\237\\246\\200c"] }),
    );
    assert!(status == "succeeded" && content.contains('🦀'), "{content}");
    // What the daemon knows stays with it.
    let (_, content) = call(&rim, &home, "exec.run", &json!({ "argv": ["env"] }));
    assert!(
        content.contains("OPENCLAW_EFFECT_KEY") && !content.contains("CARGO"),
        "{content}"
    );
}

#[test]
fn no_run_works_where_the_daemon_keeps_its_own_files() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let other = elsewhere.path().join("other");
    std::fs::create_dir(&other).expect("made");
    let home = TestHome::new("");
    let state = home.path().join("state");
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(&state, &link).expect("linked");
    let rim = |home: &TestHome| {
        let daemon = home.start();
        (Rim::of(&daemon), daemon)
    };
    let submit = |rim: &Rim, folder: &std::path::Path| {
        let plan = json!({ "goal": "g", "steps": [{ "id": "a", "skill": "fs.list", "inputs": { "path": "." } }] });
        rim.post(
            "/v1/runs",
            &json!({ "task": "look", "workspace": folder, "plan": plan }),
        )
    };
    let (client, daemon) = rim(&home);
    let closed = [
        state.clone(),
        state.join("spool"),
        home.path().join("agents"),
        home.path(),
        "/".into(),
        link,
        other.join("../link/tls"),
    ];
    for folder in &closed {
        let answer = submit(&client, folder);
        assert_eq!(
            (answer.status, answer.code()),
            (400, "OC-1009"),
            "{}: {answer:?}",
            folder.display()
        );
    }
    let answer = submit(&client, &other);
    assert_eq!(answer.status, 202, "{answer:?}");
    // The packages of a folder are told of those alone in which a run could read them.
    let packages = |folder: &std::path::Path| client.get(&format!("/v1/skills?workspace={}", folder.display()));
    assert_eq!((packages(&state).status, packages(&state).code()), (400, "OC-1009"));
    assert_eq!(packages(&other).status, 200);

    // A folder that becomes a link after it was accepted leads nowhere.
    let gate = other.join("gate");
    let wait = json!(["sh", "-c", "while [ ! -e gate ]; do sleep 0.02; done"]);
    let steps = json!([
        { "id": "a", "skill": "exec.run", "inputs": { "argv": wait } },
        { "id": "b", "skill": "fs.read", "inputs": { "path": "operator.key" }, "needs": ["a"], "retries": 0 },
    ]);
    let id = client.submit_plan(&other, &steps);
    std::fs::write(&gate, "").expect("opened");
    std::fs::rename(&other, elsewhere.path().join("moved")).expect("moved");
    std::os::unix::fs::symlink(&state, &other).expect("linked");
    let run = client.ended(&id);
    assert_eq!(run["status"], "failed", "{run}");
    assert!(!run.to_string().contains(home.operator_key().trim()), "{run}");
    drop(daemon);

    let only = TestHome::new(&format!("[agent]\nworkspaces = {}\n", json!([elsewhere.path()])));
    let (client, _daemon) = rim(&only);
    let answer = submit(&client, &only.workspace());
    assert_eq!((answer.status, answer.code()), (400, "OC-1009"), "{answer:?}");
    assert!(answer.body.to_string().contains("agent.workspaces"), "{answer:?}");
    let inside = elsewhere.path().join("moved");
    assert_eq!(submit(&client, &inside).status, 202);
}
