//! `openclaw skill …`: looks at skills, adds and removes packages, and makes one real call.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::arguments::SkillCommand;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::follow::{fetch, follow};
use crate::cli::memory_part::encode;
use crate::cli::output::{harmless, one_line, show_value, table};
use crate::cli::view::{RunView, read};
use crate::daemon::config::file;
use crate::domain::capability::CapabilitySet;
use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::domain::name::{PackageName, SkillName};
use crate::runtime::entropy::Entropy;
use crate::skills::package::archive::{self, is_archive};
use crate::skills::package::document::{self, DOCUMENT_BYTES_MAX, SkillDocument};
use crate::skills::package::folder::{FolderError, PackageFolder};
use crate::skills::package::library::{DOCUMENT_FILE, Library};
use crate::skills::package::pin::{LOCK_BYTES_MAX, LOCK_FILE, Lock, Pin};
use crate::skills::package::warning::PackageWarning;

/// Longest wait for the end of a call before its steps are followed, in milliseconds.
const WAIT_MS: u64 = 30_000;

/// Does one of them.
pub async fn run(context: &mut Context, command: SkillCommand) -> Result<Exit, CliError> {
    match command {
        SkillCommand::List { workspace } => list(context, workspace.as_deref()).await,
        SkillCommand::Show { name } => show(context, &name).await,
        SkillCommand::Check { package, workspace } => check(context, package.as_deref(), workspace.as_deref()),
        SkillCommand::Add { package, capability } => add(context, &package, &capability),
        SkillCommand::Remove { name, keep_files } => remove(context, &name, keep_files),
        SkillCommand::Call { name, args, workspace } => call(context, &name, &args, workspace.as_deref()).await,
    }
}

async fn list(context: &mut Context, workspace: Option<&Path>) -> Result<Exit, CliError> {
    let client = context.client()?;
    let path = match workspace {
        None => "/v1/skills".to_owned(),
        Some(folder) => {
            let real = fs::canonicalize(folder).map_err(io("find the folder", folder))?;
            format!("/v1/skills?workspace={}", encode(&real.to_string_lossy()))
        }
    };
    let value = client.send(&Request::get(&path)).await?;
    let rows = |key: &str, columns: &[&str]| -> Vec<Vec<String>> {
        let items = value[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let row = |item: &Value| {
            let cells = columns.iter().map(|name| one_line(&show_value(&item[*name]), 90));
            cells.collect()
        };
        items.iter().map(row).collect()
    };
    let skills = rows("skills", &["name", "class", "description"]);
    let packages = rows("packages", &["name", "origin", "standing", "description"]);
    let warnings = value["warnings"].as_array().into_iter().flatten();
    for warning in warnings.filter_map(Value::as_str) {
        context.output.warn(&one_line(warning, 400));
    }
    context.output.result(&value, |_| {
        let mut text = table(&["SKILL", "CLASS", "DESCRIPTION"], &skills);
        if !packages.is_empty() {
            text.push('\n');
            text.push_str(&table(&["PACKAGE", "FROM", "STANDING", "DESCRIPTION"], &packages));
        }
        text
    });
    Ok(Exit::Done)
}

async fn show(context: &mut Context, name: &str) -> Result<Exit, CliError> {
    if name.contains(['/', '?', '#', '%']) {
        return Err(CliError::usage(
            format!("`{name}` is not a name"),
            "`openclaw skill list` shows the names",
        ));
    }
    let client = context.client()?;
    let value = client.send(&Request::get(&format!("/v1/skills/{name}"))).await?;
    let shown = if value["skill"].is_object() {
        &value["skill"]
    } else {
        &value["package"]
    };
    context.output.result(&value, |_| {
        let mut text = String::new();
        let members = shown.as_object().into_iter().flatten();
        for (name, member) in members.filter(|(name, _)| *name != "body") {
            let _ = writeln!(text, "{name:<16} {}", one_line(&show_value(member), 2000));
        }
        if let Some(body) = shown["body"].as_str() {
            let _ = writeln!(text, "\n{}", harmless(body).trim_end());
        }
        text
    });
    Ok(Exit::Done)
}

fn check(context: &mut Context, package: Option<&str>, workspace: Option<&Path>) -> Result<Exit, CliError> {
    let (names, warnings): (Vec<String>, Vec<PackageWarning>) = if let Some(package) = package {
        let source = find_package(context, package)?;
        let folder = source.folder();
        let (document, mut warnings) = open(folder)?;
        let files = PackageFolder::open(folder).and_then(|folder| folder.admissible());
        if let Err(error) = files {
            let allowed = "regular files and folders, at most 2000 and 64 MiB";
            warnings.push(PackageWarning::fatal(folder, 0, in_one_line(&error), allowed));
        }
        let names = document.into_iter().map(|document| document.name.to_string());
        (names.collect(), warnings)
    } else {
        let real = |folder: &Path| fs::canonicalize(folder).map_err(io("find the folder", folder));
        let workspace = workspace.map(real).transpose()?;
        let folders = context.load()?.config.skills_dirs;
        let shelf = Library::new(context.home.config_dir(), folders).look(workspace.as_deref());
        (shelf.packages.keys().map(ToString::to_string).collect(), shelf.warnings)
    };
    let is_bad = warnings.iter().any(|warning| warning.fatal);
    let shown = warnings.iter().map(|warning| {
        json!({
            "file": warning.file, "line": warning.line, "found": warning.found, "allowed": warning.allowed,
            "fatal": warning.fatal,
        })
    });
    let value = json!({ "packages": names, "good": !is_bad, "warnings": shown.collect::<Vec<_>>() });
    context.output.result(&value, |_| {
        let mut text = String::new();
        for warning in &warnings {
            let _ = writeln!(text, "{}", harmless(&warning.to_string()));
        }
        for name in &names {
            let _ = writeln!(text, "{name} can be used");
        }
        text
    });
    Ok(if is_bad { Exit::Failed } else { Exit::Done })
}

/// A package as it was named.
enum Source {
    /// A folder that is there.
    Folder(PathBuf),
    /// What was in an archive; it goes with this.
    Unpacked {
        /// The folder for it.
        place: PathBuf,
        /// The package in that.
        folder: PathBuf,
    },
}

impl Source {
    fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) | Self::Unpacked { folder, .. } => folder,
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Unpacked { place, .. } = self {
            // What cannot be removed lies among temporary files.
            let _ = fs::remove_dir_all(place);
        }
    }
}

/// What is meant: a path, the name of a package of the home, or an archive, which is unpacked.
fn find_package(context: &Context, package: &str) -> Result<Source, CliError> {
    let path = Path::new(package);
    match PackageName::new(package) {
        Ok(name) if !path.is_dir() => Ok(Source::Folder(context.home.skills_dir().join(name.as_str()))),
        _ if is_archive(path) && !path.is_dir() => unpacked(path),
        _ => Ok(Source::Folder(path.to_owned())),
    }
}

fn unpacked(archive: &Path) -> Result<Source, CliError> {
    if !archive.exists() {
        return Err(not_there(archive));
    }
    let place = std::env::temp_dir().join(format!("openclaw-skill-{:032x}", Entropy::system().u128()));
    // Fails when it is there: then it is somebody else's.
    let made = fs::DirBuilder::new().mode(0o700).create(&place);
    made.map_err(io("make", &place))?;
    // A package whose files lie at the archive's top is in a folder of the archive's name.
    let named = place.join(stem(archive));
    let mut source = Source::Unpacked {
        folder: named.clone(),
        place,
    };
    fs::create_dir(&named).map_err(io("make", &named))?;
    let found = archive::unpack(archive, &named).map_err(|error| {
        CliError::refused(
            code::SKILL_ARCHIVE,
            format!("{}: {}", archive.display(), harmless(&in_one_line(&error))),
            "a package in an archive is a folder with a SKILL.md in a .zip or .tar.gz, with regular files and folders only",
        )
    })?;
    if let Source::Unpacked { folder, .. } = &mut source {
        *folder = found;
    }
    Ok(source)
}

/// The name of an archive without what says that it is one.
fn stem(archive: &Path) -> String {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let endings = [".tar.gz", ".tgz", ".zip", ".skill"];
    let stem = endings.iter().find_map(|ending| name.strip_suffix(ending));
    match stem.unwrap_or(&name) {
        "" | "." | ".." => "package".to_owned(),
        stem => stem.to_owned(),
    }
}

fn open(folder: &Path) -> Result<(Option<SkillDocument>, Vec<PackageWarning>), CliError> {
    let absolute = fs::canonicalize(folder).map_err(|error| match error.kind() {
        ErrorKind::NotFound => not_there(folder),
        _ => io("find the package", folder)(error),
    })?;
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
    let read = PackageFolder::open(&absolute).and_then(|opened| opened.read(DOCUMENT_FILE, DOCUMENT_BYTES_MAX));
    let bytes = read.map_err(|error| unusable(&absolute, &in_one_line(&error)))?;
    let file = folder.join(DOCUMENT_FILE);
    Ok(document::read(&bytes, &file, name.as_deref().unwrap_or_default()))
}

fn not_there(place: &Path) -> CliError {
    CliError::refused(
        code::SKILL_NOT_FOUND,
        format!("there is no package at {}", place.display()),
        "name a folder or an archive, or a package of the home; `openclaw skill list` shows those",
    )
}

fn io(verb: &'static str, what: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let what = what.display().to_string();
    move |source| CliError::Io { verb, what, source }
}

fn unusable(folder: &Path, reason: &str) -> CliError {
    CliError::refused(
        code::SKILL_PACKAGE,
        format!("{} is not a package that can be used: {reason}", folder.display()),
        "a package is a folder with a SKILL.md that has a name and a description in its front matter",
    )
}

/// What is granted; none when nothing is said of it.
fn wanted(capabilities: &[String]) -> Result<Option<CapabilitySet>, CliError> {
    match capabilities {
        [] => Ok(None),
        [nothing] if nothing == "none" => Ok(Some(CapabilitySet::default())),
        named => {
            let parsed = CapabilitySet::parse(named.iter().map(String::as_str));
            parsed.map(Some).map_err(|error| {
                let hint = "such as --capability exec --capability net:docs.rs:443, or none alone";
                CliError::usage(error.to_string(), hint)
            })
        }
    }
}

fn add(context: &mut Context, package: &str, capabilities: &[String]) -> Result<Exit, CliError> {
    context.require_home()?;
    let wanted = wanted(capabilities)?;
    let source = find_package(context, package)?;
    let source = source.folder();
    let (document, warnings) = open(source)?;
    for warning in warnings.iter().filter(|warning| !warning.fatal) {
        context.output.warn(&harmless(&warning.to_string()));
    }
    let Some(document) = document else {
        let reason = warnings.last().map(ToString::to_string).unwrap_or_default();
        return Err(unusable(source, &reason));
    };
    let folders = context.load()?.config.skills_dirs;
    let folder = in_place(context, &folders, source, &document.name)?;
    let hashed = PackageFolder::open(&folder).and_then(|opened| opened.hash());
    let hash = hashed.map_err(|error| unusable(&folder, &in_one_line(&error)))?;
    let mut lock = lock(context)?;
    let earlier = lock.pins.get(&document.name).map(|pin| &pin.capabilities);
    let is_kept = wanted.is_none() && earlier.is_some_and(|earlier| !earlier.is_empty());
    let pin = Pin {
        hash: hash.clone(),
        folder: folder.clone(),
        capabilities: wanted.or_else(|| earlier.cloned()).unwrap_or_default(),
    };
    let granted: Vec<String> = pin.capabilities.iter().map(ToString::to_string).collect();
    lock.pins.insert(document.name.clone(), pin);
    write_lock(context, &lock)?;
    let value = json!({
        "name": document.name.as_str(), "folder": folder, "hash": hash, "capabilities": granted,
        "requested_tools": document.requested_tools,
    });
    context.output.result(&value, |_| {
        let mut text = format!("added {} from {}\n{hash}\n", document.name, folder.display());
        if granted.is_empty() {
            text.push_str("it may be read; its scripts do not run without --capability exec\n");
        } else {
            let granted = granted.join(", ");
            let before = if is_kept {
                ", as before; --capability none takes that away"
            } else {
                ""
            };
            let _ = writeln!(text, "it may touch {granted}{before}");
        }
        if !document.requested_tools.is_empty() {
            let asked = one_line(&document.requested_tools.join(", "), 400);
            let _ = writeln!(text, "it asks for {asked}; nothing of that was granted");
        }
        text
    });
    Ok(Exit::Done)
}

/// The folder that is pinned: the package's own when it lies where packages are looked for, else a copy in the home.
fn in_place(context: &Context, configured: &[PathBuf], source: &Path, name: &PackageName) -> Result<PathBuf, CliError> {
    let real = fs::canonicalize(source).map_err(io("find the package", source))?;
    let home = context.home.skills_dir();
    for root in std::iter::once(&home).chain(configured) {
        let is_here = fs::canonicalize(root).is_ok_and(|root| real.parent() == Some(&root));
        if let (true, Some(own)) = (is_here, real.file_name()) {
            return Ok(root.join(own));
        }
    }
    let unusable = |error: FolderError| unusable(&real, &in_one_line(&error));
    let opened = PackageFolder::open(&real).map_err(unusable)?;
    let files = opened.admissible().map_err(unusable)?;
    let to = home.join(name.as_str());
    // Copied beside first, so that a package is there whole or as it was.
    let (beside, old) = (home.join(format!(".{name}.new")), home.join(format!(".{name}.old")));
    let _ = fs::remove_dir_all(&beside);
    for file in &files {
        let target = beside.join(&file.path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(io("make", parent))?;
        }
        // Beneath the opened folder: what is put in its place meanwhile is not what was looked at.
        opened.copy(file, &target).map_err(unusable)?;
    }
    if to.exists() {
        let _ = fs::remove_dir_all(&old);
        fs::rename(&to, &old).map_err(io("replace", &to))?;
    }
    fs::rename(&beside, &to).map_err(io("put", &to))?;
    let _ = fs::remove_dir_all(&old);
    Ok(to)
}

fn remove(context: &mut Context, name: &PackageName, keep_files: bool) -> Result<Exit, CliError> {
    context.require_home()?;
    let mut lock = lock(context)?;
    let pin = lock.pins.remove(name);
    let folder = context.home.skills_dir().join(name.as_str());
    let is_own = folder.is_dir() && !folder.is_symlink();
    if pin.is_none() && !is_own {
        return Err(CliError::refused(
            code::SKILL_NOT_FOUND,
            format!("no package `{name}` was added"),
            "`openclaw skill list` shows the packages",
        ));
    }
    write_lock(context, &lock)?;
    let removed = is_own && !keep_files;
    if removed {
        fs::remove_dir_all(&folder).map_err(io("remove", &folder))?;
    }
    let value = json!({ "name": name.as_str(), "was_added": pin.is_some(), "files_removed": removed });
    context.output.result(&value, |_| {
        let files = if removed {
            "with its files"
        } else {
            "its files stay where they are"
        };
        format!("removed {name}; {files}\n")
    });
    Ok(Exit::Done)
}

fn lock(context: &Context) -> Result<Lock, CliError> {
    let path = context.home.config_dir().join(LOCK_FILE);
    let text = file::read_text(&path, LOCK_BYTES_MAX)?.unwrap_or_default();
    Lock::parse(&text).map_err(|error| {
        let hint = "restore the file from version control, or remove it and add the packages again";
        CliError::refused(code::CONFIG_FILE, format!("{}: {error}", path.display()), hint)
    })
}

fn write_lock(context: &Context, lock: &Lock) -> Result<(), CliError> {
    let path = context.home.config_dir().join(LOCK_FILE);
    file::replace(&path, lock.render().as_bytes(), 0o644).map_err(io("write", &path))
}

async fn call(context: &mut Context, name: &SkillName, args: &str, workspace: Option<&Path>) -> Result<Exit, CliError> {
    let usage = |message: String| CliError::usage(message, "such as --args '{\"path\": \"README.md\"}'");
    let inputs: Value = serde_json::from_str(args).map_err(|error| usage(format!("--args is not JSON: {error}")))?;
    if !inputs.is_object() {
        return Err(usage("--args is not a JSON object".to_owned()));
    }
    let folder = workspace.unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(io("find the workspace", folder))?;
    // One step without an agent: the same way as any work, with intent, effect class and journal.
    let goal = format!("call {name}");
    let step = json!({ "id": "call", "skill": name.as_str(), "inputs": inputs });
    let body = json!({
        "task": goal, "workspace": folder, "origin": "cli",
        "plan": { "goal": goal, "steps": [step], "result": "call" },
    });
    let client = context.client()?;
    // A name that is not there is said as such, not as a plan that is wrong.
    client.send(&Request::get(&format!("/v1/skills/{name}"))).await?;
    let path = format!("/v1/runs?wait={WAIT_MS}");
    let request = Request {
        wait_ms: WAIT_MS,
        ..Request::post(&path, &body)
    };
    let accepted: RunView = read(&client, &path, &client.send(&request).await?)?;
    if accepted.status == "active" {
        follow(&client, &mut context.output, &accepted.id).await?;
    }
    let (view, value) = fetch(&client, &accepted.id).await?;
    let of_step = view.steps.first().and_then(|step| step.reason.clone());
    let reason = view.reason.clone().or(of_step);
    let shown = json!({ "run": view.id, "status": view.status, "result": value["result"], "reason": reason });
    context.output.result(&shown, |_| match (&view.status[..], &reason) {
        ("succeeded", _) => format!("{}\n", harmless(&show_value(&value["result"])).trim_end()),
        (status, Some(reason)) => format!("{status}: {}\n", harmless(reason)),
        (status, None) => format!("{status}\n"),
    });
    Ok(Exit::of_status(&view.status))
}
