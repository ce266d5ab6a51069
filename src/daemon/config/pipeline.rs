//! Pipelines: plans kept as TOML files, with a name and the tasks that they fit.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::document::Source;
use super::error::{BadValue, ConfigError};
use super::file::list;
use super::home::Home;
use crate::domain::plan::Plan;
use crate::domain::plan_document::read_plan;
use crate::domain::text::preview;

/// Bytes that one compiled expression may take.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// One plan kept as a file.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name; the file's name when the file does not say.
    pub name: Arc<str>,
    /// The tasks that it fits; none means that it is only used by name.
    pub pattern: Option<Regex>,
    /// The plan. Whether its agents and skills exist is for the one who admits it.
    pub plan: Arc<Plan>,
}

/// All pipelines, sorted by file name.
pub fn pipelines(home: &Home, bad: &mut Vec<BadValue>) -> Result<Vec<Pipeline>, ConfigError> {
    let mut pipelines: Vec<Pipeline> = Vec::new();
    for path in list(&home.pipelines_dir(), "toml")? {
        let Some(source) = Source::read(&path)? else { continue };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let Some(pipeline) = pipeline(&source, stem.unwrap_or_default(), bad) else {
            continue;
        };
        if pipelines.iter().any(|other| other.name == pipeline.name) {
            bad.push(BadValue {
                place: source.place_of_pointer("/name"),
                key: "name".into(),
                found: format!("{:?}", pipeline.name),
                allowed: "a name that no other pipeline has".into(),
            });
            continue;
        }
        pipelines.push(pipeline);
    }
    Ok(pipelines)
}

fn pipeline(source: &Source, stem: String, bad: &mut Vec<BadValue>) -> Option<Pipeline> {
    let mut document = source.to_json();
    let before = bad.len();
    let mut refuse = |pointer: &str, found: String, allowed: &str| {
        bad.push(BadValue {
            place: source.place_of_pointer(pointer),
            key: pointer.trim_start_matches('/').replace('/', "."),
            found,
            allowed: allowed.into(),
        });
    };
    let fields = document.as_object_mut().expect("a TOML document is a table");
    let name = match fields.remove("name") {
        None => stem,
        Some(Value::String(name)) if !name.is_empty() && name.len() <= 64 => name,
        Some(other) => {
            refuse("/name", other.to_string(), "a text of 1 to 64 bytes");
            stem
        }
    };
    let pattern = match fields.remove("match") {
        None => None,
        Some(Value::String(text)) => match RegexBuilder::new(&text).size_limit(REGEX_BYTES_MAX).build() {
            Ok(regex) => Some(regex),
            Err(error) => {
                // The text of the error has several lines with a marker under the place; the last one says what.
                let reason = error.to_string();
                let reason = reason
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_owned();
                refuse("/match", format!("{text:?} ({reason})"), "a regular expression");
                None
            }
        },
        Some(other) => {
            refuse("/match", other.to_string(), "a regular expression as a text");
            None
        }
    };
    match read_plan(&document) {
        Ok(plan) if bad.len() == before => Some(Pipeline {
            name: name.into(),
            pattern,
            plan: Arc::new(plan),
        }),
        Ok(_) => None,
        Err(findings) => {
            for finding in findings {
                let value = document.pointer(&finding.pointer);
                let value = value.map_or("nothing".into(), |value| preview(&value.to_string(), 60));
                bad.push(BadValue {
                    place: source.place_of_pointer(&finding.pointer),
                    key: finding.pointer.trim_start_matches('/').replace('/', "."),
                    found: format!("{value} ({})", finding.message),
                    allowed: "what the form of a plan has here".into(),
                });
            }
            None
        }
    }
}
