//! What the program of a server reads beside itself: the libraries of the interpreter that the operator named.
//!
//! An interpreter is often a link from an environment into an installation in somebody's home, which is closed to
//! programs as everything there is. Who names the one means that it runs. Invariants: only what the operator configured is
//! asked about; the folder around an installation is never opened, only the parts in which libraries lie; an environment
//! is opened whole only where a file in it says that it is one.

use std::path::{Path, PathBuf};

/// The parts of an installation in which libraries lie.
const LIBRARIES: &[&str] = &["lib", "lib32", "lib64", "libexec"];
/// The file that makes a folder an environment of Python. **Source**: PEP 405.
const ENVIRONMENT_MARK: &str = "pyvenv.cfg";

/// The folders that this program needs, of those that are there.
pub(super) fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let environment = installation(program).filter(|folder| folder.join(ENVIRONMENT_MARK).is_file());
    let real = program.canonicalize().ok();
    let libraries = real.as_deref().and_then(installation).into_iter().flat_map(|folder| {
        let parts = LIBRARIES.iter().map(move |part| folder.join(part));
        // A link among them could lead anywhere.
        parts.filter(|part| part.is_dir() && !part.is_symlink())
    });
    environment.into_iter().map(Path::to_owned).chain(libraries).collect()
}

/// The folder that an installation is in, by the place of its programs.
fn installation(program: &Path) -> Option<&Path> {
    let programs = program.parent().filter(|folder| folder.ends_with("bin"))?;
    programs.parent().filter(|folder| folder.parent().is_some())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_interpreter_brings_its_libraries_and_not_the_home_that_it_lies_in() {
        let house = tempfile::tempdir().expect("folder");
        let root = house.path().canonicalize().expect("there");
        for folder in [
            "home/.ssh",
            "home/bin",
            "home/versions/3/bin",
            "home/versions/3/lib",
            "home/versions/3/share",
            "project/env/bin",
            "fake/bin",
        ] {
            fs::create_dir_all(root.join(folder)).expect("folders");
        }
        let real = root.join("home/versions/3/bin/python3");
        fs::write(&real, "").expect("written");
        fs::write(root.join("home/bin/tool"), "").expect("written");
        fs::write(root.join("project/env/pyvenv.cfg"), "").expect("written");
        symlink(&real, root.join("project/env/bin/python")).expect("link");
        symlink(&real, root.join("fake/bin/python")).expect("link");
        symlink(root.join("home/.ssh"), root.join("home/lib")).expect("link");
        let check = |program: &str, wanted: &[&str]| {
            let wanted: Vec<PathBuf> = wanted.iter().map(|path| root.join(path)).collect();
            assert_eq!(libraries_of(&root.join(program)), wanted, "{program}");
        };
        check("home/versions/3/bin/python3", &["home/versions/3/lib"]);
        check("project/env/bin/python", &["project/env", "home/versions/3/lib"]);
        check("fake/bin/python", &["home/versions/3/lib"]);
        // A program of the home itself, beside which a link leads to what is secret.
        check("home/bin/tool", &[]);
        check("home/versions/3/lib", &[]);
        check("no/such/program", &[]);
        assert_eq!(installation(Path::new("/bin/sh")), None, "the root is no installation");
    }
}
