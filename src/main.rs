//! The `openclaw` binary: the commands, and the small lives of the binary beside programs.

use std::process::ExitCode;

use openclaw::runtime::tls::install_provider;

fn main() -> ExitCode {
    // Before anything else: these lives of the binary must stay small and single-purpose.
    match std::env::args_os().nth(1).as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("__launch") => return openclaw::skills::process::launch_main(),
        Some("__keep") => return openclaw::skills::mcp::keeper::keep_main(),
        Some("__exec") => return openclaw::skills::sandbox::exec_main(),
        Some("__probe") => return openclaw::skills::sandbox::probe_main(),
        _ => {}
    }
    install_provider();
    openclaw::cli::process_main()
}
