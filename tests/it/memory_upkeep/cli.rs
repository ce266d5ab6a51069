//! The commands: files in and out, `--json` on each, and no byte on a terminal that drives it.

use std::process::Output;

use serde_json::Value;

use crate::support::daemon::TestHome;
use crate::support::rim::Rim;

fn claw(home: &TestHome, arguments: &[&str]) -> Output {
    let mut command = home.command();
    command.current_dir(home.workspace()).args(arguments);
    command.output().expect("the binary runs")
}

fn out(home: &TestHome, arguments: &[&str]) -> String {
    let ended = claw(home, arguments);
    assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    String::from_utf8(ended.stdout).expect("UTF-8")
}

fn exported(home: &TestHome, scope: &str) -> Vec<Value> {
    let text = out(home, &["memory", "export", "--scope", scope]);
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn an_export_comes_in_again_whole_or_not_at_all_and_twice_is_once() {
    let home = TestHome::new("");
    let daemon = home.start();
    let long = "long ".repeat(200);
    for number in 0..1_203 {
        let text = format!("note {number} {}", if number % 100 == 0 { &long } else { "" });
        let reply = Rim::of(&daemon).post(
            "/v1/memory/project?project=/srv/x",
            &serde_json::json!({ "text": text }),
        );
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let file = home.workspace().join("m.jsonl");
    let file = file.to_str().expect("a name");
    out(
        &home,
        &[
            "memory",
            "put",
            "--key",
            "k",
            "--tag",
            "t",
            "--importance",
            "70",
            "--source",
            "file:a.md",
            "the \u{202e}value\nof k",
        ],
    );
    let whole = out(&home, &["memory", "export", "--output", file, "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&whole).expect("JSON")["entries"],
        1,
        "{whole}"
    );
    let before = std::fs::read(file).expect("there");
    let nobody = [
        "memory",
        "export",
        "--output",
        file,
        "--url",
        "http://127.0.0.1:1",
        "--key",
        "ocl_1_2",
    ];
    assert!(!claw(&home, &nobody).status.success());
    assert_eq!(
        std::fs::read(file).expect("there"),
        before,
        "an export that fails leaves the earlier one"
    );
    for _ in 0..2 {
        let taken = out(&home, &["memory", "import", file, "--scope", "global"]);
        assert_eq!(taken, "1 entries imported\n");
    }
    let (own, copy) = (exported(&home, "project"), exported(&home, "global"));
    for field in [
        "key",
        "text",
        "tags",
        "sources",
        "importance",
        "created_at",
        "updated_at",
        "version",
    ] {
        assert_eq!(own[0][field], copy[0][field], "{field}");
    }
    assert_eq!(own[0]["text"], "the \u{202e}value\nof k");

    // More than one page and one request.
    let many = home.workspace().join("many.jsonl");
    let many = many.to_str().expect("a name");
    let part = ["--scope", "session", "--session", "elsewhere"];
    let lines = Rim::of(&daemon);
    let mut text = String::new();
    let mut after = 0;
    loop {
        let page = lines
            .get(&format!("/v1/memory/project?project=/srv/x&limit=500&after={after}"))
            .body;
        for entry in page["entries"].as_array().expect("a list") {
            text += &entry.to_string();
            text.push('\n');
        }
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    std::fs::write(many, &text).expect("written");
    out(&home, &[&["memory", "import", many], part.as_slice()].concat());
    let stats = out(&home, &["memory", "stats", "--json"]);
    let stats: Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["tiers"]["session"]["entries"], 1_203, "{stats}");
    let before = out(
        &home,
        &[&["memory", "list", "--json", "--limit", "500"], part.as_slice()].concat(),
    );
    out(&home, &[&["memory", "import", many], part.as_slice()].concat());
    let again = out(
        &home,
        &[&["memory", "list", "--json", "--limit", "500"], part.as_slice()].concat(),
    );
    assert_eq!(before, again, "the same again changes nothing");

    // A bad line anywhere: it is named, and nothing of the file is taken.
    let check = |bad: &str, line: usize| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.insert(line - 1, bad);
        std::fs::write(many, lines.join("\n")).expect("written");
        let ended = claw(&home, &["memory", "import", many, "--project", "/"]);
        let said = String::from_utf8(ended.stderr).expect("UTF-8");
        assert!(!ended.status.success(), "{bad}");
        assert!(
            said.contains("OC-8005") && said.contains(&format!("line {line} ")),
            "{bad}: {said}"
        );
        let kept = out(&home, &["memory", "list", "--project", "/"]);
        assert_eq!(kept, "nothing is kept\n", "{bad}");
    };
    check("{\"text\": \"x\"", 1);
    check("{\"text\": \"x\", \"importance\": 101}", 1_100);
    check("{\"text\": \"\"}", 700);
    check("{\"txt\": \"x\"}", 1_204);
    check("[]", 3);
    check("{\"text\": \"x\", \"created_at\": \"yesterday\"}", 2);
    check("{\"text\": \"x\", \"sources\": [{\"by\": \"nobody\"}]}", 2);
}

#[test]
fn every_command_answers_in_json_and_shows_nothing_that_drives_a_terminal() {
    let home = TestHome::new("[memory]\nmaxEntries = 3\n");
    let daemon = home.start();
    let evil = "ev\u{1b}[2Jil \u{202e}txt \u{9b}31m \u{7} bell";
    out(&home, &["memory", "put", "--key", "k\u{200b}", "--tag", "t", evil]);
    out(
        &home,
        &[
            "memory",
            "put",
            "--key",
            "k\u{200b}",
            "--expires",
            "1d",
            &format!("{evil} again"),
        ],
    );
    for text in ["one", "two", "three"] {
        out(
            &home,
            &["memory", "put", "--importance", "90", &format!("{evil} {text}")],
        );
    }
    let archived = out(&home, &["memory", "list", "--state", "archived", "--json"]);
    let archived: Value = serde_json::from_str(&archived).expect("JSON");
    let id = archived["entries"][0]["id"].to_string();
    let shown: [&[&str]; 9] = [
        &["memory", "list", "--state", "all"],
        &["memory", "query", "evil", "--explain"],
        &["memory", "stats"],
        &["memory", "prune", "--dry-run", "--all"],
        &["memory", "verify", "--all"],
        &["memory", "forget", "--id", "3"],
        &["memory", "restore", &id],
        &["memory", "get", "k\u{200b}", "--history"],
        &["memory", "promote", &id, "--to", "global"],
    ];
    for arguments in shown {
        if arguments[1] != "forget" && arguments[1] != "restore" {
            let json = out(&home, &[arguments, &["--json"]].concat());
            serde_json::from_str::<Value>(&json).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {json}"));
        }
        let text = out(&home, arguments);
        let odd = text
            .chars()
            .find(|c| (c.is_control() && *c != '\n') || matches!(c, '\u{202e}' | '\u{9b}'));
        assert_eq!(odd, None, "{arguments:?}: {text:?}");
    }
    let text = out(&home, &["memory", "get", "k\u{200b}", "--history"]);
    assert!(text.contains("again") && text.contains("version 1"), "{text}");
    let refused = claw(&home, &["memory", "restore", "77"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("OC-8001"),
        "{refused:?}"
    );
    drop(daemon);
}

#[test]
fn a_key_that_no_address_can_name_is_refused_as_such() {
    let home = TestHome::new("");
    let _daemon = home.start();
    for key in [".", ".."] {
        let ended = claw(&home, &["memory", "put", "--key", key, "x"]);
        let said = String::from_utf8(ended.stderr).expect("UTF-8");
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains("no address can name them"), "{said}");
    }
    assert_eq!(out(&home, &["memory", "put", "--key", "...", "x"]), "kept\n");
}
