//! Room on the disk: how much there is, and what it means for new work.
//!
//! While there is too little, nothing new is accepted and runs start no further step; what is under way goes on with
//! what is left and with the reserve of the store. When there is room again, everything goes on by itself. Supervised by
//! `storage` (permanent); a crash costs nothing, the next watcher looks at once.

pub mod decision;
pub mod handle;
pub mod watcher;
