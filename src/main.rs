//! The `openclaw` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: these two lives of the binary must stay small and single-purpose.
    match std::env::args_os().nth(1).as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("__shim") => openclaw::skills::process::shim_main(),
        Some("__exec") => openclaw::skills::process::exec_main(),
        _ => ExitCode::SUCCESS,
    }
}
