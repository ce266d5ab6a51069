//! What all dialects share: names that providers allow, arguments that may be executed, text that is JSON.

pub mod arguments;
pub mod ids;
pub mod instruction;
pub mod memo;
pub mod names;
pub mod surrogate;
