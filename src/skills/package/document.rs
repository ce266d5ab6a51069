//! `SKILL.md`: the front matter is judged, the body is kept as it is.
//!
//! Pure. Lenient where a reader can still tell what was meant (a warning says so), strict where not. Invariants: a
//! name that comes out keeps the grammar, so it is safe in paths; sizes are bounded; YAML aliases, anchors and tags
//! are refused, so no input grows while it is read.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use serde_saphyr::Spanned;

use crate::domain::name::PackageName;
use crate::domain::text;

use super::warning::PackageWarning;

/// Bytes of a `SKILL.md`.
pub const DOCUMENT_BYTES_MAX: u64 = 256 * 1024;
/// Characters of a description; the rest is cut.
pub const DESCRIPTION_CHARS_MAX: usize = 1024;
/// Bytes of the front matter.
const FRONT_BYTES_MAX: usize = 16 * 1024;
const COMPATIBILITY_CHARS_MAX: usize = 500;
const METADATA_MAX: usize = 64;
const REQUESTED_TOOLS_MAX: usize = 64;
/// Keys whose values are texts and nothing else.
const TEXT_KEYS: [&str; 3] = ["description", "license", "compatibility"];
/// The line that opens and closes the front matter.
const FENCE: &str = "---";

const ALLOWED_FRONT: &str = "a file that begins with front matter between two lines `---`";
const ALLOWED_YAML: &str = "a YAML mapping of at most 16 KiB, without anchors, aliases and tags";
const ALLOWED_NAME: &str = "1 to 64 characters of a-z, 0-9 and `-`, the same as the folder's name";
const ALLOWED_HYPHENS: &str = "single hyphens, none at the end";
const ALLOWED_DESCRIPTION: &str = "a text of 1 to 1024 characters";
const ALLOWED_LICENSE: &str = "a text";
const ALLOWED_COMPATIBILITY: &str = "a text of 1 to 500 characters";
const ALLOWED_METADATA: &str = "a mapping of at most 64 names to texts";
const ALLOWED_TOOLS: &str = "at most 64 names with spaces between them; they are a request, nothing is granted";
const ALLOWED_KEYS: &str = "name, description, license, compatibility, metadata, allowed-tools";

/// One `SKILL.md` that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillDocument {
    /// Its name.
    pub name: PackageName,
    /// What it does and when to use it.
    pub description: String,
    /// Under which terms, as the author says.
    pub license: Option<String>,
    /// What it needs around it, as the author says.
    pub compatibility: Option<String>,
    /// Whatever else the author says.
    pub metadata: BTreeMap<String, String>,
    /// The tools that it asks for; a request and never a grant.
    pub requested_tools: Vec<String>,
    /// The text after the front matter.
    pub body: String,
}

/// Judges the bytes of a `SKILL.md`. `folder` is the name of its folder; without a document the last warning is
/// fatal and says why.
pub fn read(bytes: &[u8], file: &Path, folder: &str) -> (Option<SkillDocument>, Vec<PackageWarning>) {
    let mut reader = Reader {
        file,
        fence: 1,
        warnings: Vec::new(),
    };
    let document = reader.document(bytes, folder);
    (document, reader.warnings)
}

struct Reader<'a> {
    file: &'a Path,
    /// The line of the fence before the front matter.
    fence: usize,
    warnings: Vec<PackageWarning>,
}

type Front = BTreeMap<String, Spanned<Value>>;

impl Reader<'_> {
    fn line_of(&self, value: &Spanned<Value>) -> usize {
        value.referenced.line() as usize + self.fence
    }

    fn mild(&mut self, line: usize, found: impl Into<String>, allowed: &'static str) {
        self.warnings
            .push(PackageWarning::mild(self.file, line, found, allowed));
    }

    fn fatal<T>(&mut self, line: usize, found: impl Into<String>, allowed: &'static str) -> Option<T> {
        self.warnings
            .push(PackageWarning::fatal(self.file, line, found, allowed));
        None
    }

    fn document(&mut self, bytes: &[u8], folder: &str) -> Option<SkillDocument> {
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return self.fatal(0, format!("{} bytes", bytes.len()), "at most 256 KiB");
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return self.fatal(0, "bytes that are no UTF-8", "text in UTF-8");
        };
        let text = text.trim_start_matches('\u{feff}');
        let blank = text.len() - text.trim_start().len();
        let before = text[..blank].matches('\n').count();
        self.fence += before;
        let (front, body) = match split(&text[blank..]) {
            Ok(parts) => parts,
            Err(found) => return self.fatal(self.fence, found, ALLOWED_FRONT),
        };
        if before > 0 {
            self.mild(1, "empty lines before the front matter", ALLOWED_FRONT);
        }
        let mut front = self.front(front)?;
        let name = self.name(&mut front, folder)?;
        let description = self.description(&mut front)?;
        let license = self.text(&mut front, "license", usize::MAX, ALLOWED_LICENSE);
        let compatibility = self.text(
            &mut front,
            "compatibility",
            COMPATIBILITY_CHARS_MAX,
            ALLOWED_COMPATIBILITY,
        );
        let metadata = self.metadata(&mut front);
        let requested_tools = self.requested_tools(&mut front);
        for (key, value) in front {
            let found = format!("the unknown key `{}`", text::preview(&key, 64));
            self.mild(self.line_of(&value), found, ALLOWED_KEYS);
        }
        Some(SkillDocument {
            name,
            description,
            license,
            compatibility,
            metadata,
            requested_tools,
            body: body.to_owned(),
        })
    }

    fn front(&mut self, front: &str) -> Option<Front> {
        if front.len() > FRONT_BYTES_MAX {
            return self.fatal(1, format!("front matter of {} bytes", front.len()), ALLOWED_YAML);
        }
        let error = match parse(front) {
            Ok(parsed) => return Some(parsed),
            Err(error) => error,
        };
        // A colon in a description is the most common mistake: what follows the key is then meant as plain text.
        let line = error
            .location()
            .map_or(self.fence, |at| at.line() as usize + self.fence);
        let repaired = quote_plain_values(front);
        match parse(&repaired) {
            Ok(parsed) if repaired != front => {
                self.mild(
                    line,
                    "YAML that needs quotes; its values were read as plain texts",
                    ALLOWED_YAML,
                );
                Some(parsed)
            }
            _ => {
                let reason = error.without_snippet().to_string();
                let reason = text::preview(reason.lines().next().unwrap_or_default(), 200);
                self.fatal(line, format!("YAML that cannot be read: {reason}"), ALLOWED_YAML)
            }
        }
    }

    fn name(&mut self, front: &mut Front, folder: &str) -> Option<PackageName> {
        let of_folder = PackageName::new(folder).ok();
        let Some(given) = front.remove("name") else {
            return match of_folder {
                Some(name) => {
                    self.mild(1, "no name; the folder's name is taken", ALLOWED_NAME);
                    Some(name)
                }
                None => self.fatal(1, "no name, and the folder's name cannot be one", ALLOWED_NAME),
            };
        };
        let line = self.line_of(&given);
        let written = scalar(&given.value).unwrap_or_default();
        let shown = text::preview(&written, 80);
        match PackageName::new(&written) {
            Ok(name) => {
                if written.contains("--") || written.ends_with('-') {
                    self.mild(line, format!("the name `{shown}`"), ALLOWED_HYPHENS);
                }
                if written != folder {
                    let folder = text::preview(folder, 80);
                    self.mild(
                        line,
                        format!("the name `{shown}` in the folder `{folder}`"),
                        ALLOWED_NAME,
                    );
                }
                Some(name)
            }
            Err(_) => match of_folder {
                Some(name) => {
                    let found = format!("the name `{shown}`; the folder's name is taken");
                    self.mild(line, found, ALLOWED_NAME);
                    Some(name)
                }
                None => self.fatal(line, format!("the name `{shown}`"), ALLOWED_NAME),
            },
        }
    }

    fn description(&mut self, front: &mut Front) -> Option<String> {
        let Some(given) = front.remove("description") else {
            return self.fatal(1, "no description", ALLOWED_DESCRIPTION);
        };
        let line = self.line_of(&given);
        let written = scalar(&given.value).unwrap_or_default();
        let written = written.trim();
        if written.is_empty() {
            return self.fatal(line, "an empty description", ALLOWED_DESCRIPTION);
        }
        let chars = written.chars().count();
        if chars > DESCRIPTION_CHARS_MAX {
            self.mild(
                line,
                format!("a description of {chars} characters; it was cut"),
                ALLOWED_DESCRIPTION,
            );
        }
        Some(written.chars().take(DESCRIPTION_CHARS_MAX).collect())
    }

    fn text(&mut self, front: &mut Front, key: &str, chars_max: usize, allowed: &'static str) -> Option<String> {
        let given = front.remove(key)?;
        let written = scalar(&given.value).map(|text| text.trim().to_owned());
        match written.filter(|text| !text.is_empty()) {
            Some(text) if text.chars().count() <= chars_max => Some(text),
            Some(text) => {
                let found = format!("`{key}` of {} characters; it was cut", text.chars().count());
                self.mild(self.line_of(&given), found, allowed);
                Some(text.chars().take(chars_max).collect())
            }
            None => {
                self.mild(
                    self.line_of(&given),
                    format!("`{key}` that is no text; it was passed over"),
                    allowed,
                );
                None
            }
        }
    }

    fn metadata(&mut self, front: &mut Front) -> BTreeMap<String, String> {
        let Some(given) = front.remove("metadata") else {
            return BTreeMap::new();
        };
        let line = self.line_of(&given);
        let Value::Object(members) = given.value else {
            self.mild(
                line,
                "`metadata` that is no mapping; it was passed over",
                ALLOWED_METADATA,
            );
            return BTreeMap::new();
        };
        if members.len() > METADATA_MAX {
            let found = format!("`metadata` of {} names; the first 64 were taken", members.len());
            self.mild(line, found, ALLOWED_METADATA);
        }
        let mut kept = BTreeMap::new();
        for (key, value) in members.into_iter().take(METADATA_MAX) {
            if let Some(text) = scalar(&value) {
                kept.insert(key, text);
            } else {
                let key = text::preview(&key, 64);
                let found = format!("`metadata.{key}` that is no text; it was passed over");
                self.mild(line, found, ALLOWED_METADATA);
            }
        }
        kept
    }

    fn requested_tools(&mut self, front: &mut Front) -> Vec<String> {
        let Some(given) = front.remove("allowed-tools") else {
            return Vec::new();
        };
        let line = self.line_of(&given);
        let tools: Option<Vec<String>> = match &given.value {
            Value::Array(items) => {
                self.mild(line, "`allowed-tools` as a list; it was taken as one", ALLOWED_TOOLS);
                items.iter().map(scalar).collect()
            }
            other => scalar(other).map(|text| names(&text)),
        };
        let Some(tools) = tools else {
            self.mild(
                line,
                "`allowed-tools` that is no text; it was passed over",
                ALLOWED_TOOLS,
            );
            return Vec::new();
        };
        if tools.len() > REQUESTED_TOOLS_MAX {
            self.mild(line, format!("`allowed-tools` of {} names", tools.len()), ALLOWED_TOOLS);
        }
        tools.into_iter().take(REQUESTED_TOOLS_MAX).collect()
    }
}

/// Names between spaces or commas; what stands in brackets belongs to its name: `Bash(git add:*)`.
fn names(text: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let parts = text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (c == ',' || c.is_whitespace())
    });
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Front matter and body, or what is there instead.
fn split(text: &str) -> Result<(&str, &str), &'static str> {
    let first = text.split_inclusive('\n').next().unwrap_or_default();
    if first.trim_end() != FENCE {
        return Err("no front matter");
    }
    let rest = &text[first.len()..];
    let mut offset = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == FENCE {
            return Ok((&rest[..offset], &rest[offset + line.len()..]));
        }
        offset += line.len();
    }
    Err("front matter without its end")
}

fn parse(front: &str) -> Result<Front, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 8,
            max_nodes: 2_048,
            max_events: 8_192,
            max_documents: 1,
            // What can be used twice can grow: nothing in front matter needs it.
            max_anchors: 0,
            max_aliases: 0,
            max_merge_keys: 0,
        },
    };
    serde_saphyr::from_str_with_options(front, options)
}

/// The same text with quotes around the plain values of the outermost keys, each on one line with what goes on beneath it.
fn quote_plain_values(front: &str) -> String {
    let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let mut repaired = String::with_capacity(front.len() + 64);
    let mut lines = front.lines().peekable();
    while let Some(line) = lines.next() {
        match line.split_once(": ") {
            Some((key, value)) if is_key(key) && lacks_quotes(key, value.trim()) => {
                let mut value = value.trim().to_owned();
                while let Some(more) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
                    value.push(' ');
                    value.push_str(more.trim());
                }
                repaired.push_str(key);
                repaired.push_str(": '");
                repaired.push_str(&value.trim().replace('\'', "''"));
                repaired.push('\'');
            }
            _ => repaired.push_str(line),
        }
        repaired.push('\n');
    }
    repaired
}

/// Whether a value is a text that only lacks its quotes. What YAML gives a form of its own is left as it is, but where
/// nothing else than a text can be meant: `[beta] does things` as a description.
fn lacks_quotes(key: &str, value: &str) -> bool {
    match value.chars().next() {
        // Blocks are sound as they are; anchors and tags are refused, and so is an alias, which is one word.
        None | Some('|' | '>' | '&' | '!') => false,
        Some(quote @ ('"' | '\'')) => after_quoted(value, quote).is_some_and(|rest| !rest.trim().is_empty()),
        Some('*') => TEXT_KEYS.contains(&key) && value[1..].contains(['*', ' ']),
        Some('[' | '{' | '%' | '@' | '`') => TEXT_KEYS.contains(&key),
        Some(_) => true,
    }
}

/// What follows the text in quotes that a value begins with; none when the quote does not end.
fn after_quoted(value: &str, quote: char) -> Option<&str> {
    let mut inner = value[1..].char_indices().peekable();
    while let Some((at, sign)) = inner.next() {
        match sign {
            '\\' if quote == '"' => drop(inner.next()),
            '\'' if quote == '\'' && inner.next_if(|(_, next)| *next == '\'').is_some() => {}
            sign if sign == quote => return value.get(1 + at + 1..),
            _ => {}
        }
    }
    None
}

/// The text of a scalar: `1.0` and `true` are what the author wrote.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
