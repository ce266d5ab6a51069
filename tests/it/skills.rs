//! The first set of skills through the catalogue, on real files and programs.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use openclaw::domain::conversation::Arguments;
use openclaw::domain::effect::{EffectClass, EffectKey};
use openclaw::domain::id::RunId;
use openclaw::domain::limits::RESULT_BYTES_MAX;
use openclaw::domain::memory::{MemoryEntry, MemoryKey, MemoryScope, MemoryState, ShardName};
use openclaw::domain::name::{SkillName, StepId};
use openclaw::domain::skill::CallOutcome;
use openclaw::domain::time::UtcMillis;
use openclaw::skills::catalogue::Catalogue;
use openclaw::skills::command::{CommandDeclaration, CommandSkill, CommandSurroundings};
use openclaw::skills::first_set::{Parts, first_set};
use openclaw::skills::memory_reader::{MemoryQuestion, MemoryReader};
use openclaw::skills::network::NetworkPolicy;
use openclaw::skills::package::library::Library;
use openclaw::skills::process::runner::ProcessRunner;
use openclaw::skills::skill::{CallEnd, CallOrder, LocalEffect, NewNote, ProbeAnswer, Skill};
use openclaw::skills::spool::Spool;
use openclaw::skills::workers::{WorkerEnd, Workers};
use serde_json::{Value, json};
use supervisors::{ChildSpec, Strategy, Supervisor, SupervisorSpec, TaskSupervisor};

use crate::process::{alive, block_on, key};

/// A memory that holds what the test put there.
#[derive(Default)]
struct Shelf(HashMap<MemoryKey, MemoryEntry>);

impl MemoryReader for Shelf {
    fn get(&self, key: MemoryKey) -> BoxFuture<'static, Result<Option<MemoryEntry>, String>> {
        Box::pin(std::future::ready(Ok(self.0.get(&key).cloned())))
    }

    fn query(
        &self,
        shard: ShardName,
        question: MemoryQuestion,
    ) -> BoxFuture<'static, Result<Vec<MemoryEntry>, String>> {
        let own = self.0.iter().filter(|(key, _)| key.shard() == shard);
        let fitting = own.filter(|(_, entry)| entry.text.contains(&*question.text));
        let found = fitting.map(|(_, entry)| entry.clone()).take(question.limit).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn make_room(
        &self,
        _shard: ShardName,
        _key: Option<Arc<str>>,
        _bytes: usize,
    ) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A workspace with the first set of skills and one that an operator declared.
pub(crate) struct House {
    _folder: tempfile::TempDir,
    pub(crate) root: PathBuf,
    pub(crate) catalogue: Catalogue,
}

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub(crate) fn house() -> House {
    house_with_path(PATH)
}

/// One whose programs are looked for in other folders.
pub(crate) fn house_with_path(path: &str) -> House {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path().join("work");
    std::fs::create_dir(&root).expect("folder");
    std::fs::write(folder.path().join("secret"), "secret").expect("written");
    let spool = Spool::open(folder.path().join("spool")).expect("spool");
    let runner = ProcessRunner::with_launcher(env!("CARGO_BIN_EXE_openclaw"), Some(spool));
    let at = UtcMillis(5);
    let entry = MemoryEntry {
        id: 1,
        key: Some("auth".into()),
        text: "kept".into(),
        tags: Vec::new(),
        sources: Vec::new(),
        importance: 50,
        created_at: at,
        updated_at: at,
        used_at: at,
        uses: 0,
        expires_at: None,
        version: 2,
        previous: None,
        state: MemoryState::Live,
    };
    let project = MemoryKey {
        scope: MemoryScope::Project,
        namespace: root.display().to_string().into(),
        key: "auth".into(),
    };
    let parts = Parts {
        runner: Arc::clone(&runner),
        path: OsString::from(path),
        passed: vec![("TOOL_HOME".to_owned(), "/opt/tool".to_owned())],
        network: NetworkPolicy::default(),
        memory: Arc::new(Shelf(HashMap::from([(project, entry)]))),
        search: None,
        library: Arc::new(Library::new(folder.path(), Vec::new())),
    };
    let surroundings = CommandSurroundings {
        runner,
        path: OsString::from(path),
        folder: root.clone(),
        passed: Vec::new(),
    };
    let declared = CommandSkill::load(
        CommandDeclaration {
            name: SkillName::new("deploy").expect("name"),
            description: "Deploys.".to_owned(),
            argv: words(&[
                "sh",
                "-c",
                "cat > got; echo $OPENCLAW_EFFECT_KEY >> ledger; echo deployed; test ! -e bad",
            ]),
            class: EffectClass::Probe,
            probe_argv: Some(words(&[
                "sh",
                "-c",
                "test ! -e odd || exit 2; touch ledger; grep $OPENCLAW_EFFECT_KEY ledger",
            ])),
            input_schema: json!({"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}),
            timeout_ms: 20_000,
            resources: Vec::new(),
            undo: None,
            network: Vec::new(),
        },
        surroundings,
    );
    let declared: Arc<dyn Skill> = Arc::new(declared.expect("loaded"));
    let catalogue = Catalogue::new(first_set(parts).into_iter().chain([declared])).expect("catalogue");
    House {
        _folder: folder,
        root,
        catalogue,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl House {
    pub(crate) fn put(&self, path: &str, content: &[u8]) {
        let file = self.root.join(path);
        std::fs::create_dir_all(file.parent().expect("parent")).expect("folders");
        std::fs::write(file, content).expect("written");
    }

    pub(crate) fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).expect(path)
    }

    pub(crate) fn order(&self, key: EffectKey, arguments: Value) -> CallOrder {
        CallOrder {
            key,
            run: RunId::new(UtcMillis(1), 1),
            step: StepId::new("draft").expect("id"),
            arguments,
            workspace: Arc::from(self.root.as_path()),
            granted: None,
            agreed: false,
            deadline: Duration::from_secs(20),
        }
    }

    pub(crate) fn skill(&self, name: &str) -> Arc<dyn Skill> {
        self.catalogue.get(&SkillName::new(name).expect("name")).expect(name)
    }

    /// Validates and calls, as an agent's session does.
    pub(crate) fn call_as(&self, key: EffectKey, name: &str, arguments: Value) -> CallEnd {
        let validated = self.catalogue.validate(
            &SkillName::new(name).expect("name"),
            &Arguments::Object(arguments.into()),
        );
        let order = self.order(key, validated.expect("arguments fit"));
        let end = block_on(self.skill(name).call(order)).expect("the machinery works");
        assert!(end.outcome.content.len() <= RESULT_BYTES_MAX, "{name}");
        end
    }

    pub(crate) fn call(&self, name: &str, arguments: Value) -> CallOutcome {
        self.call_as(key(), name, arguments).outcome
    }

    pub(crate) fn json(&self, name: &str, arguments: Value) -> Value {
        let outcome = self.call(name, arguments);
        assert!(!outcome.is_error, "{name}: {}", outcome.content);
        serde_json::from_str(&outcome.content).expect("JSON")
    }

    #[track_caller]
    pub(crate) fn refused(&self, name: &str, arguments: Value, says: &str) {
        let outcome = self.call(name, arguments.clone());
        assert!(
            outcome.is_error && outcome.content.contains(says),
            "{name} {arguments}: {}",
            outcome.content
        );
    }
}

#[test]
fn a_folder_is_listed_with_sizes_and_lines() {
    let house = house();
    house.put("src/a.rs", b"one\ntwo\nthree");
    house.put("src/b.bin", b"\0\0\n");
    house.put("target/x", b"x");
    let listed = house.json("fs.list", json!({}));
    let wanted = json!({"path": ".", "truncated": false, "entries": [
        {"path": "src", "kind": "dir"},
        {"path": "src/a.rs", "kind": "file", "bytes": 13, "lines": 3},
        {"path": "src/b.bin", "kind": "file", "bytes": 3},
    ]});
    assert_eq!(listed, wanted);
    let one = house.json(
        "fs.list",
        json!({"path": "src", "glob": "*.rs", "depth": 1, "limit": 1}),
    );
    assert_eq!(
        (&one["entries"][0]["path"], &one["truncated"]),
        (&json!("src/a.rs"), &json!(false))
    );
    house.refused("fs.list", json!({"path": "../"}), "leads out of the workspace");
    house.refused("fs.list", json!({"path": "none"}), "there is no `none`");
    house.refused("fs.list", json!({"glob": "[a"}), "not usable");
    for number in 0..2500 {
        house.put(&format!("many/{}{number:04}", "n".repeat(100)), b"");
    }
    let many = house.json("fs.list", json!({"path": "many", "limit": 2000}));
    assert_eq!(many["truncated"], json!(true));
}

#[test]
fn a_file_is_read_whole_or_by_lines() {
    let house = house();
    house.put("a", "ä\nb\r\nc".as_bytes());
    house.put("empty", b"");
    house.put("bin", b"\x7fELF\0\0");
    house.put("latin", b"caf\xe9\n");
    house.put("long", "x".repeat(300_000).as_bytes());
    house.put("lines", "0123456789\n".repeat(50_000).as_bytes());
    let check = |arguments: Value, wanted: &str| {
        let outcome = house.call("fs.read", arguments.clone());
        assert_eq!((&*outcome.content, outcome.is_error), (wanted, false), "{arguments}");
    };
    check(json!({"path": "a"}), "ä\nb\r\nc");
    check(
        json!({"path": "a", "offset": 2, "limit": 1}),
        "b\r\n[lines 2 to 2; go on with offset 3]",
    );
    check(json!({"path": "a", "offset": 3}), "c");
    check(json!({"path": "empty"}), "");
    check(json!({"path": "bin"}), "binary file, 6 bytes");
    check(json!({"path": "latin"}), "caf\u{fffd}\n");
    let long = house.call("fs.read", json!({"path": "long"})).content;
    assert!(long.ends_with("…[cut]"), "{}", long.len());
    let lines = house.call("fs.read", json!({"path": "lines"})).content;
    let mark = lines.lines().last().expect("a last line");
    assert!(
        mark.starts_with("[lines 1 to ") && mark.contains("go on with offset "),
        "{mark}"
    );
    house.refused("fs.read", json!({"path": "a", "offset": 9}), "has 3 lines");
    house.refused("fs.read", json!({"path": "../secret"}), "leads out of the workspace");
    house.refused("fs.read", json!({"path": "/etc/passwd"}), "is absolute");
    house.refused("fs.read", json!({"path": "."}), "is a folder");
    house.refused("fs.read", json!({"path": "a/b"}), "is a file, not a folder");
}

#[test]
fn lines_are_found_by_expression() {
    let house = house();
    house.put("src/b.rs", b"fn main() {}\n// none\nfn other() {}\n");
    house.put("a.md", b"the fn word\n");
    house.put("bin", b"fn\0");
    house.put(
        "wide",
        format!("{}needle{}", "é".repeat(5000), "x".repeat(5000)).as_bytes(),
    );
    let found = house.json("fs.search", json!({"pattern": r"^fn (\w+)", "glob": "*.rs"}));
    let wanted = json!({"truncated": false, "matches": [
        {"path": "src/b.rs", "line": 1, "text": "fn main() {}"},
        {"path": "src/b.rs", "line": 3, "text": "fn other() {}"},
    ]});
    assert_eq!(found, wanted);
    let first = house.json("fs.search", json!({"pattern": "fn", "limit": 1}));
    assert_eq!(
        (&first["matches"][0]["path"], &first["truncated"]),
        (&json!("a.md"), &json!(true))
    );
    let wide = house.json("fs.search", json!({"pattern": "needle", "path": "wide"}));
    let text = wide["matches"][0]["text"].as_str().expect("text");
    assert!(text.contains("needle") && text.len() < 500, "{text}");
    house.refused("fs.search", json!({"pattern": "(a"}), "not usable");
    house.refused("fs.search", json!({"pattern": "a", "path": "../"}), "leads out");
}

#[test]
fn a_file_is_written_whole_and_again_with_the_same_effect() {
    let house = house();
    let key = key();
    let arguments = json!({"path": "deep/er/REVIEW.md", "content": "äö\n"});
    let first = house.call_as(key, "fs.write", arguments.clone()).outcome;
    assert_eq!(
        &*first.content,
        r#"{"bytes":5,"created":true,"path":"deep/er/REVIEW.md"}"#
    );
    let second = house.call_as(key, "fs.write", arguments).outcome;
    assert_eq!(
        &*second.content,
        r#"{"bytes":5,"created":false,"path":"deep/er/REVIEW.md"}"#
    );
    assert_eq!(house.text("deep/er/REVIEW.md"), "äö\n");
    house.refused(
        "fs.write",
        json!({"path": "../out", "content": ""}),
        "leads out of the workspace",
    );
    house.refused("fs.write", json!({"path": "deep", "content": ""}), "not a regular file");
    house.refused(
        "fs.write",
        json!({"path": "deep/", "content": ""}),
        "not the name of a file",
    );
    house.refused("fs.write", json!({"path": "n".repeat(300), "content": ""}), "too long");
    assert!(!house.root.parent().expect("parent").join("out").exists());
}

#[test]
fn a_patch_is_made_once_and_can_be_asked_about() {
    let house = house();
    house.put("f", b"let a = 1;\nlet b = 1;\n");
    let arguments = json!({"path": "f", "old": "a = 1", "new": "a = 2"});
    let probe = |arguments: &Value| block_on(house.skill("fs.patch").probe(house.order(key(), arguments.clone())));
    assert_eq!(probe(&arguments), ProbeAnswer::NotHappened);
    let outcome = house.call("fs.patch", arguments.clone());
    assert_eq!(&*outcome.content, r#"{"bytes":22,"path":"f","replaced":1}"#);
    assert_eq!(house.text("f"), "let a = 2;\nlet b = 1;\n");
    assert_eq!(probe(&arguments), ProbeAnswer::Happened(outcome));
    house.refused("fs.patch", arguments.clone(), "occurs 0 times");
    house.put("f", b"something else");
    assert!(matches!(probe(&arguments), ProbeAnswer::Unknown(_)));
    house.put("f", b"x x");
    house.refused(
        "fs.patch",
        json!({"path": "f", "old": "x", "new": "y"}),
        "occurs 2 times",
    );
    house.call(
        "fs.patch",
        json!({"path": "f", "old": "x", "new": "y", "expect_count": 2}),
    );
    assert_eq!(house.text("f"), "y y");
    house.refused(
        "fs.patch",
        json!({"path": "none", "old": "x", "new": "y"}),
        "there is no `none`",
    );
}

#[test]
fn a_program_gets_a_small_environment_and_gives_its_end() {
    let house = house();
    let key = key();
    std::fs::create_dir(house.root.join("sub")).expect("folder");
    let script = "pwd; test -d $TMPDIR && env | grep -v ^TMPDIR= | sort; touch $HOME/x; cat; echo bad >&2; exit 3";
    let arguments = json!({"argv": ["sh", "-c", script], "cwd": "sub", "stdin": "in", "env": {"MORE": "1"}});
    let outcome = house.call_as(key, "exec.run", arguments.clone()).outcome;
    assert_eq!((outcome.is_error, outcome.exit_code), (true, Some(3)));
    let value: Value = serde_json::from_str(&outcome.content).expect("JSON");
    let root = house.root.display();
    let stdout = format!(
        "{root}/sub\nHOME={root}/.openclaw/home\nLANG=C.UTF-8\nMORE=1\nOPENCLAW_EFFECT_KEY={key}\n\
         OPENCLAW_RUN={}\nOPENCLAW_STEP=draft\nPATH={PATH}\nPWD={root}/sub\nTOOL_HOME=/opt/tool\nTZ=UTC\nin",
        RunId::new(UtcMillis(1), 1)
    );
    let wanted = json!({"exit_code": 3, "stdout": stdout, "stderr": "bad\n", "truncated": false});
    assert_eq!(value, wanted);
    let limited = house.call("exec.run", json!({"argv": ["sleep", "60"], "timeout_ms": 50}));
    assert!(
        limited.is_error && limited.content.contains("did not end within 50 ms"),
        "{}",
        limited.content
    );
    let refused = |arguments: Value, says: &str| house.refused("exec.run", arguments, says);
    refused(
        json!({"argv": ["no-such-program"]}),
        "there is no program `no-such-program`",
    );
    refused(json!({"argv": ["./none"]}), "not an executable file");
    refused(json!({"argv": ["true"], "cwd": "../"}), "leads out of the workspace");
    refused(json!({"argv": ["true"], "env": {"OPENCLAW_RUN": "x"}}), "cannot be set");
    let listed = house.json("fs.list", json!({}));
    assert_eq!(
        listed["entries"],
        json!([{"path": "sub", "kind": "dir"}]),
        "the programs' home is not shown"
    );
}

#[test]
fn a_program_runs_once_under_one_key() {
    let house = house();
    let key = key();
    let run = || house.call_as(key, "exec.run", json!({"argv": ["sh", "-c", "echo x >> ledger"]}));
    assert_eq!(run(), run());
    assert_eq!(house.text("ledger"), "x\n");
}

#[test]
fn a_cancelled_program_is_gone_when_its_end_is_told() {
    let house = house();
    let key = key();
    let script = "trap '' TERM; setsid sleep 600 & touch ready; sleep 600";
    let order = house.order(key, json!({"argv": ["sh", "-c", script]}));
    let end = block_on(async {
        let tasks = TaskSupervisor::new(8);
        let workers = Workers::new(tasks.handle());
        let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::tasks("workers", tasks));
        let root = Supervisor::start("root", root).await.expect("started");
        let (told, end) = tokio::sync::oneshot::channel();
        let ticket = workers.call(house.skill("exec.run"), order, |end| drop(told.send(end)));
        let ticket = ticket.expect("accepted");
        while !house.root.join("ready").exists() {
            tokio::task::yield_now().await;
        }
        ticket.cancel();
        let end = tokio::time::timeout(Duration::from_secs(20), end)
            .await
            .expect("in time")
            .expect("told");
        let left = alive(key);
        root.shutdown().await;
        assert_eq!(left, Vec::<u32>::new());
        end
    });
    assert!(matches!(end, WorkerEnd::Cancelled { lost: false }), "{end:?}");
}

#[test]
fn a_declared_command_gets_json_and_is_asked_by_its_probe() {
    let house = house();
    let key = key();
    let probe = || block_on(house.skill("deploy").probe(house.order(key, json!({"to": "x"}))));
    assert_eq!(probe(), ProbeAnswer::NotHappened);
    let outcome = house.call_as(key, "deploy", json!({"to": "x"})).outcome;
    assert_eq!((&*outcome.content, outcome.is_error), ("deployed\n", false));
    assert_eq!(house.text("got"), r#"{"to":"x"}"#);
    let ProbeAnswer::Happened(found) = probe() else {
        panic!("{:?}", probe())
    };
    assert_eq!(&*found.content, format!("{key}\n"));
    house.put("odd", b"");
    assert!(matches!(probe(), ProbeAnswer::Unknown(_)));
    house.put("bad", b"");
    let failed = house.call("deploy", json!({"to": "y"}));
    assert_eq!((&*failed.content, failed.exit_code), ("exit code 1\ndeployed", Some(1)));
}

#[test]
fn memory_is_put_by_the_committer_and_read_by_name() {
    let house = house();
    let end = house.call_as(key(), "memory.put", json!({"scope": "global", "key": "k", "text": "t"}));
    let mut note = NewNote {
        shard: ShardName {
            scope: MemoryScope::Global,
            namespace: "".into(),
        },
        key: Some("k".into()),
        text: "t".into(),
        tags: Vec::new(),
        importance: None,
        expires_in_s: None,
    };
    let wanted = |note: &NewNote| Some(LocalEffect::MemoryPut(Box::new(note.clone())));
    assert_eq!((end.local, end.outcome.is_error), (wanted(&note), false));
    let all = json!({"scope": "global", "text": "t", "tags": ["a", "b"], "importance": 90, "expires_in_s": 60});
    let end = house.call_as(key(), "memory.put", all);
    note.key = None;
    note.tags = vec!["a".into(), "b".into()];
    (note.importance, note.expires_in_s) = (Some(90), Some(60));
    assert_eq!((end.local, end.outcome.is_error), (wanted(&note), false));
    let bad = json!({"scope": "global", "text": "t", "tags": ["a\nb"]});
    house.refused("memory.put", bad, "tags of 1 to 64 bytes");
    let both = json!({"scope": "global", "key": "k", "tags": ["a"]});
    house.refused("memory.query", both, "narrow a `query`");
    let got = house.json("memory.get", json!({"scope": "project", "key": "auth"}));
    let wanted = json!({"scope": "project", "key": "auth", "text": "kept", "version": 2, "updated_at_ms": 5});
    assert_eq!(got, wanted);
    house.refused(
        "memory.get",
        json!({"scope": "global", "key": "auth"}),
        "nothing under `auth`",
    );
}

#[test]
fn the_web_is_fetched_under_guard() {
    let house = house();
    let refused = |url: &str, says: &str| house.refused("web.fetch", json!({"url": url}), says);
    refused("http://127.0.0.1:8080/", "loopback");
    refused("http://[::ffff:169.254.169.254]/", "link-local");
    refused("http://localhost/", "loopback");
    refused("file:///etc/passwd", "only http");
    refused("not a url", "is not a URL");
}

#[test]
fn arguments_that_do_not_fit_are_refused_with_the_place() {
    let house = house();
    let check = |name: &str, arguments: Arguments, pointer: &str, says: &str| {
        let findings = house
            .catalogue
            .validate(&SkillName::new(name).expect("name"), &arguments);
        let findings = findings.expect_err("refused");
        let fits = findings
            .iter()
            .any(|finding| finding.pointer == pointer && finding.message.contains(says));
        assert!(fits, "{name}: {findings:?}");
    };
    let object = |value: Value| Arguments::Object(value.into());
    check(
        "fs.none",
        object(json!({})),
        "",
        "there is no skill `fs.none`; there are: ask.person, code.run",
    );
    check("fs.read", object(json!({})), "", "\"path\" is a required property");
    check(
        "fs.read",
        object(json!({"path": 1})),
        "/path",
        "is not of type \"string\"",
    );
    check(
        "fs.read",
        object(json!({"path": "a", "x": 1})),
        "",
        "'x' was unexpected",
    );
    check(
        "exec.run",
        object(json!({"argv": ["a", 2]})),
        "/argv/1",
        "is not of type \"string\"",
    );
    check("deploy", object(json!({"to": 1})), "/to", "is not of type \"string\"");
    check("fs.read", object(json!([])), "", "must be a JSON object");
    let deep = (0..70).fold(json!(1), |inner, _| json!([inner]));
    check("fs.read", object(json!({"path": deep})), "", "levels deep");
    let wide = "x".repeat(1_100_000);
    check(
        "fs.write",
        object(json!({"path": "a", "content": wide})),
        "",
        "at most 1048576",
    );
    let malformed = Arguments::Malformed {
        reason: "ends in the middle".into(),
        preview: "{\"pa".into(),
    };
    check("fs.read", malformed, "", "ends in the middle");
}

#[test]
fn a_workspace_that_is_gone_is_a_failure_of_the_machinery() {
    let house = house();
    for name in ["fs.list", "fs.read", "fs.write", "exec.run"] {
        let arguments = json!({"path": "a", "content": "", "argv": ["true"]});
        let order = CallOrder {
            workspace: Arc::from(Path::new("/no/such/folder")),
            ..house.order(key(), arguments)
        };
        let failed = block_on(house.skill(name).call(order)).expect_err(name);
        assert_eq!(failed.to_string(), "failed to open workspace /no/such/folder", "{name}");
    }
}
