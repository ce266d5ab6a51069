//! One value changed in the operator's file: comments, order and layout of everything else stay as they are.

use std::path::{Path as FilePath, PathBuf};

use serde_json::Value;
use toml_edit::{DocumentMut, Item, Table, TableLike};

use super::document::{Source, found};
use super::error::{ConfigError, Place};
use super::file::{self, FILE_BYTES_MAX, read_text};
use super::key::{self, KEYS, Key, Path};
use super::kind;
use super::setting::show;
use super::template::default_line;

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub file: PathBuf,
    /// The key, dotted.
    pub key: String,
    /// The value that stood in the file; none when the default was in force.
    pub old: Option<String>,
    /// The value now.
    pub new: String,
    /// Whether a running daemon can take the change.
    pub live: bool,
}

/// The key of a dotted text, or an error that names the nearest one.
pub fn lookup(dotted: &str) -> Result<(Path, &'static Key), ConfigError> {
    lookup_in(KEYS, dotted)
}

fn lookup_in(keys: &'static [Key], dotted: &str) -> Result<(Path, &'static Key), ConfigError> {
    let unknown = || ConfigError::UnknownKey {
        key: dotted.to_owned(),
        nearest: key::nearest(keys, dotted).map(str::to_owned),
    };
    let path = key::parse_path(dotted).ok_or_else(unknown)?;
    let key = key::find(keys, &path).ok_or_else(unknown)?;
    Ok((path, key))
}

/// Sets one key in a file and writes the file whole or not at all. A file that is not there is made when its
/// folder is; a file that is not TOML, a key that is not known and a value that is not allowed are refused.
pub fn set(file: &FilePath, dotted: &str, text: &str) -> Result<Change, ConfigError> {
    set_in(KEYS, file, dotted, text)
}

/// The same in a file with other keys, such as that of an agent.
pub fn set_in(keys: &'static [Key], file: &FilePath, dotted: &str, text: &str) -> Result<Change, ConfigError> {
    let (path, key) = lookup_in(keys, dotted)?;
    let name = key::render_path(&path);
    let Some(value) = key.kind.parse(text) else {
        let place = Place::Flag("openclaw config set".into());
        return Err(ConfigError::value(
            place,
            name,
            found(key, &Value::from(text)),
            key.kind.allowed(),
        ));
    };
    let before = read_text(file, FILE_BYTES_MAX)?.unwrap_or_default();
    // Only `openclaw.toml` is made from a template.
    let shown = std::ptr::eq(keys, KEYS)
        .then(|| uncomment(file, &before, &path, key, &value))
        .flatten();
    let (after, old) = match shown {
        Some(after) => (after, None),
        None => set_in_text(file, before, &path, &value)?,
    };
    file::replace(file, after.as_bytes(), 0o644).map_err(|source| ConfigError::Write {
        path: file.to_owned(),
        source,
    })?;
    Ok(Change {
        file: file.to_owned(),
        key: name,
        old,
        new: show(&value),
        live: key.live,
    })
}

/// Puts the value where the template shows its default, so that it stands under its explanation. Only a line that
/// is exactly the template's is replaced: any other comment is the operator's own.
fn uncomment(file: &FilePath, text: &str, path: &[String], key: &Key, value: &Value) -> Option<String> {
    let (group, name) = key.path.split_once('.')?;
    let header = format!("[{group}]");
    let shown = default_line(key);
    let mut inside = false;
    let mut found = false;
    let mut after = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let body = line.trim_end();
        if body.starts_with('[') {
            inside = body == header;
        }
        if inside && !found && body == shown {
            found = true;
            after.push_str(name);
            after.push_str(" = ");
            after.push_str(to_toml(value).to_string().trim());
            after.push_str(&line[body.len()..]);
        } else {
            after.push_str(line);
        }
    }
    // Reading the result back settles whether the line was what it seemed: within a text of several lines it was
    // not, and a key that is set elsewhere in the file would now stand there twice.
    let before = Source::parse(file, text.to_owned()).ok()?.settings(KEYS).settings;
    let set = Source::parse(file, after.clone()).ok()?.settings(KEYS).settings;
    let alone = set
        .iter()
        .filter(|setting| setting.path == path)
        .all(|setting| setting.value == *value);
    (found && alone && set.len() == before.len() + 1).then_some(after)
}

fn set_in_text(
    file: &FilePath,
    text: String,
    path: &[String],
    value: &Value,
) -> Result<(String, Option<String>), ConfigError> {
    // Parsed once with places, so that a broken file is refused with line and column.
    let source = Source::parse(file, text.clone())?;
    let mut document: DocumentMut = text.parse().expect("the same text was parsed just before");
    let (last, groups) = path.split_last().expect("known keys have a path");
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for (depth, group) in groups.iter().enumerate() {
        let missing = table.get(group).is_none();
        if missing {
            let mut made = Table::new();
            // Only the innermost table gets a header of its own: `[agent.tokenBudget]`, not `[agent]` as well.
            made.set_implicit(depth + 1 < groups.len());
            table.insert(group, Item::Table(made));
        }
        let inner = table.get_mut(group).and_then(Item::as_table_like_mut);
        let Some(inner) = inner else {
            let place = source.place_of_pointer(&format!("/{}", path[..=depth].join("/")));
            let found = "something else".to_owned();
            return Err(ConfigError::value(
                place,
                key::render_path(&path[..=depth]),
                found,
                "a table",
            ));
        };
        table = inner;
    }
    let mut new = to_toml(value);
    let old = if let Some(Item::Value(present)) = table.get_mut(last) {
        let old = show(&kind::to_json(present));
        // The comment behind a value belongs to its line.
        *new.decor_mut() = present.decor().clone();
        *present = new;
        Some(old)
    } else {
        table.insert(last, Item::Value(new));
        None
    };
    Ok((document.to_string(), old))
}

/// The same value as TOML.
fn to_toml(value: &Value) -> toml_edit::Value {
    match value {
        Value::Null => toml_edit::Value::from(""),
        Value::Bool(flag) => toml_edit::Value::from(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => toml_edit::Value::from(integer),
            None => toml_edit::Value::from(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => toml_edit::Value::from(text.as_str()),
        Value::Array(items) => items.iter().map(to_toml).collect(),
        Value::Object(fields) => {
            let pairs = fields
                .iter()
                .map(|(name, value)| (toml_edit::Key::new(name), to_toml(value)));
            toml_edit::Value::InlineTable(pairs.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# the house of a careful person
[gateway] # rim
timeout = 30_000   # was too short
port = 8080

# agents
[agent]
maxRetries = 1
";

    fn edited(text: &str, dotted: &str, value: &str) -> String {
        let (path, key) = lookup(dotted).expect("known");
        let value = key.kind.parse(value).expect("allowed");
        let file = FilePath::new("openclaw.toml");
        set_in_text(file, text.to_owned(), &path, &value).expect("edited").0
    }

    #[test]
    fn a_change_keeps_comments_order_and_layout() {
        insta::assert_snapshot!(edited(FILE, "gateway.timeout", "120000"), @r##"
        # the house of a careful person
        [gateway] # rim
        timeout = 120000   # was too short
        port = 8080

        # agents
        [agent]
        maxRetries = 1
        "##);
        insta::assert_snapshot!(edited(FILE, "memory.gcInterval", "3600"), @r##"
        # the house of a careful person
        [gateway] # rim
        timeout = 30_000   # was too short
        port = 8080

        # agents
        [agent]
        maxRetries = 1

        [memory]
        gcInterval = 3600
        "##);
        insta::assert_snapshot!(edited(FILE, "agent.tokenBudget.daily", "1000"), @r##"
        # the house of a careful person
        [gateway] # rim
        timeout = 30_000   # was too short
        port = 8080

        # agents
        [agent]
        maxRetries = 1

        [agent.tokenBudget]
        daily = 1000
        "##);
        insta::assert_snapshot!(edited("", "models.\"qwen2.5\".baseUrl", "http://127.0.0.1:11434/v1"), @r#"
        [models."qwen2.5"]
        baseUrl = "http://127.0.0.1:11434/v1"
        "#);
        insta::assert_snapshot!(edited("", "skills.commands.deploy.argv", "make, deploy"), @r#"
        [skills.commands.deploy]
        argv = ["make", "deploy"]
        "#);
    }

    #[test]
    fn inline_and_dotted_forms_are_edited_where_they_stand() {
        let check = |before: &str, after: &str| assert_eq!(edited(before, "gateway.port", "9000"), after);
        check("gateway = { port = 1 }\n", "gateway = { port = 9000 }\n");
        check("gateway.port = 1 # here\n", "gateway.port = 9000 # here\n");
        check("gateway.timeout = 5\n", "gateway.timeout = 5\ngateway.port = 9000\n");
    }

    #[test]
    fn what_is_not_allowed_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("openclaw.toml");
        std::fs::write(&file, FILE).expect("written");
        let check = |key: &str, value: &str, wanted: &str| {
            let error = set(&file, key, value).expect_err("refused").to_string();
            assert!(error.contains(wanted), "{error}");
            assert_eq!(std::fs::read_to_string(&file).expect("read"), FILE);
        };
        check(
            "gateway.port",
            "eighty",
            "gateway.port: found \"eighty\"; allowed is a whole number from 0 to 65535",
        );
        check("gateway.prot", "80", "no configuration key is named `gateway.prot`");
        check(
            "models.claude-sonnet.apiKey",
            "sk-ant-secret",
            "models.claude-sonnet.apiKey: found something",
        );
        let error = set(&file, "models.claude-sonnet.apiKey", "sk-ant-secret").expect_err("refused");
        assert!(
            !format!("{error} {error:?}").contains("sk-ant"),
            "a secret is not repeated"
        );
        assert!(error.hint().expect("a hint").contains("${NAME"));
        std::fs::write(&file, "[gateway\n").expect("written");
        let error = set(&file, "gateway.port", "1").expect_err("refused").to_string();
        assert!(error.contains("openclaw.toml:1:"), "{error}");
    }

    #[test]
    fn a_value_takes_the_place_of_its_commented_default() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("openclaw.toml");
        let template = super::super::template::template(&[]);
        let check = |text: &str, key: &str, value: &str, before: &str, after: &str| {
            std::fs::write(&file, text).expect("written");
            set(&file, key, value).expect("set");
            let now = std::fs::read_to_string(&file).expect("read");
            assert_eq!(now, text.replacen(before, after, 1), "{key}");
        };
        check(
            &template,
            "gateway.timeout",
            "5000",
            "# timeout = 120000",
            "timeout = 5000",
        );
        check(
            &template,
            "log.level",
            "debug",
            "# level = \"info\"",
            "level = \"debug\"",
        );
        check(
            &template,
            "agent.tokenBudget.daily",
            "9",
            "# tokenBudget.daily = 1_000_000",
            "tokenBudget.daily = 9",
        );
        let own = "[gateway]\n# port = 1, says the admin\n";
        check(own, "gateway.port", "9", "[gateway]\n", "[gateway]\nport = 9\n");
        let twice = "[gateway]\n# port = 8080\nport = 1\n";
        check(twice, "gateway.port", "9", "port = 1", "port = 9");
    }

    #[test]
    fn a_change_says_what_it_replaced() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("openclaw.toml");
        let first = set(&file, "agent.maxRetries", "3").expect("set");
        assert_eq!((first.old.as_deref(), first.new.as_str()), (None, "3"));
        let second = set(&file, "agent.maxRetries", "4").expect("set");
        assert_eq!((second.old.as_deref(), second.new.as_str()), (Some("3"), "4"));
    }
}
