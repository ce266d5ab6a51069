//! Memory over time: what ends, makes room, comes back, leaves and comes in as a file, and survives kills and damage.

mod cli;
mod damage;
mod embedder;
mod ends;
mod storm;
