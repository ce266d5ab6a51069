//! The skills that every installation has. The files never import each other.

pub mod ask_person;
pub mod code_run;
pub mod exec_run;
pub mod fs_glob;
pub mod fs_list;
pub mod fs_move;
pub mod fs_patch;
pub mod fs_read;
pub mod fs_search;
pub mod fs_write;
pub mod git;
pub mod http_request;
pub mod memory_get;
pub mod memory_put;
pub mod memory_query;
pub mod web_fetch;
pub mod web_search;
