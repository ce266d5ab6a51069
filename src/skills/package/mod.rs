//! Skill packages: folders with a `SKILL.md` of the open Agent Skills standard.
//!
//! Disclosure has three tiers: name and description are offered to agents ([`library`]), the body is given by
//! `skill.read` ([`read_skill`]), and so are the files beside it; scripts run by `skill.run` ([`run_skill`]), when an
//! operator has added the folder, or an archive of one ([`archive`]), and nothing in it has changed since ([`pin`],
//! [`folder`]). What a package asks for
//! (`allowed-tools`) is shown and never granted. Loading is lenient ([`document`]): a bad package is a warning and
//! stops no other.
//!
//! **Source**: the specification at agentskills.io.

pub mod archive;
#[cfg(test)]
mod archive_tests;
pub mod document;
pub mod folder;
pub mod library;
mod names;
pub mod pin;
pub mod read_skill;
pub mod run_skill;
pub mod warning;
