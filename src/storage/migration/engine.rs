//! Copies, steps, checks, and puts the copy in the store's place.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{ReadTransaction, ReadableDatabase as _};

use crate::domain::time::UtcMillis;
use crate::storage::codec;
use crate::storage::copy::{RowCounts, copy_all, free_bytes, room_of_copy};
use crate::storage::error::{StoreError, step};
use crate::storage::owner::give;
use crate::storage::record::layout::LayoutRecord;
use crate::storage::review::{StoreReview, review};
use crate::storage::store::{CACHE_BYTES_DEFAULT, Store};
use crate::storage::table::{LAYOUT_VERSION, LAYOUTS, META};

use super::error::{MigrationError, file};
use super::order::way;
use super::steps::{STEPS, Step};

/// Stores of earlier layouts that are kept beside the store; the oldest go.
pub const KEPT_MAX: usize = 2;

/// What a migration would do, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationPlan {
    /// The store's layout.
    pub from: u64,
    /// The layout of this program.
    pub to: u64,
    /// What each step does, for people.
    pub steps: Vec<&'static str>,
    /// Bytes that have to be free on the disk.
    pub needed_bytes: u64,
    /// Bytes that are.
    pub free_bytes: u64,
    /// Where the store as it was is kept.
    pub kept_as: PathBuf,
}

/// Where a migration is. Whatever happens before the last one leaves the store as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The store is copied.
    Copying,
    /// The step from this layout is done.
    Step(u64),
    /// The copy is checked.
    Checking,
    /// The store as it was gets its second name.
    Keeping,
    /// The copy takes the store's place.
    Placing,
    /// The store has the new layout.
    Placed,
}

fn beside(store: &Path, end: &str) -> PathBuf {
    let mut name = store.file_name().map_or_else(OsString::new, OsString::from);
    name.push(end);
    store.with_file_name(name)
}

fn half(store: &Path) -> PathBuf {
    beside(store, ".migrating")
}

fn free_on(folder: &Path) -> Result<u64, MigrationError> {
    free_bytes(folder).map_err(file("look at the room of", folder))
}

/// What has to be done for this program to use a store; none when it is of this layout, or is not there.
///
/// **Errors**: no steps lead there; the store was not touched.
pub fn plan(store: &Path, now: UtcMillis) -> Result<Option<MigrationPlan>, MigrationError> {
    Ok(found(store, now)?.map(|(plan, _)| plan))
}

fn found(store: &Path, now: UtcMillis) -> Result<Option<(MigrationPlan, Vec<&'static Step>)>, MigrationError> {
    if !store.exists() {
        return Ok(None);
    }
    let Some(layout) = Store::layout_of(store).map_err(MigrationError::Open)? else {
        return Ok(None);
    };
    let known: Vec<u64> = STEPS.iter().map(|step| step.from).collect();
    let way = way(layout, LAYOUT_VERSION, &known).map_err(MigrationError::Order)?;
    if way.is_empty() {
        return Ok(None);
    }
    let steps = way
        .iter()
        .filter_map(|from| STEPS.iter().find(|step| step.from == *from));
    let steps: Vec<&Step> = steps.collect();
    let bytes = fs::metadata(store).map_err(file("look at", store))?.len();
    let folder = store.parent().unwrap_or(Path::new("."));
    let plan = MigrationPlan {
        from: layout,
        to: LAYOUT_VERSION,
        steps: steps.iter().map(|step| step.what).collect(),
        needed_bytes: room_of_copy(bytes),
        free_bytes: free_on(folder)?,
        kept_as: beside(store, &format!(".layout-{layout}-{}", now.0)),
    };
    Ok(Some((plan, steps)))
}

/// Brings a store to the layout of this program, when it is of an earlier one. Blocks its thread for as long as reading
/// the store twice and writing it once take. `watch` is told how far it is.
///
/// **Errors**: the store is as it was. **Cancel**: a process that ends in the middle leaves the store as it was, and a
/// half copy that the next migration removes.
pub fn migrate(
    store: &Path,
    now: UtcMillis,
    watch: &mut dyn FnMut(Phase),
) -> Result<Option<MigrationPlan>, MigrationError> {
    let Some((plan, steps)) = found(store, now)? else {
        return Ok(None);
    };
    let folder = store.parent().unwrap_or(Path::new("."));
    let copy = half(store);
    remove(&copy)?;
    let free = free_on(folder)?;
    if free < plan.needed_bytes {
        return Err(MigrationError::NoRoom {
            needed: plan.needed_bytes,
            free,
            folder: folder.to_owned(),
        });
    }
    // Held until the end: no other process writes to what is being copied.
    let held = Store::read_only(store).map_err(MigrationError::Open)?;
    let old = held.begin_read().map_err(step("begin reading"));
    let made = make(&old.map_err(MigrationError::Open)?, &copy, &steps, now, watch);
    if let Err(error) = made {
        // The disk may be full: this gives the room back.
        remove(&copy)?;
        return Err(error);
    }
    give(&copy, store).map_err(file("give away", &copy))?;
    watch(Phase::Keeping);
    fs::hard_link(store, &plan.kept_as).map_err(file("keep the store as", &plan.kept_as))?;
    sync(folder)?;
    watch(Phase::Placing);
    fs::rename(&copy, store).map_err(file("put the migrated copy in the place of", store))?;
    sync(folder)?;
    drop(held);
    watch(Phase::Placed);
    for path in kept(store)?.iter().rev().skip(KEPT_MAX) {
        remove(path)?;
    }
    Ok(Some(plan))
}

/// Copies the store, does the steps on the copy, and checks it.
fn make(
    old: &ReadTransaction,
    copy: &Path,
    steps: &[&Step],
    now: UtcMillis,
    watch: &mut dyn FnMut(Phase),
) -> Result<(), MigrationError> {
    watch(Phase::Copying);
    let before = copy_all(old, copy).map_err(MigrationError::Copy)?;
    let new = Store::open_any_layout(copy, CACHE_BYTES_DEFAULT).map_err(MigrationError::Copy)?;
    for step in steps {
        watch(Phase::Step(step.from));
        let failed = |source| MigrationError::Step {
            from: step.from,
            source,
        };
        apply(&new, step, now).map_err(failed)?;
    }
    watch(Phase::Checking);
    let rows = new.row_counts().map_err(MigrationError::Review)?;
    let mut findings = differing(&before, &rows, steps);
    let reviews = (review(old), new.review());
    let was = reviews.0.map_err(MigrationError::Review)?;
    let is = reviews.1.map_err(MigrationError::Review)?;
    findings.extend(worse(&was, &is));
    if !findings.is_empty() {
        return Err(MigrationError::Unsound { findings });
    }
    drop(new);
    let synced = fs::File::open(copy).and_then(|copied| copied.sync_all());
    synced.map_err(file("sync", copy))
}

/// One step and the number of the layout that it leads to, in one transaction.
fn apply(store: &Store, of: &Step, now: UtcMillis) -> Result<(), StoreError> {
    let mut transaction = store.database().begin_write().map_err(step("begin writing"))?;
    transaction.set_quick_repair(true);
    (of.apply)(store, &transaction)?;
    {
        let next = of.from + 1;
        let record = codec::encode(&LayoutRecord::new(env!("CARGO_PKG_VERSION"), now));
        let mut layouts = transaction.open_table(LAYOUTS).map_err(step("open the layouts"))?;
        layouts
            .insert(next, record.as_slice())
            .map_err(step("write the layout"))?;
        let mut meta = transaction.open_table(META).map_err(step("open the numbers"))?;
        meta.insert("layout", next).map_err(step("write the layout"))?;
    }
    transaction.commit().map_err(step("commit a step"))
}

/// Tables that no step may have touched and that have other rows than before.
fn differing(before: &RowCounts, after: &RowCounts, steps: &[&Step]) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let untouched = names
        .into_iter()
        .filter(|name| !steps.iter().any(|step| step.tables.contains(&name.as_str())));
    let count = |rows: &RowCounts, name: &String| rows.get(name).copied().unwrap_or(0);
    untouched
        .filter(|name| count(before, name) != count(after, name))
        .map(|name| {
            let (was, is) = (count(before, name), count(after, name));
            format!("table `{name}` had {was} rows and has {is}")
        })
        .collect()
}

/// What cannot be read of the copy and could be read before. What was damaged already is not made worse by a copy, and
/// is no reason to stay with the earlier program.
fn worse(was: &StoreReview, is: &StoreReview) -> Vec<String> {
    let new = is.findings.iter().filter(|finding| !was.findings.contains(finding));
    let mut new: Vec<String> = new.cloned().collect();
    if new.is_empty() && is.findings_more > was.findings_more {
        new.push("there are more findings than before".into());
    }
    new
}

/// The stores of earlier layouts that are kept, oldest first.
pub fn kept(store: &Path) -> Result<Vec<PathBuf>, MigrationError> {
    let folder = store.parent().unwrap_or(Path::new("."));
    let begins = beside(store, ".layout-");
    let begins = begins.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut found: Vec<(u64, PathBuf)> = entries
        .map_err(file("list", folder))?
        .iter()
        .filter_map(|entry| {
            let name = entry.file_name();
            let rest = name.to_str()?.strip_prefix(begins)?;
            let at = rest.split_once('-')?.1.parse().ok()?;
            Some((at, entry.path()))
        })
        .collect();
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn remove(path: &Path) -> Result<(), MigrationError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", path)(error)),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), MigrationError> {
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(file("sync", folder))
}
