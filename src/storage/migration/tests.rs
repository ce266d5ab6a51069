//! A store as the last program of the first layout left it, migrated whole, cut at every phase, and refused.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::domain::id::RunId;
use crate::domain::memory::{MemoryKey, MemoryScope};
use crate::domain::name::ScheduleName;
use crate::domain::time::UtcMillis;
use crate::storage::codec;
use crate::storage::error::StoreError;
use crate::storage::record::layout::LayoutRecord;
use crate::storage::record::memory::FirstMemoryRecord;
use crate::storage::store::Store;
use crate::storage::table::{FIRST_MEMORY, JOURNAL, LAYOUT_VERSION, LAYOUTS, META, STATISTICS};

use super::engine::{KEPT_MAX, Phase, kept, migrate, plan};
use super::error::MigrationError;
use super::order::OrderError;

const CACHE: usize = 1 << 20;
const NOW: UtcMillis = UtcMillis(1_795_000_000_000);
const ALL: UtcMillis = UtcMillis(u64::MAX / 2);

/// The file that the last program of the first layout wrote: runs, a schedule with its ledger, memory, keys, figures.
const GOLDEN: &[u8] = include_bytes!("../../../tests/it/golden/store-layout-1.redb.gz");

struct House {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl House {
    fn golden() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("openclaw.redb");
        let mut bytes = Vec::new();
        GzDecoder::new(GOLDEN).read_to_end(&mut bytes).expect("unpacks");
        std::fs::write(&path, bytes).expect("written");
        Self { folder, path }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("there")
    }

    /// Changes the store by hand, whatever its layout is.
    fn change(&self, change: impl FnOnce(&redb::WriteTransaction)) {
        let store = Store::open_any_layout(&self.path, CACHE).expect("opens");
        let transaction = store.database().begin_write().expect("begins");
        change(&transaction);
        transaction.commit().expect("commits");
    }

    fn layout(&self) -> u64 {
        Store::layout_of(&self.path).expect("readable").expect("has one")
    }

    fn migrate(&self) -> Result<(), MigrationError> {
        migrate(&self.path, NOW, &mut |_| ()).map(drop)
    }

    /// What lies beside the store.
    fn beside(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("a folder").flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.retain(|name| name != "openclaw.redb");
        names.sort();
        names
    }
}

/// Everything that a person would miss.
fn content(path: &Path) -> BTreeMap<String, String> {
    let store = Store::open_any_layout(path, CACHE).expect("opens");
    let mut content = BTreeMap::new();
    for header in store.headers(None, 1_000, None).expect("reads") {
        let facts = store.facts(header.run, 0).expect("reads");
        content.insert(header.run.to_string(), format!("{header:?} {facts:?}"));
    }
    let global = |key: &str| MemoryKey {
        scope: MemoryScope::Global,
        namespace: "".into(),
        key: key.into(),
    };
    let kept = store.memory(&global("auth-pattern")).expect("reads");
    content.insert("memory".into(), format!("{kept:?}"));
    for name in store.schedules().expect("reads") {
        let slots = store.slots(&name, UtcMillis(0)..=ALL, 1_000, &|_| true).expect("reads");
        content.insert(name.to_string(), format!("{slots:?}"));
    }
    content.insert(
        "audit".into(),
        format!("{:?}", store.audit(None, 1_000).expect("reads")),
    );
    content.insert(
        "figures".into(),
        format!("{:?}", store.fold_statistics().expect("reads")),
    );
    content
}

#[test]
fn a_store_of_the_first_layout_opens_after_the_migration_with_everything_in_it() {
    let house = House::golden();
    let was = content(&house.path);
    assert!(
        was.len() > 6 && was.contains_key("tick") && was["memory"].contains("at the edge"),
        "{was:?}"
    );
    let refused = Store::open(&house.path, CACHE).map(drop);
    assert!(
        matches!(refused, Err(StoreError::Earlier { found: 1, .. })),
        "{refused:?}"
    );
    let before = house.bytes();
    let planned = plan(&house.path, NOW).expect("a way").expect("something to do");
    assert_eq!((planned.from, planned.to, planned.steps.len()), (1, LAYOUT_VERSION, 1));
    assert_eq!(
        (house.bytes() == before, house.beside()),
        (true, Vec::<String>::new()),
        "a plan does nothing"
    );

    house.migrate().expect("migrates");
    assert_eq!(content(&house.path), was);
    let store = Store::open(&house.path, CACHE).expect("opens");
    let review = store.review().expect("reads");
    assert!(review.is_sound(), "{review:?}");
    assert_eq!(
        store.statistics().expect("reads"),
        store.fold_statistics().expect("reads")
    );
    let transaction = redb::ReadableDatabase::begin_read(&*store.database()).expect("begins");
    let layouts = transaction.open_table(LAYOUTS).expect("opens");
    let row = layouts.get(2).expect("reads").expect("there");
    let record: LayoutRecord = codec::decode(|| "a layout".into(), row.value()).expect("decodes");
    assert_eq!((&*record.program, record.at()), (env!("CARGO_PKG_VERSION"), NOW));
    // The way back: the store as it was, which the earlier program opens.
    let back = kept(&house.path).expect("lists");
    assert_eq!(back, [planned.kept_as]);
    assert_eq!(Store::layout_of(&back[0]).expect("reads"), Some(1));
    assert_eq!(content(&back[0]), was);
    drop((row, layouts, transaction, store));
    let again = migrate(&house.path, NOW, &mut |_| ()).expect("nothing to do");
    assert_eq!(again, None);
}

#[test]
fn a_migration_that_is_cut_at_any_phase_leaves_one_whole_store_and_the_next_one_ends_it() {
    let phases = [
        Phase::Copying,
        Phase::Step(1),
        Phase::Checking,
        Phase::Keeping,
        Phase::Placing,
        Phase::Placed,
    ];
    for cut in phases {
        let house = House::golden();
        let (was, before) = (content(&house.path), house.bytes());
        let mut seen = Vec::new();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            migrate(&house.path, NOW, &mut |at| {
                seen.push(at);
                // What a kill leaves: nothing after this is done, and nobody tidies up.
                assert!(at != cut, "killed at {at:?}");
            })
        }));
        assert!(ended.is_err(), "{cut:?} is a phase");
        assert_eq!(seen.last(), Some(&cut));
        let layout = if cut == Phase::Placed { LAYOUT_VERSION } else { 1 };
        assert_eq!(house.layout(), layout, "{cut:?}");
        if layout == 1 {
            assert!(house.bytes() == before, "{cut:?}: the store is byte for byte as it was");
        }
        migrate(&house.path, UtcMillis(NOW.0 + 1), &mut |_| ()).expect("the next one ends it");
        assert_eq!(content(&house.path), was, "{cut:?}");
        let beside = house.beside();
        assert!(
            beside.iter().all(|name| name.contains(".layout-1-")),
            "{cut:?}: {beside:?}"
        );
    }
}

#[test]
fn what_cannot_be_migrated_stays_as_it_was_and_says_why() {
    let check = |change: &dyn Fn(&redb::WriteTransaction), wanted: &dyn Fn(&MigrationError) -> bool, code: &str| {
        let house = House::golden();
        house.change(change);
        let before = house.bytes();
        let error = house.migrate().expect_err("refused");
        assert!(wanted(&error), "{error:?}");
        assert_eq!(error.code().id, code);
        assert!(house.bytes() == before, "{error}: not one byte is another one");
        assert_eq!(
            house.beside(),
            Vec::<String>::new(),
            "{error}: nothing is left beside it"
        );
    };
    // The figures have to be folded from a journal with an entry that cannot be read.
    let damage = |transaction: &redb::WriteTransaction| {
        transaction.delete_table(STATISTICS).expect("deletes");
        let mut journal = transaction.open_table(JOURNAL).expect("opens");
        let key = {
            let first = redb::ReadableTable::first(&journal).expect("reads").expect("an entry");
            *first.0.value()
        };
        journal.insert(&key, [9_u8, 9, 9].as_slice()).expect("writes");
    };
    check(
        &damage,
        &|error| {
            matches!(
                error,
                MigrationError::Step {
                    from: 1,
                    source: StoreError::Corrupt { .. }
                }
            )
        },
        "OC-3011",
    );
    let first_memory = |transaction: &redb::WriteTransaction| {
        let mut first = transaction.open_table(FIRST_MEMORY).expect("opens");
        first.insert("project:1:a:k", [7_u8].as_slice()).expect("writes");
    };
    check(
        &first_memory,
        &|error| matches!(error, MigrationError::Step { .. }),
        "OC-3011",
    );
    let layout = |number: u64| {
        move |transaction: &redb::WriteTransaction| {
            let mut meta = transaction.open_table(META).expect("opens");
            meta.insert("layout", number).expect("writes");
        }
    };
    let newer = |error: &MigrationError| matches!(error, MigrationError::Order(OrderError::Newer { found: 99, .. }));
    check(&layout(99), &newer, "OC-3004");
    let missing = |error: &MigrationError| matches!(error, MigrationError::Order(OrderError::Missing { from: 0 }));
    check(&layout(0), &missing, "OC-3011");
}

#[test]
fn the_memory_of_the_first_layout_and_missing_figures_come_along() {
    let house = House::golden();
    house.change(|transaction| {
        transaction.delete_table(STATISTICS).expect("deletes");
        let mut first = transaction.open_table(FIRST_MEMORY).expect("opens");
        let record = FirstMemoryRecord {
            text: "kept".into(),
            version: 7,
            updated_at: 5,
        };
        let bytes = codec::encode(&record);
        first
            .insert("project:1:a:with:colon", bytes.as_slice())
            .expect("writes");
    });
    house.migrate().expect("migrates");
    let store = Store::open(&house.path, CACHE).expect("opens");
    let key = MemoryKey {
        scope: MemoryScope::Project,
        namespace: "a".into(),
        key: "with:colon".into(),
    };
    let found = store.memory(&key).expect("readable").expect("there");
    assert_eq!(
        (&*found.text, found.version, found.updated_at),
        ("kept", 7, UtcMillis(5))
    );
    let figures = store.statistics().expect("reads");
    assert!(!figures.is_empty());
    assert_eq!(figures, store.fold_statistics().expect("reads"));
    assert!(!store.has_table(FIRST_MEMORY).expect("reads"));
}

#[test]
fn only_the_last_stores_of_earlier_layouts_are_kept() {
    let house = House::golden();
    let whole = house.bytes();
    for number in 0..4 {
        std::fs::write(&house.path, &whole).expect("as it was");
        migrate(&house.path, UtcMillis(NOW.0 + number), &mut |_| ()).expect("migrates");
    }
    let found = kept(&house.path).expect("lists");
    assert_eq!(found.len(), KEPT_MAX);
    assert!(
        found[1].to_string_lossy().ends_with(&format!("-{}", NOW.0 + 3)),
        "{found:?}"
    );
    let name = ScheduleName::new("tick").expect("valid");
    let store = Store::open(&house.path, CACHE).expect("opens");
    assert!(store.schedule(&name).expect("reads").is_some());
    let _: Vec<RunId> = store.active_runs().expect("reads");
}
