//! Text that cannot corrupt state: what went in comes out as it was, or was refused with a code.

mod any_bytes;
mod json_cases;
mod naughty;
mod skills;
mod through_the_daemon;
