//! Ids of calls: every call of a conversation has one of its own, whatever the server sent.
//!
//! Some servers send none, some number from 0 in every answer. Invariant: the ids of an answer are new in the
//! conversation and differ from each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::conversation::{CallRequest, Message, ModelRequest};

/// Gives a new id to each call whose own is empty, long, strange or already used.
pub fn make_unique(request: &ModelRequest, calls: &mut [CallRequest]) {
    let mut used: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut turn = 1;
    for message in request.messages.iter() {
        if let Message::Assistant { calls, .. } = message {
            turn += 1;
            used.extend(calls.iter().map(|call| call.id.clone()));
        }
    }
    for (index, call) in calls.iter_mut().enumerate() {
        if !is_good(&call.id) || used.contains(&call.id) {
            let candidates = (0u32..).map(|n| match n {
                0 => format!("call_{turn}_{index}"),
                n => format!("call_{turn}_{index}_{n}"),
            });
            let mut free = candidates.filter(|id| !used.contains(id.as_str()));
            call.id = free.next().expect("numbers do not end").into();
        }
        used.insert(call.id.clone());
    }
}

/// Whether every provider takes an id back.
pub fn is_good(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The id to send for the call at a place of a history: its own, or one made from the place.
pub fn sendable(id: &str, message: usize, index: usize) -> String {
    if is_good(id) {
        id.to_owned()
    } else {
        format!("call_at_{message}_{index}")
    }
}
