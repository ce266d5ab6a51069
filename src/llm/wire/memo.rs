//! What the requests of one conversation leave behind for the next one.

/// Remembers how the messages of a conversation are written. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memo {}
