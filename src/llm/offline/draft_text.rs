//! The text of a review, from the outputs of the surveys. Every statement is a figure or a quotation of them.
//!
//! Refuses to know: skills. Invariant: text out of files appears as one plain line, with the characters that mean
//! something in Markdown or HTML made harmless.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::figures;
use super::summary;

/// The sections that every review has, in order. The planner's checks name them.
pub(super) const SECTIONS: &[&str] = &[
    "Summary",
    "Inventory",
    "Code",
    "Documentation",
    "Project health",
    "Findings",
    "Next steps",
];

/// The inputs that come from surveys.
pub(super) const SURVEYS: &[&str] = &["inventory", "code", "documents", "health"];

/// Quotes text out of a file.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for c in summary::plain(text, 300).chars() {
        match c {
            '<' => quoted.push_str("&lt;"),
            '>' => quoted.push_str("&gt;"),
            '|' | '`' | '*' | '[' | ']' | '\\' | '#' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c => quoted.push(c),
        }
    }
    quoted
}

/// Quotes a path as code; a backtick would end it.
fn path(value: &Value) -> String {
    format!(
        "`{}`",
        summary::plain(value.as_str().unwrap_or("?"), 160).replace(['`', '|'], "'")
    )
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn paths(value: &Value) -> String {
    let items: Vec<String> = list(value).iter().map(path).collect();
    if items.is_empty() {
        "none found".to_owned()
    } else {
        items.join(", ")
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// What a review is made of.
pub(super) struct Material<'m> {
    /// The folder.
    pub(super) folder: &'m str,
    /// The surveys by name.
    pub(super) surveys: &'m Map<String, Value>,
    /// Further sections that somebody asked for.
    pub(super) extra: &'m [String],
    /// Whether to list more than the most important.
    pub(super) detailed: bool,
}

impl Material<'_> {
    fn survey(&self, name: &str) -> &Value {
        self.surveys.get(name).unwrap_or(&Value::Null)
    }

    fn figures(&self, text: &mut String, survey: &str) {
        for (label, _, pointer) in figures::FIGURES.iter().filter(|(_, of, _)| *of == survey) {
            if let Some(value) = figures::known(self.surveys, survey, pointer) {
                text.push_str(&figures::line(label, value));
            }
        }
    }

    fn rows(&self) -> usize {
        if self.detailed { 12 } else { 6 }
    }
}

/// Writes the review.
pub(super) fn compose(material: &Material<'_>) -> String {
    let name = if material.folder == "." {
        "this folder"
    } else {
        material.folder
    };
    let mut text = format!("# Review of {}\n", quote(name));
    for section in SECTIONS {
        let _ = write!(text, "\n## {section}\n\n");
        let start = text.len();
        match *section {
            "Summary" => summary_section(&mut text, material),
            "Inventory" => inventory(&mut text, material),
            "Code" => code(&mut text, material),
            "Documentation" => documents(&mut text, material),
            "Project health" => health(&mut text, material),
            "Findings" => numbered(
                &mut text,
                &findings(material),
                "Nothing stood out in what was measured.",
            ),
            _ => numbered(
                &mut text,
                &next_steps(material),
                "Nothing is due by these measurements.",
            ),
        }
        if text.len() == start {
            text.push_str("This survey gave no result; nothing is said about it here.\n");
        }
    }
    for title in material.extra {
        let _ = write!(text, "\n## {}\n\n", quote(title));
        let words = summary::plain(title, 80).to_lowercase();
        let related: Vec<String> = findings(material)
            .into_iter()
            .filter(|finding| {
                words
                    .split(' ')
                    .any(|word| word.len() > 3 && finding.to_lowercase().contains(word))
            })
            .collect();
        numbered(
            &mut text,
            &related,
            "The measurements above say nothing more under this title.",
        );
    }
    text.push_str("\nThis review was composed by rules from measurements (the offline model); it judges no design.\n");
    text
}

fn numbered(text: &mut String, items: &[String], none: &str) {
    if items.is_empty() {
        let _ = writeln!(text, "{none}");
    }
    for (index, item) in items.iter().enumerate() {
        let _ = writeln!(text, "{}. {item}", index + 1);
    }
}

fn summary_section(text: &mut String, material: &Material<'_>) {
    let inventory = material.survey("inventory");
    if inventory.is_object() {
        let languages: Vec<&str> = list(&inventory["languages"])
            .iter()
            .filter_map(|row| row["language"].as_str())
            .filter(|language| *language != "other")
            .take(3)
            .collect();
        let _ = write!(
            text,
            "{} files with {} lines and {} bytes",
            number(&inventory["files"]),
            number(&inventory["lines"]),
            number(&inventory["bytes"])
        );
        let written = if languages.is_empty() {
            ".".to_owned()
        } else {
            format!(", mostly {}.", languages.join(", "))
        };
        let _ = writeln!(text, "{written}");
        if inventory["truncated"] == true {
            text.push_str("The listing was cut off, so the figures are lower bounds.\n");
        }
    }
    let documents = material.survey("documents");
    let purpose: Vec<String> = list(&documents["purpose"])
        .iter()
        .filter_map(Value::as_str)
        .map(quote)
        .collect();
    if !purpose.is_empty() {
        let source = path(&documents["files"][0]["path"]);
        let _ = writeln!(text, "\nIn its own words ({source}):\n\n> {}", purpose.join(" "));
    }
    let count = findings(material).len();
    let _ = writeln!(
        text,
        "\n{count} findings, {} suggested next steps.",
        next_steps(material).len()
    );
}

fn inventory(text: &mut String, material: &Material<'_>) {
    let survey = material.survey("inventory");
    material.figures(text, "inventory");
    if !list(&survey["languages"]).is_empty() {
        text.push_str("\n| Language | Files | Lines | Bytes |\n|---|---:|---:|---:|\n");
        for row in list(&survey["languages"]).iter().take(material.rows()) {
            let language = quote(row["language"].as_str().unwrap_or("?"));
            let (files, lines, bytes) = (number(&row["files"]), number(&row["lines"]), number(&row["bytes"]));
            let _ = writeln!(text, "| {language} | {files} | {lines} | {bytes} |");
        }
    }
    if !list(&survey["largest"]).is_empty() {
        text.push_str("\nLargest files:\n\n");
        for file in list(&survey["largest"]).iter().take(material.rows()) {
            let _ = writeln!(text, "- {} ({} bytes)", path(&file["path"]), number(&file["bytes"]));
        }
    }
}

fn code(text: &mut String, material: &Material<'_>) {
    let survey = material.survey("code");
    material.figures(text, "code");
    if survey.is_object() {
        let _ = writeln!(text, "\nEntry points: {}.", paths(&survey["entry_points"]));
    }
    if !list(&survey["files"]).is_empty() {
        text.push_str("\n| File | Lines | Functions | Types | Tests |\n|---|---:|---:|---:|---:|\n");
        let mut files: Vec<&Value> = list(&survey["files"]).iter().collect();
        files.sort_by_key(|file| u64::MAX - number(&file["lines"]));
        for file in files.into_iter().take(material.rows()) {
            let figures = ["lines", "functions", "types", "tests"].map(|name| number(&file[name]).to_string());
            let _ = writeln!(text, "| {} | {} |", path(&file["path"]), figures.join(" | "));
        }
    }
    if !list(&survey["markers"]["places"]).is_empty() {
        text.push_str("\nUnfinished places:\n\n");
        for place in list(&survey["markers"]["places"]).iter().take(material.rows()) {
            let said = quote(place["text"].as_str().unwrap_or(""));
            let _ = writeln!(
                text,
                "- {} line {}: {said}",
                path(&place["path"]),
                number(&place["line"])
            );
        }
    }
}

fn documents(text: &mut String, material: &Material<'_>) {
    material.figures(text, "documents");
    let files = list(&material.survey("documents")["files"]);
    if !files.is_empty() {
        text.push('\n');
    }
    for file in files.iter().take(material.rows()) {
        let headings: Vec<String> = list(&file["headings"])
            .iter()
            .filter_map(Value::as_str)
            .map(quote)
            .take(5)
            .collect();
        let _ = write!(text, "- {} ({} words)", path(&file["path"]), number(&file["words"]));
        if !headings.is_empty() {
            let _ = write!(text, ": {}", headings.join("; "));
        }
        text.push('\n');
    }
}

fn health(text: &mut String, material: &Material<'_>) {
    let survey = material.survey("health");
    if !survey.is_object() {
        return;
    }
    material.figures(text, "health");
    for (label, member) in [
        ("Build", "build"),
        ("CI", "ci"),
        ("Licence", "licence"),
        ("Changelog", "changelog"),
        ("Guides", "guides"),
        ("Lock files", "lock_files"),
    ] {
        let _ = writeln!(text, "- {label}: {}", paths(&survey[member]));
    }
    for manifest in list(&survey["manifests"]) {
        let _ = writeln!(
            text,
            "- {}: {} {}, {} direct dependencies",
            path(&manifest["path"]),
            quote(manifest["name"].as_str().unwrap_or("unnamed")),
            quote(manifest["version"].as_str().unwrap_or("without version")),
            number(&manifest["dependencies"])
        );
    }
}

fn findings(material: &Material<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let inventory = material.survey("inventory");
    if inventory.is_object() && number(&inventory["files"]) == 0 {
        found.push("The folder has no files that could be seen.".to_owned());
    }
    let health = material.survey("health");
    for warning in list(&health["warnings"]).iter().filter_map(Value::as_str) {
        found.push(format!("{}.", quote(warning)));
    }
    let missing: Vec<&str> = list(&health["missing"]).iter().filter_map(Value::as_str).collect();
    if !missing.is_empty() {
        found.push(format!("Not found: {}.", missing.join(", ")));
    }
    let code = material.survey("code");
    let markers = number(&code["markers"]["count"]);
    if markers > 0 {
        found.push(format!("Places marked as unfinished: {markers}."));
    }
    if number(&code["functions"]) > 0 && number(&code["tests"]) == 0 {
        found.push(format!(
            "No test was found in the {} code files that were read.",
            number(&code["files_read"])
        ));
    }
    if number(&code["risky"]) > 0 {
        found.push(format!(
            "Constructs that can end the program or run other code (unwrap, panic, unsafe, eval, shell): {}.",
            number(&code["risky"])
        ));
    }
    for file in list(&code["files"])
        .iter()
        .filter(|file| number(&file["lines"]) > 600)
        .take(5)
    {
        found.push(format!("{} has {} lines.", path(&file["path"]), number(&file["lines"])));
    }
    for link in list(&material.survey("documents")["broken_links"]).iter().take(5) {
        found.push(format!(
            "{} links to {}, which is not there.",
            path(&link["from"]),
            path(&link["to"])
        ));
    }
    for survey in SURVEYS {
        let value = material.survey(survey);
        if !value.is_object() {
            found.push(format!("The survey `{survey}` gave no result."));
        }
        for problem in list(&value["problems"]).iter().filter_map(Value::as_str).take(2) {
            let problem = format!("Not measured: {}.", quote(problem));
            if !found.contains(&problem) {
                found.push(problem);
            }
        }
    }
    found
}

fn next_steps(material: &Material<'_>) -> Vec<String> {
    let mut steps = Vec::new();
    let health = material.survey("health");
    for missing in list(&health["missing"]).iter().filter_map(Value::as_str) {
        steps.push(format!("Add {missing}."));
    }
    let code = material.survey("code");
    if let Some(place) = list(&code["markers"]["places"]).first() {
        let at = format!("{} line {}", path(&place["path"]), number(&place["line"]));
        steps.push(format!("Settle the unfinished places, beginning with {at}."));
    }
    if let Some(file) = list(&code["files"]).iter().find(|file| number(&file["lines"]) > 600) {
        steps.push(format!(
            "Split {} into parts that can be read in a sitting.",
            path(&file["path"])
        ));
    }
    if !list(&material.survey("documents")["broken_links"]).is_empty() {
        steps.push("Repair the links that lead nowhere.".to_owned());
    }
    if number(&health["warning_count"]) > 0 {
        steps.push("Look at each warning under Findings.".to_owned());
    }
    steps
}
