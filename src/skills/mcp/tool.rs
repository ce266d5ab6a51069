//! One tool as a server describes it, bounded and brought to the grammar of skills.
//!
//! Pure. Invariants: whatever a server sends, names keep the grammar and begin with the server's family; texts and
//! schemas are bounded; a hint of a server lowers a class only when the operator trusts it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmcp::model::Tool;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::effect::EffectClass;
use crate::domain::json;
use crate::domain::limits::{JSON_DEPTH_MAX, RESULT_BYTES_MAX};
use crate::domain::name::{ServerName, SkillName};
use crate::domain::skill::SkillManifest;
use crate::domain::text;
use crate::domain::text_policy::for_prompt;

use super::config::McpServer;

/// Tools of one server.
pub const TOOLS_MAX: usize = 256;
/// Bytes of one input schema.
const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a tool's own name.
const OWN_NAME_BYTES_MAX: usize = 256;
const DESCRIPTION_CHARS_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 64;
/// Digits of the hash that keeps shortened names apart.
const MARK_DIGITS: usize = 6;

/// What is kept of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolEntry {
    /// The server's own name for it.
    pub name: String,
    /// What the server says of it.
    pub description: String,
    /// JSON Schema of the arguments; always an object schema.
    pub input_schema: Value,
    /// Whether the server says that it only reads.
    pub read_only: bool,
}

impl ToolEntry {
    /// What is kept of a tool, or why it is left out.
    pub fn of(tool: &Tool) -> Result<Self, String> {
        if tool.name.is_empty() || tool.name.len() > OWN_NAME_BYTES_MAX || tool.name.contains(char::is_control) {
            return Err("its name is empty, too long or holds control characters".to_owned());
        }
        let mut schema = Value::Object((*tool.input_schema).clone());
        if schema.get("type").is_none() {
            schema["type"] = json!("object");
        }
        let bytes = json::canonical(&schema).len();
        if bytes > SCHEMA_BYTES_MAX || json::depth(&schema) > JSON_DEPTH_MAX {
            return Err(format!(
                "its schema has {bytes} bytes, at most {SCHEMA_BYTES_MAX} in 64 levels are allowed"
            ));
        }
        let said = tool
            .description
            .as_deref()
            .or(tool.title.as_deref())
            .unwrap_or_default();
        // Signs that are not seen, or that turn what is seen around, could tell a model what no person reads.
        let (seen, _) = for_prompt(said);
        let description: String = seen
            .chars()
            .filter(|c| !c.is_control() || *c == '\n')
            .take(DESCRIPTION_CHARS_MAX)
            .collect();
        let hints = tool.annotations.as_ref();
        Ok(Self {
            name: tool.name.to_string(),
            description,
            input_schema: schema,
            read_only: hints.and_then(|hints| hints.read_only_hint).unwrap_or(false),
        })
    }
}

/// The beginning of the names of all skills of a server.
pub fn family(server: &ServerName) -> String {
    format!("mcp.{server}.")
}

/// The skills' names of these tools, in their order; names that become equal are kept apart by a part of a hash.
pub fn names(server: &ServerName, tools: &[ToolEntry]) -> Vec<SkillName> {
    let family = family(server);
    let plain: Vec<String> = tools.iter().map(|tool| sanitised(&tool.name)).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &plain {
        *counts.entry(name.as_str()).or_default() += 1;
    }
    let named = tools.iter().zip(&plain).map(|(tool, plain)| {
        let is_unique = counts[plain.as_str()] == 1;
        let room = NAME_BYTES_MAX - family.len();
        let name = if is_unique && plain.len() <= room {
            format!("{family}{plain}")
        } else {
            let mark = blake3::hash(tool.name.as_bytes()).to_hex();
            let kept = &plain[..plain.len().min(room - MARK_DIGITS - 1)];
            format!("{family}{kept}-{}", &mark[..MARK_DIGITS])
        };
        SkillName::new(&name).expect("the family and the sanitised rest keep the grammar")
    });
    named.collect()
}

/// Only characters of the grammar; never empty.
fn sanitised(name: &str) -> String {
    let kept: String = name
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            kept if kept.is_ascii_lowercase() || kept.is_ascii_digit() || matches!(kept, '-' | '_') => kept,
            _ => '_',
        })
        .collect();
    if kept.is_empty() { "_".to_owned() } else { kept }
}

/// The manifest of one tool.
pub fn manifest(server: &McpServer, name: SkillName, tool: &ToolEntry) -> SkillManifest {
    let by_hint = (tool.read_only && server.trusts_hints).then_some(EffectClass::Read);
    let class = server
        .classes
        .get(&tool.name)
        .copied()
        .or(by_hint)
        .unwrap_or(server.class);
    let description = if tool.description.trim().is_empty() {
        format!(
            "The tool `{}` of the server `{}`.",
            text::preview(&tool.name, 80),
            server.name
        )
    } else {
        tool.description.clone()
    };
    SkillManifest {
        name,
        description: description.into(),
        input_schema: Arc::new(tool.input_schema.clone()),
        class,
        timeout_ms: server.timeout.as_millis() as u64,
        output_bytes_max: RESULT_BYTES_MAX,
        concurrency: server.concurrency,
        approval: crate::domain::approval::Approval::Auto,
        resources: Arc::new([]),
        undo: None,
        examples: Arc::new([]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> ToolEntry {
        ToolEntry {
            name: name.to_owned(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            read_only: false,
        }
    }

    #[test]
    fn names_of_tools_keep_the_grammar_and_stay_apart() {
        let check = |tools: &[&str], wanted: &[&str]| {
            let entries: Vec<ToolEntry> = tools.iter().map(|name| entry(name)).collect();
            let named = names(&ServerName::new("files").expect("name"), &entries);
            let named: Vec<&str> = named.iter().map(SkillName::as_str).collect();
            assert_eq!(named.len(), wanted.len());
            for (name, wanted) in named.iter().zip(wanted) {
                assert!(name.starts_with(wanted) && name.len() <= 64, "{tools:?}: {named:?}");
            }
            let mut unique = named.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), named.len(), "{named:?}");
        };
        check(&["read_file", "listDir"], &["mcp.files.read_file", "mcp.files.listdir"]);
        check(
            &["a.b", "a/b", "a b"],
            &["mcp.files.a_b-", "mcp.files.a_b-", "mcp.files.a_b-"],
        );
        check(
            &["../../etc", "größe", "🦀"],
            &["mcp.files.______etc", "mcp.files.gr__e", "mcp.files._"],
        );
        let long = "x".repeat(200);
        let longer = format!("{long}y");
        check(&[&long, &longer], &["mcp.files.xxx", "mcp.files.xxx"]);
    }

    #[test]
    fn a_hint_lowers_a_class_only_when_it_is_trusted() {
        let tool = |value: Value| ToolEntry::of(&serde_json::from_value(value).expect("a tool"));
        let reads = tool(json!({"name": "look", "inputSchema": {}, "annotations": {"readOnlyHint": true}}));
        let reads = reads.expect("kept");
        assert_eq!(reads.input_schema, json!({"type": "object"}));
        let check = |trusts_hints: bool, said: Option<EffectClass>, wanted: EffectClass| {
            let server = McpServer {
                trusts_hints,
                classes: said.map(|class| ("look".to_owned(), class)).into_iter().collect(),
                ..crate::skills::mcp::config::made_up("s", &[])
            };
            let manifest = manifest(&server, SkillName::new("mcp.s.look").expect("name"), &reads);
            assert_eq!(manifest.class, wanted);
            assert!(manifest.description.contains("look"));
        };
        check(false, None, EffectClass::Once);
        check(true, None, EffectClass::Read);
        check(true, Some(EffectClass::Idempotent), EffectClass::Idempotent);
        let hidden =
            json!({"name": "x", "description": "Looks\u{202e} up\u{200b}\u{e0041} things.", "inputSchema": {}});
        let cleaned = tool(hidden).expect("kept").description;
        assert!(crate::domain::text_policy::is_visible(&cleaned), "{cleaned:?}");
        assert!(cleaned.contains("Looks") && cleaned.contains("things."), "{cleaned:?}");
        let huge = json!({"name": "x", "inputSchema": {"description": "x".repeat(70_000)}});
        assert!(tool(huge).is_err());
        assert!(tool(json!({"name": "", "inputSchema": {}})).is_err());
    }
}
