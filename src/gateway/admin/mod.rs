//! What operators do to the daemon itself: its keys, the audit log.

pub mod audit;
pub mod keys;
pub mod router;
