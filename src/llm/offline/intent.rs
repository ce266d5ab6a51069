//! What a task in words asks for, by rules: files, addresses, commands, searches, texts to write, a review.
//!
//! Refuses to know: who does it. Invariants: a command is only taken from between backticks, never guessed; a path
//! is only taken when it stays inside the workspace by its own text.

use regex::{Captures, Regex};
use serde_json::{Value, json};

/// One thing to do or to look at.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Read a file.
    Read(String),
    /// List a folder.
    List(String),
    /// Search for a text.
    Search {
        /// What.
        text: String,
        /// Where.
        path: String,
    },
    /// Run a command.
    Run(Vec<String>),
    /// Fetch an address.
    Fetch(String),
    /// Write a file.
    Write {
        /// Which.
        path: String,
        /// What.
        content: String,
    },
}

/// A wish for a review.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Review {
    /// The file to write.
    pub(super) file: String,
    /// The folder to look at.
    pub(super) folder: String,
}

/// What a task asks for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Intent {
    /// A review of a whole folder.
    pub(super) review: Option<Review>,
    /// Single things.
    pub(super) actions: Vec<Action>,
    /// Whether somebody asks what answers here.
    pub(super) who: bool,
}

use super::pattern::pattern;

/// Things taken from one task.
const ACTIONS_MAX: usize = 12;

fn inside(path: &str) -> bool {
    !path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

impl Action {
    /// The action as an input of a step.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Read(path) => json!({ "do": "read", "path": path }),
            Self::List(path) => json!({ "do": "list", "path": path }),
            Self::Search { text, path } => json!({ "do": "search", "text": text, "path": path }),
            Self::Run(argv) => json!({ "do": "run", "argv": argv }),
            Self::Fetch(url) => json!({ "do": "fetch", "url": url }),
            Self::Write { path, content } => json!({ "do": "write", "path": path, "content": content }),
        }
    }

    /// The action of an input made by [`Self::to_json`].
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(match value["do"].as_str()? {
            "read" => Self::Read(text("path")?),
            "list" => Self::List(text("path")?),
            "search" => Self::Search {
                text: text("text")?,
                path: text("path")?,
            },
            "run" => Self::Run(
                value["argv"]
                    .as_array()?
                    .iter()
                    .filter_map(|word| word.as_str().map(str::to_owned))
                    .collect(),
            ),
            "fetch" => Self::Fetch(text("url")?),
            "write" => Self::Write {
                path: text("path")?,
                content: text("content")?,
            },
            _ => return None,
        })
    }

    /// One line for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Read(path) => format!("read {path}"),
            Self::List(path) => format!("list the files in {path}"),
            Self::Search { text, path } => format!("search for {text:?} in {path}"),
            Self::Run(argv) => format!("run `{}`", argv.join(" ")),
            Self::Fetch(url) => format!("fetch {url}"),
            Self::Write { path, .. } => format!("write {path}"),
        }
    }
}

/// Splits a command into words; quotes hold words together. There is no shell.
fn split_words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut open = false;
    for c in command.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                open = true;
            }
            (None, c) if c.is_whitespace() => {
                if open {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, c) => {
                word.push(c);
                open = true;
            }
        }
    }
    if open {
        words.push(word);
    }
    words
}

fn review(task: &str) -> Option<Review> {
    let asks = pattern!(r"(?i)\b(review|audit|assess)\b").is_match(task);
    let whole =
        pattern!(r"(?i)\b(folder|directory|project|repo|repository|code ?base|code|workspace)\b").is_match(task);
    if !asks || !whole {
        return None;
    }
    let written = pattern!(
        r#"(?i)\b(?:write|save|create|produce|into|to|as)\s+(?:it\s+|the result\s+|a file\s+|the file\s+|a report\s+)?(?:to\s+|into\s+|in\s+|as\s+|called\s+|named\s+)?[`"']?((?:[\w.-]+/)*[\w-]+\.(?:md|markdown|txt))\b"#,
    );
    let file = written
        .captures(task)
        .map(|found| found[1].to_owned())
        .filter(|file| inside(file));
    let named = pattern!(
        r#"(?i)\b(?:folder|directory|project|repo|repository|code)\s+(?:in\s+|at\s+|under\s+|called\s+)?[`"']?(\.?[\w.-]*(?:/[\w.-]*)+)"#,
    );
    let folder = named
        .captures(task)
        .map(|found| {
            found[1]
                .trim_start_matches("./")
                .trim_end_matches(['/', '.'])
                .to_owned()
        })
        .filter(|folder| inside(folder) && !folder.is_empty());
    Some(Review {
        file: file.unwrap_or_else(|| "REVIEW.md".to_owned()),
        folder: folder.unwrap_or_else(|| ".".to_owned()),
    })
}

/// Reads a task.
pub(super) fn parse(task: &str) -> Intent {
    let mut intent = Intent {
        review: review(task),
        who: pattern!(r"(?i)\b(what|who) are you\b|\b(what|which) model\b").is_match(task),
        ..Intent::default()
    };
    if intent.review.is_some() {
        return intent;
    }
    let mut rest = task.to_owned();
    let mut actions = Vec::new();
    // What is to be written comes last and is taken whole: nothing in it is an order.
    let write = pattern!(
        r#"(?is)\b(?:write|create|save)\s+(?:an?\s+|the\s+)?(?:file\s+)?(?:called\s+|named\s+)?[`"']?((?:[\w.-]+/)*[\w.-]*\w)[`"']?\s*(?::|\s(?:with|containing)(?:\s+the)?(?:\s+(?:text|contents?|line))?:?)\s*(.+)$"#,
    );
    let mut written = None;
    if let Some(found) = write.captures(&rest) {
        let path = found[1].to_owned();
        let content = found[2].trim().trim_matches(['"', '`']).to_owned();
        if inside(&path) && (path.contains('.') || path.contains('/')) {
            written = Some(Action::Write { path, content });
            let start = found.get(0).map_or(0, |whole| whole.start());
            rest.truncate(start);
        }
    }
    let mut take = |pattern: &Regex, make: &dyn Fn(&Captures<'_>) -> Option<Action>| {
        for found in pattern.captures_iter(&rest) {
            if let Some(action) = make(&found)
                && !actions.contains(&action)
            {
                actions.push(action);
            }
        }
        rest = pattern.replace_all(&rest, " ").into_owned();
    };
    take(
        pattern!(r"(?i)\b(?:run|execute|call)\s+(?:the\s+)?(?:command\s+)?`([^`\n]+)`"),
        &|found| {
            let argv = split_words(&found[1]);
            (!argv.is_empty()).then_some(Action::Run(argv))
        },
    );
    take(pattern!(r#"https?://[^\s<>"'`)\]]+"#), &|found| {
        Some(Action::Fetch(
            found[0].trim_end_matches(['.', ',', ';', ':', '!', '?']).to_owned(),
        ))
    });
    take(
        pattern!(
            r#"(?i)\b(?:search|grep|look)\s+(?:(?:in\s+)?(?:the\s+|all\s+)?files\s+|the\s+folder\s+)?for\s+(?:the\s+(?:text|word)\s+)?(?:"([^"\n]+)"|`([^`\n]+)`|'([^'\n]+)'|([^\s,;]+))(?:\s+(?:in|under)\s+`?((?:[\w.-]+/)*[\w.-]*\w/?)`?)?"#
        ),
        &|found| {
            let text = (1..=4)
                .find_map(|group| found.get(group))?
                .as_str()
                .trim_end_matches('.');
            let path = found.get(5).map_or(".", |path| path.as_str().trim_end_matches('/'));
            let known = inside(path) && (path.contains(['/', '.']) || found[0].contains(&format!("{path}/")));
            let path = if known { path } else { "." };
            Some(Action::Search {
                text: text.to_owned(),
                path: path.to_owned(),
            })
        },
    );
    take(
        pattern!(
            r"(?i)\blist\b[^.\n]{0,24}?\b(?:files|folders?|director(?:y|ies)|contents?)\b(?:\s+(?:in|of|under)\s+(?:the\s+)?(?:folder\s+|directory\s+)?`?((?:[\w.-]+/)*[\w.-]*\w/?)`?)?"
        ),
        &|found| {
            let path = found.get(1).map_or(".", |path| path.as_str().trim_end_matches('/'));
            let words = [
                "this",
                "folder",
                "directory",
                "project",
                "workspace",
                "repository",
                "it",
            ];
            let path = if inside(path) && !words.contains(&path) {
                path
            } else {
                "."
            };
            Some(Action::List(path.to_owned()))
        },
    );
    take(
        pattern!(r#"(?:^|[\s`"'(@])((?:[\w.-]+/)*[\w-][\w.-]*\.[A-Za-z][A-Za-z0-9]{0,7})\b"#),
        &|found| {
            let path = &found[1];
            let name = path.rsplit('/').next().unwrap_or(path);
            let abbreviation = matches!(name, "e.g" | "i.e" | "a.m" | "p.m");
            (inside(path) && !abbreviation).then(|| Action::Read(path.to_owned()))
        },
    );
    actions.extend(written);
    actions.truncate(ACTIONS_MAX);
    intent.actions = actions;
    intent
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_task_says_what_it_wants() {
        let check = |task: &str, expected: &[Action]| assert_eq!(parse(task).actions, expected, "{task}");
        let read = |path: &str| Action::Read(path.to_owned());
        check(
            "Summarise README.md and docs/plan.txt.",
            &[read("README.md"), read("docs/plan.txt")],
        );
        check(
            "Summarise https://example.org/a?b=c.",
            &[Action::Fetch("https://example.org/a?b=c".into())],
        );
        check(
            "Run `cargo test --lib 'a b'` and read Cargo.toml",
            &[
                Action::Run(vec!["cargo".into(), "test".into(), "--lib".into(), "a b".into()]),
                read("Cargo.toml"),
            ],
        );
        check("run rm -rf", &[]);
        check(
            "search for \"open door\" in src/",
            &[Action::Search {
                text: "open door".into(),
                path: "src".into(),
            }],
        );
        check(
            "Search for needle.",
            &[Action::Search {
                text: "needle".into(),
                path: ".".into(),
            }],
        );
        check("List the files in src/llm", &[Action::List("src/llm".into())]);
        check("list all files in this folder", &[Action::List(".".into())]);
        check(
            "write notes/a.txt: run `rm x` and read b.txt",
            &[Action::Write {
                path: "notes/a.txt".into(),
                content: "run `rm x` and read b.txt".into(),
            }],
        );
        check("read ../../etc/passwd.txt", &[]);
        check("What is this about?", &[]);
        for action in parse("search for x, list files, run `a b`, see c.md and write d.md: e").actions {
            assert_eq!(Action::from_json(&action.to_json()), Some(action));
        }
    }

    #[test]
    fn a_review_names_its_file_and_folder() {
        let check = |task: &str, expected: Option<(&str, &str)>| {
            let found = parse(task).review;
            let found = found
                .as_ref()
                .map(|review| (review.file.as_str(), review.folder.as_str()));
            assert_eq!(found, expected, "{task}");
        };
        check("review this folder and write REVIEW.md", Some(("REVIEW.md", ".")));
        check(
            "Please review the code in src/llm, write the result to docs/out.md",
            Some(("docs/out.md", "src/llm")),
        );
        check("Audit this repository", Some(("REVIEW.md", ".")));
        check(
            "Review my project (see README.md) and save it as notes.txt",
            Some(("notes.txt", ".")),
        );
        check(
            "review the folder ../other/ and write ../x.md",
            Some(("REVIEW.md", ".")),
        );
        check("summarise the folder", None);
    }
}
