//! The order in which a process gives everything up before it becomes the program.
//!
//! Runs single-threaded. Each step needs what the next one takes away: mounts need capabilities, files are named
//! before the domain closes, and the filter of system calls comes last because it refuses the calls of the others.

use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::policy::{LimitsWire, PolicyWire};
use super::syscalls::{self, Refusals};
use super::{cgroup, files, namespaces, privileges};

/// Confines this process under the policy, for good.
pub(super) fn confine(policy: &PolicyWire, limits: LimitsWire, program: &Path) -> Result<(), String> {
    let settle = |step: Result<(), String>| if policy.required { step } else { Ok(()) };
    if let Some(cgroup) = &policy.cgroup {
        settle(cgroup::enter(cgroup))?;
    }
    settle(privileges::close_inherited())?;
    // Asked before the namespaces: within them every file of others looks like nobody's.
    let owner = privileges::owner_instead_of_root(&policy.workspace);
    let in_namespaces = policy.namespaces || policy.handover.is_some();
    if in_namespaces {
        settle(namespaces::enter(policy).and_then(|alone| {
            let counts = alone && limits.processes > 0 && !rustix::process::geteuid().is_root();
            if counts {
                lower(Resource::Nproc, limits.processes)
            } else {
                Ok(())
            }
        }))?;
    }
    settle(privileges::drop_all(owner))?;
    settle(privileges::gain_nothing())?;
    let domain = match files::enter_domain(policy, program) {
        Err(reason) if policy.required => return Err(reason),
        found => found.ok(),
    };
    settle(syscalls::apply(Refusals {
        sockets: policy.handover.is_none(),
        signals: !domain.is_some_and(|domain| domain.is_scoped),
        // Root without mounts of its own owns the files of the system.
        metadata: !in_namespaces && rustix::process::geteuid().is_root(),
    }))
}

/// Sets the limits that the kernel keeps for each process.
pub(super) fn enter_limits(limits: LimitsWire) -> Result<(), String> {
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, limits.open_files)?;
    lower(Resource::Fsize, limits.file_bytes)?;
    if limits.data_bytes > 0 {
        // Data rather than address space: runtimes reserve far more addresses than they use.
        lower(Resource::Data, limits.data_bytes)?;
    }
    if limits.cpu_seconds > 0 {
        lower(Resource::Cpu, limits.cpu_seconds)?;
    }
    Ok(())
}

fn lower(resource: Resource, limit: u64) -> Result<(), String> {
    let present = getrlimit(resource);
    let limit = present.maximum.map_or(limit, |maximum| maximum.min(limit));
    let wanted = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    setrlimit(resource, wanted).map_err(|error| format!("limit {resource:?}: {error}"))
}
