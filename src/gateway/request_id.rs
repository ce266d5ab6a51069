//! Numbers of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::id::BootId;

/// Gives each request a number that no other request of any life of the process has.
#[derive(Debug, Clone)]
pub struct RequestIds {
    boot: Arc<str>,
    next: Arc<AtomicU64>,
}

impl RequestIds {
    /// Of this life of the process.
    pub fn new(boot: BootId) -> Self {
        let text = boot.to_string();
        let digits = text.split_once('_').map_or(&*text, |(_, digits)| digits);
        Self {
            boot: digits.into(),
            next: Arc::default(),
        }
    }

    /// The next one.
    pub fn next(&self) -> String {
        format!("req_{}{:010x}", self.boot, self.next.fetch_add(1, Ordering::Relaxed))
    }
}
