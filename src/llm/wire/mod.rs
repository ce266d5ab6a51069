//! What all dialects share: events out of bytes, text out of pieces, names that providers allow, arguments that may be
//! executed, text that is JSON.

pub mod arguments;
pub mod delta;
pub mod ids;
pub mod instruction;
pub mod memo;
pub mod names;
pub mod partial;
pub mod pieces;
pub mod sse;
pub mod strict;
pub mod surrogate;

#[cfg(test)]
pub(crate) mod json_values;
