//! Log files with limits: a file of at most so many bytes, and so many older ones beside it.
//!
//! **Invariants**: a line is in one file whole, and has it to itself; what cannot be written (a full disk) is counted and
//! told when there is room again, in the form of the other lines, and nobody waits for it or fails because of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::runtime::clock::{Clock, rfc3339};

use super::config::load::LogFormat;

/// The newest file; older ones have a number behind it, 1 the youngest.
const NAME: &str = "openclaw.log";

/// A file of a folder of logs: 0 is the newest, higher ones are older.
pub fn log_file(folder: &Path, number: usize) -> PathBuf {
    match number {
        0 => folder.join(NAME),
        older => folder.join(format!("{NAME}.{older}")),
    }
}

/// Where lines go. Cheap to clone; all clones write to the same files.
#[derive(Debug, Clone)]
pub struct LogFiles(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    folder: PathBuf,
    bytes_max: u64,
    keep: usize,
    format: LogFormat,
    open: Option<Open>,
    lost: u64,
}

/// The newest file.
#[derive(Debug)]
struct Open {
    file: File,
    /// Its bytes, all of them in whole lines.
    bytes: u64,
}

impl LogFiles {
    /// In this folder, which is made with the first line. The lines come in this form.
    pub fn new(folder: &Path, bytes_max: u64, keep: usize, format: LogFormat) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            folder: folder.to_owned(),
            bytes_max,
            keep,
            format,
            open: None,
            lost: 0,
        })))
    }
}

impl Write for LogFiles {
    /// Takes one event with its line end. Never fails: a log is no reason to stop.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.put(bytes).is_err() {
            inside.lost += 1;
            // Whatever was the matter with the file, the next line opens it anew.
            inside.open = None;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inside {
    fn path(&self, number: usize) -> PathBuf {
        log_file(&self.folder, number)
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(self.reopen()?);
        }
        let is_full = |open: &Open| open.bytes > 0 && open.bytes + line.len() as u64 > self.bytes_max;
        if self.open.as_ref().is_some_and(is_full) {
            self.open = None;
            self.rotate()?;
            self.open = Some(self.reopen()?);
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if self.lost > 0 {
            open.append(told(self.lost, self.format).as_bytes(), write_all)?;
            self.lost = 0;
        }
        open.append(line, write_all)
    }

    fn reopen(&self) -> io::Result<Open> {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.folder)?;
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(self.path(0))?;
        let bytes = file.metadata()?.len();
        let mut open = Open { file, bytes };
        let mut last = [b'\n'];
        if bytes > 0 {
            open.file.read_exact_at(&mut last, bytes - 1)?;
        }
        if last != [b'\n'] {
            // A process that was killed left half a line. It stays, and nothing goes on in it.
            open.append(b"\n", write_all)?;
        }
        Ok(open)
    }

    fn rotate(&self) -> io::Result<()> {
        if self.keep == 0 {
            return fs::remove_file(self.path(0));
        }
        for number in (0..self.keep).rev() {
            match fs::rename(self.path(number), self.path(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Open {
    /// Appends whole lines, or leaves the file as it was: a disk that becomes full tears a line in its middle, and the
    /// next one would go on there.
    fn append(&mut self, text: &[u8], write: impl FnOnce(&File, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let result = write(&self.file, text);
        if result.is_ok() {
            self.bytes += text.len() as u64;
        } else if self.file.metadata().is_ok_and(|found| found.len() > self.bytes) {
            // Where this fails too, whoever opens the file next ends the half.
            self.file.set_len(self.bytes).ok();
        }
        result
    }
}

fn write_all(mut file: &File, text: &[u8]) -> io::Result<()> {
    file.write_all(text)
}

/// The line that tells of lines that are not there.
fn told(lost: u64, format: LogFormat) -> String {
    let message = format!("{lost} lines could not be written here");
    match format {
        LogFormat::Text => format!("{message}\n"),
        LogFormat::Json => {
            let line = json!({
                "timestamp": rfc3339(Clock::system().now()), "level": "WARN",
                "fields": { "message": message, "lost": lost }, "target": module_path!(),
            });
            format!("{line}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a disk does that becomes full in the middle of a line.
    fn torn(mut file: &File, text: &[u8]) -> io::Result<()> {
        file.write_all(&text[..text.len() / 2])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn lines(folder: &Path, number: usize) -> Vec<String> {
        let name = if number == 0 {
            NAME.to_owned()
        } else {
            format!("{NAME}.{number}")
        };
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn files_keep_to_their_limits_and_no_line_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = LogFiles::new(folder.path(), 40, 2, LogFormat::Text);
        for number in 0..20 {
            writeln!(files, "line {number:03} of twenty").expect("never fails");
        }
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 3);
        let kept: Vec<String> = (0..3).rev().flat_map(|number| lines(folder.path(), number)).collect();
        let wanted: Vec<String> = (14..20).map(|number| format!("line {number:03} of twenty")).collect();
        assert_eq!(kept, wanted, "the newest lines, each whole");
        // The next process goes on in the same file, within the same limit.
        let mut next = LogFiles::new(folder.path(), 40, 2, LogFormat::Text);
        writeln!(next, "line 020 of twenty").expect("never fails");
        assert_eq!(lines(folder.path(), 0), ["line 020 of twenty"]);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_later_in_the_form_of_the_log() {
        let check = |format: LogFormat| {
            let folder = tempfile::tempdir().expect("a folder");
            let logs = folder.path().join("logs");
            fs::write(&logs, "a file where the folder should be").expect("written");
            let mut files = LogFiles::new(&logs, 1_000, 1, format);
            writeln!(files, "lost").expect("never fails");
            writeln!(files, "lost").expect("never fails");
            fs::remove_file(&logs).expect("removed");
            writeln!(files, "kept").expect("never fails");
            lines(&logs, 0)
        };
        let told = "2 lines could not be written here";
        assert_eq!(check(LogFormat::Text), [told, "kept"]);
        let found = check(LogFormat::Json);
        assert_eq!(found.len(), 2, "{found:?}");
        let line: serde_json::Value = serde_json::from_str(&found[0]).expect("JSON as the other lines");
        assert_eq!(
            (&line["fields"]["message"], &line["level"]),
            (&json!(told), &json!("WARN"))
        );
        assert!(line["timestamp"].is_string(), "{line}");
    }

    #[test]
    fn a_line_that_a_full_disk_tears_is_taken_back_and_half_of_one_is_not_gone_on_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = LogFiles::new(folder.path(), 1_000, 1, LogFormat::Text);
        writeln!(files, "first").expect("never fails");
        let mut inside = files.0.lock().expect("unpoisoned");
        let open = inside.open.as_mut().expect("open");
        open.append(b"half of this is written\n", torn).expect_err("torn");
        drop(inside);
        writeln!(files, "second").expect("never fails");
        assert_eq!(lines(folder.path(), 0), ["first", "second"]);

        // A process that was killed in the middle of a line.
        let path = log_file(folder.path(), 0);
        let mut text = fs::read_to_string(&path).expect("read");
        text.push_str("half of th");
        fs::write(&path, text).expect("written");
        let mut next = LogFiles::new(folder.path(), 1_000, 1, LogFormat::Text);
        writeln!(next, "third").expect("never fails");
        assert_eq!(lines(folder.path(), 0), ["first", "second", "half of th", "third"]);
    }
}
