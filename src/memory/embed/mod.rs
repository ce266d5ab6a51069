//! From text to vector.

pub mod table;
pub mod vector;
pub mod wordpiece;
