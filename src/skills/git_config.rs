//! Which settings of a repository are data: they name no program, no other file and no other place.
//!
//! Git has hundreds of settings, and each release may bring one more that names a program. So what is listed here is
//! what may be there, and everything else is refused, also what nobody has heard of yet.
//!
//! Invariant: of what is listed, no value makes the commands of `builtin/git.rs` start a program or read outside the
//! repository, either by itself or because that sets it over again (its `SAFE`, marked here).

/// Settings `section.key`, in small letters; `*` is any key of the section.
const PLAIN: &[&str] = &[
    "advice.*",
    "author.email",
    "author.name",
    "color.*",
    "column.*",
    "commit.cleanup",
    // Set over again.
    "commit.gpgsign",
    "commit.status",
    "commit.verbose",
    "committer.email",
    "committer.name",
    "core.abbrev",
    "core.autocrlf",
    "core.bare",
    "core.bigfilethreshold",
    "core.checkstat",
    "core.commentchar",
    "core.commentstring",
    "core.commitgraph",
    "core.compression",
    "core.eol",
    "core.filemode",
    "core.fsync",
    "core.fsyncmethod",
    "core.fsyncobjectfiles",
    // Set over again: many tools for hooks put it there.
    "core.hookspath",
    "core.ignorecase",
    "core.logallrefupdates",
    "core.longpaths",
    "core.loosecompression",
    "core.multipackindex",
    "core.precomposeunicode",
    "core.preloadindex",
    "core.protecthfs",
    "core.protectntfs",
    "core.quotepath",
    "core.repositoryformatversion",
    "core.safecrlf",
    "core.sharedrepository",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.splitindex",
    "core.symlinks",
    "core.trustctime",
    "core.untrackedcache",
    "core.whitespace",
    "diff.algorithm",
    "diff.colormoved",
    "diff.context",
    // Set over again.
    "diff.ignoresubmodules",
    "diff.indentheuristic",
    "diff.interhunkcontext",
    "diff.mnemonicprefix",
    "diff.noprefix",
    "diff.renamelimit",
    "diff.renames",
    "diff.suppressblankempty",
    "extensions.compatobjectformat",
    "extensions.noop",
    "extensions.objectformat",
    "extensions.partialclone",
    "extensions.preciousobjects",
    "extensions.refstorage",
    "extensions.relativeworktrees",
    // What it adds is in the same list.
    "extensions.worktreeconfig",
    "feature.*",
    "fetch.*",
    // Set over again.
    "gc.auto",
    "index.*",
    "init.defaultbranch",
    "lfs.*",
    "log.abbrevcommit",
    "log.date",
    "log.decorate",
    "log.follow",
    "maintenance.auto",
    "maintenance.strategy",
    "merge.conflictstyle",
    "merge.ff",
    "pack.*",
    "pull.*",
    "push.*",
    "rerere.autoupdate",
    "rerere.enabled",
    "status.*",
    "submodule.active",
    "user.email",
    "user.name",
    "user.signingkey",
];

/// Settings `section.<any name>.key`, in small letters but for the name.
const NAMED: &[&str] = &[
    "branch.*",
    "http.extraheader",
    "lfs.access",
    "lfs.locksverify",
    "remote.fetch",
    "remote.gh-resolved",
    "remote.mirror",
    "remote.partialclonefilter",
    "remote.promisor",
    "remote.prune",
    "remote.push",
    "remote.pushurl",
    "remote.tagopt",
    "remote.url",
    // No command goes into a submodule.
    "submodule.active",
    "submodule.branch",
    "submodule.ignore",
    "submodule.url",
];

/// Whether the setting of this name, as `git config --list --name-only` writes it, is only data.
pub(super) fn is_data(name: &str) -> bool {
    let Some((section, rest)) = name.split_once('.') else {
        return false;
    };
    let (list, key): (&[&str], &str) = match rest.rsplit_once('.') {
        Some((_, key)) => (NAMED, key),
        None => (PLAIN, rest),
    };
    list.iter().any(|known| {
        let (known_section, known_key) = known.split_once('.').unwrap_or((known, ""));
        known_section.eq_ignore_ascii_case(section) && (known_key == "*" || known_key.eq_ignore_ascii_case(key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_repository_has_is_data_and_what_names_a_program_or_a_place_is_not() {
        let check = |name: &str, expected: bool| assert_eq!(is_data(name), expected, "{name}");
        for name in [
            "core.repositoryformatversion",
            "core.filemode",
            "core.bare",
            "core.logallrefupdates",
            "core.hookspath",
            "user.name",
            "User.Email",
            "remote.origin.url",
            "remote.a.b.fetch",
            "branch.main.merge",
            "branch.feature/x.y.remote",
            "lfs.repositoryformatversion",
            "submodule.x.url",
            "http.https://example.com/.extraheader",
        ] {
            check(name, true);
        }
        for name in [
            "",
            "core",
            "alias.st",
            "core.worktree",
            "core.fsmonitor",
            "core.attributesfile",
            "core.excludesfile",
            "core.alternaterefscommand",
            "core.gitproxy",
            "credential.helper",
            "diff.external",
            "diff.x.command",
            "diff.x.textconv",
            "diff.orderfile",
            "filter.x.clean",
            "filter.x.process",
            "gpg.program",
            "gpg.ssh.program",
            "gc.recentobjectshook",
            "hook.x.command",
            "include.path",
            "includeif.gitdir:/.path",
            "merge.x.driver",
            "pager.status",
            "protocol.file.allow",
            "remote.origin.uploadpack",
            "remote.origin.vcs",
            "submodule.x.update",
            "trailer.x.cmd",
            "trailer.x.command",
            "uploadpack.packobjectshook",
            // A name of a section in the place of another one opens nothing.
            "filter.core.filemode.clean",
            "core.x.filemode",
        ] {
            check(name, false);
        }
    }
}
