//! How programs are confined, and the secrets that the proxy adds for them.

use std::path::{Path, PathBuf};

use super::error::BadValue;
use super::key;
use super::model::SecretSource;
use super::setting::Settings;
use crate::skills::sandbox::policy::{SandboxMode, SandboxSettings};

/// A secret for the requests of programs to one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramSecret {
    /// Its name in the configuration.
    pub name: String,
    /// The server's address.
    pub server: String,
    /// The header that carries it.
    pub header: String,
    /// Where it is.
    pub value: SecretSource,
}

/// The settings of the sandbox in force.
pub fn sandbox(settings: &Settings, folder: &Path) -> SandboxSettings {
    let number = |key: &str| settings.number(&["skills", key]);
    let list = |path: &[&str]| settings.texts(path).unwrap_or_default();
    let paths = |key: &str| -> Vec<PathBuf> {
        let given = list(&["skills", key]);
        given.into_iter().map(|path| folder.join(path)).collect()
    };
    let mode = settings.text(&["skills", "sandbox"]).and_then(SandboxMode::from_word);
    let defaults = SandboxSettings::default();
    SandboxSettings {
        mode: mode.unwrap_or(defaults.mode),
        namespaces: defaults.namespaces,
        readable: paths("readPaths"),
        writable: paths("writePaths"),
        network: list(&["skills", "network", "programs"]),
        memory_bytes_max: number("memoryBytes").unwrap_or(defaults.memory_bytes_max),
        processes_max: number("processes").unwrap_or(defaults.processes_max),
    }
}

/// The secrets under `skills.secrets`.
pub fn program_secrets(settings: &Settings, folder: &Path, bad: &mut Vec<BadValue>) -> Vec<ProgramSecret> {
    let mut secrets = Vec::new();
    for (name, place) in settings.names(&["skills", "secrets"]) {
        let text = |field: &str| settings.text(&["skills", "secrets", name.as_str(), field]);
        let value = text("value").and_then(|text| SecretSource::parse(text, folder));
        let (Some(server), Some(value)) = (text("server"), value) else {
            bad.push(BadValue {
                place,
                key: key::render_path(&["skills", "secrets", name.as_str()].map(str::to_owned)),
                found: "a part of it".into(),
                allowed: "both `server` and `value`".into(),
            });
            continue;
        };
        secrets.push(ProgramSecret {
            server: server.to_owned(),
            header: text("header").unwrap_or("authorization").to_owned(),
            value,
            name,
        });
    }
    secrets
}
