//! Log files with limits: a file of at most so many bytes, and so many older ones beside it.
//!
//! **Invariants**: a line is in one file whole; what cannot be written (a full disk) is counted and told when there is
//! room again, and nobody waits for it or fails because of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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
    open: Option<(File, u64)>,
    lost: u64,
}

impl LogFiles {
    /// In this folder, which is made with the first line.
    pub fn new(folder: &Path, bytes_max: u64, keep: usize) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            folder: folder.to_owned(),
            bytes_max,
            keep,
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
        let is_full = |(_, written): &(File, u64)| *written > 0 && written + line.len() as u64 > self.bytes_max;
        if self.open.as_ref().is_some_and(is_full) {
            self.open = None;
            self.rotate()?;
            self.open = Some(self.reopen()?);
        }
        let Some((file, written)) = &mut self.open else {
            return Ok(());
        };
        if self.lost > 0 {
            let told = format!("{} lines could not be written here\n", self.lost);
            file.write_all(told.as_bytes())?;
            *written += told.len() as u64;
            self.lost = 0;
        }
        file.write_all(line)?;
        *written += line.len() as u64;
        Ok(())
    }

    fn reopen(&self) -> io::Result<(File, u64)> {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.folder)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.path(0))?;
        let written = file.metadata()?.len();
        Ok((file, written))
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut files = LogFiles::new(folder.path(), 40, 2);
        for number in 0..20 {
            writeln!(files, "line {number:03} of twenty").expect("never fails");
        }
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 3);
        let kept: Vec<String> = (0..3).rev().flat_map(|number| lines(folder.path(), number)).collect();
        let wanted: Vec<String> = (14..20).map(|number| format!("line {number:03} of twenty")).collect();
        assert_eq!(kept, wanted, "the newest lines, each whole");
        // The next process goes on in the same file, within the same limit.
        let mut next = LogFiles::new(folder.path(), 40, 2);
        writeln!(next, "line 020 of twenty").expect("never fails");
        assert_eq!(lines(folder.path(), 0), ["line 020 of twenty"]);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let logs = folder.path().join("logs");
        fs::write(&logs, "a file where the folder should be").expect("written");
        let mut files = LogFiles::new(&logs, 1_000, 1);
        writeln!(files, "lost").expect("never fails");
        writeln!(files, "lost").expect("never fails");
        fs::remove_file(&logs).expect("removed");
        writeln!(files, "kept").expect("never fails");
        assert_eq!(lines(&logs, 0), ["2 lines could not be written here", "kept"]);
    }
}
