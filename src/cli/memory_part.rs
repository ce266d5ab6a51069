//! Which part of the memory a command means, as the gateway's addresses and bodies say it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::MemoryPart;
use super::error::CliError;

/// What names the part of the scope: a project is this folder unless another is given.
pub fn names(part: &MemoryPart) -> Result<Vec<(&'static str, String)>, CliError> {
    match part.scope.as_str() {
        "project" => {
            let given = part.project.clone().map_or_else(std::env::current_dir, Ok);
            let folder = given.and_then(std::fs::canonicalize).map_err(|source| CliError::Io {
                verb: "find",
                what: "the project's folder".into(),
                source,
            })?;
            Ok(vec![("project", folder.display().to_string())])
        }
        "session" => match &part.session {
            Some(session) => Ok(vec![("session", session.clone())]),
            None => Err(CliError::usage(
                "scope session needs --session",
                "a session is named by its run and step, as in run_…/step",
            )),
        },
        _ => Ok(Vec::new()),
    }
}

/// The address of a part, or of a key in it, with further parameters.
pub fn path(part: &MemoryPart, key: Option<&str>, more: &str) -> Result<String, CliError> {
    let mut path = format!("/v1/memory/{}", part.scope);
    if let Some(key) = key {
        if matches!(key, "." | "..") {
            return Err(CliError::usage(
                "`.` and `..` are no keys",
                "no address can name them; an entry is forgotten by --id too",
            ));
        }
        let _ = write!(path, "/{}", encode(key));
    }
    let mut mark = '?';
    for (name, value) in names(part)? {
        let _ = write!(path, "{mark}{name}={}", encode(&value));
        mark = '&';
    }
    if !more.is_empty() {
        let _ = write!(path, "{mark}{more}");
    }
    Ok(path)
}

/// Percent-encodes all but what every part of an address may hold.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The part as a body names it.
pub fn body(part: &MemoryPart) -> Result<Value, CliError> {
    let mut body = json!({ "scope": part.scope });
    for (name, value) in names(part)? {
        body[name] = value.into();
    }
    Ok(body)
}
