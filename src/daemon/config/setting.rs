//! Values by path, each with its origin.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::error::Place;
use super::key::{Key, Path, render_path};
use super::kind;
use crate::domain::money::MicroUsd;

/// One value that is in force.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its full path.
    pub path: Path,
    /// Its line in the table of keys.
    pub key: &'static Key,
    /// The value; allowed by the key.
    pub value: Value,
    /// Where it came from.
    pub origin: Place,
}

/// All values in force; a later layer replaces an earlier one.
#[derive(Debug, Clone, Default)]
pub struct Settings(BTreeMap<Path, Setting>);

impl Settings {
    /// Puts a value over what was there.
    pub fn put(&mut self, setting: Setting) {
        self.0.insert(setting.path.clone(), setting);
    }

    /// The setting of this path.
    pub fn get(&self, path: &[&str]) -> Option<&Setting> {
        let path: Path = path.iter().map(|&segment| segment.to_owned()).collect();
        self.0.get(&path)
    }

    /// All settings, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.values()
    }

    /// The number at a path.
    pub fn number(&self, path: &[&str]) -> Option<u64> {
        self.get(path)?.value.as_u64()
    }

    /// The text at a path.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.get(path)?.value.as_str()
    }

    /// The number at a path, whole or not.
    pub fn decimal(&self, path: &[&str]) -> Option<f64> {
        kind::number(&self.get(path)?.value)
    }

    /// The amount at a path.
    pub fn usd(&self, path: &[&str]) -> Option<MicroUsd> {
        kind::usd(&self.get(path)?.value)
    }

    /// The flag at a path.
    pub fn flag(&self, path: &[&str]) -> Option<bool> {
        self.get(path)?.value.as_bool()
    }

    /// Takes a value out.
    pub fn remove(&mut self, path: &[&str]) {
        let path: Path = path.iter().map(|&segment| segment.to_owned()).collect();
        self.0.remove(&path);
    }

    /// The list of texts at a path.
    pub fn texts(&self, path: &[&str]) -> Option<Vec<String>> {
        let items = self.get(path)?.value.as_array()?;
        Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The names that stand under a path, with the place of the first value of each.
    pub fn names(&self, under: &[&str]) -> Vec<(String, Place)> {
        let mut seen = BTreeSet::new();
        let mut names = Vec::new();
        for setting in self.0.values() {
            let inside = setting.path.len() > under.len() && under.iter().zip(&setting.path).all(|(a, b)| a == b);
            if inside && seen.insert(setting.path[under.len()].clone()) {
                names.push((setting.path[under.len()].clone(), setting.origin.clone()));
            }
        }
        names
    }
}

impl Setting {
    /// The path as people write it.
    pub fn name(&self) -> String {
        render_path(&self.path)
    }
}

/// A value as a person would write it.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            items.join(",")
        }
        other => other.to_string(),
    }
}
