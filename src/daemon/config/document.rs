//! TOML files read against a table of keys: values with their lines, unknown keys as warnings.

use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};

use serde_json::{Map, Value};
use toml_edit::{Array, ArrayOfTables, Document, Item, TableLike};

use super::error::{BadValue, ConfigError, Place, Warning};
use super::file::{FILE_BYTES_MAX, read_text};
use super::key::{self, Key, Path, render_path};
use super::kind;
use super::setting::Setting;

/// One TOML file, parsed, with its places.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    document: Document<String>,
}

/// What a file says.
#[derive(Debug, Default)]
pub struct Reading {
    /// Values that are allowed.
    pub settings: Vec<Setting>,
    /// Values that are not.
    pub bad: Vec<BadValue>,
    /// Keys that are not known.
    pub warnings: Vec<Warning>,
}

impl Source {
    /// Reads and parses a file; none when it is not there.
    pub fn read(path: &FilePath) -> Result<Option<Self>, ConfigError> {
        match read_text(path, FILE_BYTES_MAX)? {
            Some(text) => Self::parse(path, text).map(Some),
            None => Ok(None),
        }
    }

    /// Parses a text as if it stood in this file.
    pub fn parse(path: &FilePath, text: String) -> Result<Self, ConfigError> {
        match Document::parse(text.as_str()) {
            Ok(_) => {}
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                let (line, column) = position(&text, offset);
                return Err(ConfigError::Syntax {
                    path: path.to_owned(),
                    line,
                    column,
                    message: error.message().trim().replace('\n', ", "),
                });
            }
        }
        let document = Document::parse(text).expect("the same text was parsed just before");
        Ok(Self {
            path: path.to_owned(),
            document,
        })
    }

    /// The file.
    pub fn path(&self) -> &FilePath {
        &self.path
    }

    /// The whole document as JSON.
    pub fn to_json(&self) -> Value {
        item_to_json(self.document.as_item())
    }

    /// The place of a line's beginning.
    fn place(&self, offset: Option<usize>) -> Place {
        Place::File {
            path: self.path.clone(),
            line: offset.map_or(1, |offset| position(self.document.raw(), offset).0),
        }
    }

    /// The place of what a JSON Pointer points at, or of the nearest thing around it.
    pub fn place_of_pointer(&self, pointer: &str) -> Place {
        let mut node = Node::Table(self.document.as_table());
        let mut offset = None;
        for segment in pointer.split('/').skip(1) {
            let name = segment.replace("~1", "/").replace("~0", "~");
            let Some((inner, span)) = node.child(&name) else { break };
            node = inner;
            offset = span.map(|span| span.start).or(offset);
        }
        self.place(offset)
    }

    /// Reads every value that the table of keys knows.
    pub fn settings(&self, keys: &'static [Key]) -> Reading {
        let mut reading = Reading::default();
        self.walk(keys, self.document.as_table(), &mut Vec::new(), &mut reading);
        reading
    }

    fn walk(&self, keys: &'static [Key], table: &dyn TableLike, path: &mut Path, reading: &mut Reading) {
        for (name, item) in table.iter() {
            path.push(name.to_owned());
            let written = table.key(name).and_then(toml_edit::Key::span);
            let place = self.place(written.or_else(|| item.span()).map(|span| span.start));
            if let Some(key) = key::find(keys, path) {
                let value = item_to_json(item);
                if key.kind.allows(&value) {
                    reading.settings.push(Setting {
                        path: path.clone(),
                        key,
                        value,
                        origin: place,
                    });
                } else {
                    reading.bad.push(BadValue {
                        place,
                        key: render_path(path),
                        found: found(key, &value),
                        allowed: key.kind.allowed(),
                    });
                }
            } else if keys.iter().any(|key| key.starts_with(path)) {
                match item.as_table_like() {
                    Some(inner) => self.walk(keys, inner, path, reading),
                    None => reading.bad.push(BadValue {
                        place,
                        key: render_path(path),
                        found: found_text(&item_to_json(item)),
                        allowed: "a table".into(),
                    }),
                }
            } else {
                let name = render_path(path);
                let near = key::nearest(keys, &name).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                reading.warnings.push(Warning {
                    place,
                    text: format!("unknown key `{name}`{near}"),
                });
            }
            path.pop();
        }
    }
}

/// A refused value for an error text; what may be a secret is not repeated.
pub fn found(key: &Key, value: &Value) -> String {
    if key.kind == kind::Kind::Secret {
        return "something that is not a reference (not shown, it may be a secret)".into();
    }
    found_text(value)
}

fn found_text(value: &Value) -> String {
    crate::domain::text::preview(&value.to_string(), 80)
}

/// A part of a document, as far as a pointer can go on from it.
enum Node<'document> {
    Table(&'document dyn TableLike),
    Tables(&'document ArrayOfTables),
    Array(&'document Array),
    Leaf,
}

impl<'document> Node<'document> {
    fn of_item(item: &'document Item) -> Self {
        match item {
            Item::Table(table) => Self::Table(table),
            Item::ArrayOfTables(tables) => Self::Tables(tables),
            Item::Value(value) => Self::of_value(value),
            Item::None => Self::Leaf,
        }
    }

    fn of_value(value: &'document toml_edit::Value) -> Self {
        match value {
            toml_edit::Value::Array(items) => Self::Array(items),
            toml_edit::Value::InlineTable(table) => Self::Table(table),
            _ => Self::Leaf,
        }
    }

    fn child(&self, name: &str) -> Option<(Self, Option<Range<usize>>)> {
        match self {
            Self::Table(table) => {
                let (key, item) = table.get_key_value(name)?;
                Some((Self::of_item(item), key.span().or_else(|| item.span())))
            }
            Self::Tables(tables) => {
                let table = tables.get(name.parse().ok()?)?;
                Some((Self::Table(table), table.span()))
            }
            Self::Array(items) => {
                let value = items.get(name.parse().ok()?)?;
                Some((Self::of_value(value), value.span()))
            }
            Self::Leaf => None,
        }
    }
}

/// Line and column of a byte offset, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |position| position + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

fn item_to_json(item: &Item) -> Value {
    match item {
        Item::None => Value::Null,
        Item::Value(value) => kind::to_json(value),
        Item::Table(table) => table_to_json(table),
        Item::ArrayOfTables(tables) => tables.iter().map(|table| table_to_json(table)).collect(),
    }
}

fn table_to_json(table: &dyn TableLike) -> Value {
    let fields: Map<String, Value> = table
        .iter()
        .map(|(name, item)| (name.to_owned(), item_to_json(item)))
        .collect();
    Value::Object(fields)
}
