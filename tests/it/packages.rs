//! Skill packages through the real skills: all three tiers, pins, and the shapes in which others publish them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openclaw::domain::capability::CapabilitySet;
use openclaw::domain::id::RunId;
use openclaw::domain::name::{PackageName, StepId};
use openclaw::domain::time::UtcMillis;
use openclaw::skills::package::document::read;
use openclaw::skills::package::folder::PackageFolder;
use openclaw::skills::package::library::Library;
use openclaw::skills::package::pin::{LOCK_FILE, Lock, Pin};
use openclaw::skills::package::read_skill::ReadSkill;
use openclaw::skills::package::run_skill::RunSkill;
use openclaw::skills::process::runner::ProcessRunner;
use openclaw::skills::skill::{CallOrder, Skill};
use serde_json::{Value, json};

use crate::process::{block_on, key};

/// A home with one package, and a workspace with another.
struct House {
    folder: tempfile::TempDir,
    reads: ReadSkill,
    runs: RunSkill,
}

const SCRIPT: &str = "import sys\nprint('ran', sys.argv[1:], sys.stdin.read())\n";

fn put(folder: &Path, path: &str, text: &str) {
    let file = folder.join(path);
    fs::create_dir_all(file.parent().expect("parent")).expect("folders");
    fs::write(file, text).expect("written");
}

fn house() -> House {
    let folder = tempfile::tempdir().expect("folder");
    let front = |name: &str| format!("---\nname: {name}\ndescription: Does {name}.\n---\nThe body of {name}.\n");
    put(folder.path(), "home/skills/forms/SKILL.md", &front("forms"));
    put(folder.path(), "home/skills/forms/scripts/fill.py", SCRIPT);
    put(folder.path(), "home/skills/forms/scripts/plain.txt", "no program");
    put(folder.path(), "home/skills/forms/references/more.md", "More words.");
    put(folder.path(), "home/secret", "secret");
    put(folder.path(), "work/.agents/skills/theirs/SKILL.md", &front("theirs"));
    put(folder.path(), "work/.agents/skills/theirs/scripts/fill.py", SCRIPT);
    let library = Arc::new(Library::new(&folder.path().join("home"), Vec::new()));
    let runner = ProcessRunner::with_launcher(env!("CARGO_BIN_EXE_openclaw"), None);
    // The folders of the system: an interpreter in a home of its own is closed to programs.
    let path = OsString::from("/usr/local/bin:/usr/bin:/bin");
    House {
        reads: ReadSkill::new(library.clone()),
        runs: RunSkill::new(library, runner, path, Vec::new()),
        folder,
    }
}

impl House {
    fn package(&self) -> PathBuf {
        self.folder.path().join("home/skills/forms")
    }

    fn add(&self, capabilities: &[&str]) {
        let pin = Pin {
            hash: PackageFolder::open(&self.package())
                .and_then(|folder| folder.hash())
                .expect("hashed"),
            folder: self.package(),
            capabilities: CapabilitySet::parse(capabilities.iter().copied()).expect("sound"),
        };
        let lock = Lock {
            pins: [(PackageName::new("forms").expect("name"), pin)].into(),
        };
        fs::write(self.folder.path().join("home").join(LOCK_FILE), lock.render()).expect("written");
    }

    fn call(&self, skill: &dyn Skill, arguments: Value) -> (bool, String) {
        let order = CallOrder {
            key: key(),
            run: RunId::new(UtcMillis(1), 1),
            step: StepId::new("s").expect("id"),
            arguments,
            workspace: self.folder.path().join("work").into(),
            granted: None,
            agreed: false,
            deadline: Duration::from_secs(30),
        };
        let outcome = block_on(skill.call(order)).expect("the machinery works").outcome;
        (outcome.is_error, outcome.content.to_string())
    }
}

#[test]
fn the_second_and_third_tier_are_read_on_demand_and_nothing_beside_them() {
    let house = house();
    let check = |arguments: Value, is_error: bool, wanted: &str| {
        let (refused, said) = house.call(&house.reads, arguments.clone());
        assert_eq!(refused, is_error, "{arguments}: {said}");
        assert!(said.contains(wanted), "{arguments}: {said}");
        assert!(!said.contains("secret"), "{arguments}: {said}");
    };
    check(json!({"skill": "forms"}), false, "The body of forms.");
    check(json!({"skill": "forms"}), false, "- references/more.md (11 bytes)");
    check(
        json!({"skill": "forms", "path": "references/more.md"}),
        false,
        "More words.",
    );
    check(
        json!({"skill": "forms", "path": "references/more.md", "offset": 5}),
        false,
        "words.",
    );
    check(json!({"skill": "theirs"}), false, "The body of theirs.");
    check(json!({"skill": "forms", "path": "../../sec"}), true, "leads out");
    check(json!({"skill": "forms", "path": "/etc/passwd"}), true, "absolute");
    check(json!({"skill": "../forms"}), true, "not a valid skill package name");
    check(json!({"skill": "none"}), true, "there are: forms, theirs");
}

#[test]
fn a_package_that_was_left_out_says_why_when_it_is_read() {
    let house = house();
    put(
        house.folder.path(),
        "work/.agents/skills/broken/SKILL.md",
        "no front matter",
    );
    let (is_error, said) = house.call(&house.reads, json!({"skill": "broken"}));
    assert!(
        is_error && said.contains("cannot be used") && said.contains("OC-5020"),
        "{said}"
    );
    assert!(said.contains("broken/SKILL.md:1"), "its place: {said}");
    let (_, said) = house.call(&house.reads, json!({"skill": "absent"}));
    assert!(said.contains("there is no skill package"), "{said}");
}

#[test]
fn what_version_control_keeps_beside_a_package_is_neither_hashed_nor_seen() {
    let house = house();
    let script = "import os\nhere = os.environ['OPENCLAW_SKILL_DIR']\n\
                  for name in ['references/more.md', '.git/config']:\n\
                  \x20   try:\n\
                  \x20       print(name, len(open(here + '/' + name).read()))\n\
                  \x20   except OSError as error:\n\
                  \x20       print(name, type(error).__name__)\n";
    put(&house.package(), "scripts/look.py", script);
    put(&house.package(), ".git/config", "[core]");
    house.add(&["exec"]);
    let look = || house.call(&house.runs, json!({"skill": "forms", "script": "scripts/look.py"}));
    // A fetch changes nothing of the package, and shows nothing to anybody.
    put(&house.package(), ".git/config", "[core] else");
    let (is_error, said) = house.call(&house.reads, json!({"skill": "forms", "path": ".git/config"}));
    assert!(is_error && said.contains("version control"), "{said}");
    let (_, said) = look();
    assert!(
        said.contains("references/more.md 11") && said.contains(".git/config PermissionError"),
        "{said}"
    );
    // Deeper it is a folder like any other.
    put(&house.package(), "references/.git/config", "[core]");
    let (is_error, said) = look();
    assert!(is_error && said.contains("OC-5021"), "{said}");
}

#[test]
fn a_script_runs_when_it_was_added_with_the_capability_and_is_what_was_added() {
    let house = house();
    let run = |skill: &str, script: &str| {
        house.call(
            &house.runs,
            json!({"skill": skill, "script": script, "args": ["a b", "$HOME"], "stdin": "in"}),
        )
    };
    let refused = |skill: &str, script: &str, wanted: &str| {
        let (is_error, said) = run(skill, script);
        assert!(is_error && said.contains(wanted), "{skill} {script}: {said}");
    };
    refused("forms", "scripts/fill.py", "OC-5022");
    house.add(&[]);
    refused(
        "forms",
        "scripts/fill.py",
        "without the capability exec:scripts/fill.py",
    );
    house.add(&["exec:scripts/other.py"]);
    refused("forms", "scripts/fill.py", "without the capability");
    house.add(&["exec:scripts/fill.py"]);
    for script in ["scripts/fill.py", "fill.py"] {
        let (is_error, said) = run("forms", script);
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!((is_error, &said["exit_code"]), (false, &json!(0)), "{said}");
        assert_eq!(said["stdout"], "ran ['a b', '$HOME'] in\n", "no shell between: {said}");
    }
    house.add(&["exec"]);
    refused("forms", "scripts/plain.txt", "neither executable nor of a known kind");
    refused("forms", "scripts/none.py", "it has: scripts/fill.py");
    refused("forms", "../../secret", "leads out");
    refused("forms", "references/more.md", "has no `scripts/references/more.md`");
    // Somebody changes one byte of another file.
    put(&house.package(), "references/more.md", "Other words");
    refused("forms", "scripts/fill.py", "OC-5021");
    let (is_error, said) = house.call(&house.reads, json!({"skill": "forms"}));
    assert!(is_error && said.contains("OC-5021"), "{said}");
    house.add(&["exec"]);
    assert!(!run("forms", "scripts/fill.py").0);
    // What a workspace brings is read and never run.
    refused("theirs", "scripts/fill.py", "has not added it");
}

/// Tries to touch things and says what could be touched.
const REACH: &str = r#"
import os, socket, sys
os.makedirs(os.environ["HOME"] + "/.cache", exist_ok=True)
def tcp(): socket.socket(socket.AF_INET, socket.SOCK_STREAM)
for name, action in {
    "read": lambda: open("data/in").read(), "read else": lambda: open("other/in").read(),
    "list": lambda: os.listdir("."), "write": lambda: open("out/new", "w").write("x"),
    "write else": lambda: open("data/new", "w").write("x"), "write here": lambda: open("new", "w").write("x"),
    "through a link": lambda: open("link/in").read(), "package": lambda: open(os.environ["OPENCLAW_SKILL_DIR"] + "/SKILL.md").read(),
    "package itself": lambda: open(os.environ["OPENCLAW_SKILL_DIR"] + "/new", "w"), "socket": tcp,
    "secret": lambda: open(os.environ["OPENCLAW_SKILL_DIR"] + "/../../secret").read(),
}.items():
    try:
        action()
        print(name, end=", ")
    except OSError:
        pass
"#;

#[test]
fn a_script_touches_what_its_package_was_granted_and_nothing_else() {
    let house = house();
    put(house.folder.path(), "home/skills/forms/scripts/reach.py", REACH);
    for file in ["data/in", "other/in", "out/in"] {
        put(house.folder.path(), &format!("work/{file}"), "x");
    }
    std::os::unix::fs::symlink("other", house.folder.path().join("work/link")).expect("a link");
    let check = |capabilities: &[&str], wanted: &[&str]| {
        house.add(&[&["exec"], capabilities].concat());
        let arguments = json!({"skill": "forms", "script": "reach.py"});
        let (is_error, said) = house.call(&house.runs, arguments.clone());
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| json!({ "stdout": said }));
        let found: Vec<&str> = said["stdout"].as_str().expect("text").split_terminator(", ").collect();
        assert_eq!(
            (is_error, found.as_slice()),
            (false, wanted),
            "{capabilities:?}: {said}"
        );
        // Whoever runs it needs what its package was granted.
        let needs = house.runs.needs(&arguments, house.folder.path());
        let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
        let wanted = [capabilities, &["exec:forms/reach.py"]].concat();
        assert!(
            wanted.iter().all(|one| needs.iter().any(|need| need == one)),
            "{needs:?}"
        );
    };
    check(&[], &["package"]);
    check(&["fs.read:data"], &["read", "package"]);
    check(&["fs.read:data", "fs.write:out"], &["read", "write", "package"]);
    check(&["fs.read:none"], &["package"]);
    check(
        &["fs.read:*"],
        &["read", "read else", "list", "through a link", "package"],
    );
    check(
        &["fs.write:*"],
        &[
            "read",
            "read else",
            "list",
            "write",
            "write else",
            "write here",
            "through a link",
            "package",
        ],
    );
    // What may be written has to be there, and a link is not followed: nothing is started.
    for part in ["fs.write:none", "fs.write:link", "fs.read:link"] {
        house.add(&["exec", part]);
        let (is_error, said) = house.call(&house.runs, json!({"skill": "forms", "script": "reach.py"}));
        assert!(is_error && said.contains("file access"), "{part}: {said}");
    }
    // A host that was granted is reached through the daemon's proxy, and there is none here.
    house.add(&["exec", "net:example.com:443"]);
    let (is_error, said) = house.call(&house.runs, json!({"skill": "forms", "script": "reach.py"}));
    assert!(is_error && said.contains("OC-5010"), "{said}");
}

#[test]
fn published_shapes_load_as_the_document_says() {
    let check = |folder: &str, front: &str, name: &str, warnings: &[&str]| {
        let text = format!("---\n{front}\n---\n\n# Body\n");
        let (document, found) = read(text.as_bytes(), Path::new("SKILL.md"), folder);
        let document = document.unwrap_or_else(|| panic!("{folder}: {found:?}"));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(document.name.as_str(), name, "{found:?}");
        assert_eq!(found.len(), warnings.len(), "{folder}: {found:?}");
        for (found, wanted) in found.iter().zip(warnings) {
            assert!(found.contains(wanted), "{folder}: {found}");
        }
        document
    };
    let long = "words of a long description that goes on and on, with commas (and brackets) ".repeat(10);
    // One plain line, and a licence that names a file.
    let front = format!("name: line-art\ndescription: {long}\nlicense: Complete terms are in TERMS.txt");
    let document = check("line-art", &front, "line-art", &[]);
    assert_eq!(document.license.as_deref(), Some("Complete terms are in TERMS.txt"));
    // Quotes around colons and lists, and a licence of two sentences.
    let quoted = "name: sheets\ndescription: \"Work with sheets. When asked for: (1) new ones, (2) changes: 'a' or \\\"b\\\"\"\n\
                  license: Not free. TERMS.txt has the terms";
    let document = check("sheets", quoted, "sheets", &[]);
    assert!(
        document.description.ends_with("'a' or \"b\""),
        "{}",
        document.description
    );
    // Nothing but what must be there.
    check(
        "co-writing",
        "name: co-writing\ndescription: Helps to write.",
        "co-writing",
        &[],
    );
    // A colon that wants quotes: the description is kept whole.
    let colon = "name: some-api\ndescription: Builds apps. TRIGGER when: code imports it's/sdk; NOT when: it doesn't.\nlicense: In TERMS.txt";
    let document = check("some-api", colon, "some-api", &["YAML that needs quotes"]);
    assert_eq!(
        document.description,
        "Builds apps. TRIGGER when: code imports it's/sdk; NOT when: it doesn't."
    );
    // A block that is too long.
    let block = format!(
        "name: some-api\ndescription: |-\n  Reference.\n  TRIGGER: {}\nlicense: x",
        "w ".repeat(600)
    );
    let document = check("some-api", &block, "some-api", &["it was cut"]);
    assert_eq!(document.description.chars().count(), 1024);
    // A folded one.
    check(
        "web-checks",
        "name: web-checks\ndescription: >\n  Looks at\n  pages: all of them.",
        "web-checks",
        &[],
    );
    // A template whose folder has another name, with a comment.
    check(
        "template",
        "name: template-skill # lower case and hyphens\ndescription: Replace me.",
        "template-skill",
        &["in the folder `template`"],
    );
    // Keys that the standard does not have, and nested metadata.
    let more = "name: charts\nversion: 1.0.0\nauthor: me\ndescription: Draws.\ntriggers:\n  - charts\nmetadata:\n  vendor:\n    tags: [a]\n  rank: 2";
    let warnings = ["metadata.vendor", "`author`", "`triggers`", "`version`"];
    let document = check("charts", more, "charts", &warnings);
    assert_eq!(document.metadata["rank"], "2");
    // A name with a slash, and what it asks for.
    let slash =
        "name: suite/slides\ndescription: Slides.\nallowed-tools: Bash(git:*) Read\ncompatibility: Needs python3";
    let document = check("slides", slash, "slides", &["the folder's name is taken"]);
    assert_eq!(document.requested_tools, ["Bash(git:*)", "Read"]);
    assert_eq!(document.compatibility.as_deref(), Some("Needs python3"));
}
