//! What waits for the committer, and when it is worth a transaction.
//!
//! A transaction costs two syncs of the disk and a page of every table that it touches, however little is in it. So
//! what somebody waits for is taken at once, with everything that came before it; what nobody waits for gathers for a
//! moment. A run's facts up to its answer so share the transaction of the answer.
//!
//! **Invariants**: what is taken is taken in the order in which it came; nothing gathers for longer than it may.
//! **Limits**: as many as it is made for; the next one is refused at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Why something was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// As many wait as may.
    Full,
    /// Nobody takes anything any more.
    Closed,
}

/// The queue. Threads push, one thread takes.
#[derive(Debug)]
pub(super) struct CommitQueue<T> {
    inside: Mutex<Inside<T>>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct Inside<T> {
    waiting: VecDeque<T>,
    /// Whether somebody waits for what is in it.
    is_wanted: bool,
    is_closed: bool,
}

/// Closes the queue when it goes, so that whoever takes ends with the last who could push.
#[derive(Debug)]
pub(super) struct Door<T>(pub(super) Arc<CommitQueue<T>>);

impl<T> Drop for Door<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The end of whoever takes: when it goes, by a panic too, nothing is taken in any more and what waits is dropped, so
/// that nobody waits for it.
#[derive(Debug)]
pub(super) struct Taker<T>(pub(super) Arc<CommitQueue<T>>);

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        self.0.close();
        let left = std::mem::take(&mut self.0.lock().waiting);
        // Outside of the lock: dropping them tells others.
        drop(left);
    }
}

impl<T> CommitQueue<T> {
    /// For so many.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            inside: Mutex::new(Inside {
                waiting: VecDeque::new(),
                is_wanted: false,
                is_closed: false,
            }),
            changed: Condvar::new(),
            capacity,
        }
    }

    /// What one thread holds cannot be broken by a panic of another: each change is one call.
    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one in. `is_wanted` says that somebody waits for it from now on.
    pub(super) fn push(&self, one: T, is_wanted: bool) -> Result<(), NotQueued> {
        let mut inside = self.lock();
        if inside.is_closed {
            return Err(NotQueued::Closed);
        }
        if inside.waiting.len() >= self.capacity {
            return Err(NotQueued::Full);
        }
        inside.waiting.push_back(one);
        let is_first = inside.waiting.len() == 1;
        let is_news = is_wanted && !inside.is_wanted;
        inside.is_wanted |= is_wanted;
        drop(inside);
        // Nobody is woken for one more that may gather.
        if is_first || is_news {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Somebody waits for what is in it.
    pub(super) fn want(&self) {
        let mut inside = self.lock();
        let is_news = !inside.is_wanted && !inside.waiting.is_empty();
        inside.is_wanted |= is_news;
        drop(inside);
        if is_news {
            self.changed.notify_one();
        }
    }

    /// Takes what waits, at most `most`: at once when it is wanted or enough for one go, else when it has gathered for
    /// so long. False when nothing comes any more.
    pub(super) fn take(&self, into: &mut Vec<T>, most: usize, gather: Duration) -> bool {
        let mut inside = self.lock();
        while inside.waiting.is_empty() {
            if inside.is_closed {
                return false;
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        if !gather.is_zero() {
            let gathers =
                |inside: &mut Inside<T>| !inside.is_wanted && !inside.is_closed && inside.waiting.len() < most;
            let waited = self.changed.wait_timeout_while(inside, gather, gathers);
            inside = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = inside.waiting.len().min(most);
        into.extend(inside.waiting.drain(..count));
        // Whose wish it was is not known, so what is left counts as wanted.
        inside.is_wanted &= !inside.waiting.is_empty();
        true
    }

    /// Takes nothing in any more; what waits can be taken still.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn taken(queue: &CommitQueue<u32>, gather: Duration) -> Vec<u32> {
        let mut into = Vec::new();
        queue.take(&mut into, 3, gather);
        into
    }

    #[test]
    fn a_taker_that_panics_leaves_nobody_waiting() {
        let queue = Arc::new(CommitQueue::new(5));
        let (told, heard) = std::sync::mpsc::channel::<()>();
        queue.push(told, true).expect("room");
        let taker = Taker(Arc::clone(&queue));
        let thread = std::thread::spawn(move || {
            let _taker = taker;
            panic!("a bug");
        });
        thread.join().expect_err("it panicked");
        assert!(heard.recv().is_err(), "it waits for ever");
        let (late, _) = std::sync::mpsc::channel();
        assert_eq!(queue.push(late, true), Err(NotQueued::Closed));
    }

    #[test]
    fn what_is_wanted_is_taken_at_once_with_all_before_it_and_the_rest_gathers() {
        let queue = CommitQueue::new(5);
        queue.push(1, false).expect("room");
        queue.push(2, true).expect("room");
        assert_eq!(taken(&queue, LONG), [1, 2], "wanted as it came");
        queue.push(3, false).expect("room");
        queue.want();
        assert_eq!(taken(&queue, LONG), [3], "wanted later");
        for number in 4..9 {
            queue.push(number, false).expect("room");
        }
        assert_eq!(queue.push(9, true), Err(NotQueued::Full));
        assert_eq!(taken(&queue, LONG), [4, 5, 6], "enough for one go");
        assert_eq!(taken(&queue, Duration::from_millis(1)), [7, 8], "its moment has passed");
        queue.want();
        queue.push(10, false).expect("room");
        let moment = Duration::from_millis(30);
        std::thread::scope(|scope| {
            // A wish for what was taken before hurries nothing that comes later: the second one still joins.
            let taking = scope.spawn(|| taken(&queue, LONG));
            queue.push(11, false).expect("room");
            queue.want();
            assert_eq!(taking.join().expect("takes"), [10, 11]);
        });
        queue.push(12, false).expect("room");
        assert_eq!(taken(&queue, moment), [12]);
    }

    #[test]
    fn it_ends_with_the_last_door_when_all_is_taken() {
        let door = Arc::new(Door(Arc::new(CommitQueue::new(2))));
        let (queue, other) = (door.0.clone(), door.clone());
        drop(door);
        other.0.push(1, false).expect("open");
        drop(other);
        assert_eq!(queue.push(2, true), Err(NotQueued::Closed));
        assert_eq!(taken(&queue, LONG), [1], "at once: nothing else can come");
        assert!(!queue.take(&mut Vec::new(), 1, LONG));
    }
}
