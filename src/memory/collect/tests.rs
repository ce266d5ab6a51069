//! Rounds over simulated time: what goes, what stays, and that nothing grows.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::round::{Rounds, session_has_ended};
use super::uses::Uses;
use crate::domain::id::RunId;
use crate::domain::memory::{MemoryEdit, MemoryScope, MemorySource, MemoryState, ShardName};
use crate::domain::time::UtcMillis;
use crate::memory::embedding::Embedding;
use crate::memory::indexing::Indexing;
use crate::memory::keep::Wish;
use crate::memory::limits::{Upkeep, WhenFull};
use crate::memory::parts::MemoryParts;
use crate::memory::question::Question;
use crate::memory::shard::index::ShardIndex;
use crate::runtime::bus::Bus;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::storage::batch::{Batch, Op};
use crate::storage::store::Store;

const HOUR_MS: u64 = 3_600_000;
const START: UtcMillis = UtcMillis(1_700_000_000_000);

struct House {
    _folder: tempfile::TempDir,
    rounds: Rounds,
}

fn house(upkeep: Upkeep) -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
    let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
    let parts = MemoryParts {
        clock: Clock::manual(START),
        store,
        committer,
        entropy: Entropy::seeded(1),
        idle: Duration::from_secs(600),
        open_max: 8,
        upkeep,
        embedding: Embedding::default(),
        indexing: Indexing::default(),
    };
    House {
        _folder: folder,
        rounds: Rounds {
            parts,
            uses: Uses::default(),
        },
    }
}

fn project(namespace: &str) -> ShardName {
    ShardName {
        scope: MemoryScope::Project,
        namespace: namespace.into(),
    }
}

fn put(shard: &ShardName, key: Option<String>, text: String, importance: u8, at: UtcMillis, end: Option<u64>) -> Op {
    let wish = Wish {
        shard: shard.clone(),
        key: key.map(Into::into),
        text: text.into(),
        tags: Vec::new(),
        source: MemorySource {
            by: "person:test".into(),
            run: None,
        },
        importance,
        expires_at: end.map(|hours| at.plus_ms(hours * HOUR_MS)),
    };
    Op::MemoryPut(Box::new(wish.prepare(at)))
}

impl House {
    async fn commit(&self, ops: Vec<Op>) {
        self.rounds
            .parts
            .committer
            .commit(Batch::ops(ops))
            .await
            .expect("commits");
    }

    fn clean(&self) {
        let store = &self.rounds.parts.store;
        for count in store.memory_shards().expect("readable") {
            let review = store.memory_review(&count.name).expect("readable");
            assert!(review.is_clean(), "{:?}: {review:?}", count.name);
        }
        assert_eq!(store.memory_stray_due().expect("readable"), [] as [String; 0]);
    }

    fn states(&self, shard: &ShardName) -> BTreeMap<String, &'static str> {
        let page = self.rounds.parts.store.memory_page(shard, 0, 1_000).expect("readable");
        let state = |state: &MemoryState| match state {
            MemoryState::Live => "live",
            MemoryState::Superseded { .. } => "superseded",
            MemoryState::Archived { .. } => "archived",
        };
        let states = page.entries.iter();
        states
            .map(|entry| (entry.text.to_string(), state(&entry.state)))
            .collect()
    }
}

#[tokio::test]
async fn what_is_used_does_not_fade_and_uses_cost_no_write_until_the_next_round() {
    let house = house(Upkeep::default());
    let shard = project("a");
    house
        .commit(vec![
            put(&shard, None, "used".into(), 50, START, None),
            put(&shard, None, "unused".into(), 50, START, None),
            put(&shard, None, "pinned".into(), 100, START, None),
        ])
        .await;
    let day = |day: u64| START.plus_ms(day * 24 * HOUR_MS);
    let commits = || {
        house
            .rounds
            .parts
            .committer
            .figures()
            .commits
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    for now in (1..12).map(|week| day(week * 10)) {
        let before = commits();
        house.rounds.uses.count(&shard, 1);
        house.rounds.uses.count(&shard, 1);
        assert_eq!(commits(), before, "a read writes nothing");
        let report = house.rounds.collect(now).await.expect("collects");
        assert_eq!(report.used, 1);
    }
    let dry = house.rounds.prune(None, day(111), false).await.expect("looks");
    assert_eq!((dry.archived, &*dry.going[0].entry.text), (1, "unused"));
    assert_eq!(house.states(&shard)["unused"], "live", "looking changes nothing");
    let done = house.rounds.prune(None, day(111), true).await.expect("prunes");
    assert_eq!(done, dry, "what was shown is what is done");
    let expected = [("pinned", "live"), ("unused", "archived"), ("used", "live")];
    let expected: BTreeMap<String, &str> = expected.map(|(text, state)| (text.to_owned(), state)).into();
    assert_eq!(house.states(&shard), expected);
    let used = house
        .rounds
        .parts
        .store
        .memory_entry(&shard, 1)
        .expect("readable")
        .expect("there");
    assert_eq!((used.uses, used.used_at), (22, day(110)));
    house.rounds.collect(day(140)).await.expect("collects");
    assert_eq!(house.states(&shard).get("unused"), Some(&"archived"));
    house.rounds.collect(day(141)).await.expect("collects");
    assert_eq!(
        house.states(&shard).get("unused"),
        None,
        "a month in the archive is enough"
    );
    house.clean();
}

#[tokio::test]
async fn a_prune_comes_each_period_and_not_at_once() {
    let house = house(Upkeep::default());
    let day = |day: u64| START.plus_ms(day * 24 * HOUR_MS);
    let due = async |at| house.rounds.prune_is_due(at).await.expect("reads");
    assert!(!due(day(0)).await, "the first look begins the period");
    assert!(!due(day(6)).await);
    assert!(due(day(7)).await);
    house.rounds.prune(None, day(7), true).await.expect("prunes");
    assert!(!due(day(13)).await);
    assert!(due(day(14)).await);
}

#[tokio::test]
async fn what_makes_room_is_the_least_valuable_and_pinned_entries_never_do() {
    let house = house(Upkeep {
        entries_max: 3,
        bytes_max: 40,
        ..Upkeep::default()
    });
    let (a, b) = (project("a"), project("b"));
    for (number, importance) in [20, 100, 10, 100].into_iter().enumerate() {
        house
            .commit(vec![put(&a, None, format!("text {number}"), importance, START, None)])
            .await;
    }
    // Four are there, and one more is to come: two have to go.
    assert_eq!(house.rounds.make_room(&a, (1, 0), START).await.expect("evicts"), 2);
    assert_eq!(house.states(&a)["text 2"], "archived");
    assert_eq!(house.states(&a)["text 0"], "archived");
    assert_eq!(
        house.rounds.make_room(&a, (1, 0), START).await.expect("nothing to do"),
        0
    );
    // Too many bytes: the part that has most gives, whoever asks.
    house.commit(vec![put(&b, None, "b".repeat(30), 1, START, None)]).await;
    assert_eq!(house.rounds.make_room(&a, (1, 10), START).await.expect("evicts"), 1);
    assert_eq!(house.states(&b).into_values().collect::<Vec<_>>(), ["archived"]);
    house.clean();
}

#[tokio::test]
async fn where_nothing_more_is_taken_nothing_is_evicted_either() {
    let check = async |when_full, expected: u64| {
        let house = house(Upkeep {
            entries_max: 2,
            when_full,
            ..Upkeep::default()
        });
        let texts = ["one", "two", "three"].map(str::to_owned);
        let ops = texts.map(|text| put(&project("a"), None, text, 50, START, None));
        house.commit(ops.into()).await;
        house.rounds.collect(START).await.expect("a round");
        let figures = house.rounds.parts.store.memory_figures(&project("a"));
        assert_eq!(figures.expect("readable").live, expected, "{when_full:?}");
    };
    check(WhenFull::Refuse, 3).await;
    check(WhenFull::Evict, 2).await;
}

#[test]
fn a_session_of_a_run_that_is_not_there_has_ended() {
    let house = house(Upkeep::default());
    let ended = |namespace: String| {
        let shard = ShardName {
            scope: MemoryScope::Session,
            namespace: namespace.into(),
        };
        session_has_ended(&house.rounds.parts.store, &shard).expect("readable")
    };
    assert!(ended(format!("{}/step", RunId::new(START, 1))));
    assert!(
        !ended("talk".to_owned()),
        "a session of nobody's run never ends by itself"
    );
}

#[tokio::test]
async fn what_cannot_make_enough_room_stays_and_several_parts_make_it_together() {
    let check = async |limits: (u64, u64), more: (u64, u64), expected: u64| {
        let house = house(Upkeep {
            entries_max: limits.0,
            bytes_max: limits.1,
            ..Upkeep::default()
        });
        let (a, b) = (project("a"), project("b"));
        for (shard, text, importance) in [
            (&a, "aaaaaaaaaa", 20),
            (&a, "cccccccccc", 100),
            (&a, "a", 10),
            (&b, "bbbbbbbb", 90),
        ] {
            house
                .commit(vec![put(shard, None, text.into(), importance, START, None)])
                .await;
        }
        let evicted = house.rounds.make_room(&a, more, START).await.expect("looks");
        let archived = |shard| {
            house
                .states(shard)
                .into_values()
                .filter(|state| *state == "archived")
                .count()
        };
        let told = (evicted, archived(&a) + archived(&b));
        assert_eq!(told, (expected, expected as usize), "{limits:?} {more:?}");
        house.clean();
    };
    // Three entries are there, of which one is pinned.
    check((4, 1_000), (1, 1), 0).await;
    check((4, 1_000), (2, 1), 1).await;
    check((4, 1_000), (3, 1), 2).await;
    check((4, 1_000), (4, 1), 0).await;
    // 29 bytes are there, of which 10 are pinned.
    check((9, 40), (1, 11), 0).await;
    check((9, 40), (1, 12), 1).await;
    check((9, 40), (1, 22), 2).await;
    check((9, 40), (1, 23), 3).await;
    check((9, 40), (1, 30), 3).await;
    check((9, 40), (1, 31), 0).await;
    // Entries could make room and bytes could not: nothing goes.
    check((4, 40), (2, 31), 0).await;
}

/// The resident memory of this process.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("proc(5)");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line");
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .expect("a number")
        * 1_024
}

/// Set in the process that lives through the week, alone.
const ALONE: &str = "OPENCLAW_TEST_WEEK_ALONE";

#[test]
fn a_week_of_writes_and_prunes_leaves_file_and_memory_as_large_as_on_its_second_day() {
    if std::env::var_os(ALONE).is_none() {
        // In a process of its own: other tests would be measured with it.
        let own = std::env::current_exe().expect("this program");
        let name =
            "memory::collect::tests::a_week_of_writes_and_prunes_leaves_file_and_memory_as_large_as_on_its_second_day";
        let ended = std::process::Command::new(own)
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && said.contains("day 7"),
            "{said}{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(week());
}

#[expect(
    clippy::print_stdout,
    reason = "the figures of the week, for whoever runs it by hand"
)]
async fn week() {
    let day = Duration::from_secs(24 * 3600);
    let house = house(Upkeep {
        prune_every: Some(day),
        archive_keep: day / 2,
        entries_max: 1_500,
        when_full: WhenFull::Evict,
        ..Upkeep::default()
    });
    let store = house.rounds.parts.store.clone();
    let shard = project("a");
    let mut index = ShardIndex::new(shard.clone());
    let mut random = Rng::with_seed(11);
    let mut sizes = Vec::new();
    for hour in 0..7 * 24u64 {
        let now = START.plus_ms(hour * HOUR_MS);
        for burst in 0..8 {
            let mut ops = Vec::new();
            for number in 0..20 {
                let words = "lorem ipsum dolor sit amet ".repeat(random.usize(1..9));
                let text = format!("{words} {hour} {burst} {number}");
                let importance = random.u8(0..99);
                ops.push(match random.u8(0..10) {
                    0..3 => put(
                        &shard,
                        Some(format!("k{}", random.u16(0..200))),
                        text,
                        importance,
                        now,
                        None,
                    ),
                    3 => put(&shard, None, text, importance, now, Some(random.u64(1..9))),
                    4 => put(
                        &project(&format!("p{}", random.u64(0..9) + hour)),
                        None,
                        text,
                        5,
                        now,
                        Some(2),
                    ),
                    5 => Op::MemoryEdit {
                        shard: shard.clone(),
                        id: random.u64(1..30_000),
                        edit: MemoryEdit::Forget,
                        at: now,
                    },
                    _ => put(&shard, None, text, importance, now, None),
                });
            }
            house.commit(ops).await;
        }
        index.follow(&store).expect("follows");
        let found = index
            .query(&store, &Question::new("lorem dolor"), now)
            .expect("answers");
        for found in found {
            house.rounds.uses.count(&shard, found.entry.id);
        }
        house.rounds.collect(now).await.expect("collects");
        if house.rounds.prune_is_due(now).await.expect("reads") {
            house.rounds.prune(None, now, true).await.expect("prunes");
        }
        if hour % 24 == 23 {
            house.clean();
            let counts = store.memory_shards().expect("readable");
            let (live, archived) = counts.iter().fold((0, 0), |(live, archived), count| {
                (live + count.live, archived + count.archived)
            });
            let (file, resident) = (store.file_bytes(), resident_bytes());
            println!(
                "day {}: {live} live, {archived} archived, {} parts, file {file} bytes, resident {resident} bytes",
                hour / 24 + 1,
                counts.len(),
            );
            sizes.push((file, resident));
        }
    }
    let (file, resident) = sizes[1];
    for (later_file, later_resident) in &sizes[2..] {
        assert!(*later_file <= file + file / 4, "the file grows: {sizes:?}");
        assert!(*later_resident <= resident + (8 << 20), "the process grows: {sizes:?}");
    }
}
