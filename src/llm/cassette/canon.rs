//! The canonical form of a request: the same for two runs that ask the same thing.
//!
//! What counts: model alias, system text, offered skills (name, description, schema of arguments), schema of the answer,
//! ceiling of the answer, and of each message its role, texts, calls (skill and arguments) and results.
//! What does not, because it varies from run to run: ids of calls, parts that go back to a provider as they came; and
//! within texts the workspace's path, the run's id and other ids of this program, times (RFC 3339, or milliseconds since
//! 1970 in 13 digits, and so the deadline of a brief), UUIDs, and the numbers of earlier attempts; and what memory told
//! before the first turn, because memory knows other things at another time. Secrets are replaced
//! by a mark. Everything else that varies (a process id, a measured duration, a random port) makes another request.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Value, json};

use crate::domain::brief::without_memory;
use crate::domain::conversation::{Arguments, Message, ModelRequest};
use crate::domain::id::RunId;
use crate::domain::json::canonical;

use super::redact::Redactor;

/// Stands for the workspace's path.
pub const WORKSPACE_MARK: &str = "{{workspace}}";
/// Stands for the run's id.
pub const RUN_MARK: &str = "{{run}}";

static VARYING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?P<time>\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2}))",
        r"|(?P<ms>\b1[6-9]\d{11}\b)",
        r"|(?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)",
        r"|(?P<id>\b[a-z]{3,4}_[0-7][0-9a-hjkmnp-tv-z]{25}\b)",
        r"|(?P<attempt>- attempt \d+ failed)",
    ))
    .expect("the pattern is constant; a test uses it")
});

/// Writes canonical forms for one run.
#[derive(Debug, Clone)]
pub struct Canon {
    workspace: String,
    run: String,
    redactor: Redactor,
}

impl Canon {
    /// For a run in this workspace.
    pub fn new(workspace: &str, run: RunId, redactor: Redactor) -> Self {
        Self {
            workspace: workspace.trim_end_matches('/').to_owned(),
            run: run.to_string(),
            redactor,
        }
    }

    /// A text without secrets and without what can be put back: the way into a cassette.
    pub fn portable<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let clean = self.redactor.text(text);
        let clean = put(clean, &self.run, RUN_MARK);
        put(clean, &self.workspace, WORKSPACE_MARK)
    }

    /// A text out of a cassette as it is in this run.
    pub fn restore(&self, text: &str) -> String {
        text.replace(WORKSPACE_MARK, &self.workspace)
            .replace(RUN_MARK, &self.run)
    }

    /// A text without anything that varies.
    pub fn text<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let portable = self.portable(text);
        let mark = |found: &Captures<'_>| {
            let named = ["time", "ms", "uuid", "id"];
            let name = named.into_iter().find(|name| found.name(name).is_some());
            name.map_or("- attempt {{n}} failed".to_owned(), |name| format!("{{{{{name}}}}}"))
        };
        match VARYING.replace_all(&portable, mark) {
            Cow::Borrowed(_) => portable,
            Cow::Owned(text) => Cow::Owned(text),
        }
    }

    /// The canonical text of a message, and its role in one word.
    pub fn message(&self, message: &Message) -> (&'static str, String) {
        match message {
            Message::User(text) => ("user", self.text(without_memory(text)).into_owned()),
            Message::Assistant { text, calls, .. } => {
                let mut said = self.text(text).into_owned();
                for call in calls {
                    said.push_str("\n> ");
                    said.push_str(&call.skill);
                    said.push(' ');
                    match &call.arguments {
                        Arguments::Object(value) => said.push_str(&self.text(&canonical(value))),
                        Arguments::Malformed { preview, .. } => {
                            said.push_str("(malformed) ");
                            said.push_str(&self.text(preview));
                        }
                    }
                }
                ("assistant", said)
            }
            Message::Results(results) => {
                let mut given = String::new();
                for result in results {
                    given.push_str(if result.is_error { "! " } else { "= " });
                    given.push_str(&self.text(&result.content));
                    given.push('\n');
                }
                ("results", given)
            }
        }
    }

    /// What every request of a conversation has in common. Texts are given as the beginning of their hashes.
    pub fn head(&self, request: &ModelRequest) -> Value {
        let skills = request
            .skills
            .iter()
            .map(|skill| json!([skill.name.as_str(), self.text(&skill.description), *skill.input_schema]).to_string());
        let mut head = json!({
            "model": request.model.as_str(),
            "system": short_hash(&self.text(&request.system)),
            "skills": short_hash(&skills.collect::<Vec<_>>().join("\n")),
            "schema": request.output_schema.as_ref().map(|schema| short_hash(&self.text(&canonical(schema)))),
            "output_tokens_max": request.output_tokens_max,
        });
        // Only where a client asks for something: what was recorded before there were clients keeps its name.
        if let Some(options) = &request.options {
            let tools = options.tools.iter();
            let tools = tools.map(|tool| json!([&*tool.name, self.text(&tool.description), *tool.schema]).to_string());
            head["options"] = json!({
                "tools": short_hash(&tools.collect::<Vec<_>>().join("\n")),
                "choice": format!("{:?}", options.choice),
                "parallel": options.parallel,
                "temperature": options.temperature,
                "top_p": options.top_p,
                "stop": options.stop.iter().map(|text| self.text(text)).collect::<Vec<_>>(),
            });
        }
        head
    }
}

/// Replaces a text where it is not the beginning of a longer name.
fn put<'text>(text: Cow<'text, str>, what: &str, mark: &str) -> Cow<'text, str> {
    if what.len() < 2 || !text.contains(what) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find(what) {
        let after = &rest[at + what.len()..];
        let goes_on = after.starts_with(|next: char| next.is_alphanumeric() || matches!(next, '_' | '-'));
        out.push_str(&rest[..at]);
        out.push_str(if goes_on { what } else { mark });
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn short_hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
