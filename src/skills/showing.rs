//! Previews of what several skills do: changes of files and runs of programs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use similar::TextDiff;

use super::preview::Preview;
use super::process::runner::ProgramOrder;
use super::skill::CallOrder;
use super::stop::Stop;
use super::workspace::Workspace;

/// Bytes of a file whose changes are shown: of every one that `fs.patch` changes.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Time for a comparison; then it shows larger blocks.
const DIFF_MAX: Duration = Duration::from_millis(100);

/// The change of one file as a unified diff. `after` makes the new content of the present one, which is none when
/// there is no such file.
pub(super) fn of_change(
    order: &CallOrder,
    path: &str,
    after: impl FnOnce(Option<&str>) -> Result<String, String>,
) -> Preview {
    let read = Workspace::open(&order.workspace)
        .map_err(Stop::from)
        .and_then(|workspace| workspace.read(path, FILE_BYTES_MAX));
    let (before, basis) = match read {
        Ok(content) => {
            let basis = blake3::hash(&content).to_hex().to_string();
            match String::from_utf8(content) {
                Ok(text) => (Some(text), basis),
                Err(_) => return Preview::of_arguments(&order.arguments).resting_on(basis),
            }
        }
        Err(Stop::Refused(reason)) if reason.starts_with("there is no") => (None, "none".to_owned()),
        // The call may be made all the same: what it would do is shown, and the yes is for the file as it is now.
        Err(Stop::Refused(reason)) => {
            let arguments = serde_json::to_string_pretty(&order.arguments).unwrap_or_default();
            let basis = identity(&order.workspace.join(path));
            return Preview::of(format!("{path}: {reason}\n{arguments}")).resting_on(basis);
        }
        Err(_) => return Preview::of_arguments(&order.arguments),
    };
    let after = match after(before.as_deref()) {
        Ok(after) => after,
        Err(reason) => return Preview::of(format!("{path}: {reason}")).resting_on(basis),
    };
    let name = if before.is_none() { "/dev/null" } else { path };
    let before = before.unwrap_or_default();
    let diff = TextDiff::configure().timeout(DIFF_MAX).diff_lines(&before, &after);
    let mut shown = diff.unified_diff().context_radius(3).header(name, path).to_string();
    if shown.is_empty() {
        let _ = write!(shown, "{path} stays as it is");
    }
    Preview::of(shown).resting_on(basis)
}

/// The same on a thread that may wait for the disk.
pub(super) fn change_on_thread(
    order: CallOrder,
    path: String,
    after: impl FnOnce(Option<&str>) -> Result<String, String> + Send + 'static,
) -> BoxFuture<'static, Preview> {
    Box::pin(async move {
        let arguments = order.arguments.clone();
        let seen = tokio::task::spawn_blocking(move || of_change(&order, &path, after));
        seen.await.unwrap_or_else(|_| Preview::of_arguments(&arguments))
    })
}

/// A program: its words, folder, own variables and input. Rests on the file that would be run and on the whole
/// environment, so that another program under the same name is another call.
pub(super) fn of_program(arguments: &Value, program: &ProgramOrder) -> Preview {
    let mut shown = String::new();
    let words: Vec<String> = program.argv.iter().map(|word| quoted(word)).collect();
    let _ = writeln!(shown, "$ {}", words.join(" "));
    let _ = writeln!(shown, "program {}", program.program.display());
    let _ = writeln!(shown, "in {}", program.cwd.display());
    if let Some(own) = arguments.get("env").and_then(Value::as_object) {
        for (name, value) in own {
            let _ = writeln!(shown, "with {name}={}", quoted(value.as_str().unwrap_or("")));
        }
    }
    if !program.stdin.is_empty() {
        let _ = writeln!(shown, "reads {} bytes:\n{}", program.stdin.len(), program.stdin);
    }
    let mut hasher = blake3::Hasher::new();
    for (name, value) in &program.env {
        hasher.update(format!("{}:{name}={}:{value}\n", name.len(), value.len()).as_bytes());
    }
    let basis = format!("{} {}", identity(&program.program), hasher.finalize().to_hex());
    Preview::of(shown.trim_end()).resting_on(basis)
}

/// A call that is a program, when it can be prepared; what cannot be will be refused when it is made.
pub(super) fn of_prepared(order: &CallOrder, prepared: Result<ProgramOrder, Stop>) -> Preview {
    prepared.map_or_else(
        |_| Preview::of_arguments(&order.arguments),
        |program| of_program(&order.arguments, &program),
    )
}

/// What tells a file from another one that took its place; reading it whole would take long for large programs.
pub(super) fn identity(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map_or_else(
        |_| "gone".to_owned(),
        |of| {
            format!(
                "{}:{}:{}:{}.{}",
                of.dev(),
                of.ino(),
                of.len(),
                of.mtime(),
                of.mtime_nsec()
            )
        },
    )
}

/// A word as a shell would read it back, so that nobody is misled by blanks or quotes within it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A member of the arguments as text.
pub(super) fn text<'order>(order: &'order CallOrder, name: &str) -> &'order str {
    order.arguments.get(name).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::effect::EffectKey;
    use crate::domain::id::RunId;
    use crate::domain::name::StepId;
    use crate::domain::time::UtcMillis;

    fn order(folder: &Path, arguments: Value) -> CallOrder {
        let run = RunId::new(UtcMillis(1), 1);
        let step = StepId::new("s").expect("valid");
        CallOrder {
            key: EffectKey::derive(run, &step, 1, 0),
            run,
            step,
            arguments,
            workspace: folder.into(),
            granted: None,
            agreed: false,
            deadline: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_change_of_a_large_file_is_shown_and_what_cannot_be_shown_rests_on_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let order = order(folder.path(), json!({"path": "a.txt", "content": "the new text"}));
        let path = folder.path().join("a.txt");
        let line = format!("{}\n", "x".repeat(1023));
        let before = format!("{}old\n", line.repeat(2 * 1024));
        std::fs::write(&path, &before).expect("written");
        let shown = of_change(&order, "a.txt", |before| {
            Ok(before.unwrap_or_default().replace("old", "new"))
        });
        assert!(shown.shown.contains("-old\n+new\n") && !shown.is_cut, "{shown:?}");

        let file = std::fs::File::options().write(true).open(&path).expect("opened");
        file.set_len(FILE_BYTES_MAX + 1).expect("a hole");
        let change = || of_change(&order, "a.txt", |_| Ok(String::new()));
        let blind = change();
        assert!(
            blind.shown.starts_with("a.txt: ") && blind.shown.contains("the new text"),
            "{blind:?}"
        );
        assert_eq!(blind, change(), "the same file is the same call");
        file.set_len(FILE_BYTES_MAX + 2).expect("a larger hole");
        assert_ne!(blind.basis, change().basis, "another file is another call");
    }

    #[test]
    fn a_change_is_shown_as_a_diff_and_rests_on_the_present_file() {
        let folder = tempfile::tempdir().expect("folder");
        let order = order(folder.path(), json!({}));
        let change = |to: &str| of_change(&order, "a.txt", |_| Ok(to.to_owned()));
        let made = change("one\n");
        assert!(
            made.shown.contains("--- /dev/null") && made.shown.contains("+one"),
            "{made:?}"
        );
        std::fs::write(folder.path().join("a.txt"), "one\ntwo\n").expect("written");
        let changed = change("one\n2\n");
        assert!(changed.shown.contains("-two\n+2\n"), "{changed:?}");
        assert_ne!(made.basis, changed.basis);
        assert_eq!(change("one\ntwo\n").shown, "a.txt stays as it is");
        std::fs::write(folder.path().join("a.txt"), "other\n").expect("written");
        assert_ne!(change("one\n2\n").basis, changed.basis, "another file is another call");
        let outside = of_change(&order, "../x", |_| Ok(String::new()));
        assert!(outside.shown.contains("leads out of the workspace"), "{outside:?}");
    }
}
