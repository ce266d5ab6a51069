//! Tests of memory in the store: damaged records, and what a review finds.

use super::*;

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
