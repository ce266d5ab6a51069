//! Requests that a vendor's client sends again because their answer did not reach it.
//!
//! The vendors' clients repeat by themselves what broke off, under no idempotency key, and say in a header the how
//! manyth try it is. A repeated request must not become a second run beside the first one, which goes on. So whoever
//! leaves before its answer leaves its run here, under a hash of who asked whom for what; the next try of the same
//! request takes it. What a killed daemon left is put here when the next one starts.
//!
//! Who was answered while its run goes on, by a stream, an id or a time-out, is known as such to that start too.
//!
//! **Invariants**: only a run whose answer went to nobody is taken, and only once until it is left again, so that two
//! equal requests are two runs; a first try never takes one.
//! **Limits**: a run waits for two minutes (`WAITS`); of more than `LEFT_MAX` the oldest goes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;

use crate::domain::id::RunId;
use crate::domain::time::UtcMillis;
use crate::runtime::clock::Clock;

/// How long a run waits for its client to come back. The clients wait at most eight seconds between two tries; the rest
/// is for a daemon that is started again meanwhile.
const WAITS: Duration = Duration::from_secs(120);
/// Runs that wait at once.
const LEFT_MAX: usize = 10_000;
/// In which header the clients of both vendors say how often they have tried before.
const TRIES: &str = "x-stainless-retry-count";

/// Names equal requests of one key: a hash of who asked whom for what.
pub type Sameness = [u8; 32];

/// How often a client says that it has tried before; none from one that says nothing of it.
pub fn tried(headers: &HeaderMap) -> Option<u32> {
    headers.get(TRIES)?.to_str().ok()?.parse().ok()
}

/// The runs whose answers went to nobody. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Left {
    clock: Clock,
    rows: Arc<Mutex<Rows>>,
}

impl Left {
    /// With what an earlier life of the process left.
    pub fn new(clock: Clock, earlier: impl IntoIterator<Item = (RunId, Sameness)>) -> Self {
        let mut rows = Rows::default();
        let now = clock.now();
        for (run, sameness) in earlier {
            rows.leave(sameness, run, now);
        }
        let rows = Arc::new(Mutex::new(rows));
        Self { clock, rows }
    }

    /// The run that an earlier try of the same request began, when nobody got its answer.
    pub fn take(&self, sameness: &Sameness) -> Option<RunId> {
        let now = self.clock.now();
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.take(sameness, now)
    }

    /// Holds the place of a client that waits for a run's answer.
    pub fn wait(&self, run: RunId, sameness: Sameness) -> Waiting {
        Waiting {
            left: self.clone(),
            run,
            sameness,
            is_answered: false,
        }
    }
}

/// A client that waits. Dropping it before it was answered leaves its run.
#[derive(Debug)]
#[must_use = "say when the client was answered"]
pub struct Waiting {
    left: Left,
    run: RunId,
    sameness: Sameness,
    is_answered: bool,
}

impl Waiting {
    /// The run whose answer is waited for.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The client has its answer, or was told where it is.
    pub fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_answered {
            let now = self.left.clock.now();
            let mut rows = self.left.rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.leave(self.sameness, self.run, now);
        }
    }
}

/// In the order of time.
#[derive(Debug, Default)]
struct Rows(VecDeque<(UtcMillis, Sameness, RunId)>);

impl Rows {
    fn leave(&mut self, sameness: Sameness, run: RunId, now: UtcMillis) {
        self.forget(now);
        if self.0.len() >= LEFT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, sameness, run));
    }

    fn take(&mut self, sameness: &Sameness, now: UtcMillis) -> Option<RunId> {
        self.forget(now);
        let place = self.0.iter().position(|(_, same, _)| same == sameness)?;
        self.0.remove(place).map(|(_, _, run)| run)
    }

    fn forget(&mut self, now: UtcMillis) {
        let waits = WAITS.as_millis() as u64;
        while self.0.front().is_some_and(|(at, ..)| at.plus_ms(waits) <= now) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u128) -> RunId {
        RunId::new(UtcMillis(1), number)
    }

    #[test]
    fn a_run_that_nobody_got_the_answer_of_is_taken_once_and_no_other_one_is() {
        let clock = Clock::manual(UtcMillis(1_000));
        let left = Left::new(clock.clone(), [(run(9), [9; 32])]);
        left.wait(run(1), [1; 32]).answered();
        assert_eq!(left.take(&[1; 32]), None, "it has its answer");
        // Two equal requests are two runs, and both clients went.
        drop(left.wait(run(2), [2; 32]));
        drop(left.wait(run(3), [2; 32]));
        assert_eq!(left.take(&[4; 32]), None, "another request");
        assert_eq!(left.take(&[2; 32]), Some(run(2)));
        assert_eq!(left.take(&[2; 32]), Some(run(3)));
        assert_eq!(left.take(&[2; 32]), None, "each once");
        drop(left.wait(run(3), [2; 32]));
        assert_eq!(left.take(&[2; 32]), Some(run(3)), "left again");
        assert_eq!(left.take(&[9; 32]), Some(run(9)), "of an earlier life");
        drop(left.wait(run(5), [5; 32]));
        clock.set(UtcMillis(1_000 + WAITS.as_millis() as u64));
        assert_eq!(left.take(&[5; 32]), None, "its time has passed");
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let left = Left::new(Clock::manual(UtcMillis(1)), []);
        for number in 0..=LEFT_MAX {
            let mut sameness = [0; 32];
            sameness[..8].copy_from_slice(&number.to_be_bytes());
            drop(left.wait(run(number as u128), sameness));
        }
        assert_eq!(left.rows.lock().expect("whole").0.len(), LEFT_MAX);
        assert_eq!(left.take(&[0; 32]), None, "the oldest");
    }

    #[test]
    fn only_a_number_says_how_often_was_tried() {
        let check = |value: Option<&'static str>, expected: Option<u32>| {
            let value = value.map(|value| (TRIES.parse().expect("a name"), value.parse().expect("a value")));
            assert_eq!(tried(&value.into_iter().collect()), expected);
        };
        check(None, None);
        check(Some("0"), Some(0));
        check(Some("2"), Some(2));
        check(Some("two"), None);
        check(Some("-1"), None);
    }
}
