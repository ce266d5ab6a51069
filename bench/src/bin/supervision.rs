//! Supervision figures, ours beside rivals', in one run: `cargo run --release -p bench --bin supervision`.
//!
//! Every measurement runs in a process of its own, so that one's memory is not another's. With the name of a measurement
//! as the argument only that one runs, in this process.

#![allow(clippy::print_stdout, reason = "figures are its purpose")]
#![expect(
    clippy::disallowed_methods,
    reason = "it measures, and its rivals have no supervisors"
)]

#[path = "../supervision/mod.rs"]
mod supervision;

fn main() {
    match std::env::args().nth(1) {
        Some(name) => supervision::run_one(&name),
        None => supervision::run_all(),
    }
}
