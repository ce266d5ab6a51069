//! Edits of the operator's files, in the audit log whoever made them.
//!
//! An edit by `openclaw config set` has its row while the daemon runs. What was edited by hand, or while no daemon ran,
//! is found at the next start: the files are held against what the last daemon read.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::identity::audit::AuditLog;
use crate::identity::checkpoint::hex;

use super::config::Home;
use super::config::file;

/// Folders with files that decide what the daemon does.
const FOLDERS: &[&str] = &["agents", "prompts", "pipelines", "schedules"];
/// Files that are looked at; of more, the rest is not told apart.
const FILES_MAX: usize = 4_096;
/// Who acts when nobody asked.
const DAEMON: &str = "the daemon";

/// Digests by path within the configuration folder.
type Seen = BTreeMap<String, String>;

fn digest(path: &Path) -> Option<String> {
    Some(hex(blake3::hash(&std::fs::read(path).ok()?).as_bytes()))
}

fn look(folder: &Path) -> Seen {
    let mut seen = Seen::new();
    if let Some(digest) = digest(&folder.join("openclaw.toml")) {
        seen.insert("openclaw.toml".into(), digest);
    }
    for name in FOLDERS {
        let entries = std::fs::read_dir(folder.join(name)).into_iter().flatten().flatten();
        for entry in entries.take(FILES_MAX) {
            let path = entry.path();
            if let (Some(file), Some(digest)) = (path.file_name().and_then(|name| name.to_str()), digest(&path)) {
                seen.insert(format!("{name}/{file}"), digest);
            }
        }
    }
    seen
}

/// What differs: file, and how.
fn changes<'seen>(before: &'seen Seen, now: &'seen Seen) -> Vec<(&'seen str, String)> {
    let mut changes = Vec::new();
    for (file, digest) in now {
        let short = |digest: &str| digest.get(..16).unwrap_or(digest).to_owned();
        match before.get(file) {
            None => changes.push((file.as_str(), format!("new: {}", short(digest)))),
            Some(old) if old != digest => changes.push((file.as_str(), format!("{} → {}", short(old), short(digest)))),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|file| !now.contains_key(*file));
    changes.extend(gone.map(|file| (file.as_str(), "gone".to_owned())));
    changes
}

/// Writes a row for each file that is not as the last daemon read it. A log that cannot be written does not keep the
/// daemon from starting: the next start finds the same.
pub async fn note_edits(home: &Home, audit: &AuditLog) {
    let file = home.state_dir().join("config.seen");
    let before = std::fs::read_to_string(&file).ok();
    let before: Option<Seen> = before
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        .and_then(|value| {
            let members = value.as_object()?.iter();
            Some(
                members
                    .filter_map(|(name, digest)| Some((name.clone(), digest.as_str()?.to_owned())))
                    .collect(),
            )
        });
    let now = look(home.config_dir());
    for (name, how) in changes(&before.unwrap_or_default(), &now) {
        let note = audit.note(DAEMON, "config.read", name, &how);
        if let Err(error) = audit.commit(Vec::new(), note).await {
            tracing::error!(%error, file = name, "an edit was not written to the audit log");
            return;
        }
    }
    let members = now.into_iter().map(|(name, digest)| (name, Value::from(digest)));
    let document = Value::Object(members.collect());
    if let Err(error) = file::replace(&file, format!("{document}\n").as_bytes(), 0o600) {
        tracing::error!(%error, "what was read of the configuration cannot be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edit_is_told_and_nothing_else() {
        let seen = |pairs: &[(&str, &str)]| -> Seen {
            pairs
                .iter()
                .map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned()))
                .collect()
        };
        let before = seen(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let now = seen(&[("a", "1"), ("b", "4"), ("d", "5")]);
        let found: Vec<String> = changes(&before, &now)
            .iter()
            .map(|(name, how)| format!("{name} {how}"))
            .collect();
        assert_eq!(found, ["b 2 → 4", "d new: 5", "c gone"]);
        assert_eq!(changes(&now, &now), []);
    }
}
