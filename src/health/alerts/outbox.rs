//! What waits for each channel.
//!
//! **Invariants**: a channel that takes nothing holds up no other one, and what waits for it stays within a bound without
//! anything being left out: it comes together in one message. A clock that was wrong when a message was made or tried
//! neither keeps it back nor gives it up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::alert::Delivery;
use crate::domain::id::AlertId;
use crate::domain::time::UtcMillis;

use super::message::merge;

/// Messages that wait for one channel; one more when the last of them is being sent.
pub const WAITING_MAX: usize = 8;

/// After a first try that failed, the next comes so much later; twice as much after each.
const BACKOFF_FIRST_MS: u64 = 2_000;
/// Longest wait between two tries.
const BACKOFF_MAX_MS: u64 = 15 * 60 * 1_000;
/// A message that did not arrive for so long is given up.
const GIVE_UP_MS: u64 = 3 * 24 * 3_600 * 1_000;
/// And not before so many tries have failed, which take most of a day: a clock that is set right makes a message look as
/// old as it likes.
const GIVE_UP_TRIES: u32 = 100;

/// Messages that are being sent, with their channels.
pub type Sending = BTreeMap<AlertId, Arc<str>>;

/// What takes the place of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What waits from now on.
    pub put: Delivery,
    /// What it takes the place of.
    pub instead_of: Vec<AlertId>,
}

/// Where a new message goes: behind the others of its channel, or together with those over the bound into one. That one
/// is another message than any before and has an id of its own; when it is tried next is as it was.
pub fn place(waiting: &[Delivery], sending: &Sending, new: Delivery, host: &str) -> Placed {
    let own = waiting.iter().filter(|waits| waits.channel == new.channel);
    let over: Vec<&Delivery> = own
        .skip(WAITING_MAX - 1)
        .filter(|waits| !sending.contains_key(&waits.id))
        .collect();
    let Some(last) = over.last() else {
        return Placed {
            put: new,
            instead_of: Vec::new(),
        };
    };
    let bodies: Vec<&str> = over.iter().map(|waits| &*waits.body).chain([&*new.body]).collect();
    let merged = merge(&bodies, host, new.made_at);
    Placed {
        instead_of: over.iter().map(|waits| waits.id).collect(),
        put: Delivery {
            subject: merged.subject.into(),
            body: merged.body.into(),
            attempts: last.attempts,
            next_at: last.next_at,
            ..new
        },
    }
}

/// How long the next try waits after so many that failed. Without jitter: there is one sender.
pub fn backoff_ms(attempts: u32) -> u64 {
    let doubled = BACKOFF_FIRST_MS.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    doubled.min(BACKOFF_MAX_MS)
}

/// Whether a message is tried now. One whose time is further ahead than any wait was tried by a clock that was ahead.
fn is_due(waits: &Delivery, now: UtcMillis) -> bool {
    waits.next_at <= now || waits.next_at > now.plus_ms(BACKOFF_MAX_MS)
}

/// Whether a message of which so many tries have failed is given up. The age of one of a time that has not come is not
/// known: its tries alone count.
pub fn is_given_up(made_at: UtcMillis, failed: u32, now: UtcMillis) -> bool {
    let is_old = made_at > now || now.since(made_at) >= GIVE_UP_MS;
    is_old && failed >= GIVE_UP_TRIES
}

/// What is sent now: what is due, oldest first, one at a time for each channel, and at most so many.
pub fn next(waiting: Vec<Delivery>, sending: &Sending, now: UtcMillis, sending_max: usize) -> Vec<Delivery> {
    let mut busy: BTreeSet<Arc<str>> = sending.values().cloned().collect();
    let free = sending_max.saturating_sub(sending.len());
    let due = waiting.into_iter().filter(|waits| is_due(waits, now));
    due.filter(|waits| busy.insert(waits.channel.clone()))
        .take(free)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn delivery(channel: &str, number: u64, incidents: &[(&str, &str)]) -> Delivery {
        let views = incidents
            .iter()
            .map(|(id, state)| json!({ "incident": id, "state": state, "what": format!("{id} {state}") }));
        let body = json!({ "type": "incidents.open", "data": { "incidents": views.collect::<Vec<_>>(), "more": 2 } });
        Delivery {
            id: AlertId::new(UtcMillis(number), u128::from(number)),
            channel: channel.into(),
            subject: "".into(),
            body: body.to_string().into(),
            made_at: UtcMillis(number),
            attempts: number as u32,
            next_at: UtcMillis(number),
        }
    }

    fn sending(of: &[&Delivery]) -> Sending {
        of.iter().map(|one| (one.id, one.channel.clone())).collect()
    }

    #[test]
    fn what_waits_for_a_dead_channel_comes_together_and_nothing_is_left_out() {
        let mut waiting: Vec<Delivery> = Vec::new();
        for number in 1..=100 {
            waiting.push(delivery("other", 1_000 + number, &[]));
            let new = delivery("dead", number, &[("a", "began"), (&format!("i{number}"), "began")]);
            let placed = place(&waiting, &Sending::new(), new, "here");
            waiting.retain(|waits| !placed.instead_of.contains(&waits.id));
            waiting.push(placed.put);
            let own = waiting.iter().filter(|waits| &*waits.channel == "dead").count();
            assert_eq!(own, WAITING_MAX.min(number as usize));
        }
        let last = waiting.last().expect("some");
        assert_eq!((last.attempts, last.next_at), (8, UtcMillis(8)), "as the one before");
        assert_eq!(last.made_at, UtcMillis(100));
        let body: Value = serde_json::from_str(&last.body).expect("JSON");
        let told = body["data"]["incidents"].as_array().expect("a list");
        assert_eq!(told.len(), 50);
        assert!(told.iter().any(|one| one["incident"] == "i100"), "the newest in full");
        // Messages 8 to 100: an incident of its own each, one that all have, and two in each that were only counted.
        assert_eq!(body["data"]["more"], 93 + 1 - 50 + 93 * 2);
        assert_eq!(&*last.subject, "[openclaw here] 280 incidents: i52 began");
    }

    #[test]
    fn the_last_word_of_an_incident_is_told_and_what_is_being_sent_stays_as_it_is() {
        let mut waiting: Vec<Delivery> = (1..=8).map(|number| delivery("dead", number, &[])).collect();
        waiting.push(delivery("dead", 9, &[("a", "began"), ("b", "began")]));
        let new = delivery("dead", 10, &[("a", "ended")]);
        let busy = sending(&[&waiting[7]]);
        let placed = place(&waiting, &busy, new.clone(), "here");
        assert_eq!(placed.instead_of, [waiting[8].id]);
        assert_eq!(placed.put.id, new.id, "another message than the one before");
        let body: Value = serde_json::from_str(&placed.put.body).expect("JSON");
        let words: Vec<&str> = body["data"]["incidents"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["what"].as_str().expect("a text"))
            .collect();
        assert_eq!(words, ["b began", "a ended"]);
        let alone = place(&waiting[..8], &busy, new.clone(), "here");
        assert_eq!((alone.put, alone.instead_of.len()), (new, 0));
    }

    #[test]
    fn tries_come_further_and_further_apart_up_to_a_bound() {
        let waits: Vec<u64> = (1..=4).map(backoff_ms).collect();
        assert_eq!(waits, [2_000, 4_000, 8_000, 16_000]);
        assert_eq!(backoff_ms(99), BACKOFF_MAX_MS);
    }

    #[test]
    fn a_clock_that_was_wrong_neither_keeps_a_message_back_nor_gives_it_up() {
        const DAY: u64 = 24 * 3_600 * 1_000;
        const NOW: u64 = 20_000 * DAY;
        let due = |next_at: u64| {
            let one = Delivery {
                next_at: UtcMillis(next_at),
                ..delivery("x", 1, &[])
            };
            !next(vec![one], &Sending::new(), UtcMillis(NOW), 1).is_empty()
        };
        assert!(due(NOW) && due(NOW - DAY));
        assert!(!due(NOW + 1) && !due(NOW + BACKOFF_MAX_MS));
        // The clock was ahead when the last try failed.
        assert!(due(NOW + BACKOFF_MAX_MS + 1) && due(NOW + 365 * DAY));

        let given_up = |made_at: u64, failed: u32| is_given_up(UtcMillis(made_at), failed, UtcMillis(NOW));
        assert!(given_up(NOW - 3 * DAY, 300));
        assert!(!given_up(NOW - 3 * DAY + 1, 300));
        // The clock was behind when it was made, and has been set right since.
        assert!(!given_up(0, 1) && !given_up(NOW - 365 * DAY, GIVE_UP_TRIES - 1));
        assert!(given_up(0, GIVE_UP_TRIES));
        // It was ahead: no message is tried for ever.
        assert!(!given_up(NOW + 365 * DAY, 1) && given_up(NOW + 365 * DAY, GIVE_UP_TRIES));
        // So many tries are a real outage, and in three days there are more.
        let tried_ms: u64 = (1..GIVE_UP_TRIES).map(backoff_ms).sum();
        assert!((20 * 3_600_000..DAY).contains(&tried_ms), "{tried_ms}");
    }

    #[test]
    fn each_channel_is_sent_one_message_at_a_time_and_a_long_queue_holds_up_nobody() {
        let mut waiting: Vec<Delivery> = (1..=300).map(|number| delivery("dead", number, &[])).collect();
        waiting.push(delivery("well", 400, &[]));
        let check = |busy: &[&Delivery], now: u64, wanted: &[u64]| {
            let found = next(waiting.clone(), &sending(busy), UtcMillis(now), 2);
            let found: Vec<u64> = found.iter().map(|one| one.made_at.0).collect();
            assert_eq!(found, wanted, "{now}");
        };
        check(&[], 500, &[1, 400]);
        check(&[], 300, &[1]);
        check(&[&waiting[5]], 500, &[400]);
        check(&[&waiting[5], &waiting[300]], 500, &[]);
    }
}
