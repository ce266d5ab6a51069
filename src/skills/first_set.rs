//! The skills that every installation has, made of their parts.

use std::ffi::OsString;
use std::sync::Arc;

use super::builtin::ask_person::AskPerson;
use super::builtin::code_run::CodeRun;
use super::builtin::exec_run::ExecRun;
use super::builtin::fs_glob::FsGlob;
use super::builtin::fs_list::FsList;
use super::builtin::fs_move::FsMove;
use super::builtin::fs_patch::FsPatch;
use super::builtin::fs_read::FsRead;
use super::builtin::fs_search::FsSearch;
use super::builtin::fs_write::FsWrite;
use super::builtin::git::Git;
use super::builtin::http_request::HttpRequest;
use super::builtin::memory_get::MemoryGet;
use super::builtin::memory_put::MemoryPut;
use super::builtin::memory_query::MemoryQuery;
use super::builtin::web_fetch::WebFetch;
use super::builtin::web_search::{SearchBackend, WebSearch};
use super::memory_reader::MemoryReader;
use super::network::NetworkPolicy;
use super::package::library::Library;
use super::package::read_skill::ReadSkill;
use super::package::run_skill::RunSkill;
use super::process::runner::ProcessRunner;
use super::program_call::{Interpreters, Programs};
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
    /// Where the web is searched; none when the operator has not said.
    pub search: Option<SearchBackend>,
    /// The skill packages.
    pub library: Arc<Library>,
}

/// All built-in skills.
pub fn first_set(parts: Parts) -> Vec<Arc<dyn Skill>> {
    let programs = Programs {
        runner: parts.runner.clone(),
        path: parts.path.clone(),
        passed: parts.passed.clone(),
        interpreters: Interpreters::default(),
    };
    let git = Git::all(&programs).into_iter();
    let git = git.map(|skill| Arc::new(skill) as Arc<dyn Skill>);
    let mut all: Vec<Arc<dyn Skill>> = vec![
        Arc::new(AskPerson::new()),
        Arc::new(CodeRun::new(programs)),
        Arc::new(FsGlob::new()),
        Arc::new(FsMove::new()),
        Arc::new(HttpRequest::new(parts.network.clone())),
        Arc::new(WebSearch::new(parts.network.clone(), parts.search)),
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
        Arc::new(MemoryPut::new(parts.memory.clone())),
        Arc::new(MemoryQuery::new(parts.memory)),
        Arc::new(WebFetch::new(parts.network)),
    ];
    all.extend(git);
    all
}
