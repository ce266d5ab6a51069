//! `skills.lock`: which packages an operator has added, as what, and with which capabilities.
//!
//! Pure: text in, text out. Invariant: what is not written here may be read and never run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::domain::capability::CapabilitySet;
use crate::domain::name::PackageName;

/// The name of the file, in the folder of the configuration.
pub const LOCK_FILE: &str = "skills.lock";
/// Bytes of the file.
pub const LOCK_BYTES_MAX: u64 = 1024 * 1024;
const VERSION: i64 = 1;
const HEAD: &str = "# Written by `openclaw skill add` and `skill remove`. A package whose files do not match its hash is \
                    refused.\n";

/// One package that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What its folder was when it was added.
    pub hash: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What it may touch.
    pub capabilities: CapabilitySet,
}

/// Says what is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {found}; allowed: {allowed}")]
pub struct LockError {
    /// Which place of the file.
    pub at: String,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

/// All that was added, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// The packages.
    pub pins: BTreeMap<PackageName, Pin>,
}

impl Lock {
    /// Reads the text of the file; an empty one pins nothing.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let wrong = |at: &str, found: String, allowed: &str| LockError {
            at: at.to_owned(),
            found,
            allowed: allowed.to_owned(),
        };
        let document: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| wrong(LOCK_FILE, error.message().to_owned(), "TOML"))?;
        let version = document.get("version").and_then(Item::as_integer);
        if !document.is_empty() && version != Some(VERSION) {
            let found = version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
            return Err(wrong("version", found, "1; another program wrote this file"));
        }
        let mut pins = BTreeMap::new();
        for (name, entry) in document
            .get("skills")
            .and_then(Item::as_table_like)
            .into_iter()
            .flat_map(|table| table.iter())
        {
            let at = format!("skills.{name}");
            let package = PackageName::new(name).map_err(|error| wrong(&at, format!("{name:?}"), error.allowed))?;
            let text = |key: &str| entry.get(key).and_then(Item::as_str);
            let Some(hash) = text("hash").filter(|hash| is_hash(hash)) else {
                return Err(wrong(
                    &format!("{at}.hash"),
                    "no hash".to_owned(),
                    "`blake3:` and 64 hexadecimal digits",
                ));
            };
            let Some(folder) = text("folder").map(Path::new).filter(|folder| folder.is_absolute()) else {
                return Err(wrong(
                    &format!("{at}.folder"),
                    "no folder".to_owned(),
                    "an absolute path",
                ));
            };
            let capabilities = entry.get("capabilities").and_then(Item::as_array);
            let capabilities: Vec<&str> = capabilities
                .into_iter()
                .flatten()
                .filter_map(|item| item.as_str())
                .collect();
            let capabilities = CapabilitySet::parse(capabilities)
                .map_err(|error| wrong(&format!("{at}.capabilities"), error.found, error.allowed))?;
            let pin = Pin {
                hash: hash.to_owned(),
                folder: folder.to_owned(),
                capabilities,
            };
            pins.insert(package, pin);
        }
        Ok(Self { pins })
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        let mut document = DocumentMut::new();
        document["version"] = value(VERSION);
        let mut skills = Table::new();
        skills.set_implicit(true);
        for (name, pin) in &self.pins {
            let mut entry = Table::new();
            entry["hash"] = value(pin.hash.as_str());
            entry["folder"] = value(pin.folder.to_string_lossy().as_ref());
            let capabilities: Array = pin.capabilities.iter().map(ToString::to_string).collect();
            entry["capabilities"] = value(capabilities);
            skills.insert(name.as_str(), Item::Table(entry));
        }
        document.insert("skills", Item::Table(skills));
        format!("{HEAD}{document}")
    }
}

fn is_hash(text: &str) -> bool {
    let digits = text.strip_prefix("blake3:");
    digits.is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let pin = |capabilities: &[&str]| Pin {
            hash: format!("blake3:{}", "0a".repeat(32)),
            folder: "/home/a b/skills/x".into(),
            capabilities: CapabilitySet::parse(capabilities.iter().copied()).expect("sound"),
        };
        let name = |text: &str| PackageName::new(text).expect("name");
        let lock = Lock {
            pins: [
                (name("pdf"), pin(&["exec:*", "net:docs.rs:443"])),
                (name("a-b"), pin(&[])),
            ]
            .into(),
        };
        assert_eq!(Lock::parse(&lock.render()), Ok(lock));
        assert_eq!(Lock::parse(""), Ok(Lock::default()));
        assert_eq!(Lock::parse(&Lock::default().render()), Ok(Lock::default()));
    }

    #[test]
    fn a_file_that_was_tampered_with_names_its_place() {
        let hash = format!("blake3:{}", "0".repeat(64));
        let check = |text: &str, at: &str| {
            let refused = Lock::parse(text).expect_err(text);
            assert_eq!(refused.at, at, "{refused}");
        };
        check("version = 2", "version");
        check("[skills.a]\nhash = 'x'", "version");
        check("version = 1\n[skills.\"../a\"]", "skills.../a");
        check("version = 1\n[skills.a]\nhash = 'blake3:00'", "skills.a.hash");
        check(
            &format!("version = 1\n[skills.a]\nhash = '{hash}'\nfolder = 'a'"),
            "skills.a.folder",
        );
        check(
            &format!("version = 1\n[skills.a]\nhash = '{hash}'\nfolder = '/a'\ncapabilities = ['root']"),
            "skills.a.capabilities",
        );
        check("version = ", LOCK_FILE);
    }
}
