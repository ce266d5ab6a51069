//! The entries that are put, and how times are written.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use openclaw::domain::memory::{MemoryScope, MemorySource, ShardName};
use openclaw::memory::keep::Wish;

/// What a part of the program ends with.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Microseconds.
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The part that all entries are in.
pub fn shard() -> ShardName {
    ShardName {
        scope: MemoryScope::Project,
        namespace: "/srv/bench".into(),
    }
}

/// What is kept of a text.
pub fn wish(text: String, key: Option<Arc<str>>) -> Wish {
    Wish {
        shard: shard(),
        key,
        text: text.into(),
        tags: vec!["bench".into()],
        source: MemorySource {
            by: "person:bench".into(),
            run: None,
        },
        importance: 50,
        expires_at: None,
    }
}
