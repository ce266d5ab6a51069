//! A workspace, something outside that must stay untouched, and programs between them.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use openclaw::skills::process::end::{ProgramEnd, Rendering};
use openclaw::skills::process::runner::{ProcessRunner, ProgramOrder};
use openclaw::skills::sandbox::policy::{Confinement, SandboxSettings};

use crate::process::{block_on, key};

/// Set for the copy of this program that runs as an ordinary user.
const ORDINARY: &str = "OPENCLAW_TEST_ORDINARY_USER";
const NOBODY: u32 = 65534;

/// Runs a test as this user and, when this user is root, as an ordinary one too. `name` is the test's path.
pub fn as_each_user(name: &str, test: impl Fn()) {
    test();
    let is_root = rustix::process::geteuid().is_root();
    if std::env::var_os(ORDINARY).is_some() || !is_root {
        assert!(!is_root, "the copy of the test still runs as root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
    let ended = Command::new(std::env::current_exe().expect("this program"))
        .args([name, "--exact", "--nocapture"])
        .env(ORDINARY, "1")
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    let ended = ended.expect("this program can be run by other users: its folder can be passed by them");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "as an ordinary user: {}\n{said}\n{}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// Says loudly that something is not tested here.
pub fn skipped(why: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), format!("{why}\n").as_bytes()).ok();
}

/// The folders of one test.
pub struct Ground {
    _folder: tempfile::TempDir,
    /// Where programs work.
    pub work: PathBuf,
    /// Where they have no business; holds a file `secret`.
    pub outside: PathBuf,
    /// What runs them.
    pub runner: Arc<ProcessRunner>,
}

impl Ground {
    /// With these settings.
    pub fn with(settings: SandboxSettings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (work, outside) = (folder.path().join("work"), folder.path().join("outside"));
        for made in [&work, &outside] {
            std::fs::create_dir(made).expect("made");
        }
        std::fs::write(outside.join("secret"), "secret").expect("written");
        Self {
            _folder: folder,
            work,
            outside,
            runner: ProcessRunner::with(env!("CARGO_BIN_EXE_openclaw").into(), None, settings),
        }
    }

    /// With the settings that everybody has.
    pub fn new() -> Self {
        Self::with(SandboxSettings::default())
    }

    /// A program with what it reads.
    pub fn order(&self, argv: &[&str], stdin: &str) -> ProgramOrder {
        ProgramOrder {
            key: key(),
            program: argv[0].into(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            cwd: self.work.clone(),
            env: vec![
                ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
                ("HOME".to_owned(), self.work.display().to_string()),
            ],
            stdin: stdin.to_owned(),
            limit: Duration::from_secs(60),
            output_bytes_max: 64 * 1024,
            spooled: false,
            rendering: Rendering::Json,
            confinement: Confinement::to_workspace(&self.work),
        }
    }

    /// Runs a program to its end.
    pub fn run(&self, order: ProgramOrder) -> ProgramEnd {
        block_on(self.runner.run(order)).expect("the machinery works")
    }

    /// Runs a shell script.
    pub fn shell(&self, script: &str) -> ProgramEnd {
        self.run(self.order(&["/bin/sh", "-c", script], ""))
    }

    /// Runs a Python script from its input; its arguments follow.
    pub fn python(&self, script: &str, arguments: &[&str]) -> ProgramEnd {
        let argv = [&["/usr/bin/python3", "-"], arguments].concat();
        self.run(self.order(&argv, script))
    }
}
