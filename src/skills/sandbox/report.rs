//! What the self-test found: which controls hold here, and how far programs are confined.
//!
//! Pure. Invariant: a level is never better than the worst control that it stands for.

use serde_json::{Value, json};

use super::cgroup::CgroupHome;
use super::policy::SandboxMode;

/// How far programs are confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SandboxLevel {
    /// A control is missing: programs are not started, unless the mode is permissive.
    Refused,
    /// The operator switched it off.
    Off,
    /// Files, privileges, system calls and limits; no mounts and no network of its own.
    NoNamespaces,
    /// All of it, with memory and processes kept within bounds by the shim's watch instead of the kernel.
    NoCgroup,
    /// All of it.
    Full,
}

impl SandboxLevel {
    /// The word that people and programs see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Off => "off",
            Self::NoNamespaces => "no-namespaces",
            Self::NoCgroup => "no-cgroup",
            Self::Full => "full",
        }
    }
}

/// One control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// What it promises, as a sentence.
    pub name: String,
    /// Empty when it holds; else what happened.
    pub failure: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxReport {
    /// What the operator wants.
    pub mode: SandboxMode,
    /// Whether mounts of its own are possible.
    pub namespaces: bool,
    /// Whether a network of its own is possible; without it no program reaches the proxy.
    pub network: bool,
    /// Where the kernel keeps the bounds of a program and all that it starts; none where it does not.
    pub cgroup: Option<CgroupHome>,
    /// All controls that were tried.
    pub controls: Vec<Control>,
    /// What could not be tried or is missing, for people.
    pub notes: Vec<String>,
}

impl SandboxReport {
    /// The report of a mode in which nothing is tried.
    pub fn of_off() -> Self {
        Self {
            mode: SandboxMode::Off,
            namespaces: false,
            network: false,
            cgroup: None,
            controls: Vec::new(),
            notes: vec!["skills.sandbox is off: programs may do what the daemon's user may do".to_owned()],
        }
    }

    /// The report of a self-test that could not be made: nothing is known, so nothing holds.
    pub fn of_failure(mode: SandboxMode, reason: String) -> Self {
        Self {
            mode,
            notes: vec![format!("the self-test failed: {reason}")],
            ..Self::of_off()
        }
    }

    /// How far programs are confined.
    pub fn level(&self) -> SandboxLevel {
        if self.mode == SandboxMode::Off {
            SandboxLevel::Off
        } else if self.controls.is_empty() || self.controls.iter().any(|control| !control.failure.is_empty()) {
            SandboxLevel::Refused
        } else if !(self.namespaces && self.network) {
            SandboxLevel::NoNamespaces
        } else if self.cgroup.is_none() {
            SandboxLevel::NoCgroup
        } else {
            SandboxLevel::Full
        }
    }

    /// Why programs are not started, when they are not.
    pub fn refusal(&self) -> Option<String> {
        (self.mode == SandboxMode::On && self.level() == SandboxLevel::Refused).then(|| self.reasons().join("; "))
    }

    /// What is missing, one line each.
    pub fn reasons(&self) -> Vec<String> {
        let failed = self.controls.iter().filter(|control| !control.failure.is_empty());
        let failed = failed.map(|control| format!("not so: {}: {}", control.name, control.failure));
        failed.chain(self.notes.iter().cloned()).collect()
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let controls = self.controls.iter().map(|control| {
            let holds = control.failure.is_empty();
            json!({ "control": control.name, "holds": holds, "failure": control.failure })
        });
        json!({
            "mode": self.mode.as_str(), "level": self.level().as_str(), "reasons": self.reasons(),
            "controls": controls.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::SandboxMode::{Off, On, Permissive};
    use super::*;

    #[test]
    fn a_level_is_as_good_as_the_worst_control() {
        let check = |mode: SandboxMode, failure: Option<&str>, has: [bool; 3], level: SandboxLevel, refuses: bool| {
            let control = failure.map(|failure| Control {
                name: "x".to_owned(),
                failure: failure.to_owned(),
            });
            let report = SandboxReport {
                mode,
                namespaces: has[0],
                network: has[1],
                cgroup: has[2].then(CgroupHome::nowhere),
                controls: control.into_iter().collect(),
                notes: Vec::new(),
            };
            assert_eq!(
                (report.level(), report.refusal().is_some()),
                (level, refuses),
                "{report:?}"
            );
        };
        check(On, Some(""), [true; 3], SandboxLevel::Full, false);
        check(On, Some(""), [true, true, false], SandboxLevel::NoCgroup, false);
        check(On, Some(""), [true, false, true], SandboxLevel::NoNamespaces, false);
        check(On, Some(""), [false; 3], SandboxLevel::NoNamespaces, false);
        check(On, Some("possible"), [true; 3], SandboxLevel::Refused, true);
        check(On, None, [true; 3], SandboxLevel::Refused, true);
        check(Permissive, Some("possible"), [true; 3], SandboxLevel::Refused, false);
        check(Off, None, [false; 3], SandboxLevel::Off, false);
    }
}
