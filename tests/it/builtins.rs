//! The later built-in skills on real files and programs: patterns, moves, code, git, and what is shown of a call.

use std::process::Command;

use openclaw::domain::approval::Approval;
use openclaw::domain::conversation::Arguments;
use openclaw::domain::effect::EffectClass;
use openclaw::domain::name::SkillName;
use openclaw::skills::skill::ProbeAnswer;
use serde_json::{Value, json};

use crate::process::{block_on, key};
use crate::skills::{House, house};

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    let is_there = found.is_ok_and(|output| output.status.success());
    if !is_there {
        // A machine that tests for others has it; elsewhere its part is left out.
        assert!(std::env::var_os("CI").is_none(), "{program} is missing");
    }
    is_there
}

#[test]
fn every_example_of_a_manifest_matches_its_schema() {
    let house = house();
    let mut examples = 0;
    for manifest in house.catalogue.manifests() {
        for example in manifest.examples.iter() {
            let arguments = Arguments::Object(example.clone().into());
            let judged = house.catalogue.validate(&manifest.name, &arguments);
            assert!(judged.is_ok(), "{}: {example}: {judged:?}", manifest.name);
            examples += 1;
        }
    }
    assert!(examples >= 10, "{examples}");
}

#[test]
fn files_are_found_by_pattern() {
    let house = house();
    for path in ["a.rs", "src/b.rs", "src/deep/c.rs", "src/d.md", "target/e.rs"] {
        house.put(path, b"x");
    }
    let check = |arguments: Value, files: Value| {
        assert_eq!(
            house.json("fs.glob", arguments.clone()),
            json!({"files": files, "truncated": false}),
            "{arguments}"
        );
    };
    check(json!({"pattern": "*.rs"}), json!(["a.rs", "src/b.rs", "src/deep/c.rs"]));
    check(json!({"pattern": "src/*.rs"}), json!(["src/b.rs"]));
    check(json!({"pattern": "*.md", "path": "src"}), json!(["src/d.md"]));
    check(json!({"pattern": "none"}), json!([]));
    house.refused("fs.glob", json!({"pattern": "[a"}), "not usable");
    house.refused(
        "fs.glob",
        json!({"pattern": "*", "path": ".."}),
        "leads out of the workspace",
    );
}

#[test]
fn a_move_keeps_what_is_there_and_its_probe_tells_whether_it_was_made() {
    let house = house();
    house.put("a", b"a");
    house.put("b", b"b");
    let probe = |from: &str, to: &str| {
        let order = house.order(key(), json!({"from": from, "to": to}));
        block_on(house.skill("fs.move").probe(order))
    };
    assert_eq!(probe("a", "new/c"), ProbeAnswer::NotHappened);
    house.json("fs.move", json!({"from": "a", "to": "new/c"}));
    assert_eq!(house.text("new/c"), "a");
    assert!(matches!(probe("a", "new/c"), ProbeAnswer::Happened(_)));
    assert!(matches!(probe("x", "y"), ProbeAnswer::Unknown(_)));
    house.refused("fs.move", json!({"from": "new/c", "to": "b"}), "`b` is there");
    assert_eq!(house.text("b"), "b");
    house.json("fs.move", json!({"from": "new/c", "to": "b", "overwrite": true}));
    assert_eq!(house.text("b"), "a");
    house.json("fs.move", json!({"from": "new", "to": "other/folder"}));
    for (from, to) in [
        ("../secret", "x"),
        ("b", "../x"),
        ("b", "/tmp/x"),
        ("other", "other/in"),
    ] {
        let outcome = house.call("fs.move", json!({"from": from, "to": to}));
        assert!(outcome.is_error, "{from} {to}: {}", outcome.content);
    }
    assert_eq!(house.text("b"), "a");
}

#[test]
fn a_short_program_runs_in_the_workspace() {
    let house = house();
    house.put("in", b"7");
    let run = house.json(
        "code.run",
        json!({"language": "sh", "code": "cat in; cat", "stdin": "8"}),
    );
    assert_eq!((&run["exit_code"], &run["stdout"]), (&json!(0), &json!("78")), "{run}");
    let failed = house.call("code.run", json!({"language": "sh", "code": "exit 3"}));
    assert_eq!((failed.is_error, failed.exit_code), (true, Some(3)));
    if is_there("python3") {
        let run = house.json("code.run", json!({"language": "python", "code": "print(6 * 7)"}));
        assert_eq!(run["stdout"], "42\n", "{run}");
    }
}

fn git(house: &House, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-C", house.root.to_str().expect("text")])
        .args(["-c", "user.name=a", "-c", "user.email=a@b"])
        .args(words)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_commit_runs_no_hook_and_is_found_again_by_its_key() {
    if !is_there("git") {
        return;
    }
    let house = house();
    git(&house, &["init", "--quiet"]);
    house.put("a.txt", b"one\n");
    house.put("b.txt", b"one\n");
    house.put(".git/hooks/pre-commit", b"#!/bin/sh\ntouch hooked\nexit 1\n");
    house.put(".git/hooks/commit-msg", b"#!/bin/sh\ntouch hooked\nexit 1\n");
    for hook in ["pre-commit", "commit-msg"] {
        let file = house.root.join(".git/hooks").join(hook);
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    }
    let status = house.call("git.status", json!({}));
    assert!(status.content.contains("?? a.txt"), "{}", status.content);
    let made = key();
    let arguments = json!({"message": "add: one", "paths": ["a.txt"]});
    let probe = || block_on(house.skill("git.commit").probe(house.order(made, arguments.clone())));
    assert_eq!(probe(), ProbeAnswer::NotHappened);
    let outcome = house.call_as(made, "git.commit", arguments.clone()).outcome;
    assert!(!outcome.is_error, "{}", outcome.content);
    assert!(matches!(probe(), ProbeAnswer::Happened(_)), "{:?}", probe());
    let other = block_on(house.skill("git.commit").probe(house.order(key(), arguments.clone())));
    assert_eq!(other, ProbeAnswer::NotHappened);
    assert!(!house.root.join("hooked").exists(), "a hook was run");
    let log = house.call("git.log", json!({"limit": 5}));
    assert!(log.content.trim_end().ends_with("add: one"), "{}", log.content);
    assert!(
        git(&house, &["status", "--short"]).contains("?? b.txt"),
        "only what was named"
    );
    house.put("a.txt", b"two\n");
    let diff = house.call("git.diff", json!({}));
    assert!(diff.content.contains("-one\n+two"), "{}", diff.content);
}

#[test]
fn a_request_has_the_class_of_its_method() {
    let house = house();
    let name = SkillName::new("http.request").expect("valid");
    let check = |arguments: Value, class: EffectClass| {
        assert_eq!(house.catalogue.class_of(&name, &arguments), Some(class), "{arguments}");
    };
    check(json!({"url": "x"}), EffectClass::Read);
    check(json!({"url": "x", "method": "HEAD"}), EffectClass::Read);
    check(json!({"url": "x", "method": "PUT"}), EffectClass::Idempotent);
    check(json!({"url": "x", "method": "DELETE"}), EffectClass::Idempotent);
    check(json!({"url": "x", "method": "POST"}), EffectClass::Once);
    check(json!({"url": "x", "method": "PATCH"}), EffectClass::Once);
    check(
        json!({"url": "x", "method": "POST", "idempotent": true}),
        EffectClass::Idempotent,
    );
    let request = json!({"url": "http://127.0.0.1:1/", "method": "POST", "body": "x"});
    house.refused("http.request", request, "loopback");
    let request = json!({"url": "https://example.com/", "headers": {"Host": "127.0.0.1"}});
    house.refused("http.request", request, "cannot be set");
    house.refused("web.search", json!({"query": "x"}), "skills.search.url");
}

#[test]
fn a_question_is_asked_by_default_and_shown_with_its_options() {
    let house = house();
    let skill = house.skill("ask.person");
    assert_eq!(skill.manifest().approval, Approval::Ask);
    let order = house.order(key(), json!({"question": "Which?", "options": ["a", "b"]}));
    let preview = skill.preview(&order);
    assert!(preview.is_question);
    assert_eq!(preview.shown, "Which?\n- a\n- b");
}

#[test]
fn a_program_is_shown_with_words_that_cannot_mislead() {
    let house = house();
    let preview = |arguments: Value| house.skill("exec.run").preview(&house.order(key(), arguments));
    let shown = preview(json!({"argv": ["sh", "-c", "echo it's; rm -rf x"], "env": {"A": "b c"}})).shown;
    assert!(shown.starts_with("$ sh -c 'echo it'\\''s; rm -rf x'\n"), "{shown}");
    assert!(shown.contains("with A='b c'"), "{shown}");
    let basis = |cwd: &str| preview(json!({"argv": ["./tool"], "cwd": cwd})).basis;
    house.put("tool", b"#!/bin/sh\n");
    let file = house.root.join("tool");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    let first = basis(".");
    assert_eq!(basis("."), first);
    std::fs::write(&file, "#!/bin/sh\necho other\n").expect("written");
    assert_ne!(basis("."), first, "another program under the same name");
}
