//! The commented `openclaw.toml` that `init` writes: every key with its default, made from the table of keys.

use std::fmt::Write as _;

use super::key::{KEYS, Key};
use super::kind::Kind;

const HEAD: &str = "\
# OpenClaw configuration. Every line that is commented out shows a default.
# `openclaw config set KEY VALUE` edits this file and keeps your comments;
# `openclaw config list` shows what is in force and where it came from.
";

/// The text of a new file; `set` holds values that stand in it uncommented, as dotted key and TOML text.
pub fn template(set: &[(&str, String)]) -> String {
    let mut text = String::from(HEAD);
    let mut group = "";
    for key in KEYS.iter().filter(|key| !key.is_pattern()) {
        let (own, name) = key.path.split_once('.').expect("every key has a group");
        if own != group {
            let _ = write!(text, "\n[{own}]\n");
            group = own;
        }
        let given = set
            .iter()
            .find(|(path, _)| *path == key.path)
            .map(|(_, value)| value.as_str());
        let _ = writeln!(text, "# {}{}", key.doc, unit(key));
        let _ = match given {
            Some(value) => writeln!(text, "{name} = {value}"),
            None => writeln!(text, "{}", default_line(key)),
        };
    }
    text.push_str(MODELS);
    text
}

const MODELS: &str = r#"
# Models: the aliases offline, claude-sonnet, claude-opus, claude-haiku and gpt are built in.
# Keys never stand in this file: name an environment variable or a file.
# [models.local]
# provider = "openai"
# id = "qwen2.5-coder"
# baseUrl = "http://127.0.0.1:11434/v1"
# apiKey = "${LOCAL_API_KEY}"
# fallback = ["offline"]
# US dollars for a million tokens. The prices of the built-in aliases are the vendors' list prices of 2025-11:
# `openclaw config list` shows them, and they are yours to correct.
# price = { input = 0.10, output = 0.40 }

# Who agrees to calls of a skill (auto, ask, deny); a deny anywhere wins. `openclaw runs approve` answers.
# [agent.approvals]
# "exec.run" = "ask"
# "fs.*" = "auto"

# Skills that are a program of yours. The class decides what recovery may do.
# [skills.commands.run-tests]
# argv = ["make", "test"]
# class = "read"
# description = "Runs the test suite of the workspace."
"#;

/// The line that shows a default, commented out, under the key's group.
pub fn default_line(key: &Key) -> String {
    let name = key.path.split_once('.').map_or(key.path, |(_, name)| name);
    format!("# {name} = {}", example(key))
}

fn unit(key: &Key) -> String {
    if key.unit.is_empty() {
        String::new()
    } else {
        format!(" [{}]", key.unit)
    }
}

fn example(key: &Key) -> String {
    match key.kind {
        Kind::Integer { max, .. } if key.default.is_empty() && max < 1_000_000 => max.to_string(),
        Kind::Integer { .. } if key.default.is_empty() => "1_000_000".into(),
        Kind::Text { .. } if key.default.is_empty() => "\"folder/file\"".into(),
        Kind::Url if key.default.is_empty() => "\"https://search.example/search\"".into(),
        Kind::Secret if key.default.is_empty() => "\"${EMBEDDER_KEY}\"".into(),
        Kind::Number if key.default.is_empty() => "0.95".into(),
        Kind::Usd if key.default.is_empty() => "2.50".into(),
        Kind::Integer { .. }
        | Kind::Flag
        | Kind::Number
        | Kind::Usd
        | Kind::Texts { .. }
        | Kind::HostPorts
        | Kind::Schema => key.default.into(),
        _ => format!("\"{}\"", key.default),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::document::Source;
    use super::*;

    #[test]
    fn the_template_is_toml_of_known_keys_also_with_every_line_uncommented() {
        let check = |text: String| {
            let reading = Source::parse(Path::new("openclaw.toml"), text)
                .expect("TOML")
                .settings(KEYS);
            assert_eq!((reading.bad, reading.warnings), (vec![], vec![]));
            reading.settings.len()
        };
        assert_eq!(check(template(&[])), 0);
        assert_eq!(check(template(&[("gateway.port", "9000".into())])), 1);
        let uncommented = template(&[]).lines().fold(String::new(), |mut text, line| {
            let body = line.strip_prefix("# ").unwrap_or(line);
            let is_code = body.starts_with('[') || body.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '));
            let _ = writeln!(text, "{}", if is_code { body } else { line });
            text
        });
        assert!(check(uncommented) > 15);
    }
}
