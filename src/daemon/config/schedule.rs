//! Schedules: one TOML file each, named like the schedule.

use serde_json::Value;
use toml_edit::{DocumentMut, Item};

use super::document::Source;
use super::error::{BadValue, ConfigError};
use super::file::list;
use super::home::Home;
use crate::automation::zone::is_zone;
use crate::domain::name::ScheduleName;
use crate::domain::schedule::definition::{SCHEDULES_MAX, Schedule};
use crate::domain::schedule::document::{Defaults, read_schedule};
use crate::domain::text::preview;

/// All schedules, sorted by name.
pub fn schedules(home: &Home, defaults: &Defaults, bad: &mut Vec<BadValue>) -> Result<Vec<Schedule>, ConfigError> {
    let mut schedules = Vec::new();
    for path in list(&home.schedules_dir(), "toml")?.into_iter().take(SCHEDULES_MAX) {
        let Some(source) = Source::read(&path)? else { continue };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let stem = stem.unwrap_or_default();
        let name = match ScheduleName::new(&stem) {
            Ok(name) => name,
            Err(error) => {
                bad.push(BadValue {
                    place: source.place_of_pointer(""),
                    key: "the file's name".into(),
                    found: format!("{stem:?}"),
                    allowed: error.to_string(),
                });
                continue;
            }
        };
        let document = source.to_json();
        match read_schedule(name, &document, defaults, &is_zone) {
            Ok(schedule) => schedules.push(schedule),
            Err(findings) => bad.extend(findings.into_iter().map(|finding| {
                let value = document
                    .pointer(&finding.pointer)
                    .filter(|_| !finding.pointer.is_empty());
                BadValue {
                    place: source.place_of_pointer(&finding.pointer),
                    key: finding.pointer.trim_start_matches('/').replace('/', "."),
                    found: value.map_or("nothing".into(), |value| preview(&value.to_string(), 60)),
                    allowed: finding.message,
                }
            })),
        }
    }
    Ok(schedules)
}

/// A schedule's document as TOML, as an operator would write it.
pub fn to_toml(document: &Value) -> String {
    let mut toml = DocumentMut::new();
    let (mut plain, mut tables) = (Vec::new(), Vec::new());
    for (name, value) in document.as_object().into_iter().flatten() {
        let is_table = value
            .as_array()
            .is_some_and(|items| items.first().is_some_and(Value::is_object));
        if is_table { &mut tables } else { &mut plain }.push((name, value));
    }
    for (name, value) in plain {
        if let Some(value) = value_of(value) {
            toml.insert(name, Item::Value(value));
        }
    }
    // [[outputs]] stand below what is plain.
    for (name, value) in tables {
        let mut items = toml_edit::ArrayOfTables::new();
        for item in value.as_array().into_iter().flatten() {
            let mut table = toml_edit::Table::new();
            for (name, value) in item.as_object().into_iter().flatten() {
                if let Some(value) = value_of(value) {
                    table.insert(name, Item::Value(value));
                }
            }
            items.push(table);
        }
        toml.insert(name, Item::ArrayOfTables(items));
    }
    toml.to_string()
}

/// JSON's null has no form in TOML and stands in no document of a schedule but within arguments.
fn value_of(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => {
            let items: toml_edit::Array = items.iter().filter_map(value_of).collect();
            items.into()
        }
        Value::Object(fields) => {
            let mut table = toml_edit::InlineTable::new();
            for (name, value) in fields {
                if let Some(value) = value_of(value) {
                    table.insert(name, value);
                }
            }
            table.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_read_back_from_the_toml_that_is_written() {
        let check = |document: Value| {
            let text = to_toml(&document);
            let source =
                Source::parse(Path::new("x.toml"), text.clone()).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(source.to_json(), document, "{text}");
        };
        check(json!({ "cron": "@daily", "task": "say \"hello\"\nand go" }));
        check(json!({
            "cron": "0 2 * * *", "command": ["backup", "--all"], "env": { "A": "b c", "D": "" }, "timeout": "5m",
            "outputs": [{ "path": "a/*.csv", "bytes_min": 1, "schema": { "type": "object", "required": ["x"] } }, { "path": "b" }],
        }));
        check(json!({ "cron": "@daily", "skill": "x", "arguments": { "deep": [{ "a": 1.5, "b": [true] }] } }));
    }
}
