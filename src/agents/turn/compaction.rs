//! Compaction: when a conversation gets long, its older part gives way to a summary. Pure, like the loop it belongs to.
//!
//! **What stays**: the system text and the skills (they are no messages), the task with its constraints (the first message,
//! byte for byte at its beginning), what is known from state (the calls that were made with the hashes of what they gave,
//! what was wrong with earlier answers), and the last messages word for word. Only the words between go into the summary.
//! A call is never parted from its result. The facts keep the original.
//!
//! **How**: [`Fact::CompactionBegun`] says what is to be replaced; the turns after it ask for the summary, with bookings,
//! retries and failures like every turn; [`Fact::HistoryCompacted`] ends it, with the model's words or, when it gave none
//! for good, with an extract that needs no model. So a conversation is never lost for want of a summary.

use crate::domain::conversation::Message;
use crate::domain::fact::Fact;
use crate::llm::estimate::{message_cost, messages_tokens};

use super::history::History;
use super::state::{Phase, TurnState};
use super::summary::{Compaction, extract, first_message};

/// Messages at the end that always stay as they are.
const KEPT_MIN: usize = 4;
/// Messages that must go for a summary to be worth its cost.
const GONE_MIN: usize = 4;
/// The same when the provider refuses the conversation as it is.
const GONE_MIN_FORCED: usize = 2;
/// The messages before the given place can go; none when too few can.
///
/// The place is that of an answer of the model, so no call is parted from its result, and the message before it, which is
/// put together from the task and the summary, is followed by an answer as every message of a user is.
fn border(history: &History, kept_tokens_max: u64, gone_min: usize) -> Option<u32> {
    let mut cost = (0, 0);
    let mut found = None;
    for (index, message) in history.iter().enumerate().skip(1).rev() {
        let (bytes, parts) = message_cost(message);
        cost = (cost.0 + bytes, cost.1 + parts);
        let kept = history.len() - index;
        let is_enough = found.is_some() && messages_tokens(cost) > kept_tokens_max;
        if is_enough {
            break;
        }
        if matches!(message, Message::Assistant { .. }) && kept >= KEPT_MIN {
            found = Some(index);
        }
    }
    found.filter(|index| *index > gone_min).map(|index| index as u32)
}

/// Up to where the conversation is to be replaced before the next request, if it has become too long.
pub(super) fn due(state: &TurnState, wanted: Compaction, request_tokens: u64) -> Option<u32> {
    let at = wanted.at_tokens?;
    let is_long = state.expected_tokens().unwrap_or(0).max(request_tokens) > at;
    let is_agent = state.rules.work.is_of_agent();
    if !is_long || !is_agent || state.compacting.is_some() {
        return None;
    }
    border(&state.messages, at / 3, GONE_MIN)
}

/// Up to where the conversation is to be replaced because the provider refused its length; at most once for one answer.
pub(super) fn forced(state: &TurnState) -> Option<u32> {
    if state.compacting.is_some() || state.was_forced {
        return None;
    }
    border(&state.messages, 0, GONE_MIN_FORCED)
}

impl TurnState {
    /// The place of the summary is taken; the conversation goes on behind it.
    pub(super) fn fold_compaction(&mut self, through: u32, summary: &str) {
        self.compacting = None;
        self.measured = None;
        self.phase = Phase::Ready;
        let Some(brief) = self.rules.work.first_words() else {
            return;
        };
        let through = (through as usize).min(self.messages.len());
        self.ledger.take_in(&self.messages[..through]);
        let first = first_message(brief, summary, &self.ledger);
        self.messages.replace_front(through, Message::User(first.into()));
    }

    /// What the provider counted for the last request, and what has come since; none when it did not count.
    pub(super) fn expected_tokens(&self) -> Option<u64> {
        let (input, (bytes, parts)) = self.measured?;
        let now = self.messages.cost();
        let since = messages_tokens((now.0.saturating_sub(bytes), now.1.saturating_sub(parts)));
        Some(input.saturating_add(since))
    }

    /// The fact that ends a compaction whose summary is there, or never will be.
    pub(super) fn compacted(&self) -> Option<Fact> {
        let compacting = self.compacting.as_ref()?;
        let summary = match &compacting.summary {
            Some(summary) => summary.clone(),
            None => extract(&self.messages, compacting.through).into(),
        };
        Some(Fact::HistoryCompacted {
            attempt: self.rules.attempt.clone(),
            through: compacting.through,
            summary,
        })
    }
}
