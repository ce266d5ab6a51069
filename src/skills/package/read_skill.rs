//! `skill.read`: the second and third tier of a package: its body, and the files beside it.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::code;
use crate::domain::effect::EffectClass;
use crate::domain::fault::in_one_line;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::name::PackageName;
use crate::domain::skill::SkillManifest;
use crate::domain::text;
use crate::domain::text_policy::for_terminal;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use crate::skills::stop::Stop;
use crate::skills::thread::on_thread;
use crate::skills::workspace::is_binary;

use super::folder::FolderError;
use super::library::{DOCUMENT_FILE, Library, Package, Standing};

/// Bytes of a file that is read at all.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Files that are named after the body.
const NAMED_MAX: usize = 200;
/// Room for what is said beside the content.
const MARK_BYTES: usize = 512;

#[derive(Deserialize)]
struct Wanted {
    skill: String,
    path: Option<String>,
    offset: Option<usize>,
}

/// The skill.
pub struct ReadSkill {
    manifest: SkillManifest,
    library: Arc<Library>,
}

impl ReadSkill {
    /// Reads the packages of this library.
    pub fn new(library: Arc<Library>) -> Self {
        let manifest = Declaration {
            name: "skill.read",
            description: "Reads a skill package: without `path` its instructions and the list of its files, with \
                          `path` one of those files (references, scripts, templates). `offset` goes on where a long \
                          text was cut.",
            class: EffectClass::Read,
            timeout_ms: 20_000,
            concurrency: 16,
            properties: json!({
                "skill": {"type": "string", "description": "the package's name"},
                "path": {"type": "string", "description": "a file of the package, relative to its folder"},
                "offset": {"type": "integer", "minimum": 0, "description": "bytes to pass over"},
            }),
            required: &["skill"],
            examples: json!([{"skill": "pdf-forms"}, {"skill": "pdf-forms", "path": "references/fields.md"}]),
        }
        .manifest();
        Self { manifest, library }
    }
}

impl Skill for ReadSkill {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let library = Arc::clone(&self.library);
        on_thread(&self.manifest, order, move |order, _, halt| {
            let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
            let package = find(&library, &wanted.skill, order)?;
            halt.look()?;
            refuse_changed(&package)?;
            halt.look()?;
            let content = match &wanted.path {
                Some(path) if path != DOCUMENT_FILE => file(&package, path)?,
                _ => body(&package),
            };
            page(&content, wanted.offset.unwrap_or_default()).map(CallEnd::ok)
        })
    }
}

/// The package of this name, as this call may see it.
pub(super) fn find(library: &Library, name: &str, order: &CallOrder) -> Result<Package, Stop> {
    // The grammar comes before anything is done with the name.
    let wanted = PackageName::new(name).map_err(|error| Stop::refused(error.to_string()))?;
    let mut shelf = library.look(Some(&order.workspace));
    shelf.packages.remove(&wanted).ok_or_else(|| {
        if let Some(warning) = shelf.refusal_of(&wanted) {
            let warning = for_terminal(&warning.to_string()).into_owned();
            return Stop::refused(format!(
                "the skill package `{wanted}` is there and cannot be used: {} [{}]",
                text::preview(&warning, 600),
                code::SKILL_PACKAGE.id
            ));
        }
        let known: Vec<&str> = shelf.packages.keys().map(PackageName::as_str).collect();
        Stop::refused(format!(
            "there is no skill package `{wanted}`; there are: {}",
            known.join(", ")
        ))
    })
}

/// What is in the way of a package that an operator added and that is another one now.
pub(super) fn refuse_changed(package: &Package) -> Result<Standing, Stop> {
    let name = &package.document.name;
    match package.standing() {
        Ok(Standing::Changed) => Err(Stop::refused(format!(
            "the files of the skill package `{name}` have changed since the operator added it; it is refused until \
             `openclaw skill add {name}` [OC-5021]"
        ))),
        Ok(standing) => Ok(standing),
        Err(error) => Err(unusable(package, &error)),
    }
}

fn unusable(package: &Package, error: &FolderError) -> Stop {
    let name = &package.document.name;
    Stop::refused(format!(
        "the skill package `{name}` cannot be used: {}",
        in_one_line(error)
    ))
}

fn body(package: &Package) -> String {
    let mut text = package.document.body.trim_start().to_owned();
    let files = package.open().and_then(|folder| folder.files());
    let others: Vec<String> = files
        .into_iter()
        .flatten()
        .filter(|file| file.path != DOCUMENT_FILE)
        .map(|file| format!("- {} ({} bytes)", file.path, file.bytes))
        .collect();
    if !others.is_empty() {
        let _ = write!(text, "\n\nFiles of this package (skill.read with `path` reads them):\n");
        text.push_str(&others[..others.len().min(NAMED_MAX)].join("\n"));
        if others.len() > NAMED_MAX {
            let _ = write!(text, "\n- … and {} more", others.len() - NAMED_MAX);
        }
    }
    text
}

fn file(package: &Package, path: &str) -> Result<String, Stop> {
    let read = package.open().and_then(|folder| folder.read(path, FILE_BYTES_MAX));
    let content = read.map_err(|error| unusable(package, &error))?;
    if is_binary(&content) {
        return Err(Stop::refused(format!(
            "`{path}` is no text; it has {} bytes",
            content.len()
        )));
    }
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// As much of a text as fits into a result, with where to go on.
fn page(content: &str, offset: usize) -> Result<String, Stop> {
    if offset > content.len() || !content.is_char_boundary(offset) {
        let bytes = content.len();
        return Err(Stop::refused(format!(
            "there is no character at {offset}; the text has {bytes} bytes"
        )));
    }
    let rest = &content[offset..];
    if rest.len() <= RESULT_BYTES_MAX - MARK_BYTES {
        return Ok(rest.to_owned());
    }
    let kept = text::cut(rest, RESULT_BYTES_MAX - MARK_BYTES);
    let kept = kept.strip_suffix(text::CUT_MARK).unwrap_or(&kept);
    let next = offset + kept.len();
    Ok(format!(
        "{kept}\n…[{} bytes follow: offset {next}]",
        content.len() - next
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn neither_a_file_nor_a_list_is_read_through_a_link_that_took_a_packages_place() {
        let house = tempfile::tempdir().expect("folder");
        let root = house.path().canonicalize().expect("there");
        let folder = root.join("work/.agents/skills/one");
        let state = root.join("state");
        for made in [&folder, &state] {
            fs::create_dir_all(made).expect("folder");
        }
        let text = "---\nname: one\ndescription: Does one.\n---\nThe body.\n";
        fs::write(folder.join(DOCUMENT_FILE), text).expect("written");
        fs::write(folder.join("more.md"), "More words.").expect("written");
        fs::write(state.join("operator.key"), "secret").expect("written");
        let library = Library::new(&root.join("config"), Vec::new());
        let wanted = PackageName::new("one").expect("name");
        let package = library.find(&wanted, Some(&root.join("work"))).expect("found");
        assert_eq!(file(&package, "more.md").expect("read"), "More words.");
        assert!(body(&package).contains("- more.md"), "{}", body(&package));
        fs::rename(&folder, root.join("aside")).expect("aside");
        std::os::unix::fs::symlink(&state, &folder).expect("link");
        let read = file(&package, "operator.key");
        assert!(matches!(read, Err(Stop::Refused(_))), "{read:?}");
        assert!(!body(&package).contains("operator.key"), "{}", body(&package));
    }
}
