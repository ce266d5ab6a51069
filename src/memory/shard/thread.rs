//! Within which entries follow each other, and in which order: those of one thread are each other's context.
//!
//! Refuses to know: texts, scores, stores. Invariants: pure; the order of a thread is that of its entries' times,
//! whatever order they came in; what was kept at nearly one time in several streams is in the order of the numbers
//! that its keys or sources end with.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::domain::id::RunId;
use crate::domain::time::UtcMillis;
use crate::storage::memory_follow::Seen;

/// Entries of one thread are each other's context when no more time than this is between them.
const CONTEXT_GAP_MS: u64 = 3_600_000;
/// Entries of its thread that a new one may come before.
const WALK_MAX: usize = 1_024;
/// Numbers that are further apart are no places in a row.
const ROW_MAX: u64 = 64;
/// Bits of one number of a place.
const NUMBER_BITS: u32 = 21;

/// What entries are said within.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Thread {
    /// What was kept within a run.
    Run(RunId),
    /// What people and agents say outside of a run: whoever speaks next answers.
    Talk,
    /// A file, or whatever else speaks for itself.
    Source(Arc<str>),
}

impl Thread {
    pub(super) fn of(entry: &Seen<'_>) -> Self {
        match (entry.run, entry.sources.first()) {
            (Some(run), _) => Self::Run(run),
            (None, Some(source)) if speaker(source).is_none() => Self::Source(whole(source).into()),
            (None, _) => Self::Talk,
        }
    }
}

/// Who says what comes from a source, where that is somebody.
pub(super) fn speaker(source: &str) -> Option<&str> {
    let (kind, name) = source.split_once(':')?;
    matches!(kind, "person" | "agent").then_some(name)
}

/// The whole that a source names a part of: `file:notes.md` of `file:notes.md#12`, `file:talk` of `file:talk:D1:3`.
fn whole(source: &str) -> &str {
    let mut whole = source.split('#').next().unwrap_or(source);
    match whole.split_once(':') {
        // All steps outside of a run are one.
        Some(("step", _)) => return "step",
        Some(("run", _)) | None => return whole,
        Some(_) => {}
    }
    // A number, maybe with a letter or two before it, is a place in something.
    while let Some((front, last)) = whole.rsplit_once([':', '/']) {
        let number = last.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let is_place = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_place || last.len() - number.len() > 2 {
            break;
        }
        whole = front;
    }
    whole
}

/// Where an entry stands in its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    id: u64,
    created_at: UtcMillis,
    /// What its key or source is beside the numbers in it; 0 when there are none.
    row: u32,
    /// Its last three numbers.
    numbers: u64,
}

impl Standing {
    pub(super) fn of(entry: &Seen<'_>) -> Self {
        let by_key = entry.key.and_then(numbered);
        let (row, numbers) = by_key
            .or_else(|| entry.sources.first().and_then(|source| numbered(source)))
            .unwrap_or((0, 0));
        Self {
            id: entry.id,
            created_at: entry.created_at,
            row,
            numbers,
        }
    }

    /// Whether two entries of a thread are near enough to be each other's context.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        self.created_at.0.abs_diff(other.created_at.0) <= CONTEXT_GAP_MS
    }

    fn is_before(&self, other: &Self) -> bool {
        if self.row != 0 && self.row == other.row && self.is_near(other) && is_in_row(self.numbers, other.numbers) {
            return self.numbers < other.numbers;
        }
        (self.created_at, self.id) < (other.created_at, other.id)
    }
}

/// Whether the first of the numbers that differ is hardly greater or less.
fn is_in_row(a: u64, b: u64) -> bool {
    let one = |numbers: u64, at: u32| numbers >> (at * NUMBER_BITS) & ((1 << NUMBER_BITS) - 1);
    let differs = (0..3).rev().find(|at| one(a, *at) != one(b, *at));
    differs.is_some_and(|at| one(a, at).abs_diff(one(b, at)) <= ROW_MAX)
}

/// A name without its last three numbers, as a hash, and these numbers; none when it has no number, or one that counts
/// nothing.
fn numbered(name: &str) -> Option<(u32, u64)> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let parts: Vec<&[u8]> = name.as_bytes().chunk_by(|a, b| is_digit(a) == is_digit(b)).collect();
    let count = parts.iter().filter(|part| is_digit(&part[0])).count();
    let (mut hasher, mut at, mut numbers) = (DefaultHasher::new(), 0, 0u64);
    for part in parts {
        if !is_digit(&part[0]) || count - at > 3 {
            part.hash(&mut hasher);
            at += usize::from(is_digit(&part[0]));
            continue;
        }
        at += 1;
        0u8.hash(&mut hasher);
        let number: u64 = std::str::from_utf8(part).ok()?.parse().ok()?;
        if number >= 1 << NUMBER_BITS {
            return None;
        }
        numbers = numbers << NUMBER_BITS | number;
    }
    (count > 0).then(|| ((hasher.finish() as u32).max(1), numbers))
}

/// One link of a thread.
#[derive(Debug, Clone, Copy)]
struct Link {
    thread: u32,
    standing: Standing,
    before: Option<u32>,
    after: Option<u32>,
}

/// The threads of a shard, by numbers, and the place of every entry in its own.
#[derive(Debug, Default)]
pub(super) struct Threads {
    numbers: HashMap<Thread, u32, RandomState>,
    /// The last place of each.
    last: Vec<Option<u32>>,
    /// By place.
    links: Vec<Link>,
}

impl Threads {
    pub(super) fn reserve(&mut self, places: usize) {
        self.links.reserve(places);
    }

    /// Takes the next place in. Returns the places before and after it that are its context.
    pub(super) fn take(&mut self, entry: &Seen<'_>) -> (Option<u32>, Option<u32>) {
        let place = self.links.len() as u32;
        let next = self.last.len() as u32;
        let thread = *self.numbers.entry(Thread::of(entry)).or_insert(next);
        if thread == next {
            self.last.push(None);
        }
        let standing = Standing::of(entry);
        let (mut before, mut after) = (self.last[thread as usize], None);
        for _ in 0..WALK_MAX {
            let Some(at) = before.filter(|at| standing.is_before(&self.links[*at as usize].standing)) else {
                break;
            };
            after = before;
            before = self.links[at as usize].before;
        }
        self.links.push(Link {
            thread,
            standing,
            before,
            after,
        });
        self.join(thread, before, Some(place));
        self.join(thread, Some(place), after);
        let near = |at: &u32| self.links[*at as usize].standing.is_near(&standing);
        (before.filter(near), after.filter(near))
    }

    /// Takes a place out.
    pub(super) fn lose(&mut self, place: u32) {
        let Link {
            thread, before, after, ..
        } = self.links[place as usize];
        self.join(thread, before, after);
    }

    fn join(&mut self, thread: u32, before: Option<u32>, after: Option<u32>) {
        if let Some(before) = before {
            self.links[before as usize].after = after;
        }
        match after {
            Some(after) => self.links[after as usize].before = before,
            None => self.last[thread as usize] = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_whole_are_one_thread() {
        let check = |source: &str, expected: &str| assert_eq!(whole(source), expected, "{source}");
        check("file:talk#D1:3", "file:talk");
        check("file:talk:D1:3", "file:talk");
        check("file:talks/12", "file:talks");
        check("file:D1:3", "file");
        check("file:notes-1.md", "file:notes-1.md");
        check("file:talk-26", "file:talk-26");
        check("file:src/main.rs", "file:src/main.rs");
        check("step:plan/3", "step");
        check("run:01ARZ3NDEKTSV4RRFFQ69G5FA7", "run:01ARZ3NDEKTSV4RRFFQ69G5FA7");
        check("conversation", "conversation");
    }

    /// Each as number of the entry, key, minute; in the order in which they come.
    #[test]
    fn a_thread_is_in_the_order_of_its_times_and_of_the_numbers_of_its_keys() {
        let check = |name: &str, come: &[(u64, Option<&str>, u64)], expected: &[u64]| {
            let mut threads = Threads::default();
            for (id, key, minute) in come {
                let at = UtcMillis(minute * 60_000);
                threads.take(&Seen {
                    id: *id,
                    key: *key,
                    text: "",
                    tags: &[],
                    sources: &["person:ann"],
                    run: None,
                    importance: 50,
                    created_at: at,
                    updated_at: at,
                    used_at: at,
                    uses: 0,
                    expires_at: None,
                    vector: None,
                });
            }
            let mut found = Vec::new();
            let mut here = threads.last[0];
            while let Some(at) = here {
                found.push(threads.links[at as usize].standing.id);
                here = threads.links[at as usize].before;
            }
            found.reverse();
            assert_eq!(found, expected, "{name}");
        };
        let none = None;
        check("as they came", &[(1, none, 5), (2, none, 5), (3, none, 5)], &[1, 2, 3]);
        check("by time", &[(1, none, 9), (2, none, 3), (3, none, 6)], &[2, 3, 1]);
        let several = [
            (1, Some("D1:2"), 0),
            (2, Some("D1:1"), 0),
            (3, Some("D2:1"), 1),
            (4, Some("D1:10"), 1),
            (5, Some("D1:9"), 1),
        ];
        check("several streams", &several, &[2, 1, 5, 4, 3]);
        let others = [
            (1, Some("b2"), 0),
            (2, Some("a1"), 1),
            (3, Some("port 8080"), 2),
            (4, Some("port 80"), 3),
        ];
        check("numbers of other things", &others, &[1, 2, 3, 4]);
        check("much later", &[(1, Some("D1:2"), 0), (2, Some("D1:1"), 500)], &[1, 2]);
    }
}
