//! The layer's branch of the supervision tree.
//!
//! ```text
//! memory (one_for_one)
//! ├── filler: gives entries the vectors of a configured embedder; only when there is one
//! ├── collector: archives and deletes what is not worth keeping
//! └── shards (dynamic, transient): one for each part of the memory that is in use
//! ```

use std::time::Duration;

use supervisors::{Backoff, ChildSpec, DynamicSpec, Restart, Shutdown, Strategy, SupervisorSpec};

use crate::domain::memory::{MemoryScope, ShardName};
use crate::runtime::telemetry::{MEMORY_ARCHIVED, MEMORY_DELETED};

use super::collect::actor::Collector;
use super::collect::round::Rounds;
use super::collect::uses::Uses;
use super::filling::Filler;
use super::handle::MemoryHandle;
use super::parts::MemoryParts;
use super::shard::actor::{ShardActor, ShardMessage};

/// Makes the branch and the handle to it.
pub fn layer(parts: &MemoryParts) -> (SupervisorSpec, MemoryHandle) {
    let for_shards = parts.clone();
    let shards: DynamicSpec<ShardName, ShardMessage> = DynamicSpec::actor(move |_, name: ShardName| {
        let parts = for_shards.clone();
        (ShardActor { parts, name }, ())
    })
    // It ends by itself when nobody asks; anything else is a crash.
    .restart(Restart::Transient)
    .shutdown(Shutdown::Timeout(Duration::from_secs(2)))
    .backoff(Backoff::jitter(Duration::from_millis(10), Duration::from_secs(5)))
    .max_children(parts.open_max)
    .intensity(50, Duration::from_secs(30)).forgive_kills();
    for scope in MemoryScope::ALL {
        // A figure that has not been counted yet is zero, not absent.
        let telemetry = &parts.upkeep.telemetry;
        for why in ["swept", "evicted"] {
            telemetry.counter(&MEMORY_ARCHIVED, &[scope.as_str(), why]).increment(0);
        }
        telemetry.counter(&MEMORY_DELETED, &[scope.as_str()]).increment(0);
    }
    let rounds = Rounds {
        parts: parts.clone(),
        uses: Uses::default(),
    };
    let for_collector = rounds.clone();
    let collector = ChildSpec::actor("collector", move |_| {
        let rounds = for_collector.clone();
        (Collector { rounds }, ())
    })
    .shutdown(Shutdown::Timeout(Duration::from_secs(2)))
    .backoff(Backoff::jitter(Duration::from_millis(50), Duration::from_secs(30)));
    let handle = MemoryHandle::new(parts.clone(), shards.handle(), collector.address(), rounds);
    let mut spec = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(3, Duration::from_secs(60))
        .forgive_kills()
        .child(collector);
    if let Some(endpoint) = parts.embedding.endpoint() {
        let (parts, endpoint) = (parts.clone(), endpoint.clone());
        let filler = ChildSpec::actor("filler", move |_| {
            let (parts, endpoint) = (parts.clone(), endpoint.clone());
            (Filler { parts, endpoint }, ())
        });
        let filler = filler
            .shutdown(Shutdown::Timeout(Duration::from_secs(2)))
            .backoff(Backoff::jitter(Duration::from_millis(50), Duration::from_secs(30)));
        spec = spec.child(filler);
    }
    let spec = spec.child(ChildSpec::dynamic("shards", shards));
    (spec, handle)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use supervisors::Supervisor;

    use super::super::limits::Upkeep;
    use super::*;
    use crate::domain::memory::{MemoryEdit, MemorySource};
    use crate::memory::embedding::Embedding;
    use crate::memory::handle::{MemoryError, child_id};
    use crate::memory::indexing::Indexing;
    use crate::memory::keep::Wish;
    use crate::memory::question::Question;
    use crate::runtime::bus::Bus;
    use crate::runtime::clock::Clock;
    use crate::runtime::committer::Committer;
    use crate::runtime::entropy::Entropy;
    use crate::storage::store::Store;

    const SOON: Duration = Duration::from_secs(20);

    struct House {
        _folder: tempfile::TempDir,
        root: supervisors::SupervisorRef,
        memory: MemoryHandle,
        shards: super::super::handle::Shards,
    }

    async fn house(open_max: usize) -> House {
        house_with(open_max, Duration::from_secs(600)).await
    }

    async fn house_with(open_max: usize, idle: Duration) -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
        let parts = MemoryParts {
            clock: Clock::system(),
            store,
            committer,
            entropy: Entropy::seeded(1),
            idle,
            open_max,
            upkeep: Upkeep::default(),
            embedding: Embedding::default(),
            indexing: Indexing::default(),
        };
        let (spec, memory) = layer(&parts);
        let shards = memory.shards_for_tests();
        let root = Supervisor::start("root", spec).await.expect("starts");
        House {
            _folder: folder,
            root,
            memory,
            shards,
        }
    }

    fn project(namespace: &str) -> ShardName {
        ShardName {
            scope: MemoryScope::Project,
            namespace: namespace.into(),
        }
    }

    fn wish(namespace: &str, text: &str) -> Wish {
        Wish {
            shard: project(namespace),
            key: None,
            text: text.into(),
            tags: vec!["note".into()],
            source: MemorySource {
                by: "person:test".into(),
                run: None,
            },
            importance: 50,
            expires_at: None,
        }
    }

    impl House {
        async fn put(&self, namespace: &str, text: &str) {
            let new = wish(namespace, text).prepare(Clock::system().now());
            self.memory.put(new).await.expect("kept");
        }

        async fn ask(&self, namespace: &str, text: &str) -> Vec<Arc<str>> {
            let found = self.memory.query(&project(namespace), Question::new(text), SOON).await;
            let found = found.expect("answers");
            found.into_iter().map(|found| found.entry.text).collect()
        }
    }

    #[tokio::test]
    async fn what_is_put_is_found_at_once_and_never_from_another_project() {
        let house = house(8).await;
        house.put("a", "the deploy key lives in the vault").await;
        assert_eq!(house.ask("a", "where is the deploy key").await.len(), 1);
        house.put("a", "the vault opens at nine").await;
        assert_eq!(
            &*house.ask("a", "when does the vault open").await[0],
            "the vault opens at nine"
        );
        assert_eq!(house.ask("b", "deploy key vault").await, [] as [Arc<str>; 0]);
        let mut filtered = Question::new("vault");
        filtered.tags = vec!["other".into()];
        let none = house
            .memory
            .query(&project("a"), filtered, SOON)
            .await
            .expect("answers");
        assert_eq!(none, []);
        let mut short = Question::new("vault");
        short.tokens_max = Some(6);
        let fitting = house.memory.query(&project("a"), short, SOON).await.expect("answers");
        assert_eq!(fitting.len(), 1, "only one text has at most six tokens: {fitting:?}");
        house
            .memory
            .edit(project("a"), 1, MemoryEdit::Forget)
            .await
            .expect("forgotten");
        let left = house.ask("a", "where is the deploy key").await;
        assert!(left.iter().all(|text| !text.contains("deploy")), "{left:?}");
        house.root.shutdown().await;
    }

    #[tokio::test]
    async fn an_open_shard_that_stands_is_named_and_the_others_are_not() {
        let house = house(8).await;
        for namespace in ["a", "b"] {
            house.put(namespace, "the kettle is blue").await;
            assert_eq!(house.ask(namespace, "kettle").await.len(), 1);
        }
        assert_eq!(house.memory.silent(SOON).await, []);
        let (goes_on, stands) = tokio::sync::oneshot::channel();
        let shard = house.shards.get(child_id(&project("a")).as_str()).expect("open");
        shard
            .cast(crate::memory::shard::actor::ShardMessage::Stand(stands))
            .expect("sent");
        let silent = house.memory.silent(Duration::from_millis(300)).await;
        assert!(silent.contains(&project("a")), "{silent:?}");
        drop(goes_on);
        assert_eq!(house.memory.silent(SOON).await, []);
        house.root.shutdown().await;
    }

    #[tokio::test]
    async fn a_crash_makes_one_shard_anew_while_others_answer() {
        let house = house(8).await;
        for namespace in ["a", "b"] {
            house.put(namespace, "the kettle is blue").await;
            assert_eq!(house.ask(namespace, "kettle").await.len(), 1);
        }
        let before = house.shards.get(child_id(&project("a")).as_str()).expect("open");
        before
            .cast(crate::memory::shard::actor::ShardMessage::Crash)
            .expect("sent");
        assert_eq!(house.ask("b", "kettle").await.len(), 1);
        let again = async {
            loop {
                let asked = house.memory.query(&project("a"), Question::new("kettle"), SOON).await;
                match asked {
                    Ok(found) if before.incarnation() > 1 => return found,
                    // Between two incarnations nobody answers.
                    Ok(_) | Err(MemoryError::Unanswered(_) | MemoryError::NotOpened(_)) => {
                        tokio::task::yield_now().await;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        let found = tokio::time::timeout(SOON, again).await.expect("it comes back");
        assert_eq!(found.len(), 1);
        house.root.shutdown().await;
    }

    #[tokio::test]
    async fn a_shard_that_nobody_asks_closes_gives_its_memory_back_and_opens_again() {
        let house = house_with(8, Duration::from_millis(20)).await;
        house.put("a", "the kettle is blue").await;
        for _ in 0..2 {
            assert_eq!(house.ask("a", "kettle").await.len(), 1);
            let closed = async {
                while house.memory.open_count() > 0 || house.memory.index_bytes() != (0, 0) {
                    tokio::task::yield_now().await;
                }
            };
            let held = || (house.memory.open_count(), house.memory.index_bytes());
            let in_time = tokio::time::timeout(SOON, closed).await;
            assert!(in_time.is_ok(), "open shards and bytes of indexes: {:?}", held());
        }
        house.root.shutdown().await;
    }

    #[tokio::test]
    async fn a_question_that_meets_a_shard_as_it_closes_is_answered() {
        let house = house_with(8, Duration::from_millis(1)).await;
        house.put("a", "the kettle is blue").await;
        // Pauses of all lengths: some end while the shard is closing.
        for pause in 0..1_000 {
            assert_eq!(house.ask("a", "kettle").await.len(), 1, "{pause}");
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
        }
        house.root.shutdown().await;
    }

    #[tokio::test]
    async fn only_so_many_shards_are_open_and_the_longest_unused_makes_room() {
        let house = house(2).await;
        let mut one = 0;
        for namespace in ["a", "b", "c", "d"] {
            house.put(namespace, "the kettle is blue").await;
            assert_eq!(house.ask(namespace, "kettle").await.len(), 1, "{namespace}");
            assert!(house.memory.open_count() <= 2);
            // All hold as much: what a closed part held is given back.
            let held = house.memory.index_bytes();
            one = if one == 0 { held.0 } else { one };
            assert!(one > 0 && held.0 <= 2 * one && held.1 == 0, "{one} for one, {held:?}");
        }
        assert_eq!(house.ask("a", "kettle").await.len(), 1);
        house.root.shutdown().await;
    }

    #[tokio::test]
    async fn several_that_ask_more_shards_in_turn_than_may_be_open_are_all_answered() {
        let house = house(8).await;
        let names: Vec<String> = (0..24).map(|number| format!("p{number}")).collect();
        for name in &names {
            house.put(name, "the kettle is blue").await;
        }
        // No more ask at once than places are there, so that one of them is always idle.
        let asking = (0..4).map(|client| {
            let (house, names) = (&house, &names);
            async move {
                for number in 0..names.len() * 2 {
                    let name = &names[(number + client * 6) % names.len()];
                    assert_eq!(house.ask(name, "kettle").await.len(), 1, "client {client}, {name}");
                    assert!(house.memory.open_count() <= 8);
                }
            }
        });
        futures_util::future::join_all(asking).await;
        house.root.shutdown().await;
    }
}
