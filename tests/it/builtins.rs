//! The later built-in skills on real files and programs: patterns, moves, code, git, and what is shown of a call.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use openclaw::domain::approval::Approval;
use openclaw::domain::conversation::Arguments;
use openclaw::domain::effect::EffectClass;
use openclaw::domain::name::SkillName;
use openclaw::domain::skill::{EXAMPLE_BYTES_MAX, SkillManifest};
use openclaw::skills::builtin::http_request::HttpRequest;
use openclaw::skills::builtin::web_search::{SearchBackend, SearchFields, WebSearch};
use openclaw::skills::network::NetworkPolicy;
use openclaw::skills::skill::{ProbeAnswer, Skill};
use serde_json::{Value, json};

use crate::process::{block_on, key};
use crate::skills::{House, house, house_with_path};

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
        if manifest.name.as_str() == "deploy" {
            // Declared by an operator, who need not give any.
            continue;
        }
        assert!(!manifest.examples.is_empty(), "{} has no example", manifest.name);
        for example in manifest.examples.iter() {
            let arguments = Arguments::Object(example.clone().into());
            let judged = house.catalogue.validate(&manifest.name, &arguments);
            assert!(judged.is_ok(), "{}: {example}: {judged:?}", manifest.name);
            examples += 1;
        }
    }
    assert!(examples >= 22, "{examples}");
}

#[test]
fn a_model_is_told_the_first_example_where_it_is_short() {
    let house = house();
    let told = |name: &str| house.skill(name).manifest().told().into_owned();
    let check = |name: &str, ends: &str| assert!(told(name).ends_with(ends), "{name}: {}", told(name));
    check("fs.read", r#"Example: {"path":"README.md"}"#);
    check("fs.move", r#"Example: {"from":"notes.txt","to":"docs/notes.txt"}"#);
    let manifest = house.skill("fs.read").manifest().clone();
    let long = SkillManifest {
        examples: [json!({"path": "x".repeat(EXAMPLE_BYTES_MAX)})].into(),
        ..manifest.clone()
    };
    assert_eq!(long.told(), *manifest.description, "too long for every request");
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
    let foreseen = |from: &str, to: &str, overwrite: bool| {
        let arguments = json!({"from": from, "to": to, "overwrite": overwrite});
        house.skill("fs.move").foreseen(&arguments, &house.root)
    };
    assert_eq!(foreseen("a", "new/c", false), None);
    assert_eq!(foreseen("a", "b", true), None, "a file may be replaced");
    for (from, to, overwrite, says) in [
        ("never", "b", false, "there is no `never`"),
        ("a", "b", false, "`b` is there"),
        ("../secret", "x", false, "leads out"),
        ("a", ".git/x", false, "belongs to git"),
        (
            "a",
            ".openclaw/home/.gitconfig",
            false,
            "that programs have as their home",
        ),
    ] {
        let said = foreseen(from, to, overwrite).unwrap_or_default();
        assert!(said.contains(says), "{from} {to}: {said}");
    }
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
fn what_programs_read_as_their_settings_is_written_by_no_skill() {
    let house = house();
    house.put(".openclaw/home/.profile", b"mine");
    std::os::unix::fs::symlink(".openclaw/home", house.root.join("alias")).expect("a link");
    for path in [
        ".openclaw/home/.gitconfig",
        ".OpenClaw/home/x",
        "alias/.gitconfig",
        "sub/.openclaw/x",
    ] {
        house.refused(
            "fs.write",
            json!({"path": path, "content": "x"}),
            "that programs have as their home",
        );
    }
    house.refused(
        "fs.move",
        json!({"from": ".openclaw/home/.profile", "to": "x"}),
        "as their home",
    );
    assert_eq!(house.text(".openclaw/home/.profile"), "mine");
}

#[test]
fn a_file_that_is_too_large_to_be_searched_is_named() {
    let house = house();
    house.put("small.txt", b"the word\n");
    house.put("large.txt", &b"the word\n".repeat(600_000));
    let found = house.json("fs.search", json!({"pattern": "word"}));
    assert_eq!(found["matches"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(
        (&found["truncated"], &found["skipped"]),
        (&json!(true), &json!(["large.txt"]))
    );
    let found = house.json("fs.search", json!({"pattern": "word", "glob": "small*"}));
    assert_eq!((&found["truncated"], found.get("skipped")), (&json!(false), None));
}

#[test]
fn an_approval_does_not_show_what_opens_something() {
    let house = house();
    let headers = json!({"X-Auth-Token": "hidden-1", "x-goog-api-key": "hidden-2", "Accept": "text/html"});
    let order = house.order(
        key(),
        json!({"url": "http://a.example/", "method": "GET", "headers": headers}),
    );
    let shown = format!("{:?}", block_on(house.skill("http.request").preview(order)));
    assert!(shown.contains("text/html") && !shown.contains("hidden"), "{shown}");
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

#[test]
fn an_interpreter_that_is_closed_to_programs_is_passed_over_for_one_that_starts() {
    let folder = tempfile::tempdir().expect("folder");
    let shims = folder.path().join("shims");
    std::fs::create_dir(&shims).expect("made");
    let shim = shims.join("sh");
    std::fs::write(&shim, "#!/nowhere/else\n").expect("written");
    std::fs::set_permissions(&shim, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    let check = |path: String, wanted: &str| {
        let house = house_with_path(&path);
        for _ in 0..2 {
            let outcome = house.call("code.run", json!({"language": "sh", "code": "echo ran"}));
            assert!(outcome.content.contains(wanted), "{path}: {}", outcome.content);
        }
    };
    let shims = shims.display();
    check(format!("{shims}:/usr/bin:/bin"), "ran\\n");
    check(format!("{shims}:{shims}"), "OC-5043");
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
fn a_commit_is_shown_with_all_that_it_would_hold_and_showing_it_leaves_the_repository_as_it_is() {
    if !is_there("git") {
        return;
    }
    let house = house();
    git(&house, &["init", "--quiet"]);
    let state = || {
        let count = std::fs::read_dir(house.root.join(".git/objects"))
            .expect("objects")
            .count();
        (
            git(&house, &["status", "--short"]),
            git(&house, &["ls-files", "--stage"]),
            count,
        )
    };
    let check = |paths: &[&str], present: &[&str], absent: &[&str]| {
        let before = state();
        let order = house.order(key(), json!({"message": "change: it", "paths": paths}));
        let seen = block_on(house.skill("git.commit").preview(order));
        assert!(!seen.is_cut, "{seen:?}");
        assert!(seen.shown.contains("change: it"), "{}", seen.shown);
        for part in present {
            assert!(seen.shown.contains(part), "{part} is not in {}", seen.shown);
        }
        for part in absent {
            assert!(!seen.shown.contains(part), "{part} is in {}", seen.shown);
        }
        assert_eq!(state(), before, "a look changed the repository");
        seen.basis
    };
    house.put("a.txt", b"one\n");
    house.put("b.txt", b"one\n");
    check(&[], &["+++ b/a.txt", "+++ b/b.txt", "+one"], &[]);
    check(&["a.txt"], &["+++ b/a.txt"], &["b.txt\n"]);
    git(&house, &["add", "."]);
    git(&house, &["commit", "--quiet", "-m", "add: both"]);
    check(&[], &["nothing has changed"], &[]);
    house.put("a.txt", b"two\n");
    git(&house, &["add", "a.txt"]);
    house.put("c.txt", b"three\n");
    std::fs::remove_file(house.root.join("b.txt")).expect("removed");
    let all = check(&[], &["-one\n+two", "+++ b/c.txt", "deleted file", "--- a/b.txt"], &[]);
    let one = check(&["c.txt"], &["+three"], &["a.txt", "b.txt"]);
    assert_ne!(all, one);
    assert_eq!(check(&["c.txt"], &[], &[]), one, "the same content is the same call");
    house.put("c.txt", b"four\n");
    assert_ne!(check(&["c.txt"], &["+four"], &[]), one, "other content is another call");
    // What a person cannot read to its end is not asked.
    house.put("c.txt", "long\n".repeat(20_000).as_bytes());
    let order = house.order(key(), json!({"message": "change: it"}));
    assert!(block_on(house.skill("git.commit").preview(order)).is_cut);
}

/// A repository with one commit, a changed file that wants a filter, and a program that leaves a mark.
fn marked_repository() -> House {
    let house = house();
    git(&house, &["init", "--quiet", "--initial-branch", "main"]);
    house.put("a.txt", b"one\n");
    git(&house, &["add", "."]);
    git(&house, &["commit", "--quiet", "-m", "add: one"]);
    house.put(".gitattributes", b"*.txt filter=x diff=x merge=x\n");
    house.put("a.txt", b"two\n");
    house.put("mark.sh", b"#!/bin/sh\ntouch marked\ncat\n");
    let mark = house.root.join("mark.sh");
    std::fs::set_permissions(&mark, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    house
}

#[test]
fn nothing_that_a_repository_names_is_run() {
    if !is_there("git") {
        return;
    }
    let check = |settings: &[(&str, &str)], refused: bool| {
        let house = marked_repository();
        let mark = house.root.join("mark.sh").display().to_string();
        for (name, value) in settings {
            git(&house, &["config", name, &value.replace("MARK", &mark)]);
        }
        for (skill, arguments) in [
            ("git.status", json!({})),
            ("git.diff", json!({})),
            ("git.diff", json!({"staged": true})),
            ("git.log", json!({})),
            ("git.commit", json!({"message": "change: two"})),
        ] {
            let outcome = house.call(skill, arguments);
            assert!(
                !house.root.join("marked").exists(),
                "{settings:?}: {skill} ran the program"
            );
            assert_eq!(outcome.is_error, refused, "{settings:?}: {skill}: {}", outcome.content);
            if refused {
                let name = settings[0].0.to_ascii_lowercase();
                let said = outcome.content.to_ascii_lowercase();
                assert!(said.contains(&name) && said.contains("oc-5041"), "{settings:?}: {said}");
            }
        }
    };
    let refused = |name: &str, value: &str| check(&[(name, value)], true);
    refused("filter.x.clean", "MARK");
    refused("filter.x.process", "MARK");
    refused("diff.external", "MARK");
    refused("diff.x.command", "MARK");
    refused("diff.x.textconv", "MARK");
    refused("merge.x.driver", "MARK");
    refused("trailer.sign.cmd", "MARK");
    refused("gpg.program", "MARK");
    refused("alias.status", "!MARK");
    refused("include.path", "../more");
    refused("includeIf.onbranch:main.path", "../more");
    refused("core.worktree", "../..");
    refused("core.alternateRefsCommand", "MARK");
    refused("core.attributesFile", "../more");
    refused("core.sshCommand", "MARK");
    refused("core.fsmonitor", "MARK");
    refused("core.pager", "MARK");
    refused("core.editor", "MARK");
    refused("credential.helper", "MARK");
    refused("protocol.ext.allow", "always");
    refused("submodule.x.update", "!MARK");
    refused("hook.x.command", "MARK");
    refused("gc.recentObjectsHook", "MARK");
    // What is common and set over again.
    check(&[("core.hooksPath", "..")], false);
    check(&[("commit.gpgSign", "true"), ("user.signingKey", "x")], false);
    check(&[("status.submoduleSummary", "true")], false);
    check(
        &[("remote.origin.url", "ext::MARK"), ("branch.main.remote", "origin")],
        false,
    );
}

#[test]
fn a_submodule_is_not_looked_into() {
    if !is_there("git") {
        return;
    }
    let house = marked_repository();
    let inner = house.root.join("inner");
    std::fs::create_dir(&inner).expect("made");
    let within = |words: &[&str]| git(&house, &[&["-C", "inner"], words].concat());
    within(&["init", "--quiet"]);
    house.put("inner/b.txt", b"one\n");
    within(&["add", "."]);
    within(&["commit", "--quiet", "-m", "add: inner"]);
    git(&house, &["add", "inner"]);
    git(&house, &["commit", "--quiet", "-m", "add: a submodule"]);
    let mark = house.root.join("mark.sh").display().to_string();
    within(&["config", "filter.x.clean", &mark]);
    house.put("inner/.gitattributes", b"*.txt filter=x\n");
    house.put("inner/b.txt", b"two\n");
    let check = |skill: &str, arguments: Value, is_error: bool, says: &str| {
        let outcome = house.call(skill, arguments);
        for marked in ["marked", "inner/marked"] {
            assert!(!house.root.join(marked).exists(), "{skill} ran the program");
        }
        assert_eq!(outcome.is_error, is_error, "{skill}: {}", outcome.content);
        assert!(outcome.content.contains(says), "{skill}: {}", outcome.content);
    };
    check("git.status", json!({}), false, " M a.txt");
    check("git.diff", json!({}), false, "+two");
    check("git.commit", json!({"message": "change: two"}), true, "has a submodule");
}

#[test]
fn without_a_commit_there_is_nothing_to_compare_with_and_that_is_said() {
    if !is_there("git") {
        return;
    }
    let house = house();
    git(&house, &["init", "--quiet"]);
    house.put("a.txt", b"one\n");
    let said = house.call("git.diff", json!({}));
    assert!(
        !said.is_error && said.content.contains("no commit yet"),
        "{}",
        said.content
    );
    git(&house, &["add", "a.txt"]);
    let staged = house.call("git.diff", json!({"staged": true}));
    assert!(staged.content.contains("+one"), "{}", staged.content);
}

#[test]
fn files_of_git_are_not_written_by_file_skills() {
    let house = house();
    house.put(".git/config", b"[core]\n");
    house.put("plain", b"x");
    std::os::unix::fs::symlink(".git", house.root.join("link")).expect("linked");
    for path in [
        ".git/config",
        ".git",
        ".GIT/config",
        "./.git/hooks/pre-commit",
        "sub/.git/config",
        "sub/../.git/config",
        "link/config",
        "link/hooks/new",
    ] {
        house.refused("fs.write", json!({"path": path, "content": "x"}), "OC-5042");
        house.refused(
            "fs.move",
            json!({"from": "plain", "to": path, "overwrite": true}),
            "OC-5042",
        );
    }
    house.refused(
        "fs.patch",
        json!({"path": ".git/config", "old": "core", "new": "x"}),
        "OC-5042",
    );
    house.refused("fs.move", json!({"from": ".git", "to": "away"}), "OC-5042");
    assert_eq!(house.text(".git/config"), "[core]\n");
    house.json("fs.write", json!({"path": ".gitignore", "content": "x"}));
    house.json("fs.write", json!({"path": "digit/x.git", "content": "x"}));
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
    let preview = block_on(skill.preview(order));
    assert!(preview.is_question);
    assert_eq!(preview.shown, "Which?\n- a\n- b");
}

#[test]
fn a_program_is_shown_with_words_that_cannot_mislead() {
    let house = house();
    let preview = |arguments: Value| block_on(house.skill("exec.run").preview(house.order(key(), arguments)));
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

/// Answers one request with JSON and gives what was asked, head and body.
fn answer_once(body: &'static str) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let mut asked = Vec::new();
        let mut piece = [0; 4096];
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut piece).expect("a request in time") {
                0 => break,
                read => asked.extend_from_slice(&piece[..read]),
            }
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("answered");
        // What is still on its way is read, or the answer would be lost with it.
        while stream.read(&mut piece).is_ok_and(|read| read > 0) {}
        String::from_utf8_lossy(&asked).into_owned()
    });
    (port, answering)
}

fn local(port: u16) -> NetworkPolicy {
    NetworkPolicy::parse([&*format!("127.0.0.1:{port}")]).expect("a place")
}

#[test]
fn the_web_is_searched_at_the_service_of_the_operator() {
    let house = house();
    let (port, answering) =
        answer_once(r#"{"results": [{"title": "T", "url": "https://x.example/", "content": "S"}, {"title": "U"}]}"#);
    let backend = SearchBackend {
        url: format!("http://127.0.0.1:{port}/search"),
        fields: SearchFields::searxng(),
    };
    let search = WebSearch::new(local(port), Some(backend));
    let order = house.order(key(), json!({"query": "a b", "limit": 1}));
    let outcome = block_on(search.call(order)).expect("the machinery works").outcome;
    assert!(!outcome.is_error, "{}", outcome.content);
    let found: Value = serde_json::from_str(&outcome.content).expect("JSON");
    let expected = json!({"results": [{"title": "T", "url": "https://x.example/", "snippet": "S"}]});
    assert_eq!(found, expected);
    let asked = answering.join().expect("asked");
    assert!(asked.starts_with("GET /search?q=a+b&format=json HTTP/1.1"), "{asked}");
}

#[test]
fn a_request_that_may_be_repeated_carries_the_key_of_its_effect() {
    let check = |idempotent: bool| {
        let house = house();
        let (port, answering) = answer_once("{}");
        let request = HttpRequest::new(local(port));
        let effect = key();
        let arguments = json!({
            "url": format!("http://127.0.0.1:{port}/items"), "method": "POST", "body": {"name": "seven"},
            "idempotent": idempotent,
        });
        let outcome = block_on(request.call(house.order(effect, arguments)))
            .expect("works")
            .outcome;
        assert!(!outcome.is_error, "{}", outcome.content);
        let asked = answering.join().expect("asked").to_ascii_lowercase();
        assert!(asked.starts_with("post /items http/1.1"), "{asked}");
        let carried = asked.contains(&format!("idempotency-key: {effect}\r\n"));
        assert!(carried, "{asked}");
    };
    check(true);
    check(false);
}
