//! The spool: reports of programs that ended, kept on disk before anybody is told, so that a call that the daemon
//! did not live to see the end of is known afterwards.
//!
//! Refuses to know: the journal. Invariants: a file appears whole or not at all; it is durable before the report
//! is given; a program that was interrupted leaves no file, because nobody knows how far it came.
//!
//! **Shape**: `<folder>/<effect key>.json`, one report each, versioned.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::effect::EffectKey;
use crate::domain::fault::Fault;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;

use super::trace;
use super::wire::{DOCUMENT_BYTES_MAX, ReportWire, WIRE_VERSION};

/// Says which step of work on the spool failed.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder cannot be made or opened.
    #[error("failed to open the spool {path}")]
    Open {
        /// The folder.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A report cannot be read.
    #[error("failed to read the spooled report {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A report is there and cannot be understood; it is left for inspection.
    #[error("failed to understand the spooled report {path}: {reason}")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A report cannot be written.
    #[error("failed to write the spooled report {path}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A report cannot be removed.
    #[error("failed to remove the spooled report {path}")]
    Remove {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SpoolError {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Corrupt { .. } => Fault::Corrupt,
            _ => Fault::Unavailable,
        }
    }
}

/// A folder of reports.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// Opens the folder; makes it when it is missing.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, SpoolError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|source| SpoolError::Open {
            path: dir.display().to_string(),
            source,
        })?;
        Ok(Self { dir })
    }

    /// Where the report of this key is kept.
    pub fn path_of(&self, key: EffectKey) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }

    /// The outcome on record for this key.
    pub fn find(&self, key: EffectKey) -> Result<Option<CallOutcome>, SpoolError> {
        let found = read_report(&self.path_of(key))?;
        Ok(found.map(|report| {
            let rendering = report.rendering.into();
            report.into_end().outcome(rendering)
        }))
    }

    /// What is known of the program of a call that left no report, for a person.
    pub fn evidence(&self, key: EffectKey) -> Option<String> {
        trace::evidence(&trace::path_beside(&self.path_of(key)))
    }

    /// Ends the programs of these calls that still run, by number and start, and says how many those were.
    pub fn end_survivors(&self, keys: &[EffectKey]) -> usize {
        let traces = keys.iter().map(|key| trace::path_beside(&self.path_of(*key)));
        traces.filter(|path| trace::end_survivor(path)).count()
    }

    /// The keys that have a report, in no order.
    pub fn keys(&self) -> Result<Vec<EffectKey>, SpoolError> {
        let keys = self.files()?.into_iter().filter_map(|path| {
            let is_report = path.extension().is_some_and(|extension| extension == "json");
            key_of(&path).filter(|_| is_report)
        });
        Ok(keys.collect())
    }

    /// Forgets a report; after its outcome is in the journal. A missing one is no error.
    pub fn remove(&self, key: EffectKey) -> Result<(), SpoolError> {
        trace::remove(&trace::path_beside(&self.path_of(key)));
        remove_file(&self.path_of(key))
    }

    /// What is older than this: reports, traces, half-written files.
    pub fn aged(&self, now: UtcMillis, older_than: Duration) -> Result<Vec<PathBuf>, SpoolError> {
        let now = UNIX_EPOCH + Duration::from_millis(now.0);
        let is_old = |path: &PathBuf| {
            let written = fs::metadata(path).and_then(|metadata| metadata.modified());
            let age = written.map(|at: SystemTime| now.duration_since(at).unwrap_or_default());
            // A file that has gone meanwhile needs no sweeping.
            age.is_ok_and(|age| age > older_than)
        };
        Ok(self.files()?.into_iter().filter(is_old).collect())
    }

    /// Removes these files, but those of keys that are still `needed`, and says how many went.
    pub fn sweep(&self, files: &[PathBuf], needed: &BTreeSet<EffectKey>) -> Result<usize, SpoolError> {
        let mut removed = 0;
        for path in files {
            if !key_of(path).is_some_and(|key| needed.contains(&key)) {
                remove_file(path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn files(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let refuse = |source| SpoolError::Open {
            path: self.dir.display().to_string(),
            source,
        };
        let entries = fs::read_dir(&self.dir).map_err(refuse)?;
        entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(refuse))
            .collect()
    }
}

/// The call that a report or trace is of; what is half-written is of none that anybody could ask for.
fn key_of(path: &Path) -> Option<EffectKey> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".json").or_else(|| name.strip_suffix(".trace"))?;
    stem.parse::<uuid::Uuid>().ok().map(EffectKey)
}

fn remove_file(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(SpoolError::Remove {
            path: path.display().to_string(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Reads the report at this path; none when there is none.
pub(super) fn read_report(path: &Path) -> Result<Option<ReportWire>, SpoolError> {
    let read = |source| SpoolError::Read {
        path: path.display().to_string(),
        source,
    };
    let corrupt = |reason: String| SpoolError::Corrupt {
        path: path.display().to_string(),
        reason,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(read)?,
    };
    let mut text = String::new();
    let mut bounded = file.take(DOCUMENT_BYTES_MAX);
    bounded.read_to_string(&mut text).map_err(read)?;
    let report: ReportWire = serde_json::from_str(&text).map_err(|error| corrupt(error.to_string()))?;
    if report.version != WIRE_VERSION {
        return Err(corrupt(format!("its version is {}", report.version)));
    }
    Ok(Some(report))
}

/// Writes a report so that it is there whole or not at all, and durable when this returns.
pub(super) fn write_report(path: &Path, report: &ReportWire) -> Result<(), SpoolError> {
    let write = |source| SpoolError::Write {
        path: path.display().to_string(),
        source,
    };
    let text = serde_json::to_string(report).map_err(|error| write(error.into()))?;
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let mut file = File::create(&temporary).map_err(write)?;
    file.write_all(text.as_bytes()).map_err(write)?;
    file.sync_all().map_err(write)?;
    fs::rename(&temporary, path).map_err(write)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(write)
}

#[cfg(test)]
mod tests {
    use super::super::wire::{EndedWire, RenderingWire};
    use super::*;

    fn report() -> ReportWire {
        ReportWire {
            version: WIRE_VERSION,
            shim_error: None,
            ended: EndedWire::Exited { code: 4 },
            stdout: "out".to_owned(),
            stderr: "err".to_owned(),
            truncated: false,
            from_spool: false,
            rendering: RenderingWire::Stdout,
        }
    }

    #[test]
    fn a_report_is_found_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let spool = Spool::open(folder.path().join("deep/spool")).expect("spool");
        let key = EffectKey(uuid::Uuid::from_u128(7));
        assert_eq!(spool.find(key).expect("readable"), None);
        write_report(&spool.path_of(key), &report()).expect("written");
        let outcome = spool.find(key).expect("readable").expect("there");
        assert_eq!((outcome.is_error, outcome.exit_code), (true, Some(4)));
        assert_eq!(&*outcome.content, "exit code 4\nerr");
        assert_eq!(spool.keys().expect("readable"), vec![key]);
        spool.remove(key).expect("removed");
        spool.remove(key).expect("a missing one is no error");
        assert_eq!(spool.find(key).expect("readable"), None);
    }

    #[test]
    fn a_damaged_report_is_said_to_be_damaged_and_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let spool = Spool::open(folder.path()).expect("spool");
        let key = EffectKey(uuid::Uuid::from_u128(8));
        let check = |content: &str| {
            fs::write(spool.path_of(key), content).expect("written");
            let error = spool.find(key).expect_err("damaged");
            assert_eq!(error.fault(), Fault::Corrupt, "{content}: {error}");
            assert!(spool.path_of(key).exists());
        };
        check("");
        check("{\"version\":1");
        let newer = ReportWire {
            version: 99,
            ..report()
        };
        check(&serde_json::to_string(&newer).expect("JSON"));
    }

    #[test]
    fn the_sweep_takes_old_files_of_any_kind_but_those_of_calls_that_are_open() {
        let folder = tempfile::tempdir().expect("folder");
        let spool = Spool::open(folder.path()).expect("spool");
        let [settled, open] = [9, 10].map(|number| EffectKey(uuid::Uuid::from_u128(number)));
        for key in [settled, open] {
            write_report(&spool.path_of(key), &report()).expect("written");
            fs::write(trace::path_beside(&spool.path_of(key)), "{}").expect("written");
        }
        fs::write(folder.path().join("half.tmp-1"), "x").expect("written");
        #[expect(
            clippy::disallowed_methods,
            reason = "the files have the times of the machine's clock"
        )]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let now = UtcMillis(since_epoch.as_millis() as u64 + 60_000);
        let aged = |seconds| spool.aged(now, Duration::from_secs(seconds)).expect("readable");
        assert_eq!(aged(3600).len(), 0);
        let old = aged(30);
        assert_eq!(old.len(), 5, "{old:?}");
        let needed = BTreeSet::from([open]);
        assert_eq!(spool.sweep(&old, &needed).expect("swept"), 3);
        assert_eq!(spool.keys().expect("readable"), vec![open]);
        assert_eq!(aged(30).len(), 2, "report and trace of the open call");
        assert_eq!(spool.sweep(&aged(30), &BTreeSet::new()).expect("swept"), 2);
        assert_eq!(aged(30).len(), 0);
    }
}
