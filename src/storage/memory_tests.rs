//! Tests of memory in the store: what is put, changed and copied; following, upkeep and damage have files of their own.

use super::*;
use crate::domain::memory::{CHANGES_KEPT, MemorySource, MemoryVector};
use crate::storage::batch::{Batch, Op};
use crate::storage::memory_follow::{Stand, Told, ToldEntry};
use crate::storage::store::Store;
use crate::storage::table::{
    MEMORY_CHANGES, MEMORY_DUE, MEMORY_ENTRIES, MEMORY_HASHES, MEMORY_KEYS, MEMORY_SHARDS, MEMORY_VECTORS,
};
use crate::storage::writer::Writer;

#[path = "memory_damage_tests.rs"]
mod damage;
#[path = "memory_following_tests.rs"]
mod following;

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
        seen: None,
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

    /// The earlier texts of a key, newest first.
    fn behind(&self, key: &str) -> Vec<String> {
        let newest = self.get(key).expect("there");
        let behind = self.store.memory_history(&shard("a"), &newest).expect("readable");
        behind.iter().map(|entry| entry.text.to_string()).collect()
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
fn under_a_key_what_was_put_last_counts_and_without_one_what_was_put_in_all() {
    let check = |key: Option<&str>, expected: (u8, &[&str], Option<u64>)| {
        let mut open = Open::new();
        for (importance, tags, end, at) in [(90, ["t", "u"], None, 1), (10, ["v", "t"], Some(500), 2)] {
            open.put(NewMemory {
                importance,
                tags: tags.map(Into::into).into(),
                expires_at: end.map(UtcMillis),
                ..new("a", key, "the same text", at)
            });
        }
        let entry = open.entry(1);
        let tags: Vec<&str> = entry.tags.iter().map(|tag| &**tag).collect();
        let known = (entry.importance, tags.as_slice(), entry.expires_at.map(|at| at.0));
        assert_eq!(known, expected, "{key:?}");
        assert_eq!(
            (entry.version, entry.sources.len()),
            (2, 2),
            "who said it is known of both"
        );
        let due: Vec<(u64, u64)> = expected.2.map(|at| (at, 1)).into_iter().collect();
        assert_eq!(open.due(), due, "{key:?}");
        open.clean();
    };
    check(Some("k"), (10, &["v", "t"], Some(500)));
    check(None, (90, &["t", "u", "v"], None));
}

#[test]
fn an_entry_has_no_more_tags_than_one_put_may_give_it_however_often_it_is_joined() {
    let mut open = Open::new();
    let tags = |from: usize| {
        (from..from + TAGS_MAX)
            .map(|number| format!("tag {number}").into())
            .collect()
    };
    for from in [0, 10, 40] {
        open.put(NewMemory {
            tags: tags(from),
            ..new("a", None, "the same text", 1)
        });
    }
    let entry = open.entry(1);
    let copy = |from: usize| crate::domain::memory::MemoryCopy {
        shard: shard("a"),
        entry: MemoryEntry {
            tags: tags(from),
            ..entry.clone()
        },
        hash: text_hash("the same text"),
        vector: None,
    };
    open.commit(Op::MemoryTake(Box::new(copy(70))));
    assert_eq!(open.entry(1).tags, tags(0), "those that came first");
}

#[test]
fn the_entry_that_a_text_was_put_into_is_told() {
    let mut open = Open::new();
    let mut check = |put: NewMemory, expected: u64| {
        open.put(put.clone());
        let told = open.store.memory_put(&put).expect("readable");
        assert_eq!(told.map(|entry| entry.id), Some(expected), "{put:?}");
    };
    let far = |text: &str, at| {
        let mut far = new("a", None, text, at);
        far.vector.as_mut().expect("a vector").codes = Box::new([2, 1]);
        far
    };
    check(new("a", Some("k"), "one", 1), 1);
    check(new("a", Some("k"), "one", 2), 1);
    check(new("a", Some("k"), "two", 3), 2);
    check(new("a", None, "Use tabs in this project", 4), 3);
    check(new("a", None, "In this project, use tabs.", 5), 3);
    check(far("Please use tabs in the project", 6), 4);
    check(far("Please use tabs in the project", 7), 4);
    let mut old = new("a", None, "The logo is also grey", 8);
    old.hash = words_hash(&old.text);
    check(old, 5);
    check(new("a", None, "The logo is also grey", 9), 5);
    let gone = new("a", None, "never put", 10);
    assert_eq!(open.store.memory_put(&gone).expect("readable"), None);
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
    for _ in 0..2 {
        open.commit(copy(Some("k"), "earlier", 49));
        assert_eq!(&*open.get("k").expect("there").text, "one");
        assert_eq!(open.behind("k"), ["earlier"], "once");
    }
    open.commit(copy(Some("k"), "later", 51));
    let later = open.get("k").expect("there");
    assert_eq!((&*later.text, later.version, later.previous), ("later", 4, Some(1)));
    for _ in 0..2 {
        open.commit(copy(Some("k"), "at the same time", 51));
        open.commit(copy(Some("k"), "between", 50));
        assert_eq!(&*open.get("k").expect("there").text, "at the same time");
        open.commit(copy(Some("k"), "later", 51));
        let behind = ["later", "between", "one", "earlier"];
        assert_eq!(
            open.behind("k").iter().collect::<std::collections::BTreeSet<_>>().len(),
            4
        );
        assert_eq!(open.behind("k").first().map(String::as_str), Some(behind[0]));
    }
    open.clean();
    // Without a key each text that says something else is an entry of its own, and comes once.
    let texts = ["Okay.", "Actually", "...", "These", "!!"];
    for _ in 0..2 {
        for text in texts {
            open.commit(copy(None, text, 70));
        }
        let page = open.store.memory_page(&shard("a"), 0, 99).expect("readable");
        let kept: Vec<&str> = page.entries.iter().map(|entry| &*entry.text).collect();
        assert!(kept.ends_with(&texts), "{kept:?}");
    }
    open.clean();
}
