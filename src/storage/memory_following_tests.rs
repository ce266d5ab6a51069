//! Tests of memory in the store: an index that follows, due times, parts that become empty.

use super::*;

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
fn a_part_that_was_emptied_and_removed_is_told_as_empty() {
    let mut open = Open::new();
    open.put(new("a", None, "one", 1));
    let (first, _) = open.follow(0);
    open.edit(1, MemoryEdit::Forget);
    open.commit(Op::MemoryShardDrop {
        shard: shard("a"),
        at: UtcMillis(9),
    });
    let (now, told) = open.follow(first.through);
    assert!(
        now.anew && now.through == 0 && told.entries.is_empty(),
        "{now:?} {told:?}"
    );
    assert!(!open.follow(0).0.anew, "there is nothing to begin anew");
}

#[test]
fn an_entry_that_was_put_or_used_since_it_was_looked_at_stays() {
    let mut open = Open::new();
    let changes: [&dyn Fn(&mut Open); 2] = [
        &|open: &mut Open| open.put(new("a", Some("k"), "one", 2)),
        &|open: &mut Open| {
            open.edit(1, MemoryEdit::Used { times: 1 });
        },
    ];
    let archive = |open: &mut Open, entry: &MemoryEntry| {
        let edit = MemoryEdit::Archive {
            why: "old".into(),
            until: UtcMillis(9_000),
            seen: Some(AsSeen::of(entry)),
        };
        open.edit(1, edit);
    };
    open.put(new("a", Some("k"), "one", 1));
    for change in changes {
        let before = open.get("k").expect("live");
        change(&mut open);
        archive(&mut open, &before);
        assert_ne!(open.get("k"), Some(before), "it is another one, and there");
        assert!(open.get("k").is_some());
    }
    let now = open.get("k").expect("live");
    archive(&mut open, &now);
    assert_eq!(open.get("k"), None);
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
