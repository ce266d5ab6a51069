//! Which procedure a step asks for, and the general ones: gathering one thing, and answering from what was gathered.
//!
//! Refuses to know: how a plan was made. The procedure is named by the input `method`, or found by the role and the
//! words of the task.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use unicode_segmentation::UnicodeSegmentation;

use crate::domain::agent::Role;
use crate::domain::text;

use super::intent::{self, Action};
use super::pattern::pattern;
use super::session::{Flow, Session, call};
use super::survey::{self, Entry};
use super::{debugger, draft, judge, summary, survey_code, survey_documents, survey_health, survey_inventory};

/// What the model says of itself.
pub(super) const SELF: &str = "I am the offline model built into OpenClaw. I work by rules, without a network and \
without a language model behind me: I measure, search, extract sentences and fill in documents. For judgement or \
new text, configure a model of a provider.";

/// Does the step.
pub(super) fn run(session: &Session<'_>) -> Flow<Value> {
    let intent = intent::parse(&session.brief.task);
    let file = session.input_text("file").map(str::to_owned);
    let review = intent.review.clone();
    let named = move |first: &Option<String>| {
        let wanted = review.as_ref().map(|review| review.file.clone());
        first.clone().or(wanted)
    };
    match session.input_text("method").unwrap_or("") {
        "inventory" => return survey_inventory::run(session),
        "code" => return survey_code::run(session),
        "documents" => return survey_documents::run(session),
        "health" => return survey_health::run(session),
        "draft" => return draft::run(session, &named(&file).unwrap_or_else(|| "REVIEW.md".to_owned())),
        "judge" => return judge::run(session, &named(&file).unwrap_or_else(|| "REVIEW.md".to_owned())),
        "cause" => return Ok(debugger::run(session)),
        "answer" => return answer(session, &[]),
        "gather" => {
            if let Some(action) = session.input("action").as_ref().and_then(Action::from_json) {
                return gather(session, &action);
            }
        }
        _ => {}
    }
    let document = file.or_else(|| {
        let mut reads = intent.actions.iter().filter_map(|action| match action {
            Action::Read(path) => Some(path.clone()),
            _ => None,
        });
        reads.find(|path| matches!(path.rsplit('.').next(), Some("md" | "txt")))
    });
    let writes = intent
        .actions
        .iter()
        .any(|action| matches!(action, Action::Write { .. }));
    let has_inputs = session.brief.context.values().any(Value::is_object);
    match session.role {
        Some(Role::Debugger) => return Ok(debugger::run(session)),
        Some(Role::Reviewer) => {
            if let Some(file) = named(&document) {
                return judge::run(session, &file);
            }
        }
        Some(Role::Coder) if has_inputs && !writes => {
            if let Some(file) = named(&document) {
                return draft::run(session, &file);
            }
        }
        _ => {}
    }
    if let Some(review) = &intent.review {
        return whole_review(session, &review.file);
    }
    if intent.who && intent.actions.is_empty() {
        return Ok(json!({ "answer": SELF, "sources": [] }));
    }
    if intent.actions.is_empty() && !has_inputs {
        let words = session.brief.task.to_lowercase();
        let has = |list: &[&str]| list.iter().any(|word| words.contains(word));
        if session.is_brief && session.offers("fs.list") {
            if has(&["inventory", "measure the", "count the files", "how many files"]) {
                return survey_inventory::run(session);
            }
            if has(&["survey the code", "code survey", "measure code"]) {
                return survey_code::run(session);
            }
            if has(&[
                "documentation survey",
                "survey the documentation",
                "survey the documents",
            ]) {
                return survey_documents::run(session);
            }
            if has(&["project health", "build files", "health of the project"]) {
                return survey_health::run(session);
            }
        }
    }
    answer(session, &intent.actions)
}

/// The whole review by one agent alone: the surveys one after the other, then the document.
fn whole_review(session: &Session<'_>, file: &str) -> Flow<Value> {
    let mut surveys = Map::new();
    surveys.insert("inventory".to_owned(), survey_inventory::run(session)?);
    surveys.insert("code".to_owned(), survey_code::run(session)?);
    surveys.insert("documents".to_owned(), survey_documents::run(session)?);
    surveys.insert("health".to_owned(), survey_health::run(session)?);
    let text = draft::write(session, &surveys);
    draft::put(session, file, &text)
}

/// Text of a page: tags, scripts and styles left out.
fn page_text(page: &str) -> String {
    if !page.contains('<') {
        return page.to_owned();
    }
    let hidden = pattern!(r"(?is)<script\b.*?</script>|<style\b.*?</style>|<!--.*?-->");
    let blocks = pattern!(r"(?i)</?(?:p|div|li|h\d|tr|br|section|article)\b[^>]*>");
    let tags = pattern!(r"<[^>]{0,2000}>");
    let text = hidden.replace_all(page, " ");
    let text = blocks.replace_all(&text, "\n\n");
    let text = tags.replace_all(&text, " ");
    let text = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.into_owned(), |text, (code, sign)| text.replace(code, sign));
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

fn described(kind: &str, name: &str, place: &str, content: &str, about: &str, cut: bool) -> Value {
    let excerpt: Vec<&str> = content.lines().take(40).collect();
    json!({
        "kind": kind,
        name: place,
        "bytes": content.len(),
        "lines": content.lines().count(),
        "words": content.unicode_words().count(),
        "headings": summary::headings(content, 20),
        "summary": summary::summarise(content, about, 5),
        "excerpt": text::cut(&excerpt.join("\n"), 1500),
        "cut": cut,
    })
}

/// Does one thing and says what came of it; a member `problem` means that it failed.
fn gather(session: &Session<'_>, action: &Action) -> Flow<Value> {
    let outcome = match action {
        Action::Read(path) => session.one(call("fs.read", json!({ "path": path })))?,
        Action::List(path) => session.one(call("fs.list", json!({ "path": path, "depth": 3, "limit": 400 })))?,
        Action::Search { text, path } => {
            let pattern = regex::escape(text);
            session.one(call(
                "fs.search",
                json!({ "pattern": pattern, "path": path, "limit": 100 }),
            ))?
        }
        Action::Run(argv) => session.one(call("exec.run", json!({ "argv": argv })))?,
        Action::Fetch(url) => session.one(call("web.fetch", json!({ "url": url })))?,
        Action::Write { path, content } => {
            let mut written = draft::put(session, path, &format!("{content}\n"))?;
            written["kind"] = "written".into();
            return Ok(written);
        }
    };
    // A command that ended with another code than 0 counts as failed and still tells what it said.
    let ran = matches!(action, Action::Run(_)) && outcome.object().contains_key("exit_code");
    if outcome.failed && !ran {
        let problem = format!(
            "could not {}: {}",
            action.describe(),
            summary::plain(&outcome.text, 400)
        );
        return Ok(json!({ "kind": "problem", "problem": problem }));
    }
    let about = session.input_text("question").unwrap_or(&session.brief.task);
    Ok(match action {
        Action::Read(path) => {
            let (text, cut) = outcome.file_text();
            described("file", "path", path, text, about, cut)
        }
        Action::Fetch(url) => {
            let content = outcome.content();
            // The fetcher puts what it knows of the page before its text.
            let body = content.split_once("\n\n").filter(|_| content.starts_with("url: "));
            let text = page_text(body.map_or(content, |(_, body)| body));
            described("page", "url", url, &text, about, outcome.is_cut())
        }
        Action::List(path) => {
            let (items, whole) = outcome.items("entries");
            let folders = items.iter().filter(|item| item["kind"] == "dir").count();
            let shown: Vec<Value> = items
                .iter()
                .take(80)
                .map(|item| json!({ "path": item["path"], "kind": item["kind"], "bytes": item["bytes"] }))
                .collect();
            json!({ "kind": "list", "path": path, "files": items.len() - folders, "folders": folders,
                    "entries": shown, "truncated": !whole })
        }
        Action::Search { text, path } => {
            let (items, whole) = outcome.items("matches");
            let shown: Vec<Value> = items
                .iter()
                .take(40)
                .map(|item| {
                    let line = summary::plain(item["text"].as_str().unwrap_or(""), 200);
                    json!({ "path": item["path"], "line": item["line"], "text": line })
                })
                .collect();
            json!({ "kind": "search", "text": text, "path": path, "count": items.len(), "matches": shown,
                    "truncated": !whole })
        }
        Action::Run(argv) => {
            let result = outcome.object();
            let part =
                |name: &str, bytes: usize| text::cut(result.get(name).and_then(Value::as_str).unwrap_or(""), bytes);
            let code = result.get("exit_code").cloned().unwrap_or(Value::Null);
            let mut ran = json!({ "kind": "command", "argv": argv, "exit_code": code,
                                  "stdout": part("stdout", 3000), "stderr": part("stderr", 1500) });
            if result.is_empty() {
                ran["stdout"] = text::cut(outcome.content(), 3000).into();
            }
            if code.as_i64().is_some_and(|code| code != 0) {
                ran["problem"] = format!("`{}` ended with exit code {code}", argv.join(" ")).into();
            }
            ran
        }
        Action::Write { .. } => Value::Null,
    })
}

/// One gathered thing in words, and where it is from.
fn tell(value: &Value, lines: &mut Vec<String>, sources: &mut Vec<Value>) {
    if let Some(problem) = value["problem"].as_str() {
        lines.push(problem.to_owned());
    }
    let texts = |member: &str| -> Vec<String> {
        let items = value[member].as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    match value["kind"].as_str().unwrap_or("") {
        kind @ ("file" | "page") => {
            let place = value[if kind == "file" { "path" } else { "url" }]
                .as_str()
                .unwrap_or("?");
            let sentences = texts("summary");
            let said = if sentences.is_empty() {
                let excerpt = value["excerpt"].as_str().unwrap_or("");
                format!("no prose was found; it begins: {}", summary::plain(excerpt, 300))
            } else {
                sentences.join(" ")
            };
            lines.push(format!("{place} ({} words): {said}", value["words"]));
            sources.push(place.into());
        }
        "list" => {
            let paths = value["entries"].as_array().into_iter().flatten();
            let shown: Vec<&str> = paths.filter_map(|entry| entry["path"].as_str()).take(40).collect();
            let path = value["path"].as_str().unwrap_or("?");
            lines.push(format!(
                "{path}: {} files, {} folders: {}",
                value["files"],
                value["folders"],
                shown.join(", ")
            ));
            sources.push(path.into());
        }
        "search" => {
            let text = value["text"].as_str().unwrap_or("?");
            lines.push(format!("{} matches of {text:?}", value["count"]));
            for found in value["matches"].as_array().into_iter().flatten().take(20) {
                let path = found["path"].as_str().unwrap_or("?");
                lines.push(format!(
                    "{path}:{}: {}",
                    found["line"],
                    found["text"].as_str().unwrap_or("")
                ));
                if !sources.iter().any(|source| source == path) {
                    sources.push(path.into());
                }
            }
        }
        "command" => {
            let output = value["stdout"].as_str().filter(|text| !text.is_empty());
            let output = output.or(value["stderr"].as_str()).unwrap_or("");
            let words: Vec<&str> = value["argv"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let output = text::cut(output.trim_end(), 1500);
            lines.push(format!(
                "`{}` ended with {}:\n{output}",
                words.join(" "),
                value["exit_code"]
            ));
        }
        "written" if value["written"] == true => {
            let file = value["file"].as_str().unwrap_or("?");
            lines.push(format!("{file} was written with {} bytes", value["bytes"]));
            sources.push(file.into());
        }
        _ => {}
    }
}

/// Answers from the inputs, from what the task names, or else from what the files say about its words.
fn answer(session: &Session<'_>, actions: &[Action]) -> Flow<Value> {
    let mut lines = Vec::new();
    let mut sources = Vec::new();
    let mut seen = false;
    for (name, _) in session
        .brief
        .context
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "method" | "action"))
    {
        let Some(value) = session.input(name) else { continue };
        seen = true;
        match &value {
            Value::Object(fields) if fields.contains_key("kind") => tell(&value, &mut lines, &mut sources),
            Value::String(text) => {
                let found = summary::summarise(text, &session.brief.task, 3);
                let said = if found.is_empty() {
                    summary::plain(text, 300)
                } else {
                    found.join(" ")
                };
                lines.push(format!("{name}: {said}"));
            }
            other => lines.push(format!("{name}: {}", text::cut(&other.to_string(), 600))),
        }
    }
    // All that only reads goes out in one turn; what changes something follows in the order of the task.
    let reads: Vec<Action> = actions.iter().filter(|action| !changes(action)).cloned().collect();
    let mut wanted = Vec::new();
    let mut gathered: Vec<Value> = Vec::new();
    for action in &reads {
        match gather(session, action) {
            Ok(value) => gathered.push(value),
            Err(pending) => wanted.extend(pending.0),
        }
    }
    if !wanted.is_empty() {
        return Err(super::session::Pending(wanted));
    }
    for action in actions.iter().filter(|action| changes(action)) {
        gathered.push(gather(session, action)?);
    }
    for value in &gathered {
        tell(value, &mut lines, &mut sources);
    }
    if actions.is_empty() && !seen {
        look_up(session, &mut lines, &mut sources)?;
    }
    let mut answer = json!({ "answer": lines.join("\n"), "sources": sources });
    let problems: Vec<&Value> = gathered.iter().filter(|value| value.get("problem").is_some()).collect();
    if !problems.is_empty() {
        answer["problem"] = problems[0]["problem"].clone();
    }
    Ok(answer)
}

fn changes(action: &Action) -> bool {
    matches!(action, Action::Run(_) | Action::Write { .. })
}

/// What the files say about the words of the task.
fn look_up(session: &Session<'_>, lines: &mut Vec<String>, sources: &mut Vec<Value>) -> Flow<()> {
    let mut words: Vec<String> = session
        .brief
        .task
        .unicode_words()
        .map(str::to_lowercase)
        .filter(|word| word.chars().count() > 3)
        .filter(|word| {
            ![
                "what", "which", "this", "that", "about", "tell", "please", "does", "with", "from", "have", "your",
            ]
            .contains(&word.as_str())
        })
        .collect();
    words.sort_by_key(|word| usize::MAX - word.len());
    words.dedup();
    words.truncate(3);
    let searches = words.iter().map(|word| {
        let pattern = format!("(?i){}", regex::escape(word));
        call("fs.search", json!({ "pattern": pattern, "path": ".", "limit": 40 }))
    });
    let mut scores: BTreeMap<String, u64> = BTreeMap::new();
    for outcome in session.all(searches.collect())? {
        for found in outcome.items("matches").0 {
            if let Some(path) = found["path"].as_str() {
                *scores.entry(path.trim_start_matches("./").to_owned()).or_default() += 1;
            }
        }
    }
    let mut files: Vec<Entry> = scores
        .keys()
        .map(|path| Entry {
            path: path.clone(),
            folder: false,
            bytes: 0,
            lines: None,
        })
        .collect();
    files.sort_by_key(|file| {
        let score = scores[&file.path];
        (!survey::is_document(file), u64::MAX - score, file.path.clone())
    });
    for content in survey::read(session, files, 3)? {
        if content.problem.is_none() {
            let value = described(
                "file",
                "path",
                &content.entry.path,
                &content.text,
                &session.brief.task,
                content.cut,
            );
            tell(&value, lines, sources);
        }
    }
    if lines.is_empty() {
        lines.push(format!(
            "I found nothing about this in the files that I may read. {SELF} I can review a folder, summarise files \
             and pages, list, search, run a command given between backticks, and write a file whose text is given."
        ));
    }
    Ok(())
}
