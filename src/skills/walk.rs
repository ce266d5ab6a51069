//! Walks a folder of the workspace: breadth first, within bounds, without what a reader does not want to see.
//!
//! Invariants: never follows a link into a folder; the order is the same for the same tree.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::overrides::{Override, OverrideBuilder};

use super::stop::{Halt, Stop};
use super::workspace::{Workspace, explain};

/// Entries that one walk looks at.
const VISITED_MAX: usize = 50_000;
/// Levels below the start.
pub(super) const DEPTH_MAX: usize = 32;
/// Bytes of one `.gitignore`.
const IGNORE_FILE_BYTES_MAX: usize = 256 * 1024;
/// Folders that are skipped unless they are asked for.
const SKIPPED: [&str; 4] = [".git", ".openclaw", "node_modules", "target"];
/// Patterns need some root to be relative to; paths are put below this one for matching only.
const PATTERN_ROOT: &str = "/w";

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Relative to the workspace.
    pub(super) path: PathBuf,
    pub(super) is_dir: bool,
    pub(super) bytes: u64,
}

/// What a walk shall show.
pub(super) struct Wish<'wish> {
    pub(super) depth: usize,
    pub(super) include_ignored: bool,
    pub(super) glob: Option<&'wish str>,
    pub(super) files_only: bool,
    pub(super) limit: usize,
}

/// What a walk found, sorted by path, and whether there is more.
pub(super) struct Walked {
    pub(super) found: Vec<Found>,
    pub(super) truncated: bool,
}

struct Folder {
    path: PathBuf,
    depth: usize,
    /// Position of its rules and of those above, innermost last.
    rules: Vec<usize>,
}

/// Walks the folder `start`, or looks at the file `start` alone.
pub(super) fn walk(workspace: &Workspace, start: &str, wish: &Wish<'_>, halt: &Halt) -> Result<Walked, Stop> {
    let root = super::workspace::relative(start)?;
    let metadata = workspace
        .dir()
        .metadata(&root)
        .map_err(|error| explain(error, "open", start))?;
    if metadata.is_file() {
        let found = Found {
            path: root,
            is_dir: false,
            bytes: metadata.len(),
        };
        return Ok(Walked {
            found: vec![found],
            truncated: false,
        });
    }
    let root = workspace.check_folder(start)?;
    let glob = wish.glob.map(compile_glob).transpose()?;
    let mut rules: Vec<Gitignore> = Vec::new();
    let mut first = Folder {
        path: root.clone(),
        depth: 1,
        rules: Vec::new(),
    };
    if !wish.include_ignored {
        for above in root.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            load_rules(workspace.dir(), above, &mut rules, &mut first.rules);
        }
    }
    let mut open = VecDeque::from([first]);
    let (mut found, mut visited, mut truncated) = (Vec::new(), 0, false);
    'walk: while let Some(mut folder) = open.pop_front() {
        halt.look()?;
        // A folder that went away or that may not be read is left out.
        let Ok(entries) = workspace.dir().read_dir(&folder.path) else {
            continue;
        };
        if !wish.include_ignored {
            load_rules(workspace.dir(), &folder.path, &mut rules, &mut folder.rules);
        }
        let mut names: Vec<_> = entries
            .flatten()
            .map(|entry| entry.file_name())
            // One more, so that those that are left out are noticed.
            .take(VISITED_MAX + 1)
            .collect();
        names.sort();
        for name in names {
            visited += 1;
            if visited > VISITED_MAX {
                truncated = true;
                break 'walk;
            }
            let path = join(&folder.path, Path::new(&name));
            let Ok(own) = workspace.dir().symlink_metadata(&path) else {
                continue;
            };
            let is_link = own.is_symlink();
            // A link shows as what it leads to, if that is inside.
            let Ok(metadata) = (if is_link {
                workspace.dir().metadata(&path)
            } else {
                Ok(own)
            }) else {
                continue;
            };
            let is_dir = metadata.is_dir();
            let unwanted = is_dir && SKIPPED.iter().any(|skipped| name == *skipped);
            if !wish.include_ignored && (unwanted || is_ignored(&rules, &folder.rules, &path, is_dir)) {
                continue;
            }
            if is_dir && !is_link {
                if folder.depth < wish.depth.min(DEPTH_MAX) {
                    open.push_back(Folder {
                        path: path.clone(),
                        depth: folder.depth + 1,
                        rules: folder.rules.clone(),
                    });
                }
            } else if !is_dir && !metadata.is_file() {
                continue;
            }
            let is_wanted = match &glob {
                Some(glob) => !is_dir && glob.matched(pattern_path(&path), false).is_whitelist(),
                None => !(is_dir && wish.files_only),
            };
            if is_wanted {
                if found.len() == wish.limit {
                    truncated = true;
                    break 'walk;
                }
                let bytes = if is_dir { 0 } else { metadata.len() };
                found.push(Found { path, is_dir, bytes });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Walked { found, truncated })
}

fn join(folder: &Path, name: &Path) -> PathBuf {
    if folder == Path::new(".") {
        name.to_owned()
    } else {
        folder.join(name)
    }
}

fn pattern_path(path: &Path) -> PathBuf {
    if path == Path::new(".") {
        PathBuf::from(PATTERN_ROOT)
    } else {
        Path::new(PATTERN_ROOT).join(path)
    }
}

fn compile_glob(glob: &str) -> Result<Override, Stop> {
    let refuse = |reason: String| Stop::refused(format!("the glob `{glob}` is not usable: {reason}"));
    if glob.starts_with('!') {
        return Err(refuse("it must not start with `!`".to_owned()));
    }
    let mut builder = OverrideBuilder::new(PATTERN_ROOT);
    builder.add(glob).map_err(|error| refuse(error.to_string()))?;
    builder.build().map_err(|error| refuse(error.to_string()))
}

fn load_rules(dir: &Dir, folder: &Path, rules: &mut Vec<Gitignore>, active: &mut Vec<usize>) {
    let file = join(
        if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        },
        Path::new(".gitignore"),
    );
    let is_small_file = dir
        .metadata(&file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= IGNORE_FILE_BYTES_MAX as u64);
    if !is_small_file {
        return;
    }
    let Ok(text) = dir.read(&file) else { return };
    let mut builder = GitignoreBuilder::new(pattern_path(folder));
    for line in String::from_utf8_lossy(&text).lines() {
        // A line that is no pattern is passed over, as git does.
        let _ = builder.add_line(None, line);
    }
    if let Ok(built) = builder.build() {
        active.push(rules.len());
        rules.push(built);
    }
}

fn is_ignored(rules: &[Gitignore], active: &[usize], path: &Path, is_dir: bool) -> bool {
    let path = pattern_path(path);
    // The innermost rule that says something decides.
    for position in active.iter().rev() {
        let verdict = rules[*position].matched(&path, is_dir);
        if !verdict.is_none() {
            return verdict.is_ignore();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_shows_what_a_reader_wants_to_see() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |path: &str, text: &str| {
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().expect("parent")).expect("folders");
            std::fs::write(file, text).expect("written");
        };
        write(".gitignore", "*.log\n/build/\n");
        write("src/.gitignore", "!keep.log\nlocal*\n");
        for path in [
            "a.rs",
            "x.log",
            "build/out",
            "src/b.rs",
            "src/keep.log",
            "src/local.txt",
            "src/deep/c.rs",
            "src/build/d.rs",
            "target/t.rs",
            ".git/config",
            "node_modules/m.js",
        ] {
            write(path, "text");
        }
        std::os::unix::fs::symlink("..", folder.path().join("src/up")).expect("link");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("src/out")).expect("link");
        let workspace = Workspace::open(folder.path()).expect("workspace");
        let check =
            |start: &str, depth: usize, include_ignored: bool, glob: Option<&str>, limit: usize, wanted: &str| {
                let wish = Wish {
                    depth,
                    include_ignored,
                    glob,
                    files_only: true,
                    limit,
                };
                let walked = walk(&workspace, start, &wish, &Halt::default()).expect("walked");
                let paths: Vec<String> = walked
                    .found
                    .iter()
                    .map(|found| found.path.display().to_string())
                    .collect();
                let more = if walked.truncated { " +" } else { "" };
                assert_eq!(
                    format!("{}{more}", paths.join(" ")),
                    wanted,
                    "{start} {depth} {include_ignored} {glob:?}"
                );
            };
        let all = ".gitignore a.rs src/.gitignore src/b.rs src/build/d.rs src/deep/c.rs src/keep.log";
        check(".", 32, false, None, 100, all);
        check("", 32, false, None, 100, all);
        check(".", 1, false, None, 100, ".gitignore a.rs");
        check(".", 32, false, None, 3, ".gitignore a.rs src/.gitignore +");
        check(
            ".",
            32,
            false,
            Some("*.rs"),
            100,
            "a.rs src/b.rs src/build/d.rs src/deep/c.rs",
        );
        check(".", 32, false, Some("src/*.rs"), 100, "src/b.rs");
        check(
            ".",
            32,
            false,
            Some("src/**/*.rs"),
            100,
            "src/b.rs src/build/d.rs src/deep/c.rs",
        );
        check("src", 1, false, None, 100, "src/.gitignore src/b.rs src/keep.log");
        check("target", 9, false, None, 100, "target/t.rs");
        check("build", 9, false, None, 100, "build/out");
        check("a.rs", 9, false, None, 100, "a.rs");
        check(".", 32, true, Some("*.log"), 100, "src/keep.log x.log");
    }

    #[test]
    fn a_folder_of_more_than_is_looked_at_is_said_to_be_cut() {
        let folder = tempfile::tempdir().expect("folder");
        let first = folder.path().join("0");
        std::fs::write(&first, "").expect("written");
        let walked = |wish: &Wish<'_>| {
            let workspace = Workspace::open(folder.path()).expect("workspace");
            walk(&workspace, ".", wish, &Halt::default()).expect("walked").truncated
        };
        let wish = Wish {
            depth: 1,
            include_ignored: true,
            glob: Some("nothing"),
            files_only: true,
            limit: 10,
        };
        for number in 1..VISITED_MAX {
            // A second name costs no file.
            std::fs::hard_link(&first, folder.path().join(number.to_string())).expect("linked");
        }
        assert!(!walked(&wish), "all were looked at");
        std::fs::write(folder.path().join("more"), "").expect("written");
        assert!(walked(&wish));
    }
}
