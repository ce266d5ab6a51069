//! Fail closed: where a control does not hold, no program starts unless the operator says so.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use openclaw::domain::code;
use openclaw::skills::process::end::Ended;
use openclaw::skills::process::runner::ProcessRunner;
use openclaw::skills::sandbox::policy::{SandboxMode, SandboxSettings};
use openclaw::skills::sandbox::report::{SandboxLevel, SandboxReport};
use openclaw::skills::sandbox::self_test::self_test;

use super::ground::{Ground, as_each_user};
use crate::process::block_on;

const PROGRAM: &str = env!("CARGO_BIN_EXE_openclaw");

/// A program that stands in for ours, under another name.
fn stand_in(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("openclaw");
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("made a program");
    path
}

/// Does what it is told in a system where one call of the kernel is missing.
fn without_call(folder: &Path, x86: u32, arm: u32) -> PathBuf {
    let text = format!(
        "#!/usr/bin/python3\n\
         import ctypes, os, platform, struct, sys\n\
         number = {x86} if platform.machine() == 'x86_64' else {arm}\n\
         code = b''.join(struct.pack('HBBI', *one) for one in [(0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50026), (6, 0, 0, 0x7fff0000)])\n\
         held = ctypes.create_string_buffer(code)\n\
         program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 4, ctypes.addressof(held)))\n\
         libc = ctypes.CDLL(None)\n\
         assert libc.prctl(38, 1, 0, 0, 0) == 0\n\
         assert libc.prctl(22, 2, program) == 0\n\
         words = sys.argv[1:]\n\
         if words[0] == '__exec': words[4] = '{PROGRAM}'\n\
         os.execv('{PROGRAM}', ['openclaw'] + words)\n"
    );
    stand_in(folder, &text)
}

fn is_refused(program: PathBuf, reason: &str) {
    let report = self_test(&program, SandboxMode::On);
    let reasons = report.reasons().join("\n");
    assert_eq!(report.level(), SandboxLevel::Refused, "{reasons}");
    assert!(reasons.contains(reason), "{reasons}");
    let ground = Ground::new();
    let runner = ProcessRunner::with(program, None, SandboxSettings::default());
    let order = ground.order(&["/bin/sh", "-c", "echo x > made"], "");
    let end = block_on(runner.run(order)).expect("the machinery works");
    let Ended::NotStarted { reason } = &end.ended else {
        panic!("{end:?}");
    };
    assert!(
        reason.contains(code::SANDBOX_REFUSED.id) && reason.contains("openclaw doctor"),
        "{reason}"
    );
    assert!(!ground.work.join("made").exists());
}

#[test]
fn a_sandbox_that_confines_nothing_is_found_out() {
    as_each_user("sandbox::closed::a_sandbox_that_confines_nothing_is_found_out", || {
        let folder = tempfile::tempdir().expect("a folder");
        // Leaves out the stage and becomes the probe at once.
        let program = stand_in(folder.path(), &format!("#!/bin/sh\nshift 6\nexec {PROGRAM} \"$@\"\n"));
        is_refused(program, "files outside cannot be read: it was possible");
    });
}

#[test]
fn without_landlock_no_program_starts() {
    as_each_user("sandbox::closed::without_landlock_no_program_starts", || {
        let folder = tempfile::tempdir().expect("a folder");
        is_refused(without_call(folder.path(), 444, 444), "file access");
    });
}

#[test]
fn without_filters_of_system_calls_no_program_starts() {
    as_each_user(
        "sandbox::closed::without_filters_of_system_calls_no_program_starts",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            is_refused(without_call(folder.path(), 317, 277), "system calls");
        },
    );
}

#[test]
fn without_namespaces_programs_start_and_have_no_network() {
    as_each_user(
        "sandbox::closed::without_namespaces_programs_start_and_have_no_network",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let program = without_call(folder.path(), 272, 97);
            let report = self_test(&program, SandboxMode::On);
            assert_eq!(report.level(), SandboxLevel::NoNamespaces, "{:?}", report.reasons());
            assert!(report.refusal().is_none() && !report.network);
        },
    );
}

#[test]
fn the_operator_can_let_programs_start_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |mode: SandboxMode, level: SandboxLevel| {
        let program = without_call(folder.path(), 444, 444);
        let settings = SandboxSettings {
            mode,
            ..SandboxSettings::default()
        };
        let ground = Ground::new();
        let runner = ProcessRunner::with(program, None, settings);
        let report = block_on(runner.sandbox()).clone();
        assert_eq!(report.level(), level, "{report:?}");
        let seen: SandboxReport = report;
        assert_eq!(seen.to_json()["mode"], mode.as_str());
        let order = ground.order(&["/bin/sh", "-c", "echo x > made"], "");
        let end = block_on(runner.run(order)).expect("the machinery works");
        assert_eq!(end.ended, Ended::Exited { code: 0 }, "{end:?}");
        assert!(ground.work.join("made").exists());
    };
    check(SandboxMode::Permissive, SandboxLevel::Refused);
    check(SandboxMode::Off, SandboxLevel::Off);
}
