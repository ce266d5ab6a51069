//! Cassettes as files of the user.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use crate::cli::client::{Client, Request};
use crate::cli::error::CliError;
use crate::domain::code;
use crate::domain::limits::CASSETTE_BYTES_MAX;

fn failed(verb: &'static str, file: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let what = file.display().to_string();
    move |source| CliError::Io { verb, what, source }
}

/// Makes sure that a file can be written, before any work is done for it.
pub fn prepare(file: &Path) -> Result<(), CliError> {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    opened.map(drop).map_err(failed("write", file))
}

/// Reads a cassette that is to be replayed. What it holds is checked by the daemon.
pub fn load(file: &Path) -> Result<Value, CliError> {
    let mut text = String::new();
    let opened = File::open(file).map_err(failed("read the cassette", file))?;
    opened
        .take(CASSETTE_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(failed("read the cassette", file))?;
    if text.len() > CASSETTE_BYTES_MAX {
        return Err(CliError::refused(
            code::CASSETTE_INVALID,
            format!("{} has more than {CASSETTE_BYTES_MAX} bytes", file.display()),
            "record a shorter run",
        ));
    }
    Ok(text.into())
}

/// The cassette of a run.
pub async fn fetch(client: &Client, run: &str) -> Result<String, CliError> {
    let path = format!("/v1/runs/{run}/cassette");
    let bytes = client.read(&Request::get(&path)).await?;
    String::from_utf8(bytes).map_err(|error| client.protocol(&path, error.to_string()))
}

/// Writes a cassette into a file.
pub fn write(file: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(file, text).map_err(failed("write the cassette", file))
}

/// Writes the cassette of a run into a file.
pub async fn save(client: &Client, run: &str, file: &Path) -> Result<(), CliError> {
    write(file, &fetch(client, run).await?)
}
