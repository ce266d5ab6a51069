//! No path leads out: one table of paths against every skill that takes one, in a workspace full of links.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::skills::{House, house};

/// Paths that lead out of the workspace, or are none.
const HOSTILE: &[&str] = &[
    "..",
    "../",
    "../secret",
    "./../secret",
    ".//..//secret",
    "../work/../secret",
    "inside/../../secret",
    "sub/../../secret",
    "sub/deep/../../../secret",
    "sub/../../../../../../../../etc/passwd",
    "/",
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/root/etc/passwd",
    "/proc/self/environ",
    "/dev/stdin",
    "link",
    "link/x",
    "way",
    "way/secret",
    "way/./secret",
    "way/work/../secret",
    "sub/way",
    "sub/way/secret",
    "root",
    "root/etc/passwd",
    "root/proc/self/environ",
    "twice",
    "twice/secret",
    "loop",
    "loop/secret",
    "self",
    "nul\u{0}/../secret",
    "\u{0}",
];

/// Those that are links themselves: they are moved as what they are.
const LINKS: &[&str] = &["link", "way", "sub/way", "root", "twice", "loop", "self"];

/// Names that look dangerous and are nothing but names.
const HARMLESS: &[&str] = &[
    "..secret",
    "...",
    "%2e%2e/secret",
    "..%2fsecret",
    "..\\secret",
    "~/secret",
    "$HOME/secret",
    "\u{2024}\u{2024}/secret",
    "..\u{2215}secret",
    "new\nline",
    "-rf",
    "\u{202e}terces",
];

fn scene() -> House {
    let house = house();
    house.put("inside", b"plain");
    house.put("sub/deep/file", b"plain");
    for (target, link) in [
        ("../secret", "link"),
        ("..", "way"),
        ("../..", "sub/way"),
        ("/", "root"),
        ("way", "twice"),
        ("loop", "loop"),
        ("/proc/self/root", "self"),
    ] {
        symlink(target, house.root.join(link)).expect("a link");
    }
    house
}

/// What lies beside the workspace, with what the secret says.
fn beside(house: &House) -> (Vec<String>, String) {
    let parent = house.root.parent().expect("a parent");
    let names = std::fs::read_dir(parent).expect("listed").flatten();
    let mut names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    (names, std::fs::read_to_string(parent.join("secret")).expect("read"))
}

/// Every skill that takes a path, with this one in every place that takes one.
fn calls(path: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("fs.read", json!({ "path": path })),
        ("fs.list", json!({ "path": path })),
        ("fs.search", json!({ "path": path, "pattern": "secret|root:" })),
        ("fs.write", json!({ "path": path, "content": "taken" })),
        ("fs.patch", json!({ "path": path, "old": "secret", "new": "taken" })),
        ("fs.move", json!({ "from": path, "to": "here" })),
        ("fs.move", json!({ "from": "inside", "to": path })),
        (
            "exec.run",
            json!({ "argv": ["cat", "secret", "etc/passwd"], "cwd": path }),
        ),
        ("skill.read", json!({ "skill": "forms", "path": path })),
        ("skill.run", json!({ "skill": "forms", "script": path })),
    ]
}

#[test]
fn no_path_leads_any_skill_out_of_its_folder() {
    let house = scene();
    let package = house.root.parent().expect("a parent").join("skills/forms");
    std::fs::create_dir_all(&package).expect("made");
    let front = "---\nname: forms\ndescription: Fills forms.\n---\nBody.\n";
    std::fs::write(package.join("SKILL.md"), front).expect("written");
    let before = beside(&house);
    for path in HOSTILE {
        for (skill, arguments) in calls(path) {
            if skill == "fs.move" && LINKS.contains(path) {
                continue;
            }
            let outcome = house.call(skill, arguments);
            let said = &outcome.content;
            assert!(outcome.is_error, "{skill} {path:?}: {said}");
            assert!(
                !said.contains("secret\n") && !said.contains("root:x"),
                "{skill} {path:?}: {said}"
            );
        }
        assert_eq!(beside(&house), before, "{path:?}");
        assert_eq!(house.text("inside"), "plain", "{path:?}");
    }
    for pattern in ["../*", "/etc/*", "way/*", "root/etc/*", "**/secret", "{..,sub}/*"] {
        let outcome = house.call("fs.glob", json!({ "pattern": pattern }));
        assert!(
            !outcome.content.contains("secret\"") && !outcome.content.contains("passwd"),
            "{pattern}: {}",
            outcome.content
        );
    }
}

#[test]
fn a_name_that_only_looks_like_a_way_out_is_a_name() {
    let house = scene();
    let before = beside(&house);
    for name in HARMLESS {
        let written = house.call("fs.write", json!({ "path": name, "content": "kept" }));
        let read = house.call("fs.read", json!({ "path": name }));
        // Either it is a file within the workspace, or the name is refused; never something else.
        if written.is_error {
            assert!(read.is_error, "{name:?}: {}", read.content);
        } else {
            assert_eq!(
                (&*read.content, house.text(name).as_str()),
                ("kept", "kept"),
                "{name:?}"
            );
        }
        assert_eq!(beside(&house), before, "{name:?}");
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let house = scene();
    let _listener = UnixListener::bind(house.root.join("socket")).expect("a socket");
    let made = std::process::Command::new("mkfifo")
        .arg(house.root.join("pipe"))
        .status();
    assert!(made.expect("mkfifo runs").success());
    for name in ["pipe", "socket", "sub"] {
        for (skill, arguments) in [
            ("fs.read", json!({ "path": name })),
            ("fs.patch", json!({ "path": name, "old": "a", "new": "b" })),
        ] {
            let outcome = house.call(skill, arguments);
            assert!(outcome.is_error, "{skill} {name}: {}", outcome.content);
        }
    }
    // What searches passes them over.
    let found = house.json("fs.search", json!({ "pattern": "plain" }));
    assert!(found.to_string().contains("inside"), "{found}");
}
