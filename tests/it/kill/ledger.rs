//! Reading what the effects left.

use std::path::Path;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// The effect's key.
    pub key: String,
    /// The class of the skill.
    pub class: String,
}

/// The lines of a file; one that is not whole fails the test, because then the file proves nothing.
pub fn read(path: &Path) -> Vec<Mark> {
    let text = std::fs::read_to_string(path).expect("the ledger");
    let marks = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [run, step, key, class] = words[..] else {
            panic!("a torn line in {}: {line:?}", path.display());
        };
        Mark {
            run: run.to_owned(),
            step: step.to_owned(),
            key: key.to_owned(),
            class: class.to_owned(),
        }
    });
    marks.collect()
}

/// Lines of both files: how far the world has come.
pub fn height(folder: &Path) -> usize {
    let lines = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).matches('\n').count()
    };
    lines("ledger") + lines("attempts")
}
