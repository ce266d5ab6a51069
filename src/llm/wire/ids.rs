//! Ids of calls: every call of a conversation has one of its own, whatever the server sent.
//!
//! Some servers send none, some number from 0 in every answer. Invariant: the ids of an answer are new in the
//! conversation and differ from each other.

use crate::domain::conversation::{CallRequest, Message, ModelRequest};

/// Gives a new id to each call whose own is empty, long, strange or already used.
pub fn make_unique(request: &ModelRequest, calls: &mut [CallRequest]) {
    let earlier = || {
        request.messages.iter().filter_map(|message| match message {
            Message::Assistant { calls, .. } => Some(calls),
            _ => None,
        })
    };
    // Few ids are looked for among many: a walk costs less than a set of all of them.
    let is_used = |before: &[CallRequest], id: &str| {
        before.iter().any(|call| &*call.id == id) || earlier().flatten().any(|call| &*call.id == id)
    };
    for index in 0..calls.len() {
        let (before, after) = calls.split_at_mut(index);
        let call = &mut after[0];
        if !is_good(&call.id) || is_used(before, &call.id) {
            let turn = earlier().count() + 1;
            let candidates = (0u32..).map(|n| match n {
                0 => format!("call_{turn}_{index}"),
                n => format!("call_{turn}_{index}_{n}"),
            });
            let mut free = candidates.filter(|id| !is_used(before, id));
            call.id = free.next().expect("numbers do not end").into();
        }
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
