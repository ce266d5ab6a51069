//! The run reducer against a simulated world: whole, cut after every batch, and scene by scene.

mod answers;
mod compaction;
mod journal;
mod recoveries;
mod scenarios;
mod simulator;
mod surprises;
mod undoing;
