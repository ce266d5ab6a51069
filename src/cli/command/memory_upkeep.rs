//! `openclaw memory prune|restore|promote|stats|verify|export|import`.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::arguments::{MemoryPart, MemoryUpkeepCommand};
use crate::cli::client::{Client, Request};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::memory_part::{body, path};
use crate::cli::output::{harmless, one_line, table};
use crate::domain::code;
use crate::runtime::file::Replacement;

/// Entries of one page of an export.
const PAGE: u32 = 500;
/// Entries of one request of an import.
const IMPORT_ENTRIES: usize = 500;
/// Bytes of one request of an import, within the gateway's own limit; a line may be longer.
const IMPORT_BYTES: usize = 1024 * 1024;
/// Bytes of one line: a text of 64 KiB, however it is escaped.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Does one of them.
pub async fn run(context: &mut Context, command: MemoryUpkeepCommand) -> Result<Exit, CliError> {
    let client = &context.client()?;
    match command {
        MemoryUpkeepCommand::Prune { part, all, dry_run } => prune(context, client, &part, all, dry_run).await,
        MemoryUpkeepCommand::Restore { part, id } => {
            let wanted = json!({ "part": body(&part)?, "id": id });
            let value = client.send(&Request::post("/v1/memory/restore", &wanted)).await?;
            context.output.result(&value, |_| "restored\n".into());
            Ok(Exit::Done)
        }
        MemoryUpkeepCommand::Promote {
            part,
            id,
            to,
            to_project,
        } => {
            let to = MemoryPart {
                scope: to,
                project: to_project,
                session: None,
            };
            let wanted = json!({ "part": body(&part)?, "id": id, "to": body(&to)? });
            let value = client.send(&Request::post("/v1/memory/promote", &wanted)).await?;
            context.output.result(&value, |_| "promoted\n".into());
            Ok(Exit::Done)
        }
        MemoryUpkeepCommand::Stats => stats(context, client).await,
        MemoryUpkeepCommand::Verify { part, all } => verify(context, client, &part, all).await,
        MemoryUpkeepCommand::Export { part, output } => export(context, client, &part, output.as_deref()).await,
        MemoryUpkeepCommand::Import { part, file } => import(context, client, &part, &file).await,
    }
}

fn one_or_all(part: &MemoryPart, all: bool) -> Result<Value, CliError> {
    Ok(if all { json!({}) } else { json!({ "part": body(part)? }) })
}

async fn prune(
    context: &mut Context,
    client: &Client,
    part: &MemoryPart,
    all: bool,
    dry_run: bool,
) -> Result<Exit, CliError> {
    let mut wanted = one_or_all(part, all)?;
    wanted["dry_run"] = dry_run.into();
    let value = client.send(&Request::post("/v1/memory/prune", &wanted)).await?;
    context.output.result(&value, |_| {
        let word = if dry_run { "would be archived" } else { "archived" };
        let mut text = format!("{} {word}\n", value["archived"]);
        let rows: Vec<Vec<String>> = value["entries"].as_array().into_iter().flatten().map(going).collect();
        if !rows.is_empty() {
            text.push_str(&table(&["ID", "PART", "WHY", "TEXT"], &rows));
        }
        if let Some(more) = value["more"].as_u64().filter(|more| *more > 0) {
            let _ = writeln!(text, "and {more} more");
        }
        text
    });
    Ok(Exit::Done)
}

fn going(entry: &Value) -> Vec<String> {
    vec![
        entry["id"].to_string(),
        name(entry),
        one_line(entry["why"].as_str().unwrap_or_default(), 80),
        one_line(entry["text"].as_str().unwrap_or_default(), 60),
    ]
}

fn name(part: &Value) -> String {
    let scope = part["scope"].as_str().unwrap_or_default();
    match part["namespace"].as_str().unwrap_or_default() {
        "" => scope.to_owned(),
        namespace => format!("{scope} {}", one_line(namespace, 80)),
    }
}

async fn stats(context: &mut Context, client: &Client) -> Result<Exit, CliError> {
    let value = client.send(&Request::get("/v1/memory/stats")).await?;
    context.output.result(&value, |_| {
        let parts = value["parts"].as_array().into_iter().flatten();
        let rows: Vec<Vec<String>> = parts
            .map(|part| {
                let number = |field: &str| part[field].to_string();
                vec![name(part), number("entries"), number("bytes"), number("archived")]
            })
            .collect();
        let mut text = if rows.is_empty() {
            "nothing is kept\n".to_owned()
        } else {
            table(&["PART", "ENTRIES", "BYTES", "ARCHIVED"], &rows)
        };
        let pruned = value["last_prune"].as_str().unwrap_or("never");
        let _ = writeln!(text, "store: {} bytes, last prune: {pruned}", value["store_bytes"]);
        text.push_str(&embedder(&value["embedder"]));
        text
    });
    Ok(Exit::Done)
}

/// What makes vectors, and how far it is.
fn embedder(embedder: &Value) -> String {
    let Some(name) = embedder["name"].as_str() else {
        return String::new();
    };
    let name = one_line(name, 120);
    if embedder["built_in"] == Value::Bool(true) {
        return format!("embedder: {name} (built in)\n");
    }
    let mut text = format!(
        "embedder: {name}, serves {} of {} parts, {} entries due, {} refused\n",
        embedder["parts_complete"], embedder["parts"], embedder["due"], embedder["refused"]
    );
    if let Some(failure) = embedder["failure"].as_str() {
        let _ = writeln!(text, "it failed and is asked again: {}", one_line(failure, 200));
    }
    text
}

async fn verify(context: &mut Context, client: &Client, part: &MemoryPart, all: bool) -> Result<Exit, CliError> {
    let wanted = one_or_all(part, all)?;
    let value = client.send(&Request::post("/v1/memory/verify", &wanted)).await?;
    let clean = value["clean"].as_bool().unwrap_or(false);
    context.output.result(&value, |_| {
        let mut text = String::new();
        for part in value["parts"].as_array().into_iter().flatten() {
            let _ = writeln!(
                text,
                "{}: {} live entries of {}",
                name(part),
                part["live"],
                part["entries"]
            );
            for id in part["damaged"].as_array().into_iter().flatten() {
                let _ = writeln!(text, "  entry {id} cannot be read; it was put aside");
            }
            for finding in part["findings"].as_array().into_iter().flatten() {
                let _ = writeln!(text, "  {}", one_line(finding.as_str().unwrap_or_default(), 200));
            }
            if part["index_compared"] == Value::Bool(false) {
                let _ = writeln!(text, "  its index changed all the time and was not compared");
            }
            if let Some(count) = part["quarantined"].as_u64().filter(|count| *count > 0) {
                let _ = writeln!(text, "  {count} records were put aside earlier");
            }
        }
        text.push_str(if clean {
            "everything agrees\n"
        } else {
            "not everything agrees\n"
        });
        text
    });
    Ok(if clean { Exit::Done } else { Exit::Failed })
}

fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let what = path.display().to_string();
    move |source| CliError::Io { verb, what, source }
}

/// Page by page: no more than one page is in memory, however much is kept.
async fn export(
    context: &mut Context,
    client: &Client,
    part: &MemoryPart,
    output: Option<&Path>,
) -> Result<Exit, CliError> {
    let mut file = output.map(Export::begin).transpose()?;
    let (mut after, mut count) = (0, 0);
    loop {
        let address = path(part, None, &format!("limit={PAGE}&after={after}"))?;
        let page = client.send(&Request::get(&address)).await?;
        for entry in page["entries"].as_array().into_iter().flatten() {
            count += 1;
            match &mut file {
                Some(export) => export.line(entry)?,
                None if context.output.is_terminal() => {
                    context.output.raw(&format!("{}\n", harmless(&entry.to_string())));
                }
                None => context.output.raw(&format!("{entry}\n")),
            }
        }
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    if let Some(export) = file {
        let path = export.finish()?;
        let value = json!({ "entries": count, "file": path.display().to_string() });
        context.output.result(&value, |_| format!("{count} entries exported\n"));
    }
    Ok(Exit::Done)
}

/// A file that an export is written to. An earlier one stays until the new one is whole; what is no file, such as a
/// pipe, is written as it comes.
struct Export<'path> {
    path: &'path Path,
    writer: BufWriter<File>,
    replaces: Option<Replacement>,
}

impl<'path> Export<'path> {
    fn begin(path: &'path Path) -> Result<Self, CliError> {
        let is_other = path.metadata().is_ok_and(|found| !found.is_file());
        let begun = || {
            if is_other {
                return Ok((OpenOptions::new().write(true).open(path)?, None));
            }
            // What agents know is for whoever asked for it.
            let mut replaces = Replacement::begin(path, 0o600)?;
            Ok((replaces.file().try_clone()?, Some(replaces)))
        };
        let (file, replaces) = begun().map_err(io("write", path))?;
        let writer = BufWriter::new(file);
        Ok(Self { path, writer, replaces })
    }

    fn line(&mut self, entry: &Value) -> Result<(), CliError> {
        writeln!(self.writer, "{entry}").map_err(io("write", self.path))
    }

    fn finish(mut self) -> Result<&'path Path, CliError> {
        let flushed = self.writer.flush();
        let finished = flushed.and_then(|()| self.replaces.map_or(Ok(()), Replacement::finish));
        finished.map_err(io("write", self.path))?;
        Ok(self.path)
    }
}

/// Twice through the file: the gateway first looks whether every line can be taken, and only then takes them. A kill
/// on the way leaves what was taken; the same command again completes it.
async fn import(context: &mut Context, client: &Client, part: &MemoryPart, file: &Path) -> Result<Exit, CliError> {
    let part = body(part)?;
    let mut count = 0;
    for check in [true, false] {
        let mut lines = Lines::open(file)?;
        count = 0;
        while let Some((first_line, entries)) = lines.some()? {
            count += entries.len();
            let wanted = json!({ "part": part, "entries": entries, "first_line": first_line, "check": check });
            client.send(&Request::post("/v1/memory/import", &wanted)).await?;
        }
    }
    let value = json!({ "entries": count });
    context.output.result(&value, |_| format!("{count} entries imported\n"));
    Ok(Exit::Done)
}

/// A file of one JSON object a line, read some lines at a time.
struct Lines<'path> {
    path: &'path Path,
    reader: BufReader<File>,
    line: u64,
}

impl<'path> Lines<'path> {
    fn open(path: &'path Path) -> Result<Self, CliError> {
        let file = File::open(path).map_err(io("read", path))?;
        Ok(Self {
            path,
            reader: BufReader::new(file),
            line: 0,
        })
    }

    /// The next lines with the number of the first; none at the end. An empty line ends a group, so that the numbers
    /// within a group follow each other.
    fn some(&mut self) -> Result<Option<(u64, Vec<Value>)>, CliError> {
        let (mut entries, mut bytes, mut first) = (Vec::new(), 0, 0);
        while entries.len() < IMPORT_ENTRIES && bytes < IMPORT_BYTES {
            let mut line = String::new();
            let limited = self.reader.by_ref().take(LINE_BYTES_MAX + 1).read_line(&mut line);
            self.line += 1;
            let read = match limited {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(self.bad("it is not UTF-8"));
                }
                Err(error) => return Err(io("read", self.path)(error)),
            };
            if read == 0 {
                break;
            }
            if line.len() as u64 > LINE_BYTES_MAX {
                return Err(self.bad(&format!("it has more than {LINE_BYTES_MAX} bytes")));
            }
            if line.trim().is_empty() {
                if entries.is_empty() {
                    continue;
                }
                break;
            }
            let entry: Value = serde_json::from_str(&line).map_err(|error| self.bad(&error.to_string()))?;
            if entries.is_empty() {
                first = self.line;
            }
            bytes += line.len();
            entries.push(entry);
        }
        Ok((!entries.is_empty()).then_some((first, entries)))
    }

    fn bad(&self, reason: &str) -> CliError {
        CliError::refused(
            code::MEMORY_IMPORT,
            format!(
                "line {} of {} cannot be taken: {reason}",
                self.line,
                self.path.display()
            ),
            "nothing was imported; each line is one JSON object as `openclaw memory export` writes it",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(text: &[u8]) -> Result<Vec<(u64, usize)>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.jsonl");
        std::fs::write(&path, text).expect("written");
        let mut lines = Lines::open(&path).expect("opens");
        let mut groups = Vec::new();
        while let Some((first, entries)) = lines.some().map_err(|error| error.to_text())? {
            groups.push((first, entries.len()));
        }
        Ok(groups)
    }

    #[test]
    fn lines_come_in_groups_with_the_number_of_the_first() {
        assert_eq!(groups(b"").as_deref(), Ok([].as_slice()));
        assert_eq!(groups(b"\n{}\n{}\n\n{}").as_deref(), Ok([(2, 2), (5, 1)].as_slice()));
        let many = "{}\n".repeat(IMPORT_ENTRIES + 3);
        assert_eq!(groups(many.as_bytes()).as_deref(), Ok([(1, 500), (501, 3)].as_slice()));
        let bad = groups(b"{}\n{}\n{\"text\":}\n").expect_err("refused");
        assert!(bad.contains("line 3 of") && bad.contains("OC-8005"), "{bad}");
        let bad = groups(b"{}\n\xff\n").expect_err("refused");
        assert!(bad.contains("line 2 of") && bad.contains("not UTF-8"), "{bad}");
    }
}
