//! The skills that every installation has. The files never import each other.

pub mod exec_run;
pub mod fs_list;
pub mod fs_patch;
pub mod fs_read;
pub mod fs_search;
pub mod fs_write;
pub mod memory_get;
pub mod memory_put;
pub mod memory_query;
pub mod web_fetch;
