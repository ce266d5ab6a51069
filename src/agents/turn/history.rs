//! The conversation as it is sent. It grows at its end; what every request needs to know of it is kept as it grows, so
//! that a turn costs the same however many came before.
//!
//! **Invariants**: the first message is the task; [`History::cost`] is that of all messages together.

use std::ops::Deref;
use std::sync::Arc;

use crate::domain::conversation::{ConversationError, Message, check_history_from};
use crate::llm::estimate::message_cost;

/// Messages, with what is known of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    messages: Arc<Vec<Message>>,
    bytes: u64,
    parts: u64,
    /// The messages before this one are sound, each with the one after it.
    sound: usize,
    generation: u32,
}

impl Deref for History {
    type Target = Arc<Vec<Message>>;

    fn deref(&self) -> &Self::Target {
        &self.messages
    }
}

impl History {
    /// A conversation that begins so.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Self {
        let mut history = Self::default();
        for message in messages {
            history.push(message);
        }
        history
    }

    /// Adds what was said. The messages are copied only while a request still holds them.
    pub fn push(&mut self, message: Message) {
        let (bytes, parts) = message_cost(&message);
        self.bytes += bytes;
        self.parts += parts;
        Arc::make_mut(&mut self.messages).push(message);
    }

    /// Bytes and parts of all messages, for estimates.
    pub fn cost(&self) -> (u64, u64) {
        (self.bytes, self.parts)
    }

    /// Changes when messages that were there before have changed.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Checks that it may be sent; looks only at what is new since it was last sound.
    pub fn check(&mut self) -> Result<(), ConversationError> {
        check_history_from(&self.messages, self.sound)?;
        // What follows the last message decides whether that one is sound.
        self.sound = self.messages.len().saturating_sub(1);
        Ok(())
    }

    /// Puts one message in the place of those up to and without `through`, and gives those.
    pub fn replace_front(&mut self, through: usize, first: Message) -> Vec<Message> {
        let messages = Arc::make_mut(&mut self.messages);
        let through = through.min(messages.len());
        let gone: Vec<Message> = messages.splice(..through, [first]).collect();
        let generation = self.generation + 1;
        let rest = std::mem::take(&mut self.messages);
        *self = Self {
            generation,
            ..Self::default()
        };
        for message in rest.iter() {
            let (bytes, parts) = message_cost(message);
            self.bytes += bytes;
            self.parts += parts;
        }
        self.messages = rest;
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversation::check_history;

    #[test]
    fn what_is_kept_is_what_a_look_at_all_messages_gives() {
        let said = || Message::Assistant {
            text: "yes".into(),
            calls: Vec::new(),
            kept: Arc::new([]),
        };
        let mut history = History::new([Message::User("task".into())]);
        for round in 0..6 {
            assert_eq!(history.check(), check_history(&history), "round {round}");
            history.push(said());
            assert_eq!(history.check(), Err(ConversationError::NothingToAnswer));
            history.push(Message::User("go on".into()));
            let costs = history.iter().map(message_cost);
            let all = costs.fold((0, 0), |sum, cost| (sum.0 + cost.0, sum.1 + cost.1));
            assert_eq!(history.cost(), all);
        }
        let gone = history.replace_front(5, Message::User("task, and what was done".into()));
        assert_eq!((gone.len(), history.len(), history.generation()), (5, 9, 1));
        let costs = history.iter().map(message_cost);
        assert_eq!(
            history.cost(),
            costs.fold((0, 0), |sum, cost| (sum.0 + cost.0, sum.1 + cost.1))
        );
        assert_eq!(history.check(), check_history(&history));
        history.push(Message::Results(Vec::new()));
        history.push(Message::Results(Vec::new()));
        assert_eq!(
            history.check(),
            check_history(&history),
            "also what is wrong at its end"
        );
    }

    #[test]
    fn a_message_is_not_copied_with_those_before_it_when_no_request_holds_them() {
        let mut history = History::new([Message::User("task".into())]);
        history.push(Message::User("a".into()));
        let before = Arc::as_ptr(&history);
        let request = Arc::clone(&history);
        drop(request);
        history.push(Message::User("b".into()));
        assert_eq!(Arc::as_ptr(&history), before);
    }
}
