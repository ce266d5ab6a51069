//! Tests of memory in the store: writing, following, damage, upkeep.

use super::*;
use crate::domain::memory::{CHANGES_KEPT, MemorySource, MemoryVector};
use crate::storage::batch::{Batch, Op};
use crate::storage::memory_follow::{Stand, Told, ToldEntry};
use crate::storage::store::Store;
use crate::storage::table::{
    MEMORY_CHANGES, MEMORY_DUE, MEMORY_ENTRIES, MEMORY_HASHES, MEMORY_KEYS, MEMORY_SHARDS, MEMORY_VECTORS,
};
use crate::storage::writer::Writer;

fn shard(namespace: &str) -> ShardName {
    ShardName {
        scope: MemoryScope::Project,
        namespace: namespace.into(),
    }
}

fn new(namespace: &str, key: Option<&str>, text: &str, at: u64) -> NewMemory {
    NewMemory {
        shard: shard(namespace),
        key: key.map(Into::into),
        text: text.into(),
        hash: text_hash(text),
        tags: vec!["t".into()],
        source: MemorySource {
            by: format!("person:{at}").into(),
            run: None,
        },
        importance: 50,
        expires_at: Some(UtcMillis(1_000 + at)),
        vector: Some(MemoryVector {
            embedder: "e".into(),
            scale: 0.5,
            codes: Box::new([1, -2]),
        }),
        at: UtcMillis(at),
    }
}

fn archive() -> MemoryEdit {
    MemoryEdit::Archive {
        why: "old".into(),
        until: UtcMillis(9_000),
    }
}

struct Open {
    _folder: tempfile::TempDir,
    store: Store,
    writer: Writer,
}

impl Open {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let writer = Writer::new(store.clone()).expect("a writer");
        Self {
            _folder: folder,
            store,
            writer,
        }
    }

    fn put(&mut self, new: NewMemory) {
        self.commit(Op::MemoryPut(Box::new(new)));
    }

    fn edit(&mut self, id: u64, edit: MemoryEdit) {
        let shard = shard("a");
        let at = UtcMillis(77);
        self.commit(Op::MemoryEdit { shard, id, edit, at });
    }

    fn commit(&mut self, op: Op) {
        let verdicts = self.writer.commit(&[Batch::ops(vec![op])]).expect("commits");
        assert!(verdicts.iter().all(Result::is_ok));
    }

    fn entry(&self, id: u64) -> MemoryEntry {
        let entry = self.store.memory_entry(&shard("a"), id).expect("readable");
        entry.unwrap_or_else(|| panic!("entry {id} is not there"))
    }

    /// Due times with the entries that they belong to.
    fn due(&self) -> Vec<(u64, u64)> {
        let due = self.store.memory_due(UtcMillis(u64::MAX), 100).expect("readable");
        due.iter().map(|due| (due.at.0, due.id)).collect()
    }

    /// Everything in the store agrees.
    fn clean(&self) {
        let review = self.store.memory_review(&shard("a")).expect("readable");
        assert!(review.is_clean(), "{review:?}");
        assert_eq!(self.store.memory_stray_due().expect("readable"), [] as [String; 0]);
    }

    /// Changes the tables behind the writer's back.
    fn sabotage(&self, change: impl FnOnce(&redb::WriteTransaction)) {
        let transaction = self.store.database().begin_write().expect("begins");
        change(&transaction);
        transaction.commit().expect("commits");
    }

    fn get(&self, key: &str) -> Option<MemoryEntry> {
        let key = MemoryKey {
            scope: MemoryScope::Project,
            namespace: "a".into(),
            key: key.into(),
        };
        self.store.memory(&key).expect("readable")
    }

    fn live(&self) -> Vec<u64> {
        let (stand, told) = self.follow(0);
        assert!(stand.damaged.is_empty(), "{stand:?}");
        let has_vector =
            |(_, entry): &(u64, Option<ToldEntry>)| entry.as_ref().is_some_and(|(_, embedder)| embedder.is_some());
        assert!(told.entries.iter().all(has_vector), "{told:?}");
        told.entries.iter().map(|(id, _)| *id).collect()
    }

    fn follow(&self, after: u64) -> (Stand, Told) {
        let mut told = Told::default();
        let stand = self.store.memory_follow(&shard("a"), after, None, &mut told);
        (stand.expect("readable"), told)
    }
}

#[test]
fn a_key_that_is_put_again_supersedes_with_history_and_an_equal_text_joins() {
    let mut open = Open::new();
    open.put(new("a", Some("k"), "old", 1));
    open.put(new("a", Some("k"), "old", 2));
    let joined = open.get("k").expect("there");
    assert_eq!((joined.id, joined.version, joined.sources.len()), (1, 2, 2));
    open.put(new("a", Some("k"), "new", 3));
    let newer = open.get("k").expect("there");
    assert_eq!((newer.id, newer.version, newer.previous), (2, 3, Some(1)));
    let older = open
        .store
        .memory_entry(&shard("a"), 1)
        .expect("readable")
        .expect("kept");
    assert_eq!(
        older.state,
        MemoryState::Superseded {
            by: 2,
            at: UtcMillis(3)
        }
    );
    assert_eq!(open.live(), [2]);
    open.put(new("a", None, "loose  text", 4));
    open.put(new("a", None, "The loose text.", 5));
    assert_eq!(open.live(), [2, 3]);
    let loose = open.entry(3);
    assert_eq!(
        &*loose.text, "loose  text",
        "what was kept first stays as it was written"
    );
    assert_eq!(loose.sources.len(), 2, "with all that said so");
    let figures = open.store.memory_figures(&shard("a")).expect("readable");
    assert_eq!((figures.live, figures.bytes), (2, 3 + 11));
    assert_eq!(open.get("nothing"), None);
    open.put(new("b", Some("k"), "elsewhere", 6));
    assert_eq!(
        &*open.get("k").expect("there").text,
        "new",
        "shards do not see each other"
    );
}

#[test]
fn texts_with_one_core_are_one_entry_where_their_vectors_are_near_and_two_where_not() {
    let mut open = Open::new();
    open.put(new("a", None, "Use tabs for indentation in this project", 1));
    open.put(new("a", None, "In this project, use tabs for indentation.", 2));
    assert_eq!(open.live(), [1]);
    let joined = open.entry(1);
    assert_eq!(
        &*joined.text, "Use tabs for indentation in this project",
        "what was kept first stays"
    );
    let sources: Vec<&str> = joined.sources.iter().map(|source| &*source.by).collect();
    assert_eq!((sources, joined.version), (vec!["person:1", "person:2"], 2));
    let far = |text: &str, at| {
        let mut far = new("a", None, text, at);
        far.vector.as_mut().expect("a vector").codes = Box::new([2, 1]);
        far
    };
    open.put(far("Please use tabs for indentation in the project", 3));
    open.put(far("Please use tabs for indentation in the project", 4));
    assert_eq!(
        (open.live(), open.entry(2).version),
        (vec![1, 2], 2),
        "and each is found again"
    );
    open.put(new("a", None, "use tabs for indentation in this project!", 5));
    assert_eq!((open.live(), open.entry(1).version), (vec![1, 2], 3));
    open.clean();
    // What an earlier program kept has the row of all its words.
    let mut old = new("a", None, "The logo is also grey", 6);
    old.hash = words_hash(&old.text);
    open.put(old);
    open.put(new("a", None, "The logo is also grey", 7));
    assert_eq!(open.live(), [1, 2, 3]);
    open.clean();
}

#[test]
fn what_is_forgotten_is_gone_with_its_history_and_what_is_archived_comes_back() {
    let mut open = Open::new();
    open.put(new("a", Some("k"), "one", 1));
    open.put(new("a", Some("k"), "two", 2));
    open.put(new("a", None, "three", 3));
    open.edit(3, archive());
    assert_eq!(open.live(), [2]);
    open.edit(3, MemoryEdit::Restore);
    assert_eq!(open.live(), [2, 3]);
    open.edit(3, archive());
    open.put(new("a", None, "three", 4));
    open.edit(3, MemoryEdit::Restore);
    assert_eq!(open.live(), [2, 4], "the newer one of the same text stays the one");
    open.edit(2, MemoryEdit::Forget);
    assert_eq!((open.get("k"), open.live()), (None, vec![4]));
    assert_eq!(open.store.memory_entry(&shard("a"), 1).expect("readable"), None);
    open.edit(99, MemoryEdit::Forget);
    assert_eq!(
        open.due(),
        [(1_004, 4), (9_000, 3)],
        "what is live ends by itself, what is archived is deleted"
    );
}

#[test]
fn an_index_follows_by_changes_and_begins_anew_when_it_is_too_far_behind() {
    let mut open = Open::new();
    for number in 0..3u64 {
        open.put(new("a", None, &format!("text {number}"), number));
    }
    let (first, told) = open.follow(0);
    assert!(first.anew && told.entries.len() == 3, "{told:?}");
    open.edit(1, MemoryEdit::Forget);
    open.edit(2, MemoryEdit::Used { times: 2 });
    open.edit(2, MemoryEdit::Used { times: 1 });
    let (now, told) = open.follow(first.through);
    assert!(!now.anew, "{now:?}");
    let seen: Vec<(u64, Option<u64>)> = told
        .entries
        .iter()
        .map(|(id, entry)| (*id, entry.as_ref().map(|(uses, _)| *uses)))
        .collect();
    assert_eq!(seen, [(1, None), (2, Some(3))]);
    let again = open.follow(now.through);
    assert_eq!(again, (now.clone(), Told::default()), "nothing has happened");
    let ops: Vec<Op> = (0..=CHANGES_KEPT)
        .map(|_| Op::MemoryEdit {
            shard: shard("a"),
            id: 2,
            edit: MemoryEdit::Used { times: 1 },
            at: UtcMillis(5),
        })
        .collect();
    open.writer.commit(&[Batch::ops(ops)]).expect("commits");
    assert!(open.follow(now.through).0.anew);
}

#[test]
fn a_key_keeps_so_many_of_its_earlier_texts_and_no_more() {
    let mut open = Open::new();
    for version in 0..30 {
        open.put(new("a", Some("k"), &format!("text {version}"), version));
    }
    let newest = open.get("k").expect("there");
    assert_eq!((newest.version, &*newest.text), (30, "text 29"));
    let history = open.store.memory_history(&shard("a"), &newest).expect("readable");
    let texts: Vec<&str> = history.iter().map(|entry| &*entry.text).collect();
    assert_eq!(
        texts,
        [
            "text 28", "text 27", "text 26", "text 25", "text 24", "text 23", "text 22", "text 21"
        ]
    );
    let newer = history
        .iter()
        .all(|entry| matches!(entry.state, MemoryState::Superseded { by, .. } if by == entry.id + 1));
    assert!(newer, "each says which one is newer: {history:?}");
    let page = open.store.memory_page(&shard("a"), 0, 100).expect("readable");
    assert_eq!(page.entries.len(), 1 + HISTORY_MAX);
    open.clean();
    open.edit(30, MemoryEdit::Forget);
    let page = open.store.memory_page(&shard("a"), 0, 100).expect("readable");
    assert_eq!(page.entries, []);
    open.clean();
}

#[test]
fn what_is_due_is_archived_then_deleted_and_a_due_time_of_nothing_goes() {
    let mut open = Open::new();
    open.put(new("a", Some("k"), "one", 1));
    open.put(new("a", None, "two", 2));
    let settle = |open: &mut Open, now: u64| {
        let due = open.store.memory_due(UtcMillis(now), 100).expect("readable");
        for due in due {
            let due = crate::domain::memory::MemoryDue {
                name: Some(shard("a")),
                ..due
            };
            let (now, until) = (UtcMillis(now), UtcMillis(now + 500));
            open.commit(Op::MemoryDue { due, now, until });
        }
        open.clean();
    };
    settle(&mut open, 1_001);
    assert_eq!((open.get("k"), open.live()), (None, vec![2]));
    assert_eq!(open.due(), [(1_002, 2), (1_501, 1)]);
    let count = &open.store.memory_shards().expect("readable")[0];
    assert_eq!((count.live, count.bytes, count.archived), (1, 3, 1));
    open.edit(1, MemoryEdit::Restore);
    let back = open.get("k").expect("there");
    assert_eq!(back.expires_at, Some(UtcMillis(1_001)), "77 ms is before its end");
    settle(&mut open, 1_400);
    assert_eq!(open.live(), [] as [u64; 0]);
    settle(&mut open, 1_900);
    assert_eq!(open.store.memory_page(&shard("a"), 0, 9).expect("readable").entries, []);
    assert_eq!(open.store.memory_shards().expect("readable")[0].archived, 0);
    open.sabotage(|transaction| {
        let mut due = transaction.open_table(MEMORY_DUE).expect("opens");
        due.insert(&due_row(UtcMillis(5), 1, 77), ()).expect("writes");
    });
    settle(&mut open, 2_000);
    assert_eq!(open.due(), []);
}

#[test]
fn a_copy_is_taken_once_and_the_later_text_of_a_key_counts() {
    let mut open = Open::new();
    let copy = |key: Option<&str>, text: &str, at: u64| {
        let new = new("a", key, text, at);
        let entry = MemoryEntry {
            id: 900,
            key: new.key,
            text: new.text,
            tags: new.tags,
            sources: vec![new.source],
            importance: 70,
            created_at: UtcMillis(1),
            updated_at: UtcMillis(at),
            used_at: UtcMillis(at),
            uses: 4,
            expires_at: None,
            version: 3,
            previous: Some(899),
            state: MemoryState::Live,
        };
        Op::MemoryTake(Box::new(crate::domain::memory::MemoryCopy {
            shard: shard("a"),
            entry,
            hash: new.hash,
            vector: new.vector,
        }))
    };
    let all = [copy(Some("k"), "one", 50), copy(None, "two", 60)];
    for op in all.clone() {
        open.commit(op);
    }
    let before = open.store.memory_page(&shard("a"), 0, 9).expect("readable");
    assert_eq!(
        (
            before.entries[0].uses,
            before.entries[0].version,
            before.entries[0].previous
        ),
        (4, 3, None)
    );
    let figures = open.store.memory_figures(&shard("a")).expect("readable");
    for op in all {
        open.commit(op);
    }
    assert_eq!(open.store.memory_page(&shard("a"), 0, 9).expect("readable"), before);
    assert_eq!(
        open.store.memory_figures(&shard("a")).expect("readable"),
        figures,
        "not one change was logged"
    );
    open.commit(copy(Some("k"), "earlier", 49));
    assert_eq!(&*open.get("k").expect("there").text, "one");
    open.commit(copy(Some("k"), "later", 51));
    let later = open.get("k").expect("there");
    assert_eq!((&*later.text, later.version, later.previous), ("later", 4, Some(1)));
    open.clean();
}

#[test]
fn an_empty_shard_is_removed_and_its_name_begins_anew_for_every_index() {
    let mut open = Open::new();
    open.put(new("a", None, "one", 1));
    let drop = Op::MemoryShardDrop {
        shard: shard("a"),
        at: UtcMillis(1),
    };
    open.commit(drop.clone());
    assert_eq!(open.live(), [1], "one that holds something stays");
    let through = open.follow(0).0.through;
    open.edit(1, MemoryEdit::Forget);
    open.commit(drop);
    assert_eq!(open.store.memory_shards().expect("readable"), []);
    open.put(new("b", None, "elsewhere", 2));
    open.put(new("a", None, "two", 3));
    open.put(new("a", None, "three", 4));
    let numbers: Vec<u32> = open
        .store
        .memory_shards()
        .expect("readable")
        .iter()
        .map(|count| count.number)
        .collect();
    assert_eq!(numbers, [3, 2], "no number is given twice");
    let (stand, told) = open.follow(through);
    assert!(
        stand.anew && told.entries.len() == 2,
        "an index of the old one starts anew"
    );
    open.clean();
}

/// Makes a record unreadable, as a bad disk would.
fn break_record(open: &Open, id: u64) {
    open.sabotage(|transaction| {
        let mut entries = transaction.open_table(MEMORY_ENTRIES).expect("opens");
        entries
            .insert(&entry_row(1, id), [1u8, 250, 3, 3].as_slice())
            .expect("writes");
    });
}

/// How a damaged record is met.
type Meeting<'m> = &'m dyn Fn(&mut Open);

#[test]
fn a_damaged_record_fails_nothing_and_is_put_aside_with_an_incident() {
    let mut open = Open::new();
    let quarantine = |open: &mut Open| open.edit(1, MemoryEdit::Quarantine);
    let put_key = |open: &mut Open| open.put(new("a", Some("k"), "again", 9));
    let forget = |open: &mut Open| open.edit(1, MemoryEdit::Forget);
    let ways: [(&str, Meeting<'_>); 3] = [("told to", &quarantine), ("put", &put_key), ("forget", &forget)];
    for (name, meet) in ways {
        open = Open::new();
        open.put(new("a", Some("k"), "one", 1));
        open.put(new("a", None, "two", 2));
        break_record(&open, 1);
        let review = open.store.memory_review(&shard("a")).expect("readable");
        assert_eq!(
            (review.damaged.as_slice(), review.is_clean()),
            ([1].as_slice(), false),
            "{name}"
        );
        let (stand, told) = open.follow(0);
        assert_eq!(
            (stand.damaged.as_slice(), told.entries.len()),
            ([1].as_slice(), 1),
            "{name}"
        );
        let found = open.store.memory_entries(&shard("a"), &[1, 2]).expect("readable");
        assert_eq!(found.len(), 1, "{name}: others are found");
        meet(&mut open);
        open.clean();
        let review = open.store.memory_review(&shard("a")).expect("readable");
        assert_eq!(review.quarantined, 1, "{name}");
        let incidents = open.store.incidents(9).expect("readable");
        assert_eq!(incidents.len(), 1, "{name}: {incidents:?}");
        assert!(
            incidents[0].what.contains("entry 1 of memory shard 1"),
            "{name}: {incidents:?}"
        );
        let live = if name == "put" { vec![2, 3] } else { vec![2] };
        assert_eq!(open.live(), live, "{name}");
    }
    quarantine(&mut open);
    open.edit(2, MemoryEdit::Quarantine);
    assert_eq!(open.live(), [2], "one that can be read is left alone");
    open.sabotage(|transaction| {
        let mut shards = transaction.open_table(MEMORY_SHARDS).expect("opens");
        shards.insert("project:a", [1u8, 255].as_slice()).expect("writes");
    });
    open.put(new("a", Some("k"), "after all", 10));
    assert_eq!(&*open.get("k").expect("there").text, "after all");
    assert_eq!(open.store.incidents(9).expect("readable").len(), 2);
}

#[test]
fn a_review_names_every_kind_of_disagreement() {
    let check = |name: &str, word: &str, change: &dyn Fn(&redb::WriteTransaction)| {
        let mut open = Open::new();
        open.put(new("a", Some("k"), "one", 1));
        open.put(new("a", None, "two", 2));
        open.edit(1, MemoryEdit::Used { times: 1 });
        open.clean();
        open.sabotage(change);
        let review = open.store.memory_review(&shard("a")).expect("readable");
        let stray = open.store.memory_stray_due().expect("readable");
        let told = review.findings.join("\n") + &stray.join("\n");
        assert!(told.contains(word), "{name}: {review:?} {stray:?}");
    };
    check("a key is missing", "entry 1 is live, but its key", &|transaction| {
        let mut keys = transaction.open_table(MEMORY_KEYS).expect("opens");
        keys.remove(key_row(1, "k").as_slice()).expect("writes");
    });
    check("a key too many", "a key points to entry 2", &|transaction| {
        let mut keys = transaction.open_table(MEMORY_KEYS).expect("opens");
        keys.insert(key_row(1, "other").as_slice(), 2).expect("writes");
    });
    check(
        "a hash is missing",
        "entry 2 is live, but its key or text",
        &|transaction| {
            let mut hashes = transaction.open_table(MEMORY_HASHES).expect("opens");
            hashes.remove(&hash_row(1, text_hash("two"))).expect("writes");
        },
    );
    check("a hash too many", "a hash points to entry 7", &|transaction| {
        let mut hashes = transaction.open_table(MEMORY_HASHES).expect("opens");
        hashes.insert(&hash_row(1, [9; 16]), 7).expect("writes");
    });
    check("a vector of nothing", "a vector belongs to entry 9", &|transaction| {
        let mut vectors = transaction.open_table(MEMORY_VECTORS).expect("opens");
        vectors.insert(&entry_row(1, 9), [1u8].as_slice()).expect("writes");
    });
    check(
        "a broken vector",
        "the vector of entry 1 cannot be used",
        &|transaction| {
            let mut vectors = transaction.open_table(MEMORY_VECTORS).expect("opens");
            vectors.insert(&entry_row(1, 1), [1u8].as_slice()).expect("writes");
        },
    );
    check(
        "a due time is missing",
        "entry 2 has no row among the due times",
        &|transaction| {
            let mut due = transaction.open_table(MEMORY_DUE).expect("opens");
            due.remove(&due_row(UtcMillis(1_002), 1, 2)).expect("writes");
        },
    );
    check("a due time too many", "a due time points to entry 2", &|transaction| {
        let mut due = transaction.open_table(MEMORY_DUE).expect("opens");
        due.insert(&due_row(UtcMillis(5), 1, 2), ()).expect("writes");
    });
    check("a gap in the log", "a gap or damage", &|transaction| {
        let mut changes = transaction.open_table(MEMORY_CHANGES).expect("opens");
        changes.remove(&entry_row(1, (1 << 32) + 2)).expect("writes");
    });
    check("a log that ends early", "the log of changes ends", &|transaction| {
        let mut changes = transaction.open_table(MEMORY_CHANGES).expect("opens");
        changes.remove(&entry_row(1, (1 << 32) + 3)).expect("writes");
    });
    check(
        "an entry that is not counted",
        "1 of 3 bytes are there",
        &|transaction| {
            let mut entries = transaction.open_table(MEMORY_ENTRIES).expect("opens");
            entries.remove(&entry_row(1, 2)).expect("writes");
        },
    );
}
