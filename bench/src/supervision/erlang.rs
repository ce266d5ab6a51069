//! Erlang/OTP's own supervisor, if `erl` is installed.

use std::process::Command;

use super::{ACTORS, RESTARTS, STORM};

const PROGRAM: &str = include_str!("supervision.erl");

pub(crate) fn run() {
    let version = Command::new("erl")
        .args([
            "-noshell",
            "-eval",
            "io:format(\"~s\", [erlang:system_info(otp_release)]), halt().",
        ])
        .output();
    let Ok(version) = version else {
        println!("erlang: skipped, `erl` is not installed");
        return;
    };
    println!("erlang: OTP {}", String::from_utf8_lossy(&version.stdout));
    let folder = std::env::temp_dir().join(format!("supervision-bench-{}", std::process::id()));
    let source = folder.join("supervision.erl");
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&source, PROGRAM));
    if let Err(error) = written {
        println!("erlang: failed to write the program: {error}");
        return;
    }
    let run = format!(
        "{{ok, _}} = compile:file(supervision), {{module, _}} = code:load_file(supervision), \
         supervision:run({RESTARTS}, {ACTORS}, {STORM}), halt()."
    );
    // Reports of crashes are not what is measured.
    let ran = Command::new("erl")
        .current_dir(&folder)
        .args([
            "-noshell",
            "+P",
            "1000000",
            "-kernel",
            "logger_level",
            "none",
            "-eval",
            &run,
        ])
        .status();
    if !ran.is_ok_and(|status| status.success()) {
        println!("erlang: failed");
    }
    let _ = std::fs::remove_dir_all(&folder);
}
