//! Decides for each program what it is confined by, before anything is started.
//!
//! Refuses to know: skills, and how confinement is put in force. Invariant: what cannot be confined as the operator
//! wants is not started, and the reason is a text with a code.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tokio::sync::OnceCell;

use crate::domain::code;
use crate::domain::effect::EffectKey;
use crate::runtime::entropy::Entropy;
use crate::skills::egress::{Egress, Pass};
use crate::skills::sandbox::cgroup::CgroupHome;
use crate::skills::sandbox::policy::{Confinement, LimitsWire, PolicyWire, SandboxMode, SandboxSettings};
use crate::skills::sandbox::report::SandboxReport;
use crate::skills::sandbox::self_test::self_test;

use super::orphans::{EFFECT_KEY_VARIABLE, end_abandoned};
use super::wire::{BoundsWire, EgressWire, StartWire};

/// Processes by which the kernel's limit is above that of the shim.
const PROCESSES_SLACK: u64 = 16;

/// A program that is to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// By this it is found again, in its environment.
    pub key: EffectKey,
    /// Its file, resolved.
    pub program: PathBuf,
    /// Its arguments; the first is its name for itself.
    pub argv: Vec<String>,
    /// Its working folder, absolute.
    pub cwd: PathBuf,
    /// Its whole environment, but for what the sandbox adds.
    pub env: Vec<(String, String)>,
    /// What it may reach.
    pub confinement: Confinement,
}

/// A program with its confinement; its way to the network ends when this is dropped.
#[derive(Debug)]
pub struct Confined {
    /// For the shim or the keeper.
    pub start: StartWire,
    _pass: Option<Pass>,
}

/// What all programs of the daemon are confined by.
#[derive(Debug)]
pub(super) struct Confiner {
    /// The binary that answers to `__exec` and `__probe`.
    program: PathBuf,
    settings: SandboxSettings,
    report: OnceCell<SandboxReport>,
    egress: OnceLock<Egress>,
}

impl Confiner {
    pub(super) fn new(program: PathBuf, settings: SandboxSettings) -> Self {
        Self {
            program,
            settings,
            report: OnceCell::new(),
            egress: OnceLock::new(),
        }
    }

    /// Opens the way to the daemon's proxy. The first one stays: a second one would leave the passes of the first
    /// without a door.
    pub(super) fn open_egress(&self, egress: Egress) {
        let _ = self.egress.set(egress);
    }

    /// What the self-test of the sandbox found; the first call runs it.
    pub(super) async fn report(&self) -> &SandboxReport {
        let test = || async {
            let (program, mode) = (self.program.clone(), self.settings.mode);
            let test = move || {
                let report = self_test(&program, mode);
                if let Some(home) = &report.cgroup {
                    // A daemon that was killed together with its shims has left them to whoever comes next.
                    end_abandoned(home);
                }
                report
            };
            let tested = tokio::task::spawn_blocking(test).await;
            tested.unwrap_or_else(|error| SandboxReport::of_failure(self.settings.mode, error.to_string()))
        };
        self.report.get_or_init(test).await
    }

    /// The confinement of one program, or why it is not started.
    pub(super) async fn confine(&self, launch: Launch) -> Result<Confined, String> {
        let refuse = |reason: &str| {
            let code = code::SANDBOX_REFUSED.id;
            Err(format!("{code}: {reason}; `openclaw doctor` says more"))
        };
        let report = self.report().await;
        if let Some(reason) = report.refusal() {
            return refuse(&format!("programs cannot be confined on this system: {reason}"));
        }
        let Launch {
            key,
            program,
            argv,
            cwd,
            mut env,
            confinement: wanted,
        } = launch;
        let (mut policy, mut pass, mut cgroup) = (None, None, None);
        if report.mode != SandboxMode::Off {
            let temp = std::env::temp_dir().join(format!("openclaw-{key}-{:032x}", Entropy::system().u128()));
            let hosts = self.settings.network.iter().chain(&wanted.network);
            let hosts: Vec<String> = hosts.filter(|host| wanted.may_reach(host)).cloned().collect();
            if !hosts.is_empty() {
                let is_possible = report.network && self.settings.namespaces;
                let Some(egress) = self.egress.get().filter(|_| is_possible) else {
                    return refuse("the program needs the network, and it cannot be given one of its own");
                };
                match egress.pass(&hosts, |secret| wanted.may_use(secret)) {
                    Ok(given) => pass = Some(given),
                    Err(error) => return refuse(&error.to_string()),
                }
            }
            let readable = self.settings.readable.iter().chain(&wanted.readable).cloned();
            let writable = self.settings.writable.iter().chain(&wanted.writable);
            env.retain(|(name, _)| name != "TMPDIR");
            env.push(("TMPDIR".to_owned(), temp.display().to_string()));
            policy = Some(PolicyWire {
                required: report.mode == SandboxMode::On,
                workspace: wanted.workspace.clone(),
                parts: wanted.parts.clone(),
                handover: pass.as_ref().map(|_| temp.join("proxy")),
                temp,
                readable: readable.chain(searched(&env)).collect(),
                writable: writable.cloned().collect(),
                cgroup: None,
                namespaces: report.namespaces && self.settings.namespaces,
            });
            let group = |home: &CgroupHome| (home.clone(), CgroupHome::name_of(&key.to_string()));
            cgroup = report.cgroup.as_ref().map(group);
        }
        if pass.is_some() {
            env.extend(crate::skills::egress::variables());
        }
        env.retain(|(name, _)| name != EFFECT_KEY_VARIABLE);
        env.push((EFFECT_KEY_VARIABLE.to_owned(), key.to_string()));
        let start = StartWire {
            program,
            argv,
            cwd,
            env,
            limits: LimitsWire {
                // Beyond what the shim lets pass, so that a bomb is ended and not left to try again and again.
                processes: self.settings.processes_max + PROCESSES_SLACK,
                ..LimitsWire::default()
            },
            bounds: BoundsWire {
                memory_bytes: self.settings.memory_bytes_max,
                processes: self.settings.processes_max,
            },
            cgroup,
            policy,
            egress: pass.as_ref().map(|pass| EgressWire {
                socket: pass.socket().to_owned(),
                pass: pass.word().to_owned(),
            }),
        };
        Ok(Confined { start, _pass: pass })
    }
}

/// Where programs are looked for, programs can be run from.
fn searched(env: &[(String, String)]) -> Vec<PathBuf> {
    let path = env.iter().find(|(name, _)| name == "PATH");
    let folders = path.map(|(_, path)| std::env::split_paths(path).collect::<Vec<_>>());
    let folders = folders.unwrap_or_default().into_iter();
    folders
        .filter(|folder| folder.is_absolute() && folder != Path::new("/"))
        .collect()
}
