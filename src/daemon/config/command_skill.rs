//! Skills that are a program, as declared under `skills.commands`.

use serde_json::{Value, json};

use super::error::BadValue;
use super::key;
use super::setting::Settings;
use crate::domain::effect::EffectClass;
use crate::domain::name::SkillName;

/// One declared program.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandSkill {
    /// The name that agents call it by.
    pub name: SkillName,
    /// Program and arguments; no shell.
    pub argv: Vec<String>,
    /// What it does to the world; `once` when the declaration does not say.
    pub class: EffectClass,
    /// For class `probe`: the program that says whether the effect has happened.
    pub probe: Option<Vec<String>>,
    /// What it does and when to use it, for the model.
    pub description: String,
    /// Deadline of one call, in milliseconds.
    pub timeout_ms: u64,
    /// JSON Schema of the arguments; an object schema.
    pub schema: Value,
    /// Hosts that it reaches through the proxy, as `host:port`.
    pub network: Vec<String>,
}

/// The command skills of the settings in force.
pub fn command_skills(settings: &Settings, bad: &mut Vec<BadValue>) -> Vec<CommandSkill> {
    let mut skills = Vec::new();
    for (name, place) in settings.names(&["skills", "commands"]) {
        let at = |field: &'static str| ["skills", "commands", name.as_str(), field];
        let mut refuse = |field: &'static str, found: String, allowed: String| {
            let path = at(field).map(str::to_owned);
            let path = if field.is_empty() { &path[..3] } else { &path[..] };
            let given = settings.get(&at(field)).map(|setting| setting.origin.clone());
            bad.push(BadValue {
                place: given.unwrap_or_else(|| place.clone()),
                key: key::render_path(path),
                found,
                allowed,
            });
        };
        let skill = match SkillName::new(&name) {
            Ok(skill) => skill,
            Err(error) => {
                let allowed = format!("a name of 1 to 64 characters of {}", error.allowed);
                refuse("", format!("{name:?}"), allowed);
                continue;
            }
        };
        let Some(argv) = settings.texts(&at("argv")) else {
            refuse("argv", "nothing".into(), "a program and its arguments".into());
            continue;
        };
        if argv[0].is_empty() {
            refuse("argv", "an empty program".into(), "a program and its arguments".into());
            continue;
        }
        let class = settings.text(&at("class")).map_or(EffectClass::Once, key::class_of);
        let probe = settings.texts(&at("probe"));
        if class != EffectClass::Probe && probe.is_some() {
            let allowed = "no probe, or class = \"probe\": another class is never asked";
            refuse("probe", "a program".into(), allowed.into());
            continue;
        }
        if class == EffectClass::Probe && probe.is_none() {
            refuse(
                "probe",
                "nothing".into(),
                "a program, because the class is probe".into(),
            );
            continue;
        }
        let schema = settings.get(&at("schema")).map(|setting| setting.value.clone());
        let schema = schema.unwrap_or_else(|| json!({ "type": "object" }));
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            let allowed = "a schema with type = \"object\", because arguments are named";
            refuse(
                "schema",
                schema.get("type").map_or("no type".into(), Value::to_string),
                allowed.into(),
            );
            continue;
        }
        let description = settings.text(&at("description")).map(str::to_owned);
        skills.push(CommandSkill {
            description: description.unwrap_or_else(|| format!("Runs {}.", argv[0])),
            timeout_ms: settings.number(&at("timeout")).unwrap_or(60_000),
            network: settings.texts(&at("network")).unwrap_or_default(),
            name: skill,
            argv,
            class,
            probe,
            schema,
        });
    }
    skills
}
