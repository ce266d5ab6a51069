//! `state/daemon.json`: what a running daemon says of itself, so that commands find it.
//!
//! **Shape**: `{"pid", "boot", "gateway": "http://127.0.0.1:8080", "admin": "https://127.0.0.1:8081",
//! "started_at": RFC 3339}`.
//! **Invariant**: it is a hint, never a lock: after a crash it stays and names a process that is gone. The lock of
//! the store decides who runs.

use std::fs;
use std::io;

use serde_json::{Value, json};

use super::file;
use super::home::{Home, HomeError};
use crate::domain::time::UtcMillis;

/// A running daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonFile {
    /// Its process.
    pub pid: u32,
    /// Its life, as `BootId` prints.
    pub boot: String,
    /// Address of its gateway, with `http://`.
    pub gateway: String,
    /// Address of its operators' listener, with `https://`; none in the file of an older program.
    pub admin: Option<String>,
    /// When it started.
    pub started_at: UtcMillis,
}

impl DaemonFile {
    /// Writes it, whole or not at all.
    pub fn write(&self, home: &Home) -> Result<(), HomeError> {
        let at = i64::try_from(self.started_at.0)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let document = json!({
            "pid": self.pid,
            "boot": self.boot,
            "gateway": self.gateway,
            "admin": self.admin,
            "started_at": at.unwrap_or_default().to_string(),
        });
        let path = home.daemon_file();
        file::replace(&path, format!("{document}\n").as_bytes(), 0o600).map_err(|source| HomeError::File {
            verb: "write",
            path,
            source,
        })
    }

    /// Reads it; none when no daemon has left one.
    pub fn read(home: &Home) -> Result<Option<Self>, HomeError> {
        let path = home.daemon_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(HomeError::File {
                    verb: "read",
                    path,
                    source,
                });
            }
        };
        match parse(&text) {
            Some(found) => Ok(Some(found)),
            None => Err(HomeError::Malformed {
                path,
                reason: "it is not of the form that a daemon writes".into(),
            }),
        }
    }

    /// Whether its process is there. A process of another user counts as there; a number that was given to a new
    /// process does too, so that "no" is sure and "yes" is not.
    pub fn is_alive(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
    }

    /// Removes it; a missing file is no error.
    pub fn remove(home: &Home) -> Result<(), HomeError> {
        let path = home.daemon_file();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(HomeError::File {
                verb: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }
}

fn parse(text: &str) -> Option<DaemonFile> {
    let value: Value = serde_json::from_str(text).ok()?;
    let at: jiff::Timestamp = value["started_at"].as_str()?.parse().ok()?;
    Some(DaemonFile {
        pid: u32::try_from(value["pid"].as_u64()?).ok()?,
        boot: value["boot"].as_str()?.to_owned(),
        gateway: value["gateway"].as_str()?.to_owned(),
        admin: value["admin"].as_str().map(str::to_owned),
        started_at: UtcMillis(u64::try_from(at.as_millisecond()).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_found_by_what_it_wrote_and_by_nothing_else() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let home = Home::under(folder.path());
        home.create().expect("made");
        assert_eq!(DaemonFile::read(&home).expect("none"), None);
        let daemon = DaemonFile {
            pid: 7,
            boot: "boot_1".into(),
            gateway: "http://127.0.0.1:8080".into(),
            admin: Some("https://127.0.0.1:8081".into()),
            started_at: UtcMillis(1_763_812_800_123),
        };
        daemon.write(&home).expect("written");
        assert_eq!(DaemonFile::read(&home).expect("read").as_ref(), Some(&daemon));
        let own = DaemonFile {
            pid: std::process::id(),
            ..daemon.clone()
        };
        let gone = DaemonFile {
            pid: i32::MAX as u32,
            ..daemon
        };
        assert!(own.is_alive() && !gone.is_alive());
        fs::write(home.daemon_file(), "{").expect("written");
        assert!(matches!(DaemonFile::read(&home), Err(HomeError::Malformed { .. })));
        DaemonFile::remove(&home).expect("removed");
        DaemonFile::remove(&home).expect("removing twice is no error");
    }
}
