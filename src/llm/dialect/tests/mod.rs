//! All dialects: whole answers, streams, what is kept and what is remembered.

mod kept;
mod memory;
mod streams;
mod support;
mod whole;
