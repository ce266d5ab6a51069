//! The skills that every installation has, made of their parts.

use std::ffi::OsString;
use std::sync::Arc;

use super::builtin::exec_run::ExecRun;
use super::builtin::fs_list::FsList;
use super::builtin::fs_patch::FsPatch;
use super::builtin::fs_read::FsRead;
use super::builtin::fs_search::FsSearch;
use super::builtin::fs_write::FsWrite;
use super::builtin::memory_get::MemoryGet;
use super::builtin::memory_put::MemoryPut;
use super::builtin::memory_query::MemoryQuery;
use super::builtin::web_fetch::WebFetch;
use super::memory_reader::MemoryReader;
use super::network::NetworkPolicy;
use super::package::library::Library;
use super::package::read_skill::ReadSkill;
use super::package::run_skill::RunSkill;
use super::process::runner::ProcessRunner;
use super::skill::Skill;

/// What the built-in skills stand on.
pub struct Parts {
    /// Runs programs.
    pub runner: Arc<ProcessRunner>,
    /// Folders that programs are looked for in.
    pub path: OsString,
    /// Variables that every program gets, chosen by the operator.
    pub passed: Vec<(String, String)>,
    /// Private hosts that may be fetched from.
    pub network: NetworkPolicy,
    /// The memory.
    pub memory: Arc<dyn MemoryReader>,
    /// The skill packages.
    pub library: Arc<Library>,
}

/// All built-in skills.
pub fn first_set(parts: Parts) -> Vec<Arc<dyn Skill>> {
    vec![
        Arc::new(RunSkill::new(
            parts.library.clone(),
            parts.runner.clone(),
            parts.path.clone(),
            parts.passed.clone(),
        )),
        Arc::new(ReadSkill::new(parts.library)),
        Arc::new(ExecRun::new(parts.runner, parts.path, parts.passed)),
        Arc::new(FsList::new()),
        Arc::new(FsPatch::new()),
        Arc::new(FsRead::new()),
        Arc::new(FsSearch::new()),
        Arc::new(FsWrite::new()),
        Arc::new(MemoryGet::new(Arc::clone(&parts.memory))),
        Arc::new(MemoryPut::new()),
        Arc::new(MemoryQuery::new(parts.memory)),
        Arc::new(WebFetch::new(parts.network)),
    ]
}
