//! `openclaw logs`: the lines of the daemon, from its files or from the journal of the service manager.
//!
//! Needs no daemon. Lines are shown as they were written; what could drive a terminal is escaped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use serde_json::{Value, json};

use crate::cli::arguments::LogsArguments;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Output, harmless};
use crate::cli::service_manager::{UNIT, runs_home};
use crate::daemon::config::load::LogFilesConfig;
use crate::daemon::log_files::log_file;
use crate::domain::name::AgentName;

/// Longest line that is shown, in bytes; the rest of it is the next one.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// The longest time without a look at the files: their folder may have been made anew.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Shows lines.
pub fn run(context: &mut Context, arguments: &LogsArguments) -> Result<Exit, CliError> {
    if let Some(files) = context.load()?.config.log.files {
        return of_files(&mut context.output, &files, arguments);
    }
    if runs_home(context)? {
        return of_journal(&mut context.output, arguments);
    }
    Err(CliError::usage(
        "the daemon of this home writes its lines to the standard error stream that it was started with, and to no file",
        "`openclaw config set log.dir DIR` keeps them in files from the next start on",
    ))
}

/// Shows lines and forgets them.
struct Show<'output> {
    output: &'output mut Output,
    agent: Option<&'output AgentName>,
}

impl Show<'_> {
    fn wants(&self, line: &str) -> bool {
        self.agent.is_none_or(|agent| is_of_agent(line, agent.as_str()))
    }

    /// With `--json` a line is the object that it is, or one with the line in it.
    fn line(&mut self, line: &str) {
        if self.output.is_json() {
            let object: Option<Value> = serde_json::from_str(line).ok().filter(Value::is_object);
            self.output
                .json_line(&object.unwrap_or_else(|| json!({ "line": line })));
        } else {
            self.output.print(&harmless(line));
        }
    }
}

/// Whether a line is of an agent: by a field of the event, or of what it happened in.
fn is_of_agent(line: &str, agent: &str) -> bool {
    if let Ok(event @ Value::Object(_)) = serde_json::from_str(line) {
        let spans = event["spans"].as_array().into_iter().flatten();
        let mut places = spans.chain([&event["fields"], &event["span"], &event]);
        return places.any(|place| place["agent"] == agent);
    }
    let mut rest = line;
    while let Some(place) = rest.find("agent=") {
        let begins = !rest[..place].ends_with(|char: char| char.is_alphanumeric() || char == '_');
        rest = &rest[place + "agent=".len()..];
        let value = rest.trim_start_matches('"');
        let end = value.find(|char: char| !(char.is_alphanumeric() || "-_.".contains(char)));
        if begins && &value[..end.unwrap_or(value.len())] == agent {
            return true;
        }
    }
    false
}

fn failed(verb: &'static str, what: &Path) -> impl FnOnce(io::Error) -> CliError {
    let what = what.display().to_string();
    move |source| CliError::Io { verb, what, source }
}

/// The next line without its end; none at the end of what is there, where a line that has no end yet stays in `held`.
fn next_line(reader: &mut impl io::BufRead, held: &mut Vec<u8>) -> io::Result<Option<String>> {
    let left = LINE_BYTES_MAX.saturating_sub(held.len() as u64);
    reader.take(left).read_until(b'\n', held)?;
    let is_whole = held.last() == Some(&b'\n') || held.len() as u64 >= LINE_BYTES_MAX;
    if !is_whole {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(held).trim_end().to_owned();
    held.clear();
    Ok(Some(line))
}

fn of_files(output: &mut Output, files: &LogFilesConfig, arguments: &LogsArguments) -> Result<Exit, CliError> {
    let newest = log_file(&files.folder, 0);
    // Watched before it is read, so that nothing falls between the two.
    let changes = arguments.follow.then(|| Changes::of(&files.folder)).transpose()?;
    let agent = arguments.agent.as_ref();
    let mut show = Show { output, agent };
    let mut last = VecDeque::new();
    let mut open = None;
    for number in 0..=files.keep {
        let path = log_file(&files.folder, number);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let (mut reader, mut held, mut lines) = (BufReader::new(file), Vec::new(), VecDeque::new());
        let room = arguments.lines - last.len();
        while let Some(line) = next_line(&mut reader, &mut held).map_err(failed("read", &path))? {
            if show.wants(&line) {
                lines.push_back(line);
                if lines.len() > room {
                    lines.pop_front();
                }
            }
        }
        if number == 0 {
            open = Some((reader, held));
        }
        lines.append(&mut last);
        last = lines;
        if last.len() >= arguments.lines {
            break;
        }
    }
    let Some((mut reader, mut held)) = open else {
        let message = format!("there is no {} yet", newest.display());
        return Err(CliError::usage(
            message,
            "the daemon makes it with its first line; `openclaw start` starts it",
        ));
    };
    for line in last {
        show.line(&line);
    }
    let Some(changes) = changes else {
        return Ok(Exit::Done);
    };
    loop {
        while let Some(line) = next_line(&mut reader, &mut held).map_err(failed("read", &newest))? {
            if show.wants(&line) {
                show.line(&line);
            }
        }
        if show.output.is_gone() {
            return Ok(Exit::Done);
        }
        // Renamed since: what was written to it before has been read, and the next one has its name.
        let is_other = match std::fs::metadata(&newest) {
            Ok(found) => {
                let read = reader.get_ref().metadata().map_err(failed("read", &newest))?;
                (found.dev(), found.ino()) != (read.dev(), read.ino())
            }
            Err(_) => false,
        };
        if is_other && let Ok(file) = File::open(&newest) {
            (reader, held) = (BufReader::new(file), Vec::new());
            continue;
        }
        changes.wait()?;
    }
}

/// What happens in a folder.
struct Changes(rustix::fd::OwnedFd);

impl Changes {
    fn of(folder: &Path) -> Result<Self, CliError> {
        let watched = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).and_then(|changes| {
            inotify::add_watch(
                &changes,
                folder,
                WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO,
            )?;
            Ok(Self(changes))
        });
        watched.map_err(|error| failed("watch", folder)(error.into()))
    }

    /// Waits until something happened, at most for half a minute.
    fn wait(&self) -> Result<(), CliError> {
        let limit = Timespec::try_from(LOOK_EVERY).ok();
        let waited = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], limit.as_ref());
        waited.map_err(|error| failed("wait for", Path::new("lines"))(error.into()))?;
        // What it was does not matter: the files are looked at.
        while rustix::io::read(&self.0, &mut [0_u8; 4096]).is_ok_and(|bytes| bytes > 0) {}
        Ok(())
    }
}

fn of_journal(output: &mut Output, arguments: &LogsArguments) -> Result<Exit, CliError> {
    let agent = arguments.agent.as_ref();
    let lines = arguments.lines.to_string();
    let mut command = Command::new("journalctl");
    command.args(["--unit", UNIT, "--no-pager", "--output", "cat"]);
    // The lines of one agent are picked out of all of them.
    if agent.is_none() || arguments.follow {
        command.args(["--lines", &lines]);
    }
    if arguments.follow {
        command.arg("--follow");
    }
    let journal = Path::new("journalctl");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(failed("run", journal))?;
    let read = child
        .stdout
        .take()
        .map(|out| show_all(out, &mut Show { output, agent }, arguments));
    read.transpose().map_err(failed("read", journal))?;
    if output.is_gone() {
        // It would say more only to find that nobody listens; it may have ended by itself.
        child.kill().ok();
    }
    let status = child.wait().map_err(failed("run", journal))?;
    if status.success() || output.is_gone() {
        return Ok(Exit::Done);
    }
    Err(failed("run", journal)(io::Error::other(status.to_string())))
}

fn show_all(out: impl Read, show: &mut Show<'_>, arguments: &LogsArguments) -> io::Result<()> {
    let mut last = VecDeque::new();
    let mut reader = BufReader::new(out);
    let mut held = Vec::new();
    while let Some(line) = next_line(&mut reader, &mut held)? {
        if !show.wants(&line) {
            continue;
        }
        if arguments.follow {
            show.line(&line);
            if show.output.is_gone() {
                break;
            }
            continue;
        }
        last.push_back(line);
        if last.len() > arguments.lines {
            last.pop_front();
        }
    }
    for line in last {
        show.line(&line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_agents_when_a_field_of_it_says_so() {
        let check = |line: &str, expected: bool| assert_eq!(is_of_agent(line, "zoe"), expected, "{line}");
        check("INFO run{run=run_1 agent=zoe trace_id=0}: ready", true);
        check("INFO ready agent=\"zoe\"", true);
        check("INFO ready agent=zoe", true);
        check("INFO ready agent=zoe-2", false);
        check("INFO ready sub_agent=zoe", false);
        check("INFO ready subagent=zoe agent=zoe", true);
        check("INFO zoe is ready", false);
        check(r#"{"fields":{"message":"ready","agent":"zoe"}}"#, true);
        check(r#"{"fields":{},"spans":[{"name":"run","agent":"zoe"}]}"#, true);
        check(r#"{"fields":{"message":"agent=zoe"}}"#, false);
    }

    #[test]
    fn a_line_without_an_end_waits_for_it() {
        let mut held = Vec::new();
        let mut read = |bytes: &[u8]| next_line(&mut io::Cursor::new(bytes.to_vec()), &mut held).expect("read");
        assert_eq!(read(b"a\n").as_deref(), Some("a"));
        assert_eq!(read(b"half"), None);
        assert_eq!(read(b" and half\n").as_deref(), Some("half and half"));
        assert_eq!(read(b""), None);
    }
}
