//! Restoring a backup into a home on which nothing runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::fact::Fact;
use crate::domain::id::IncidentId;
use crate::domain::incident::Incident;
use crate::domain::schedule::slot::{Kept, SlotRow, SlotState};
use crate::domain::time::UtcMillis;
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;
use crate::storage::migration::engine::migrate;
use crate::storage::owner::{give, give_all};
use crate::storage::store::{CACHE_BYTES_DEFAULT, Store};
use crate::storage::writer::Writer;

use super::create::{Places, make_folder, sync_folder};
use super::error::{BackupError, file};
use super::manifest::{Manifest, verify};

/// The folder in the state that says that a restore was begun and not ended.
pub const UNFINISHED: &str = "restoring";
/// Batches of one transaction.
const GROUP: usize = 256;
/// The reason of runs that do not go on.
const PARKED: &str = "the store was restored from a backup: nobody knows how far this run came after it was made";

/// The reason of slots that do not wait any more.
const NOT_WAITING: &str = "the store was restored from a backup: nobody knows whether it ran after it was made; `openclaw cron backfill` runs it";

/// What a restore does, before it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePlan {
    /// What is in the backup.
    pub manifest: Manifest,
    /// Files of the home that are moved aside.
    pub replaces: Vec<PathBuf>,
    /// Files of the operator that are written because they are not there.
    pub adds: Vec<PathBuf>,
    /// Where what is replaced is kept.
    pub kept_in: PathBuf,
}

/// What a restore came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was done.
    pub plan: RestorePlan,
    /// Runs that were active in the backup and are parked now.
    pub parked: usize,
}

/// Whether a restore into this state was begun and not ended: nothing may start on it.
pub fn is_unfinished(state: &Path) -> bool {
    state.join(UNFINISHED).exists()
}

/// The top entries of the state that a backup brings.
fn tops(manifest: &Manifest) -> Vec<String> {
    let of_state = manifest
        .files
        .iter()
        .filter_map(|file| file.path.strip_prefix("state/"));
    let mut tops: Vec<String> = of_state
        .map(|path| path.split('/').next().unwrap_or(path).to_owned())
        .collect();
    tops.sort();
    tops.dedup();
    tops
}

/// Verifies a backup and says what restoring it would do. Changes nothing.
pub fn plan(backup: &Path, places: &Places, now: UtcMillis) -> Result<RestorePlan, BackupError> {
    let manifest = verify(backup)?;
    let tops = tops(&manifest).into_iter().map(|top| places.state.join(top));
    let operators = manifest
        .files
        .iter()
        .filter_map(|file| file.path.strip_prefix("config/"));
    let operators = operators.map(|path| places.config.join(path));
    Ok(RestorePlan {
        replaces: tops.filter(|path| path.exists()).collect(),
        adds: operators.filter(|path| !path.exists()).collect(),
        kept_in: places.state.join(format!("replaced-{}", now.0)),
        manifest,
    })
}

/// Restores a backup. Files of the operator that are there stay as they are.
///
/// **Cancel**: the state then has a folder `restoring`, no daemon starts on it, and restoring again begins anew.
pub fn restore(backup: &Path, places: &Places, now: UtcMillis, random: u128) -> Result<Restored, BackupError> {
    let plan = plan(backup, places, now)?;
    make_folder(&places.state)?;
    let store_file = places.state.join("openclaw.redb");
    // Held until the end, so that no daemon opens the file that goes.
    let held = store_file
        .exists()
        .then(|| hold(&store_file, &places.state))
        .transpose()?;
    let staging = places.state.join(UNFINISHED);
    if staging.exists() {
        fs::remove_dir_all(&staging).map_err(file("remove", &staging))?;
    }
    make_folder(&staging)?;
    for listed in &plan.manifest.files {
        let Some(path) = listed.path.strip_prefix("state/") else {
            continue;
        };
        copy(&backup.join(&listed.path), &staging.join(path))?;
    }
    let parked = settle(&staging.join("openclaw.redb"), now, random)?;
    // First what can fail without a change of the state: the folder of the operator's files is often somebody else's.
    for path in &plan.adds {
        let below = path.strip_prefix(&places.config).unwrap_or(path);
        copy(&backup.join("config").join(below), path)?;
    }
    for top in tops(&plan.manifest) {
        let staged = staging.join(top);
        give_all(&staged, &places.state).map_err(file("give away", staged))?;
    }
    if !plan.replaces.is_empty() {
        make_folder(&plan.kept_in)?;
        give(&plan.kept_in, &places.state).map_err(file("give away", &plan.kept_in))?;
    }
    for top in tops(&plan.manifest) {
        let (own, kept) = (places.state.join(&top), plan.kept_in.join(&top));
        if own.exists() {
            fs::rename(&own, &kept).map_err(file("move aside", &own))?;
        }
        fs::rename(staging.join(&top), &own).map_err(file("move in", own))?;
    }
    sync_folder(&places.state)?;
    fs::remove_dir_all(&staging).map_err(file("remove", &staging))?;
    sync_folder(&places.state)?;
    drop(held);
    Ok(Restored { plan, parked })
}

/// Takes the lock of the store that goes. One that cannot be read is no reason not to restore: it is the best one.
fn hold(store: &Path, state: &Path) -> Result<Option<Store>, BackupError> {
    match Store::open(store, CACHE_BYTES_DEFAULT) {
        Ok(held) => Ok(Some(held)),
        Err(StoreError::Locked { .. }) => Err(BackupError::Live { path: state.into() }),
        Err(_) => Ok(None),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    if let Some(parent) = to.parent() {
        make_folder(parent)?;
    }
    fs::copy(from, to).map_err(file("copy", from))?;
    let synced = fs::File::open(to).and_then(|copied| copied.sync_all());
    synced.map_err(file("sync", to))
}

/// Brings a store of an earlier program to this one's layout, parks what was active, and lets schedules begin now: what
/// was due since the backup may have run.
fn settle(store: &Path, now: UtcMillis, random: u128) -> Result<usize, BackupError> {
    migrate(store, now, &mut |_| ()).map_err(BackupError::Migration)?;
    park(store, now, random).map_err(BackupError::Store)
}

fn park(store: &Path, now: UtcMillis, random: u128) -> Result<usize, StoreError> {
    let store = Store::open(store, CACHE_BYTES_DEFAULT)?;
    let mut writer = Writer::new(store.clone())?;
    let active = store.active_runs()?;
    let reason: Arc<str> = PARKED.into();
    let park = |run| Batch::facts(run, now, vec![Fact::RunParked { reason: reason.clone() }]);
    let parking: Vec<Batch> = active.iter().map(|run| park(*run)).collect();
    for group in parking.chunks(GROUP) {
        writer.commit(group)?;
    }
    let mut ops = Vec::new();
    for name in store.schedules()? {
        for row in store.slots(&name, UtcMillis(0)..=UtcMillis(u64::MAX), usize::MAX, &|row| {
            row.state == SlotState::Queued
        })? {
            let row = SlotRow {
                state: SlotState::Skipped,
                ended_at: Some(now),
                ..row.because(NOT_WAITING)
            };
            ops.push(Op::SlotPut {
                row,
                expected: Some(SlotState::Queued),
            });
        }
        if let Some(kept) = store.schedule(&name)? {
            ops.push(Op::SchedulePut(Kept {
                floor: kept.floor.max(now),
                through: kept.through.max(now),
                ..kept
            }));
        }
    }
    ops.push(Op::IncidentOpen(Incident {
        id: IncidentId::new(now, random),
        at: now,
        severity: "warning".into(),
        what: "the store was restored from a backup".into(),
        why: "an operator asked for it".into(),
        action: format!(
            "{} runs that were active are parked, schedules go on from now; what happened since the backup is not known here",
            active.len()
        )
        .into(),
        run: None,
    }));
    writer.commit(&[Batch::ops(ops)])?;
    Ok(active.len())
}

/// Reads names like those that `backup create` gives as folders of the backups, and everything else as a path.
pub fn find(backups: &Path, name: &str) -> Result<PathBuf, BackupError> {
    let named = backups.join(name);
    let is_name = !name.contains('/') && !name.starts_with('.');
    let path = if is_name && named.is_dir() {
        named
    } else {
        PathBuf::from(name)
    };
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err(BackupError::NotFound { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BackupError::NotFound { path }),
        Err(error) => Err(file("look at", path)(error)),
    }
}
