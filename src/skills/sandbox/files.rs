//! Which files a program opens and whom it signals: a Landlock domain around it and everything that it starts.
//!
//! **Source**: landlock(7). Not restricted by Landlock: looking at the metadata of a file whose path is known, and
//! changing mode, owner or times; for the latter there are the read-only mounts of [`super::namespaces`].

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::paths::{DEVICES, READ, RUNTIME};
use super::policy::{PolicyWire, WorkspacePart};
use crate::domain::fault::in_one_line;
use crate::runtime::folder::{open_beneath, open_without_links};

/// The newest interface that was tested; what a kernel has beyond it is not used.
const TESTED: ABI = ABI::V7;

/// What the kernel could put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Domain {
    /// Whether signals and abstract sockets end at the domain's edge.
    pub(super) is_scoped: bool,
}

/// Opens parts of a workspace without following a link: what has been put in the place of a folder meanwhile leads
/// nowhere. A part that is only read need not be there.
fn open_parts<'part>(
    workspace: &Path,
    parts: &'part [WorkspacePart],
) -> Result<Vec<(&'part WorkspacePart, OwnedFd)>, String> {
    let described = |path: &Path, error: Errno| format!("file access: {}: {error}", path.display());
    let root = open_root(workspace)?;
    let mut opened = Vec::new();
    for part in parts {
        match open_beneath(root.as_fd(), &part.path) {
            Ok(found) => opened.push((part, found)),
            Err(Errno::NOENT) if !part.written => {}
            Err(error) => return Err(described(&part.path, error)),
        }
    }
    Ok(opened)
}

/// Opens a workspace, whose path led through no link when it was decided on.
fn open_root(workspace: &Path) -> Result<OwnedFd, String> {
    let opened = open_without_links(workspace);
    opened.map_err(|error| format!("file access: {}: {error}", workspace.display()))
}

/// Puts this process into a domain of its own, for good.
pub(super) fn enter_domain(policy: &PolicyWire, program: &Path) -> Result<Domain, String> {
    let described = |error: &dyn std::error::Error| format!("file access: {}", in_one_line(error));
    let all = AccessFs::from_all(TESTED);
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let run = read | AccessFs::Execute;
    // No device files, and no requests to devices.
    let work = all & !make_bitflags!(AccessFs::{MakeChar | MakeBlock | IoctlDev});
    let device = make_bitflags!(AccessFs::{ReadFile | WriteFile});
    let beneath = |path: &Path, access: BitFlags<AccessFs>| -> Result<PathBeneath<PathFd>, String> {
        let described = |error: &dyn std::error::Error| format!("{}: {}", path.display(), in_one_line(error));
        let access = if path.is_dir() {
            access
        } else {
            access & AccessFs::from_file(TESTED)
        };
        let opened = PathFd::new(path).map_err(|error| described(&error))?;
        Ok(PathBeneath::new(opened, access))
    };
    let build = || -> Result<_, landlock::RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?;
        if policy.handover.is_none() {
            // The filter of system calls closes the network; this is a second lock on it.
            rules = rules.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
        }
        rules
            .scope(Scope::from_all(TESTED))?
            .create()?
            .set_compatibility(CompatLevel::BestEffort)
            .add_rules(path_beneath_rules(RUNTIME, run))?
            .add_rules(path_beneath_rules(READ, read))?
            .add_rules(path_beneath_rules(DEVICES, device))
    };
    let mut rules = build().map_err(|error| described(&error))?;
    let mut add = |path: &Path, access| -> Result<(), String> {
        let rule = beneath(path, access)?;
        // The ruleset is taken and given back by each rule.
        let rules = &mut rules;
        rules.add_rule(rule).map_err(|error| described(&error))?;
        Ok(())
    };
    add(program, run)?;
    for path in &policy.readable {
        // What the operator names need not be there on every machine.
        if path.exists() {
            add(path, run)?;
        }
    }
    for path in [&policy.temp].into_iter().chain(&policy.writable) {
        add(path, work)?;
    }
    match &policy.parts {
        None => {
            let whole = PathBeneath::new(open_root(&policy.workspace)?, work);
            let rules = &mut rules;
            rules.add_rule(whole).map_err(|error| described(&error))?;
        }
        Some(parts) => {
            for (part, opened) in open_parts(&policy.workspace, parts)? {
                let access = if part.written { work } else { run };
                let is_folder = fstat(&opened).is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_dir());
                let access = if is_folder {
                    access
                } else {
                    access & AccessFs::from_file(TESTED)
                };
                let rules = &mut rules;
                rules
                    .add_rule(PathBeneath::new(opened, access))
                    .map_err(|error| described(&error))?;
            }
        }
    }
    let status = rules.restrict_self().map_err(|error| described(&error))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("file access: the kernel has no Landlock, or it is not switched on".to_owned());
    }
    let is_scoped =
        matches!(status.landlock, LandlockStatus::Available { effective_abi, .. } if effective_abi >= ABI::V6);
    Ok(Domain { is_scoped })
}
