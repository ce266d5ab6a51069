//! `kill -9` at any instant: the real binary works, is killed, starts again, and the world is compared with what the
//! program says of itself.
//!
//! The world is an **effect ledger**: a file to which skills of every class append one line for each effect, beside
//! files and memory entries. [`verdict`] holds the promises, as a function of what was observed; [`every_commit`]
//! visits every commit of one scripted run, [`storm`] kills at seeded random moments, [`checks`] kills in a check,
//! [`cancelled`] in a cancel, [`poison`] provokes the one case in which the program may stop trying.

mod cancelled;
mod checks;
mod every_commit;
mod ledger;
mod observe;
mod poison;
mod scenario;
mod storm;
mod undone;
mod verdict;
mod verdict_tests;
