//! From text to vector.

pub mod endpoint;
pub mod table;
pub mod vector;
pub mod wordpiece;
