//! Collects findings while a document is read: typed members, each wrong place with its JSON Pointer.

use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::handoff::Finding;
use crate::domain::json::escape;

/// Collects findings while a document is read.
pub struct Reader {
    pub(in crate::domain) findings: Vec<Finding>,
}

impl Reader {
    pub(in crate::domain) fn wrong(&mut self, pointer: &str, message: impl Into<String>) {
        self.findings.push(Finding::new(pointer, message));
    }

    pub(in crate::domain) fn object<'value>(
        &mut self,
        at: &str,
        value: &'value Value,
        known: &[&str],
    ) -> Option<&'value Map<String, Value>> {
        let Some(fields) = value.as_object() else {
            self.wrong(at, format!("expected an object, found {}", kind(value)));
            return None;
        };
        for name in fields.keys() {
            if !known.contains(&name.as_str()) {
                self.wrong(
                    &format!("{at}/{}", escape(name)),
                    format!("unknown member; known are {}", known.join(", ")),
                );
            }
        }
        Some(fields)
    }

    pub(in crate::domain) fn text(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> Option<Arc<str>> {
        match fields.get(name)? {
            Value::String(text) => Some(text.as_str().into()),
            other => {
                self.wrong(
                    &format!("{at}/{name}"),
                    format!("expected a string, found {}", kind(other)),
                );
                None
            }
        }
    }

    pub(in crate::domain) fn needed_text(
        &mut self,
        at: &str,
        fields: &Map<String, Value>,
        name: &str,
    ) -> Option<Arc<str>> {
        if !fields.contains_key(name) {
            self.wrong(&format!("{at}/{name}"), "is missing");
        }
        self.text(at, fields, name)
    }

    pub(in crate::domain) fn name<N: FromStr>(&mut self, at: &str, text: &str) -> Option<N>
    where
        N::Err: std::fmt::Display,
    {
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.wrong(at, error.to_string());
                None
            }
        }
    }

    pub(in crate::domain) fn number(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> Option<u64> {
        let value = fields.get(name)?;
        let number = value.as_u64();
        if number.is_none() {
            self.wrong(
                &format!("{at}/{name}"),
                format!("expected a whole number from 0, found {}", kind(value)),
            );
        }
        number
    }

    pub(in crate::domain) fn flag(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> bool {
        match fields.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.wrong(
                    &format!("{at}/{name}"),
                    format!("expected true or false, found {}", kind(other)),
                );
                false
            }
        }
    }

    pub(in crate::domain) fn list<'value>(
        &mut self,
        at: &str,
        fields: &'value Map<String, Value>,
        name: &str,
    ) -> &'value [Value] {
        match fields.get(name) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(
                    &format!("{at}/{name}"),
                    format!("expected a list, found {}", kind(other)),
                );
                &[]
            }
        }
    }

    pub(in crate::domain) fn texts(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> Vec<Arc<str>> {
        let mut texts = Vec::new();
        for (index, item) in self.list(at, fields, name).iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text.as_str().into()),
                other => self.wrong(
                    &format!("{at}/{name}/{index}"),
                    format!("expected a string, found {}", kind(other)),
                ),
            }
        }
        texts
    }

    pub(in crate::domain) fn word<T: Copy>(
        &mut self,
        at: &str,
        fields: &Map<String, Value>,
        name: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(at, fields, name)?;
        let found = words.iter().find(|(word, _)| *word == &*text).map(|(_, value)| *value);
        if found.is_none() {
            let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(
                &format!("{at}/{name}"),
                format!("`{text}` is not one of {}", allowed.join(", ")),
            );
        }
        found
    }
}

pub(in crate::domain) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
