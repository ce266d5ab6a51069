use super::*;
use crate::domain::memory::{MemoryKey, MemoryScope, MemorySource, NewMemory};
use crate::domain::time::UtcMillis;
use crate::storage::batch::Op;

fn key() -> MemoryKey {
    MemoryKey {
        scope: MemoryScope::Global,
        namespace: "".into(),
        key: "k".into(),
    }
}

fn put(text: &str) -> Batch {
    let key = key();
    Batch::ops(vec![Op::MemoryPut(Box::new(NewMemory {
        shard: key.shard(),
        key: Some(key.key),
        text: text.into(),
        hash: [0; 16],
        tags: Vec::new(),
        source: MemorySource {
            by: "person:test".into(),
            run: None,
        },
        importance: 50,
        expires_at: None,
        vector: None,
        at: UtcMillis(1),
    }))])
}

#[tokio::test]
async fn an_answer_means_that_a_reader_sees_it_and_a_barrier_covers_all_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
    let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
    let key = key();
    committer.commit(put("one")).await.expect("commits");
    assert_eq!(store.memory(&key).expect("reads").expect("there").version, 1);
    for _ in 0..100 {
        committer.submit(put("more")).expect("queued").detach();
    }
    committer.barrier().await.expect("commits");
    assert_eq!(store.memory(&key).expect("reads").expect("there").version, 101);
    committer.settled().await.expect("nothing waits");
    let commits = committer.figures().commits.load(Ordering::Relaxed);
    for version in 102..120 {
        committer.submit(put("again")).expect("queued").detach();
        committer.settled().await.expect("commits");
        assert_eq!(store.memory(&key).expect("reads").expect("there").version, version);
    }
    let settled = committer.figures().commits.load(Ordering::Relaxed);
    committer.settled().await.expect("nothing waits");
    assert_eq!(
        settled,
        committer.figures().commits.load(Ordering::Relaxed),
        "no commit of nothing"
    );
    assert!(settled > commits);
    assert!(commits < 102, "batches share transactions");
}

#[tokio::test]
async fn what_follows_from_a_batch_happens_once_it_is_durable_whoever_waits_and_its_panic_harms_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
    let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
    let (told, hears) = std::sync::mpsc::channel();
    let seen = store.clone();
    let then = move || {
        let found = seen.memory(&key()).expect("reads");
        told.send(found.map(|entry| entry.version)).expect("heard");
    };
    committer.submit_then(put("one"), then).expect("queued").detach();
    committer.barrier().await.expect("commits");
    assert_eq!(hears.try_recv(), Ok(Some(1)), "a reader sees it by then");
    let panics = committer.submit_then(put("two"), || panic!("on purpose"));
    panics.expect("queued").carried().await.expect("it is durable");
    committer.commit(put("three")).await.expect("it goes on");
}

#[tokio::test]
async fn batches_that_nobody_waits_for_share_the_transaction_of_the_one_that_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
    let committer = Committer::start(store, Bus::default()).expect("starts");
    let commits = || committer.figures().commits.load(Ordering::Relaxed);
    // A machine that is busy may take what gathers before the last one comes; not in each of so many rounds.
    let mut fewest = u64::MAX;
    for _ in 0..20 {
        let before = commits();
        let pending: Vec<Pending> = (0..5).map(|_| committer.submit(put("x")).expect("queued")).collect();
        let last = committer.commit(put("y")).await.expect("commits");
        for pending in pending {
            let receipt = pending.carried().await.expect("it is on disk with the last one");
            assert_eq!(receipt, last, "batches without facts have no place");
        }
        fewest = fewest.min(commits() - before);
    }
    assert_eq!(fewest, 1, "transactions of six batches");
    let pending = committer.submit(put("alone")).expect("queued");
    pending.carried().await.expect("it is written by itself");
}

#[tokio::test]
async fn a_failed_commit_stops_all_writing_and_is_told_to_everybody() {
    let backend = crate::storage::power_loss::Backend::failing_at(8, Vec::new());
    let store = Store::open_backend(backend).expect("opens");
    let committer = Committer::start(store, Bus::default()).expect("starts");
    let mut failed = None;
    for _ in 0..10 {
        if let Err(error) = committer.commit(put("x")).await {
            failed = Some(error);
            break;
        }
    }
    assert!(matches!(failed, Some(CommitError::Failed(_))), "{failed:?}");
    committer.failed().await;
    let later = committer.commit(put("y")).await.expect_err("closed");
    assert!(
        matches!(later, CommitError::Failed(_) | CommitError::Closed),
        "{later:?}"
    );
}

#[tokio::test]
async fn that_the_store_commits_is_known_with_the_next_transaction_and_not_behind_all_that_waits() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
    let committer = Committer::start(store, Bus::default()).expect("starts");
    committer
        .commits()
        .await
        .expect("with nothing to write it writes nothing");
    let gate = || {
        let (open, closed) = std::sync::mpsc::channel::<()>();
        // The committer stands still until it is opened.
        (open, move || _ = closed.recv())
    };
    let ((first, stop_at_first), (second, stop_at_second)) = (gate(), gate());
    let mut waiting = vec![committer.submit_then(put("first"), stop_at_first).expect("room")];
    for number in 1..GROUP_MAX {
        waiting.push(committer.submit(put(&number.to_string())).expect("room"));
    }
    waiting.push(committer.submit_then(put("second"), stop_at_second).expect("room"));
    for number in 0..GROUP_MAX {
        waiting.push(committer.submit(put(&number.to_string())).expect("room"));
    }
    let mut commits = std::pin::pin!(committer.commits());
    assert!(futures_util::poll!(&mut commits).is_pending());
    drop(first);
    commits.await.expect("commits");
    let done = committer.figures().batches.load(Ordering::Acquire);
    assert!(
        done < waiting.len() as u64,
        "{done} of {} were waited for",
        waiting.len()
    );
    drop(second);
    for pending in waiting {
        pending.durable().await.expect("commits");
    }
}
