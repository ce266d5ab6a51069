//! Before the first program: runs the probe within the sandbox and reports what holds on this system.
//!
//! Blocks for some milliseconds. Invariant: what is reported was tried here and now, by a program under the very
//! policy that programs get.

use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cgroup::CgroupHome;
use super::policy::{LimitsWire, PolicyWire, SandboxMode};
use super::probe::{FindingWire, ProbeWire};
use super::report::{Control, SandboxReport};
use super::stage::{NOT_STARTED_MARK, arguments};
use crate::runtime::entropy::Entropy;

/// Bytes of the probe's answer.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// Tries the sandbox with this program as the stage and the probe; it answers to `__exec` and `__probe`.
pub fn self_test(program: &Path, mode: SandboxMode) -> SandboxReport {
    if mode == SandboxMode::Off {
        return SandboxReport::of_off();
    }
    let mut report = SandboxReport {
        mode,
        namespaces: true,
        network: false,
        cgroup: CgroupHome::find(),
        controls: Vec::new(),
        notes: Vec::new(),
    };
    let ground = match Ground::new() {
        Ok(ground) => ground,
        Err(error) => {
            report
                .notes
                .push(format!("the self-test has no folder to work in: {error}"));
            return report;
        }
    };
    let mut found = ground.probe(program, true);
    if let Err(reason) = &found {
        report.namespaces = false;
        report
            .notes
            .push(format!("programs get no mounts of their own: {reason}"));
        found = ground.probe(program, false);
    }
    match found {
        Ok(controls) => report.controls = controls,
        Err(reason) => report.notes.push(format!("nothing can be confined: {reason}")),
    }
    if report.namespaces {
        match ground.try_network(program) {
            Ok(()) => report.network = true,
            Err(reason) => report
                .notes
                .push(format!("programs get no network of their own: {reason}")),
        }
    }
    if report.cgroup.is_none() {
        let watched = "no control groups: memory and processes of a program are watched, not bounded by the kernel";
        report.notes.push(watched.to_owned());
    }
    report
}

/// Folders to try it on; removed afterwards.
struct Ground {
    root: PathBuf,
}

impl Ground {
    fn new() -> std::io::Result<Self> {
        let name = format!(
            "openclaw-self-test-{}-{:032x}",
            std::process::id(),
            Entropy::system().u128()
        );
        let root = std::env::temp_dir().join(name);
        // Fails when it is there: then it is somebody else's.
        fs::DirBuilder::new().mode(0o700).create(&root)?;
        let ground = Self { root };
        for folder in ["outside", "work", "temp"] {
            fs::create_dir(ground.root.join(folder))?;
        }
        fs::write(ground.root.join("outside/secret"), "secret")?;
        Ok(ground)
    }

    fn policy(&self, namespaces: bool) -> PolicyWire {
        PolicyWire {
            required: true,
            workspace: self.root.join("work"),
            temp: self.root.join("temp"),
            readable: Vec::new(),
            writable: Vec::new(),
            namespaces,
            cgroup: None,
            handover: None,
        }
    }

    fn probe(&self, program: &Path, namespaces: bool) -> Result<Vec<Control>, String> {
        let order = ProbeWire {
            outside: self.root.join("outside"),
            workspace: self.root.join("work"),
            temp: self.root.join("temp"),
            stranger: std::process::id().cast_signed(),
            metadata: namespaces || rustix::process::geteuid().is_root(),
            network: false,
        };
        let order = serde_json::to_string(&order).map_err(|error| error.to_string())?;
        let said = self.run(program, &self.policy(namespaces), &order)?;
        let findings: Vec<FindingWire> =
            serde_json::from_str(&said).map_err(|error| format!("the probe said {said:?}: {error}"))?;
        Ok(findings
            .into_iter()
            .map(|finding| Control {
                name: finding.control,
                failure: finding.failure,
            })
            .collect())
    }

    /// Whether a network of its own can be made and its listener handed over.
    fn try_network(&self, program: &Path) -> Result<(), String> {
        let handover = self.root.join("handover");
        let listener = std::os::unix::net::UnixListener::bind(&handover).map_err(|error| error.to_string())?;
        let policy = PolicyWire {
            handover: Some(handover),
            ..self.policy(true)
        };
        // The probe understands nothing and fails, but only after the stage has come through.
        let tried = self.run(program, &policy, "");
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        match listener.accept() {
            Ok(_) => Ok(()),
            Err(error) => Err(tried.err().unwrap_or_else(|| error.to_string())),
        }
    }

    fn run(&self, program: &Path, policy: &PolicyWire, order: &str) -> Result<String, String> {
        let mut command = Command::new(program);
        command
            .args(arguments(std::process::id(), LimitsWire::default(), Some(policy)))
            .arg(program)
            .args(["openclaw", "__probe", order])
            .current_dir(self.root.join("work"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mut said = String::new();
        let mut error = String::new();
        // Both are short, so that neither can block the other.
        if let Some(stdout) = child.stdout.take() {
            let _ = stdout.take(ANSWER_BYTES_MAX).read_to_string(&mut said);
        }
        if let Some(stderr) = child.stderr.take() {
            let _ = stderr.take(ANSWER_BYTES_MAX).read_to_string(&mut error);
        }
        let ended = child.wait().map_err(|error| error.to_string())?;
        if ended.success() {
            return Ok(said);
        }
        let reason = error.trim().trim_start_matches(NOT_STARTED_MARK);
        Err(if reason.is_empty() {
            format!("the probe ended with {ended}")
        } else {
            reason.to_owned()
        })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
