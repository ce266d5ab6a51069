//! The sandbox on the real kernel, as root and as an ordinary user: what must be refused is refused, what must work
//! works, and bombs go off within their bounds.
//!
//! Each test runs as the user that runs the tests; when that is root, it runs once more as an ordinary one.

mod bombs;
mod closed;
mod egress;
mod ground;
mod probes;
