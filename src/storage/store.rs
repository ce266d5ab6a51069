//! The main file: opening it, and everything that is read from it by key.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{Database, ReadOnlyDatabase, ReadableDatabase, ReadableTable};

use crate::domain::budget::{Account, Balance};
use crate::domain::id::{KeyId, RunId};
use crate::domain::incident::Incident;
use crate::domain::name::AgentName;
use crate::domain::run::{RunHeader, RunStatus};
use crate::domain::statistics::{Counting, Figures, StatisticsKey};

use super::codec;
use super::error::{StoreError, step};
use super::record::balance::{account_key, read_balance};
use super::record::header::HeaderRecord;
use super::record::incident::IncidentRecord;
use super::record::key::KeyRecord;
use super::record::statistics::{day_prefix, read_statistics_row, statistics_row};
use super::record::submission::SubmissionRecord;
use super::reserve::{Reserve, ReservedFile};
use super::statistics::{self, Statistics};
use super::table::{
    ACTIVE, BLOBS, BUDGETS, INCIDENTS, JOURNAL, KEYS, LAYOUT_VERSION, LAYOUTS, META, RUNS, SNAPSHOTS, STATISTICS,
    SUBMISSIONS,
};

/// Default size of redb's page cache, in bytes: small, because the working set is the active runs' tails.
pub const CACHE_BYTES_DEFAULT: usize = 8 * 1024 * 1024;

/// The open main file. Cheap to clone; readers never wait for the writer.
#[derive(Clone)]
pub struct Store {
    /// Locked for reading while a transaction begins, for writing by a compaction alone.
    database: Arc<RwLock<Database>>,
    path: Arc<Path>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the file, makes it when there is none, and takes its lock.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            let failed = |source| StoreError::Folder {
                path: folder.to_owned(),
                source,
            };
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        if !path.exists() {
            Self::make(path, cache_bytes)?;
        }
        Self::refuse_other_layout(path)?;
        let opened = Database::builder().set_cache_size(cache_bytes).create(path);
        Self::from_database(path, opened)
    }

    /// Opens the file as [`Self::open`] does; a write that finds the disk full uses the reserve.
    pub fn open_reserved(path: &Path, cache_bytes: usize, reserve: Arc<Reserve>) -> Result<Self, StoreError> {
        if !path.exists() {
            drop(Self::open(path, cache_bytes)?);
        }
        Self::refuse_other_layout(path)?;
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|source| StoreError::Folder {
            path: path.to_owned(),
            source,
        })?;
        let opened = redb::backends::FileBackend::new(file).map(|file| ReservedFile::new(file, reserve));
        let opened = opened.and_then(|file| {
            let mut builder = Database::builder();
            builder.set_cache_size(cache_bytes).create_with_backend(file)
        });
        Self::from_database(path, opened)
    }

    /// Makes a new file beside its place and links it there whole: a process that ends while redb writes the first
    /// pages would else leave a file that is none. Of two processes that do this at once, the first wins and the second
    /// finds its file.
    fn make(path: &Path, cache_bytes: usize) -> Result<(), StoreError> {
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let failed = |source| StoreError::Folder {
            path: beside.clone(),
            source,
        };
        if beside.exists() {
            // An earlier process of the same number was killed here; nothing was accepted into its file.
            std::fs::remove_file(&beside).map_err(failed)?;
        }
        let opened = Database::builder().set_cache_size(cache_bytes).create(&beside);
        drop(Self::from_database(&beside, opened)?);
        let linked = std::fs::hard_link(&beside, path);
        std::fs::remove_file(&beside).map_err(failed)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        if let Some(folder) = path.parent() {
            let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(failed)?;
        }
        Ok(())
    }

    /// Opens a store over any backend: the tests' way to storage that fails.
    #[cfg(test)]
    pub fn open_backend(backend: impl redb::StorageBackend) -> Result<Self, StoreError> {
        Self::from_database(Path::new("(backend)"), Database::builder().create_with_backend(backend))
    }

    fn from_database(path: &Path, opened: Result<Database, redb::DatabaseError>) -> Result<Self, StoreError> {
        let store = Self::of_any_layout(path, opened)?;
        store.check_layout()?;
        Ok(store)
    }

    /// Opens a file whatever its layout is: only a migration knows what to do with it.
    pub(super) fn open_any_layout(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        Self::of_any_layout(path, Database::builder().set_cache_size(cache_bytes).open(path))
    }

    /// Opens a file for reading alone: not one byte of it changes, and no other process writes to it meanwhile. A file
    /// that a killed process left is repaired first, as each opening for writing does.
    pub(super) fn read_only(path: &Path) -> Result<ReadOnlyDatabase, StoreError> {
        let mut opened = Database::builder().open_read_only(path);
        if matches!(opened, Err(redb::DatabaseError::RepairAborted)) {
            drop(Self::open_any_layout(path, CACHE_BYTES_DEFAULT)?);
            opened = Database::builder().open_read_only(path);
        }
        opened.map_err(StoreError::opening(path))
    }

    /// The layout of a file, which is not written to; none for one that has none yet.
    pub(super) fn layout_of(path: &Path) -> Result<Option<u64>, StoreError> {
        let database = Self::read_only(path)?;
        let transaction = database.begin_read().map_err(step("begin reading"))?;
        layout_in(&transaction)
    }

    /// Refuses a file of another layout before it is opened for writing, which alone changes bytes of it. One that a
    /// killed process left is judged when it was repaired.
    fn refuse_other_layout(path: &Path) -> Result<(), StoreError> {
        let Ok(database) = Database::builder().open_read_only(path) else {
            return Ok(());
        };
        let transaction = database.begin_read().map_err(step("begin reading"))?;
        judge_layout(path, layout_in(&transaction)?)
    }

    /// Whether the file has a table.
    pub(super) fn has_table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        table: redb::TableDefinition<'static, K, V>,
    ) -> Result<bool, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        match transaction.open_table(table) {
            Ok(_) => Ok(true),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(step("look for a table")(error)),
        }
    }

    fn of_any_layout(path: &Path, opened: Result<Database, redb::DatabaseError>) -> Result<Self, StoreError> {
        let database = opened.map_err(StoreError::opening(path))?;
        Ok(Self {
            database: Arc::new(RwLock::new(database)),
            path: path.into(),
        })
    }

    /// Makes the tables of a new file, and refuses the file of a newer program, and of an earlier one that was not
    /// migrated.
    fn check_layout(&self) -> Result<(), StoreError> {
        let found = {
            let transaction = self.database().begin_read().map_err(step("begin reading"))?;
            layout_in(&transaction)?
        };
        judge_layout(&self.path, found)?;
        if found.is_some() {
            return Ok(());
        }
        let mut transaction = self.database().begin_write().map_err(step("begin writing"))?;
        transaction.set_quick_repair(true);
        {
            let mut meta = transaction.open_table(META).map_err(step("make the tables"))?;
            meta.insert("layout", LAYOUT_VERSION)
                .map_err(step("write the layout"))?;
            meta.insert("next_seq", 1).map_err(step("write the first place"))?;
            transaction.open_table(JOURNAL).map_err(step("make the tables"))?;
            transaction.open_table(BLOBS).map_err(step("make the tables"))?;
            transaction.open_table(SNAPSHOTS).map_err(step("make the tables"))?;
            transaction.open_table(RUNS).map_err(step("make the tables"))?;
            transaction.open_table(ACTIVE).map_err(step("make the tables"))?;
            transaction.open_table(SUBMISSIONS).map_err(step("make the tables"))?;
            transaction.open_table(BUDGETS).map_err(step("make the tables"))?;
            transaction.open_table(KEYS).map_err(step("make the tables"))?;
            transaction.open_table(INCIDENTS).map_err(step("make the tables"))?;
            transaction.open_table(STATISTICS).map_err(step("make the tables"))?;
            transaction.open_table(LAYOUTS).map_err(step("make the tables"))?;
        }
        transaction.commit().map_err(step("commit the tables"))
    }

    pub(super) fn database(&self) -> RwLockReadGuard<'_, Database> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn database_alone(&self) -> RwLockWriteGuard<'_, Database> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's size in bytes.
    pub fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    /// The place that the next fact gets.
    pub(super) fn next_seq(&self) -> Result<u64, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let meta = transaction.open_table(META).map_err(step("open the numbers"))?;
        let next = meta
            .get("next_seq")
            .map_err(step("read the next place"))?
            .map_or(1, |value| value.value());
        Ok(next)
    }

    /// The runs that have neither ended nor been parked, oldest first.
    pub fn active_runs(&self) -> Result<Vec<RunId>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let active = transaction.open_table(ACTIVE).map_err(step("open the active runs"))?;
        let mut runs = Vec::new();
        for entry in active.iter().map_err(step("read the active runs"))? {
            runs.push(RunId::from_bytes(
                *entry.map_err(step("read the active runs"))?.0.value(),
            ));
        }
        Ok(runs)
    }

    /// The run that was accepted under a key, and the hash of what it was asked; none where nothing was.
    pub fn submission(&self, key: &[u8; 32]) -> Result<Option<(RunId, [u8; 32])>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let submissions = transaction
            .open_table(SUBMISSIONS)
            .map_err(step("open the submissions"))?;
        let Some(value) = submissions.get(key).map_err(step("read a submission"))? else {
            return Ok(None);
        };
        let record: SubmissionRecord = codec::decode(|| "a submission".into(), value.value())?;
        Ok(Some((RunId::from_bytes(record.run), record.body)))
    }

    /// What was asked under each of these keys, by its hash; none where nothing was.
    pub fn asked_under(&self, keys: &[[u8; 32]]) -> Result<Vec<Option<[u8; 32]>>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let submissions = transaction
            .open_table(SUBMISSIONS)
            .map_err(step("open the submissions"))?;
        let asked = keys.iter().map(|key| {
            let Some(value) = submissions.get(key).map_err(step("read a submission"))? else {
                return Ok(None);
            };
            let record: SubmissionRecord = codec::decode(|| "a submission".into(), value.value())?;
            Ok(Some(record.body))
        });
        asked.collect()
    }

    /// The header of a run.
    pub fn header(&self, run: RunId) -> Result<Option<RunHeader>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let runs = transaction.open_table(RUNS).map_err(step("open the runs"))?;
        let Some(value) = runs.get(&run.to_bytes()).map_err(step("read a header"))? else {
            return Ok(None);
        };
        let record: HeaderRecord = codec::decode(|| format!("header of {run}"), value.value())?;
        record.into_domain(run).map(Some)
    }

    /// Headers, newest first: at most `limit` that are older than `before` and pass the filter.
    pub fn headers(
        &self,
        before: Option<RunId>,
        limit: usize,
        status: Option<RunStatus>,
    ) -> Result<Vec<RunHeader>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let runs = transaction.open_table(RUNS).map_err(step("open the runs"))?;
        let end = before.map_or([0xff; 16], RunId::to_bytes);
        let mut headers = Vec::new();
        for entry in runs.range::<&[u8; 16]>(..&end).map_err(step("read the headers"))?.rev() {
            if headers.len() >= limit {
                break;
            }
            let (key, value) = entry.map_err(step("read the headers"))?;
            let run = RunId::from_bytes(*key.value());
            let record: HeaderRecord = codec::decode(|| format!("header of {run}"), value.value())?;
            let header = record.into_domain(run)?;
            if status.is_none_or(|wanted| wanted == header.status) {
                headers.push(header);
            }
        }
        Ok(headers)
    }

    /// The committed balance of an account.
    pub fn balance(&self, account: &Account) -> Result<Balance, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let budgets = transaction.open_table(BUDGETS).map_err(step("open the budgets"))?;
        let key = account_key(account);
        let Some(value) = budgets.get(key.as_str()).map_err(step("read a balance"))? else {
            return Ok(Balance::default());
        };
        read_balance(&key, value.value())
    }

    /// The record of an API key.
    pub fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let keys = transaction.open_table(KEYS).map_err(step("open the keys"))?;
        let Some(value) = keys.get(&id.to_bytes()).map_err(step("read a key"))? else {
            return Ok(None);
        };
        codec::decode(|| format!("record of {id}"), value.value()).map(Some)
    }

    /// The newest incidents, newest first.
    pub fn incidents(&self, limit: usize) -> Result<Vec<Incident>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let incidents = transaction.open_table(INCIDENTS).map_err(step("open the incidents"))?;
        let mut found = Vec::new();
        for entry in incidents.iter().map_err(step("read the incidents"))?.rev().take(limit) {
            let (_, value) = entry.map_err(step("read the incidents"))?;
            let record: IncidentRecord = codec::decode(|| "an incident".into(), value.value())?;
            found.push(record.into());
        }
        Ok(found)
    }

    /// The path as an owned value, for messages.
    pub fn path_buf(&self) -> PathBuf {
        self.path.to_path_buf()
    }
}

/// The layout that a transaction sees; none in a file that has none yet.
fn layout_in(transaction: &redb::ReadTransaction) -> Result<Option<u64>, StoreError> {
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(step("open the numbers")(error)),
    };
    let layout = meta.get("layout").map_err(step("read the layout"))?;
    Ok(layout.map(|layout| layout.value()))
}

/// Refuses the layouts of other programs.
fn judge_layout(path: &Path, found: Option<u64>) -> Result<(), StoreError> {
    let (path, known) = (path.to_owned(), LAYOUT_VERSION);
    match found {
        Some(found) if found > known => Err(StoreError::Version { path, found, known }),
        Some(found) if found < known => Err(StoreError::Earlier { path, found, known }),
        _ => Ok(()),
    }
}

impl Store {
    /// Figures of all agents, or of one, by prompt and model.
    pub fn statistics_of_agents(&self, agent: Option<&AgentName>) -> Result<Statistics, StoreError> {
        match agent {
            Some(agent) => self.statistics_between(&format!("agent/{agent}/"), &format!("agent/{agent}0")),
            // The character after the slash.
            None => self.statistics_between("agent/", "agent0"),
        }
    }

    /// Figures by day, agent and model, of the days from `first` to `last`, both included.
    pub fn statistics_of_days(&self, first: u32, last: u32) -> Result<Statistics, StoreError> {
        self.statistics_between(&day_prefix(first), &day_prefix(last.saturating_add(1)))
    }

    /// Figures of a run; nothing when no model was asked.
    pub fn statistics_of_run(&self, run: RunId) -> Result<Figures, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let table = transaction.open_table(STATISTICS).map_err(step("open the figures"))?;
        let row = statistics_row(&StatisticsKey::Run(run));
        let value = table.get(row.as_str()).map_err(step("read figures"))?;
        value.map_or_else(|| Ok(Figures::default()), |value| statistics::read(&row, value.value()))
    }

    /// All figures.
    pub fn statistics(&self) -> Result<Statistics, StoreError> {
        self.statistics_between("", "\u{10ffff}")
    }

    fn statistics_between(&self, from: &str, to: &str) -> Result<Statistics, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let table = transaction.open_table(STATISTICS).map_err(step("open the figures"))?;
        let mut found = Statistics::new();
        for entry in table.range::<&str>(from..to).map_err(step("read the figures"))? {
            let (row, value) = entry.map_err(step("read the figures"))?;
            let row = row.value();
            let key = read_statistics_row(row).ok_or_else(|| StoreError::Corrupt {
                what: format!("figures of {row}"),
                reason: "it is not known what they are of".into(),
            })?;
            found.insert(key, statistics::read(row, value.value())?);
        }
        Ok(found)
    }

    /// The figures that the whole journal adds up to. Reads everything: for stores that are older than the figures, and
    /// for tests.
    pub fn fold_statistics(&self) -> Result<Statistics, StoreError> {
        let mut sums = Statistics::new();
        let runs: Vec<RunId> = {
            let transaction = self.database().begin_read().map_err(step("begin reading"))?;
            let runs = transaction.open_table(RUNS).map_err(step("open the runs"))?;
            let keys = runs.iter().map_err(step("read the headers"))?;
            let keys = keys.map(|entry| Ok(RunId::from_bytes(*entry.map_err(step("read the headers"))?.0.value())));
            keys.collect::<Result<_, StoreError>>()?
        };
        for run in runs {
            let mut counting = Counting::default();
            for stamped in self.facts(run, 0)? {
                statistics::count(&mut sums, &counting.take(run, stamped.at, &stamped.fact));
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_there_whole_or_not_at_all_and_nothing_lies_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.redb");
        // What a process left that was killed while it made the file.
        let own = path.with_extension(format!("new-{}", std::process::id()));
        std::fs::write(&own, "half").expect("written");
        drop(Store::open(&path, 1 << 20).expect("opens"));
        assert!(path.is_file() && !own.exists());
        drop(Store::open(&path, 1 << 20).expect("opens again"));
    }
}
