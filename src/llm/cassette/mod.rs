//! Cassettes: a run's model traffic as a file that answers in a model's place.
//!
//! A request is known by the hash of its canonical form ([`canon`]); the form leaves out what varies from run to run
//! and every secret. A run that is recorded keeps the hash of each answered request ([`recorder`]) beside the fact
//! that has the answer; both together are written as lines of JSON ([`mod@format`]). A run that is replayed finds its
//! answers there ([`player`]); a request that was never answered is an error that names the nearest one that was.
//!
//! Refuses to know: where cassettes are kept, and who replays them.

pub mod canon;
pub mod format;
pub mod player;
pub mod recorder;
pub mod redact;

#[cfg(test)]
mod tests;
